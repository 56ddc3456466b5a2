/*
 * The guardian: a small process that does one thing. If the agent disappears (or freezes) while
 * QEMU waits for it inside a checkpoint, the instance would stay paused; the guardian holds
 * duplicates of the agent's QMP and COLO sockets, shuts the COLO one down, tells QEMU to go on
 * without us (x-colo-lost-heartbeat) until it runs, lets go of the sockets and ends. A guest that
 * its operator paused stays paused.
 *
 * It is forked before the agent has threads or secrets, drops what it does not need, ignores
 * SIGTERM and SIGINT (the agent's end is what it waits for), and allocates nothing afterwards. If
 * the guardian itself dies the agent's health endpoint says so, and a restarted agent has a new one.
 * All functions but guardian_hold() are for one thread.
 */
#ifndef REPLICA_GUARDIAN_H
#define REPLICA_GUARDIAN_H

#include "appliance/base/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define GUARDIAN_INSTANCES_MAX 64
#define GUARDIAN_NAME_MAX 64

struct guardian;

/* Forks it. Call before threads are made. */
int guardian_start(struct guardian **guardian, struct err *err);

/*
 * From now on guards one instance; the descriptors are duplicated. `freeze_limit_ms`: an agent that
 * holds a checkpoint open longer counts as gone for that instance (0: however long). *slot names
 * it.
 */
int guardian_watch(struct guardian *guardian, const char *name, int qmp_fd, int colo_fd,
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

pid_t guardian_pid(const struct guardian *guardian);
bool guardian_alive(const struct guardian *guardian);

/*
 * Tells it to end without doing anything, waits for it (at most 1 s, then it is killed) and frees.
 */
void guardian_stop(struct guardian *guardian);

#endif
