/*
 * Two sites and their witness, the real etcd of etcd_fixture.h or what a test puts in its place.
 */
#ifndef TESTS_UNIT_WITNESS_FIXTURE_H
#define TESTS_UNIT_WITNESS_FIXTURE_H

#include "appliance/witness.h"
#include "tests/unit/etcd_fixture.h"

#define TTL_S 2

/* A site: its client of etcd, its witness, and what it was told. */
struct site {
	const char *name;
	enum witness_server role;
	struct etcd *etcd;
	struct witness *witness;
	bool done, lost, closed;
	enum witness_outcome outcome;
	struct witness_view view;
	struct err err, why;
	uint64_t lost_ns;
};

extern struct site a, b;
extern struct etcd_server server;
extern const char *url; /* of etcd, or of what is in its place */

/* Etcd, a primary "seoul" and a standby "busan". */
void begin(void);
void end(void);
/* One of them alone, with whatever `url` is. */
void open_site(struct site *site, const char *name, enum witness_server role);
void close_site(struct site *site);

void start_claim(struct site *site, uint64_t term, bool leased);
/* These come back with the answer. */
enum witness_outcome claim(struct site *site, uint64_t term, bool leased);
enum witness_outcome look(struct site *site);

/* What was told last: that the instance is `of`'s in that term, and whether with a lease. */
void expect_view(const struct site *site, uint64_t term, const struct site *of, bool held);

#endif
