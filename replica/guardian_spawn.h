/*
 * How a guardian's process comes to be, and how it is told things: the agent's side, without
 * memory of its own. Only for guardian.c.
 */
#ifndef REPLICA_GUARDIAN_SPAWN_H
#define REPLICA_GUARDIAN_SPAWN_H

#include "replica/guardian_process.h"

/*
 * The page, zeroed, mapped at *shared (munmap() it), and the descriptor that makes others see it
 * (close() it). Its size is sealed: nobody can take it away from under its readers.
 */
int guardian_spawn_page(int *fd, struct guardian_shared **shared, struct err *err);

/*
 * Never waits: a guardian that does not read (stopped by somebody) must not stop the agent. 0 or an
 * errno. `count` descriptors (at most GUARDIAN_FDS) are duplicated by the kernel.
 */
int guardian_spawn_send(int control, const struct guardian_packet *packet, const int *fds,
			size_t count);

/*
 * Starts this program once more as a guardian whose end of the pair is `control`. The page has to
 * wait for it there already; the caller closes `control`, and collects *pid with waitpid().
 */
int guardian_spawn(pid_t *pid, int control, struct err *err);

#endif
