/*
 * The bridge between a protected instance's tap and the agent's.
 *
 * The instance's frames may leave only through the agent, which holds them; so that bridge must have
 * these two ports and no other, and say nothing itself. It is the operator's (libvirt's, a script's),
 * there before QEMU is. Checked whenever an instance is examined, before it is protected.
 */
#ifndef APPLIANCE_GUEST_BRIDGE_H
#define APPLIANCE_GUEST_BRIDGE_H

#include "appliance/config.h"
#include "replica/cmdline.h"

/*
 * RC_STATE: as it is the card cannot be looked after; why, and what to do. `card`: what QEMU's
 * command line says of it.
 */
int guest_bridge_check(const struct config_nic *nic, const struct cmdline_card *card,
		       struct err *err);

#endif
