/*
 * What a guardian's process is told: the other end of guardian_spawn.h. Only for guardian_process.c.
 */
#ifndef REPLICA_GUARDIAN_RECEIVE_H
#define REPLICA_GUARDIAN_RECEIVE_H

#include "replica/guardian_process.h"

#include <sys/types.h>

/* One packet and the descriptors that came with it, -1 where there are none; as recvmsg() returns. */
ssize_t guardian_receive(struct guardian_packet *packet, int fds[GUARDIAN_FDS]);

/* The page, of the first packet, which was there before the process was; sets up the log. NULL: not one. */
struct guardian_shared *guardian_receive_page(void);

#endif
