/*
 * One VRRP group on one network device, for real: the state machine (vrrp.h) with its socket, the
 * addresses on the device and the routes through it while it is active, and the announcement of the
 * addresses, repeated (announce.h).
 *
 * It begins with listening, and permission is what it lacks then. Addresses and routes are its own on that
 * device: what an earlier process left of them is taken off when it has found the device, and they are
 * taken off when it closes. While there is no device of that name, or it has no IPv4 address but the
 * group's, the group is stopped, from the beginning as later, and nothing is taken off. All functions are
 * the loop thread's. Needs CAP_NET_ADMIN and CAP_NET_RAW.
 */
#ifndef NET_VRRP_SPEAKER_H
#define NET_VRRP_SPEAKER_H

#include "net/netlink.h"
#include "net/vrrp.h"
#include "net/vrrp_device.h"

#include <uv.h>

struct vrrp_speaker;

struct vrrp_speaker_options {
	const char *device;
	uint8_t group, priority; /* see vrrp.h for what priority to choose */
	bool patient;
	uint16_t interval; /* in 10 ms */
	/*
	 * At least one of IPv4, and at most VRRP_ADDRESSES_MAX in all. Those of IPv6 are not in the
	 * packets, but come and go with the others.
	 */
	const struct netlink_prefix *addresses;
	size_t address_count;
	const struct netlink_route *routes;
	size_t route_count; /* at most VRRP_ROUTES_MAX */
};

struct vrrp_speaker_ops {
	/* The addresses are on the device now, or no longer; may be NULL. */
	void (*on_change)(void *owner, bool active);
};

/* Options are copied. What is wrong with the device is no failure: vrrp_speaker_fault(). */
int vrrp_speaker_open(struct vrrp_speaker **speaker, uv_loop_t *loop,
		      const struct vrrp_speaker_options *options,
		      const struct vrrp_speaker_ops *ops, void *owner, struct err *err);

/* Whether it may have the addresses: while this site serves. Callbacks may come from it. */
void vrrp_speaker_permit(struct vrrp_speaker *speaker, bool permitted);

/* While active, announces from the start again: part of the network may have missed it. */
void vrrp_speaker_announce(struct vrrp_speaker *speaker);

/* Its state, for the status. */
const struct vrrp *vrrp_speaker_state(const struct vrrp_speaker *speaker);

/*
 * Why it is stopped, or its addresses are of no use: with the device's name. "": nothing is wrong.
 */
const char *vrrp_speaker_fault(const struct vrrp_speaker *speaker);

/* Resigns, takes the addresses off, and frees; no callback follows. */
void vrrp_speaker_close(struct vrrp_speaker *speaker);

#endif
