/*
 * What the parts of a session share: session.c (its life and its epochs) and session_status.c (what the status shows of
 * them). Private to them.
 */
#ifndef APPLIANCE_SESSION_INTERNAL_H
#define APPLIANCE_SESSION_INTERNAL_H

#include "appliance/session.h"
#include "appliance/session_disks.h"

struct session {
	struct session_options options;
	const struct session_ops *ops;
	void *owner;
	void (*on_closed)(void *owner);
	struct link *link;
	uint64_t term, id;
	struct capture *capture;
	struct sender *sender;	    /* from on_layout on */
	struct session_disks disks; /* the same, if there are any */
	struct epoch_pacer pacer;
	uv_timer_t due;
	uint64_t pages;		       /* of the layout */
	uint64_t opened_ns, copied_ns; /* first copy: begun, acknowledged */
	uint64_t copy_done,
		copy_total;  /* bytes; QEMU is asked only now and then, the layout knows */
	uint64_t stopped_us; /* QEMU's clock at its last STOP event */
	struct status_pauses pauses;
	uint64_t last_pause_ns;
	bool up, ready, lost, closing;
	bool draining;	       /* closing, but whole epochs are still given to the link */
	uint64_t handed;       /* the last one whose commit it took, of this connection */
	unsigned open_handles; /* what session_close() waits for */
};

#endif
