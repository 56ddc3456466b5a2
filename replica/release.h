/*
 * Letting one instance go: after the agent's end, over its QMP connection, without allocating. Used
 * by the guardian's process.
 *
 * QEMU resumes a guest on x-colo-lost-heartbeat whatever it was doing before, so it is asked first
 * what state it is in, unless the agent is known to have held it: a guest that its operator paused,
 * or that stopped on an I/O error, stays as it is.
 *
 * It ends with the instance let go, or with the connection: a QEMU that is stopped or stuck is
 * waited for.
 *
 * Or it is to stand (release_stand()): then it is stopped, and asked after, until it is seen to.
 */
#ifndef REPLICA_RELEASE_H
#define REPLICA_RELEASE_H

#include "replica/qmp_scan.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RELEASE_LATE_MS 10000	  /* of a QEMU that answers: told to go on by other means, too */
#define RELEASE_ROUND_MS 5	  /* between two rounds at first: what a forgotten command costs */
#define RELEASE_ROUND_MS_MAX 1000 /* and when they have been going on for long */
#define RELEASE_ANSWER_MS 250	  /* a question without an answer for so long is put again, */
#define RELEASE_ANSWER_MS_MAX 60000 /* and then less and less often */

#define RELEASE_COMMAND "{\"execute\":\"x-colo-lost-heartbeat\"}\n"

enum release_verdict {
	RELEASE_WAIT,  /* QEMU is on its way somewhere: ask again */
	RELEASE_TELL,  /* in COLO, and the pause (if any) is COLO's: tell it to go on */
	RELEASE_DONE,  /* not in COLO and not waiting for it */
	RELEASE_LEAVE, /* in COLO but stopped by somebody else */
};

/*
 * Pure: from query-migrate's status ("" when there was no migration) and query-status's, asked in
 * this order.
 */
enum release_verdict release_decide(const char *migration, const char *status);

enum release_end { RELEASE_GOING, RELEASE_RUNS, RELEASE_LEFT, RELEASE_STANDS, RELEASE_QEMU_GONE };

struct release {
	int fd;
	bool held, stand;
	bool ran;	  /* it would, but for the `stop` of release_stand() */
	bool out_of_colo; /* QEMU sets nothing running any more before it is told to */
	uint64_t started_ns, asked_ns;
	uint64_t silent_ns;   /* of the time since then, without an answer */
	uint32_t answer_ms;   /* the question is put again after this */
	unsigned round, told; /* questions put; times told to go on */
	bool have_migration, have_status, continued;
	char migration[QMP_SCAN_WORD_MAX], status[QMP_SCAN_WORD_MAX];
	char out[512];
	size_t out_len, out_sent;
	struct qmp_scan scan;
	enum release_end end;
};

/*
 * `qmp_fd` stays the caller's; `held`: the guest is known to be inside a checkpoint, so it is told
 * at once.
 */
void release_begin(struct release *release, int qmp_fd, bool held, uint64_t now_ns);

/*
 * Instead: stops it, again and again until it stands. One in COLO, whose socket was shut down, is left
 * there: told to leave, QEMU would set it running.
 */
void release_stand(struct release *release, int qmp_fd, uint64_t now_ns);

/*
 * Reads, writes and decides what can be without waiting; call it on input, and again after as many
 * ms as release_wait_ms() then says.
 */
enum release_end release_step(struct release *release, uint64_t now_ns);
int release_wait_ms(const struct release *release, uint64_t now_ns);

/* Bytes wait for the socket to take them. */
bool release_wants_to_write(const struct release *release);

#endif
