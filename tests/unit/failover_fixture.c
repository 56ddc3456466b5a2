#include "tests/unit/failover_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

struct failover_update step(struct failover *failover, enum failover_event_type type,
			    uint64_t now_ns)
{
	const struct failover_event event = {
		.type = type, .now_ns = now_ns, .epoch = failover->epoch + 1, .why = "it was let go"
	};
	struct failover_update update;

	failover_step(failover, &event, &update);
	return update;
}

struct failover_update silence(struct failover *failover, uint64_t from_ms, uint64_t to_ms)
{
	struct failover_update update = { 0 };
	uint64_t at;

	for (at = from_ms; at <= to_ms && !update.activate; at += 30)
		update = step(failover, FAILOVER_TICK, at * MS);
	return update;
}

struct failover protected_at(bool automatic, uint64_t now_ms)
{
	struct failover failover;

	failover_init(&failover, DETECT_MS, automatic, now_ms * MS);
	failover.gateway = true; /* leases have tests of their own */
	(void)step(&failover, FAILOVER_COPYING, now_ms * MS);
	(void)step(&failover, FAILOVER_COMMITTED, now_ms * MS);
	(void)step(&failover, FAILOVER_HEARD, now_ms * MS);
	assert_int_equal(failover.state, FAILOVER_PROTECTED);
	return failover;
}

struct failover_update epoch(struct failover *failover, enum failover_event_type type,
			     uint64_t now_ms, uint64_t epoch)
{
	const struct failover_event event = { .type = type, .now_ns = now_ms * MS, .epoch = epoch };
	struct failover_update update;

	failover_step(failover, &event, &update);
	return update;
}
