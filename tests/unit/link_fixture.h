/*
 * Two sites on one loop for tests of the link: a listener with the standby's certificate,
 * diallers, raw peers that say what no honest one would, and the log's lines.
 */
#ifndef TESTS_UNIT_LINK_FIXTURE_H
#define TESTS_UNIT_LINK_FIXTURE_H

#include "net/channel.h"
#include "net/frame_reader.h"
#include "net/link.h"
#include "net/link_internal.h"
#include "tests/unit/certs.h"

/* A test that waits longer for anything has failed; instrumented, shared machines are slow. */
#define PATIENCE_MS 30000

/* One end's owner: counts what happens to it; the hooks, if set, act on it. */
struct side {
	struct world *world;
	struct link *link;
	unsigned ups, downs, rooms, closed, frames;
	struct wire_hello peer; /* from on_up */
	struct err down;	/* from on_down */
	struct wire_header last;
	void (*up)(struct side *side);
	int (*frame)(struct side *side, const struct wire_header *header, const uint8_t *payload,
		     struct err *err);
	void (*room)(struct side *side);
	void (*went_down)(struct side *side);
	uint64_t number, other; /* the test's own */
};

struct world {
	uv_loop_t loop;
	uv_timer_t patience, stopwatch;
	bool impatient, enough;
	struct link_options options; /* of both ends; identity is filled in */
	struct link_listener *listener;
	bool listener_closed;
	const char *host; /* that the dialler dials: 127.0.0.1 */
	uint16_t port;
	struct side primary, standby; /* the dialler; who accepts */
	int refuse;		      /* on_hello answers with this RC, unless RC_OK, */
	uint16_t refuse_with;	      /* and this reason */
	struct wire_hello hello;      /* what on_hello got */
	uint64_t identity;	      /* the standby's */
	uint64_t committed;	      /* the epoch that the standby says it has; 0: 12 */
	uint16_t lowest, highest;     /* versions that the dialler says it speaks; 0: leave them */
};

/* Certificates of all tests of a program: group setup and teardown for cmocka. */
int link_fixture_setup(void **state);
int link_fixture_teardown(void **state);
/*
 * "primary", "standby"; and of primaries "foreign", "expired", "future", of standbys the same with
 * "-standby": loaded once.
 */
struct tls_identity *link_fixture_identity(const char *name);

void world_open(struct world *world);
/* Closes what is open and proves that nothing is left on the loop. */
void world_close(struct world *world);
/* Listens on 127.0.0.1, on world->port (0 at first: any). */
void world_listen(struct world *world);
void world_listen_as(struct world *world, const char *identity);
void world_dial(struct world *world, const char *identity);
/* Both, and until both are up. */
void world_connect(struct world *world);
/* One turn of the loop; fails the test when its patience is at an end. */
void world_turn(struct world *world);
#define RUN_UNTIL(world, condition)        \
	do {                               \
		while (!(condition))       \
			world_turn(world); \
	} while (0)
/* Runs for so long. */
void world_run_for(struct world *world, uint64_t ms);

/* Fails unless `part` is in `text`. */
void expect_text(const char *text, const char *part);

/* Between these two, what is logged is kept; the text is valid until the next call. And: so far. */
void log_capture(void);
const char *log_captured(void);
const char *log_so_far(void);
unsigned count_lines(const char *text, const char *with);

/* A peer that speaks TLS correctly and then says whatever the test wants. */
struct raw {
	struct world *world;
	struct channel *channel;
	struct frame_reader reader;
	bool open, ended, gone;
	struct err end;
	unsigned frames, refusals, hellos;
	uint16_t reason;
	char text[WIRE_TEXT_MAX + 1];
};
void raw_connect(struct raw *raw, struct world *world, const char *identity);
/* As sent by a primary: a frame with these header fields and `len` of the payload's bytes. */
void raw_frame(struct raw *raw, uint16_t type, uint16_t flags, uint32_t length, const void *payload,
	       size_t len);
void raw_hello(struct raw *raw, uint16_t lowest, uint16_t highest, uint8_t role);
/* Ends it, if it has not ended, and waits until it is gone. */
void raw_close(struct raw *raw);

/* The other end of a raw connection closed it; what it said before is thrown away. */
bool world_is_closed(int fd);

#endif
