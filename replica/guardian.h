/*
 * The guardian: a small process that does one thing. If the agent disappears (or freezes) while
 * QEMU waits for it inside a checkpoint, the instance would stay paused; the guardian holds
 * duplicates of the agent's QMP and COLO sockets, shuts the COLO one down, tells QEMU to go on
 * without us (x-colo-lost-heartbeat) until it runs, lets go of the sockets and ends. A guest that
 * its operator paused stays paused.
 *
 * And one thing more, for an instance that may run only while it has a lease: when that ends and the
 * agent has not stopped it, because it is gone, frozen or late, the guardian does (guardian_leash()).
 * So it stays when its agent has ended, until the lease has; and then, doing nothing, for the next agent
 * to know that the instance is to run when it may (guardian_mark.h).
 *
 * It is this program executed anew, so it has nothing of the agent's threads, memory and secrets;
 * it drops what it does not need, ignores SIGTERM and SIGINT (the agent's end is what it waits
 * for), and allocates nothing. If it dies, or does nothing (stopped by somebody, stuck), then
 * guardian_tend() puts another one in its place, which watches what its predecessor did. What the agent holds stands in memory that both see, so a
 * successor knows that, too, from its first moment on; an agent that dies while there is none
 * leaves an instance that it holds to the next agent, and so does one that dies while its guardian
 * does nothing: the next agent ends that (guardian_mark.h).
 *
 * All functions but guardian_hold() are for one thread.
 */
#ifndef REPLICA_GUARDIAN_H
#define REPLICA_GUARDIAN_H

#include "appliance/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define GUARDIAN_INSTANCES_MAX 256 /* what is watched: 64 instances, and disks of theirs */
#define GUARDIAN_LEASHES_MAX 64
#define GUARDIAN_NAME_MAX 64
#define GUARDIAN_LOOK_MS 250	   /* between two looks at whether it works */
#define GUARDIAN_IDLE_MS 1000	   /* one that does nothing for so long is replaced; longer, */
#define GUARDIAN_IDLE_MS_MAX 30000 /* up to this, when its predecessors did not last either */
#define GUARDIAN_STEADY_MS 60000 /* one that lived so long was well: the next is started at once */
#define GUARDIAN_WAIT_MIN_MS 100
#define GUARDIAN_WAIT_MAX_MS 30000

struct guardian;

/* Starts it. main() must have asked guardian_process_is_one(). */
int guardian_start(struct guardian **guardian, struct err *err);

/*
 * Looks after the process: ends one that does nothing, collects one that has ended and starts
 * another one, at once or, when they end again and again, after guardian_wait_ms(). Says so in the
 * log. Call it when a child has ended, and again after as many ms as it returns.
 */
int guardian_tend(struct guardian *guardian);
/*
 * Pure: how long to wait when `failures` of them in a row could not be started or did not last for
 * GUARDIAN_STEADY_MS; and how long the next one may do nothing.
 */
uint32_t guardian_wait_ms(unsigned failures);
uint32_t guardian_idle_ms(unsigned failures);

/*
 * From now on guards one instance; the descriptors are duplicated. `freeze_limit_ms`: an agent that
 * holds a checkpoint open longer counts as gone for that instance (0: however long). *slot names
 * it. RC_STATE: there is no guardian at the moment.
 */
int guardian_watch(struct guardian *guardian, const char *name, int qmp_fd, int colo_fd,
		   uint32_t freeze_limit_ms, unsigned *slot, struct err *err);
/*
 * The same of a socket alone, by which something of the instance's waits for the agent: it is shut down
 * when the agent has "held" it for too long, or is gone. Say guardian_hold() again and again.
 */
int guardian_watch_socket(struct guardian *guardian, const char *name, int fd,
			  uint32_t freeze_limit_ms, unsigned *slot, struct err *err);
/*
 * The agent is about to hold, or no longer holds, the instance of that slot. Any thread; one atomic
 * store.
 */
void guardian_hold(struct guardian *guardian, unsigned slot, bool held);
/*
 * Ends that. Call it before the QMP connection is closed: QEMU notices the closing, and serves the
 * next client of that socket, only when the duplicate is closed too, which follows within
 * milliseconds.
 */
void guardian_unwatch(struct guardian *guardian, unsigned slot);

/*
 * The instance behind that QMP connection, which is duplicated, is on a leash until
 * guardian_unleash(): it is stopped when the time has passed that guardian_leash_until() tells, at first
 * at once; `stopped`: as there. One for each name. It need not be watched; there need not be a guardian at the moment.
 */
int guardian_leash(struct guardian *guardian, const char *name, int qmp_fd, bool stopped,
		   unsigned *leash, struct err *err);
/*
 * `until_ns`: as of leash.h; `stopped`: it stands, or is about to, because the agent has stopped it, and
 * is to run when it may. Two atomic stores.
 */
void guardian_leash_until(struct guardian *guardian, unsigned leash, uint64_t until_ns,
			  bool stopped);
/*
 * Ends that, as guardian_unwatch() does. `leave`: as if the agent were gone: it runs as long as it may, and
 * that it was stopped is kept for the next agent, or for this one when it comes to the same QEMU again.
 */
void guardian_unleash(struct guardian *guardian, unsigned leash, bool leave);

/*
 * How many instances are watched. Their names, as many as fit, are put into `names`, with commas
 * between them.
 */
unsigned guardian_watched(const struct guardian *guardian, char *names, size_t size);

/* 0: there is none at the moment. */
pid_t guardian_pid(const struct guardian *guardian);
/* It has not ended, nor been ended because it did nothing. */
bool guardian_alive(const struct guardian *guardian);

/*
 * Tells it to end without doing anything, waits for it (at most 1 s, then it is killed) and frees. One
 * to which leashes were left is not waited for: it ends when it has done what is to be done for them.
 */
void guardian_stop(struct guardian *guardian);

#endif
