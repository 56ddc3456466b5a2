/*
 * A replica's arguments for a copy of the instance that nobody else is to notice: an epoch of the past, beside the
 * instance itself. Pure.
 *
 *   -netdev -nic -net   a tap loses its name: QEMU makes one of its own, which is down and in no bridge; "user" is
 *                       restricted, without forwarded ports; unix sockets in the replica's own directory stay, where
 *                       nobody is at the other end. Others are refused, and the card that QEMU adds by itself
 *   disks               refused, unless they are read only: the instance itself writes to them
 *   ports               of the guest to the network (tcp, udp, ...) are refused
 */
#ifndef REPLICA_CMDLINE_ISOLATE_H
#define REPLICA_CMDLINE_ISOLATE_H

#include "replica/cmdline.h"

/* A copy of `spec`, as a reservation has it; cmdline_spec_free() also after a failure. RC_UNSUPPORTED: the option and why. */
int cmdline_isolate(struct cmdline_spec *out, const struct cmdline_spec *spec, struct err *err);

#endif
