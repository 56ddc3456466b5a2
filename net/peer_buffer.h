/*
 * Room in another process's socket for what it sends to us.
 *
 * QEMU (10.0) drops the frame that its `-netdev dgram` could not send when the guest is stopped, as it
 * is for every checkpoint, and the guest's TCP takes that for congestion. Whether it could is a matter
 * of the send buffer, which has the kernel's default size: some 90 frames, or a millisecond's worth.
 * Only the process itself can ask for more, or one that may trace it: that borrows the descriptor
 * (pidfd_getfd), sets its buffer, and closes it.
 */
#ifndef NET_PEER_BUFFER_H
#define NET_PEER_BUFFER_H

#include "appliance/base/err.h"

#include <stddef.h>
#include <sys/types.h>

/*
 * Gives the unix socket that process `pid` has bound to `path` a send buffer of at least `bytes`.
 * RC_STATE: it has no such socket; RC_IO: this process may not (CAP_SYS_PTRACE, or the same user and
 * no security module in the way), or not so much (net.core.wmem_max without CAP_NET_ADMIN).
 */
int peer_buffer_raise(pid_t pid, const char *path, size_t bytes, struct err *err);

#endif
