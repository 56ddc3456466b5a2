/*
 * Who holds a VRRP group's addresses: the state machine of RFC 9568, 6.4, with one more rule: the
 * addresses are taken only while that is permitted, which is when this site serves the instance.
 * Without permission it only listens. Which site serves is not decided here, and a packet of VRRP,
 * which anybody on the segment can send, cannot make it so: it can only take addresses away.
 *
 * No I/O and no clock: time comes with the events, what to do comes out.
 *
 * Beside a keepalived at the primary: the same group, interval and list of addresses (keepalived
 * drops packets that list others, unless skip_check_adv_addr), and
 *  - a priority above keepalived's, if the addresses are to go where the instance is, even if the
 *    keepalived lives on: it yields to ours when we are permitted, and takes them back when we
 *    resign;
 *  - one below, if they are to come only when keepalived is gone, and to go back when it returns.
 * keepalived without `use_vmac` holds the addresses with its card's own MAC address, and so do we:
 * neighbours learn ours from what is announced (announce.h).
 */
#ifndef NET_VRRP_H
#define NET_VRRP_H

#include "net/vrrp_format.h"

struct vrrp_settings {
	uint8_t priority; /* 1 to 254: nobody here owns the addresses */
	bool patient;	  /* does not take them from a living one of lower priority */
	uint32_t own;	  /* address that ours are sent from: breaks ties, the higher one wins */
	/* group, interval and addresses; the rest is set as needed */
	struct vrrp_advert advert;
};

enum vrrp_state { VRRP_STOPPED, VRRP_BACKUP, VRRP_ACTIVE, VRRP_STATES };

/* Fields are for reading. */
struct vrrp {
	struct vrrp_settings settings;
	enum vrrp_state state;
	bool permitted;
	bool other_is_there;	 /* someone else is active, and not silent for too long */
	bool other_is_different; /* who was heard last lists other addresses than we do */
	uint8_t other_priority;
	uint32_t other;		 /* its address, 0: none was heard */
	uint16_t other_interval; /* in 10 ms */
	uint64_t deadline_ns;	 /* next VRRP_TIME; UINT64_MAX: none */
};

enum vrrp_event_kind {
	VRRP_START, /* listens, for as long as an active one may be silent, before it takes over */
	VRRP_STOP,
	VRRP_PERMIT, /* takes the addresses at once, unless one that goes first is there */
	VRRP_FORBID,
	VRRP_HEARD, /* `advert` from `source` */
	VRRP_TIME   /* the deadline has come */
};

struct vrrp_event {
	enum vrrp_event_kind kind;
	uint64_t now_ns; /* monotonic */
	const struct vrrp_advert *advert;
	uint32_t source;
};

/* What to do, in this order. */
enum vrrp_action {
	VRRP_RESIGN = 1,    /* send vrrp_packet(): its priority is 0 */
	VRRP_GIVE_UP = 2,   /* take the addresses off */
	VRRP_ADVERTISE = 4, /* send vrrp_packet() */
	VRRP_TAKE = 8	    /* put the addresses on, and announce them */
};

void vrrp_init(struct vrrp *vrrp, const struct vrrp_settings *settings);

/* Any event in any state; a set of enum vrrp_action. */
unsigned vrrp_step(struct vrrp *vrrp, const struct vrrp_event *event);

/* The packet for VRRP_ADVERTISE, or for VRRP_RESIGN; its length. */
size_t vrrp_packet(const struct vrrp *vrrp, enum vrrp_action action, uint8_t out[VRRP_PACKET_MAX]);

/* How long the active one may be silent, ns: three intervals, and less than one by priority. */
uint64_t vrrp_patience_ns(const struct vrrp *vrrp);

#endif
