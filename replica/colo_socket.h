/*
 * The socket pair between QEMU and a capture. Nothing listens anywhere: QEMU gets its end by QMP.
 */
#ifndef REPLICA_COLO_SOCKET_H
#define REPLICA_COLO_SOCKET_H

#include "appliance/base/err.h"

#include <stddef.h>

/* QEMU can be so far ahead of our thread. 208 KiB to 4 MiB were tried and make no difference. */
#define COLO_SOCKET_BYTES ((size_t)1 << 20)

/* fds[0] is ours, fds[1] is QEMU's. */
int colo_socket_pair(int fds[2], struct err *err);

#endif
