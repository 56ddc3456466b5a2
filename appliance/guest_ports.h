/*
 * The network cards of a protected instance, at the primary: `-netdev dgram`, whose other end is
 * here, or a tap, which is alone on a bridge with a tap of ours (guest_bridge.h).
 *
 * In gateway mode its frames go to the standby with the epoch they belong to, and its clients'
 * frames come from there. In announce mode (a card with a tap of its own here) they leave at this
 * site, when the standby has committed their epoch and as long as this site may serve.
 *
 * Which epoch a frame belongs to: the one that is open when we have read it. The capture's thread
 * opens the next epoch before it lets the instance run on, so what the instance sends afterwards
 * can only be read with the new number. What it sent before may be read late and then counts for
 * the next epoch: it waits longer than it must, never shorter.
 *
 * Epoch 0 is open while nothing captures the instance. Its frames then leave without a commit, and
 * the standby has to know before the first one does: in gateway mode it sees it, in announce mode
 * it is told and answers (UNCOMMITTED).
 *
 * What of its clients' frames an epoch knows: those that were given to QEMU before the checkpoint
 * was granted. What lies in QEMU's socket or tap when the instance stops is lost with it; the standby
 * gives such frames to the replica again. In announce mode the standby has not seen them: it is told
 * of the first GUEST_PORTS_COPIED_BYTES of an epoch, which is enough for a connection to go on where
 * its client's next retransmission would come late, and bounds what that costs the link.
 *
 * A tap that is deleted is made anew, and one that loses its bridge is added again (port.h); until then
 * it is a fault of the instance's.
 */
#ifndef APPLIANCE_GUEST_PORTS_H
#define APPLIANCE_GUEST_PORTS_H

#include "appliance/config.h"
#include "net/link.h"
#include "replica/capture.h"

#include <sys/types.h>

struct guest_ports;

#define GUEST_PORTS_QEMU_BYTES ((size_t)4 << 20)  /* of QEMU's socket: peer_buffer.h */
#define GUEST_PORTS_HELD_BYTES ((size_t)32 << 20) /* of all cards: 250 ms of a gigabit */

/* Of clients' frames, per epoch: at 10 epochs a second 2.6 Mbit/s at most. */
#define GUEST_PORTS_COPIED_BYTES ((size_t)32 << 10)

struct guest_ports_ops {
	/* Something waits for the next commit. */
	void (*on_output)(void *owner);
	/* Announce mode: whether this site may serve now, and also without its standby. */
	bool (*may_serve)(void *owner);
	bool (*is_free)(void *owner);
};

/* NULL in *ports when the instance has no network cards to look after. */
int guest_ports_open(struct guest_ports **ports, uv_loop_t *loop,
		     const struct config_instance *instance, const struct guest_ports_ops *ops,
		     void *owner, struct err *err);

/* For capture_options. */
struct capture_hooks guest_ports_hooks(struct guest_ports *ports);

/* A QEMU was found, process `pid`: its sockets may be new. */
void guest_ports_attach(struct guest_ports *ports, pid_t pid);

/*
 * The connection to the standby; NULL: none. Frames meanwhile are dropped. `newest`: epoch of
 * either end.
 */
void guest_ports_link(struct guest_ports *ports, struct link *link, uint64_t term, uint64_t newest);
/* FRAMES from it. */
int guest_ports_frames(struct guest_ports *ports, const uint8_t *payload, size_t len,
		       struct err *err);

/* UNCOMMITTED from it, for that epoch. */
void guest_ports_uncommitted(struct guest_ports *ports, uint64_t epoch);

/* An epoch is committed; and: the right to serve has come. */
void guest_ports_committed(struct guest_ports *ports, uint64_t epoch);
void guest_ports_permitted(struct guest_ports *ports);

/* An epoch was captured: tells the standby which input it knows. */
void guest_ports_captured(struct guest_ports *ports, uint64_t epoch);
/* The capture has ended; the instance runs on without epochs, unless it is gone. */
void guest_ports_released(struct guest_ports *ports);
/*
 * The instance is no more, until guest_ports_attach(). What it left here is dropped: let out, clients
 * would know more than the epoch that can be taken over from. They get it again, from the replica.
 */
void guest_ports_gone(struct guest_ports *ports);

struct guest_ports_counters {
	uint64_t from_instance, to_instance, held, dropped; /* frames */
	uint64_t refused;				    /* of any port of ours: port.h */
};
struct guest_ports_counters guest_ports_counters(const struct guest_ports *ports);

/* Why clients do not reach the instance, with the device and what helps; "": nothing known. */
const char *guest_ports_fault(const struct guest_ports *ports);

void guest_ports_close(struct guest_ports *ports);

#endif
