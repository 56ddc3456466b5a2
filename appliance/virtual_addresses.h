/*
 * Addresses that are at the site that serves an instance without being the instance's own: those of
 * a router or a load balancer in front of it. VRRP groups (net/vrrp.h) of the configuration, which
 * may have their addresses while the replica serves here, and give them up when it does not.
 */
#ifndef APPLIANCE_VIRTUAL_ADDRESSES_H
#define APPLIANCE_VIRTUAL_ADDRESSES_H

#include "appliance/config.h"
#include "net/vrrp.h"

#include <uv.h>

struct virtual_addresses;

/* What has to be so, for messages about an error. */
#define VIRTUAL_ADDRESSES_NEED "VRRP needs CAP_NET_ADMIN and CAP_NET_RAW"

/*
 * Listens in every group; one whose device is not there, or has no IPv4 address of its own, is stopped
 * until it has. NULL in *addresses: there is none. The configuration has to outlive it.
 */
int virtual_addresses_open(struct virtual_addresses **addresses, uv_loop_t *loop,
			   const struct config_instance *instance, struct err *err);

/* All functions below take NULL as well. */

/* Whether the replica serves here. */
void virtual_addresses_permit(struct virtual_addresses *addresses, bool serves);

/* A partition has healed: what is here is announced from the start again. */
void virtual_addresses_announce(struct virtual_addresses *addresses);

/* For the status: the groups by number, valid until they are closed; NULL after the last. */
const struct vrrp *virtual_addresses_state(const struct virtual_addresses *addresses, size_t index,
					   const struct config_vrrp **config);

/* What is wrong with a group, with the device's name: it is stopped, or its addresses are of no use; "": nothing. */
const char *virtual_addresses_fault(const struct virtual_addresses *addresses);

/* Gives up what is here, and frees. */
void virtual_addresses_close(struct virtual_addresses *addresses);

#endif
