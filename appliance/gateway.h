/*
 * The gateway of one instance, at the standby: the only door between the instance and its clients.
 *
 * While the primary serves, clients' frames enter at this site's taps and travel to it inside the
 * link; the instance's frames come back with the epoch they belong to and leave when that epoch is
 * committed here. So what a client has seen is part of the replica. On a takeover the same taps
 * are connected to the replica: addresses, ports of switches and connections stay.
 *
 *   FORWARDING   to and from the primary
 *   TURNING      a takeover is under way, or its replica has ended: the primary's frames are
 *                dropped, clients' are kept
 *   SERVING      to and from the replica, whose addresses are announced, repeatedly
 *
 * Kept for the replica: what clients have sent since the last committed epoch began. It reached the
 * primary in vain, so the replica gets it as its first input, and no client has to wait for its own
 * retransmission. Frames may so arrive twice, as on any network.
 *
 * A card in announce mode has its clients at the primary's site: nothing is forwarded for it, and
 * its tap is silent until the replica runs. What clients have sent comes from the agent, as far as
 * it copies it (guest_ports.h).
 *
 * A tap that is deleted is made anew, and one that loses its bridge is added again (port.h); until then
 * it is a fault of the gateway's.
 *
 * Frames of epoch 0 come while nothing protects the instance: they leave at once, and the owner is
 * told, because from then on the committed epoch is no longer what clients know.
 */
#ifndef APPLIANCE_GATEWAY_H
#define APPLIANCE_GATEWAY_H

#include "appliance/config.h"
#include "net/link.h"
#include "net/port.h"
#include "replica/reservation.h"

#define GATEWAY_HELD_BYTES ((size_t)32 << 20) /* of all cards: 250 ms of a gigabit */
#define GATEWAY_INPUT_BYTES ((size_t)4 << 20) /* per card: what clients send in some epochs */
#define GATEWAY_MARKS 32 /* epochs captured and not committed, EPOCH_PIPELINE and some */

struct gateway;

struct gateway_ops {
	/*
	 * The first frame of epoch 0 since an epoch was committed, or since frames have waited for one,
	 * is about to leave.
	 */
	void (*on_unprotected)(void *owner);
};

/* Opens this site's taps. NULL in *gateway when the instance has no network cards to look after. */
int gateway_open(struct gateway **gateway, uv_loop_t *loop, const struct config_instance *instance,
		 const struct gateway_ops *ops, void *owner, struct err *err);

/*
 * The cards that a primary's reservation names, in its order, and the replica's directory with
 * their sockets. RC_REFUSED: they are not those of the configuration, and what to change.
 */
int gateway_seat(struct gateway *gateway, const struct reservation *reservation, const char *dir,
		 struct err *err);

/* The connection to the primary: NULL when there is none. */
void gateway_link(struct gateway *gateway, struct link *link, uint64_t term);
/* FRAMES and INPUT from it. */
int gateway_frames(struct gateway *gateway, uint64_t epoch, const uint8_t *payload, size_t len,
		   struct err *err);
int gateway_input(struct gateway *gateway, uint64_t epoch, const uint8_t *payload, size_t len,
		  struct err *err);

/* ADDRESSES: what the instance uses at the primary's site, for when it goes on here. */
int gateway_addresses(struct gateway *gateway, const uint8_t *payload, size_t len, struct err *err);

/* Another capture session begins: what waits for epochs of the last one will not leave. */
void gateway_session(struct gateway *gateway);

/* `epoch` is committed: what waited for it leaves. 0: there is no committed epoch any more. */
void gateway_committed(struct gateway *gateway, uint64_t epoch);

/* A takeover was decided, or the replica has ended, which is announced no longer. */
void gateway_turn(struct gateway *gateway);
/* The replica runs. */
void gateway_serve(struct gateway *gateway);
/* There will be none after all, or it was let go: the primary serves. */
void gateway_turn_back(struct gateway *gateway);

struct gateway_counters {
	uint64_t to_clients, from_clients; /* frames */
	uint64_t held, dropped;		   /* waiting now; lost here for want of room or of a way */
	uint64_t replayed;		   /* given to the replica at the takeover */
	uint64_t refused;		   /* of any port of ours: port.h */
};
struct gateway_counters gateway_counters(const struct gateway *gateway);

/* The cards, with output_commit as the primary has it; how many: 0 before it has told. */
size_t gateway_cards(const struct gateway *gateway, const struct config_nic **cards);

/* Why clients do not reach the instance, with the device and what helps; "": nothing known. */
const char *gateway_fault(const struct gateway *gateway);

void gateway_close(struct gateway *gateway);

#endif
