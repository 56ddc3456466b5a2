/* Events for a standby's decision, one at a time. */
#ifndef TESTS_UNIT_FAILOVER_FIXTURE_H
#define TESTS_UNIT_FAILOVER_FIXTURE_H

#include "appliance/base/clock.h"
#include "appliance/failover.h"

#define DETECT_MS 300
#define MS CLOCK_NS_PER_MS

/* An event; its epoch is the next one. */
struct failover_update step(struct failover *failover, enum failover_event_type type,
			    uint64_t now_ns);
/* One about that epoch. */
struct failover_update epoch(struct failover *failover, enum failover_event_type type,
			     uint64_t now_ms, uint64_t epoch);
/* Ticks every 30 ms, until it takes over or the time is over; the last update. */
struct failover_update silence(struct failover *failover, uint64_t from_ms, uint64_t to_ms);
/* Behind a gateway (leases have tests of their own), with a committed epoch, just heard. */
struct failover protected_at(bool automatic, uint64_t now_ms);

#endif
