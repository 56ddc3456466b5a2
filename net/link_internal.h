/*
 * What the files of the link share: link.c (life of a link), link_protocol.c (frames and their
 * rules), link_dial.c and link_listen.c (where its connections come from).
 */
#ifndef NET_LINK_INTERNAL_H
#define NET_LINK_INTERNAL_H

#include "net/beacon.h"
#include "net/channel.h"
#include "net/frame_reader.h"
#include "net/link.h"
#include "net/link_queue.h"

#define LINK_PEER_MAX (ADDRESS_HOST_MAX + 16 + TLS_NAME_MAX)

enum link_state {
	LINK_WAITING,  /* a dialler between attempts */
	LINK_GREETING, /* name, TCP, TLS, HELLO; `timer` is the deadline */
	LINK_UP,       /* `timer` beats */
	LINK_DOWN, /* ended, on_down not told yet: `timer` does; or told, and accepted: for good */
	LINK_CLOSING,
	LINK_STATES
};

struct link_dialler;

struct link {
	uv_loop_t *loop;
	uv_timer_t timer;
	enum link_state state;
	struct link_options options;
	char *site; /* options.site */
	uint8_t role;
	const struct link_ops *ops; /* NULL: accepted, and nobody's yet */
	void *owner;
	struct link_dialler *dialler;	/* NULL for accepted links */
	struct link_listener *listener; /* of a stranger, until on_hello accepted it */
	struct link *next;		/* in the listener's list */
	uint64_t began_ns;		/* as a stranger */

	struct channel *channel; /* NULL unless GREETING (once TCP began) or UP */
	unsigned pending; /* channels, the timer, a name being resolved: what the loop still has */
	void (*on_closed)(void *owner);

	/* of the present connection (link_protocol.c) */
	struct frame_reader reader;
	struct link_queue queue;
	struct wire_hello own; /* as it was said */
	bool greeted;	       /* own HELLO was said */
	bool beat_due, credit_due, told_down;
	uint16_t refuse_with; /* reason to give the peer for the error being returned; 0: none */
	uint16_t refusal;     /* reason that the peer gave */
	uint64_t up_ns, ticked_ns;
	uint64_t beats, beats_heard, peer_clock_ns, peer_clock_at_ns;
	uint64_t lease_ns, granted_until_ns, leased_until_ns, leased_term, leased_for_ns;
	uint64_t leased_from_ns;
	uint64_t peer_identity; /* of the standby whose leases these are; outlives a connection */
	uint64_t granted, granted_told, window, bulk_received;
	uint64_t term; /* last one sent: for the frames of the link's own */
	uint64_t tcp_heard_ns;

	/* datagrams beside it (link_beacon.c) */
	uv_timer_t pulse;
	unsigned pace; /* datagrams in a heartbeat's time; 0: none */
	bool peer_stuck;
	bool hasty;   /* the next attempt is due at once */
	bool returns; /* we left a connection that was good, only to have another one */
	struct beacon *beacon;
	struct beacon_port *port;		   /* a dialler's */
	uint64_t beacon_heard_ns, beacon_whole_ns; /* the last one; since when without a gap */
	uint64_t stuck_ns;	  /* since when TCP gets nothing through, 0: it does */
	uint64_t beacons_refused; /* of connections that ended */

	/* of all connections */
	struct err down;
	uint64_t features; /* what both ends of the last one want */
	uint64_t heard_ns, round_trip_ns;
	struct link_totals totals; /* of those that ended */
	char peer[LINK_PEER_MAX];
};

/* ---- link.c ---- */

int link_create(struct link **link, uv_loop_t *loop, uint8_t role,
		const struct link_options *options, struct err *err);
/* Checks the move against the table of states. */
void link_move(struct link *link, enum link_state state);
/* A connection begins: GREETING, with its deadline. */
void link_begin(struct link *link);
/* The connection or attempt is over: on_down will be told. */
void link_lost(struct link *link, const struct err *err);
/* The same without last words, for which TCP is no use any more; the peer is told by datagram. */
void link_abandon(struct link *link, const struct err *err);
/* One of the things counted in `pending` is gone. Frees a closing link after the last one. */
void link_let_go(struct link *link);
void link_start_timer(struct link *link, uint64_t after_ms, uint64_t repeat_ms);
struct channel_options link_channel_options(const struct link *link);

/* ---- link_protocol.c ---- */

extern const struct channel_ops link_channel_ops;
void link_reset_protocol(struct link *link);
/* HELLO was exchanged. */
void link_up(struct link *link, const struct wire_hello *peer);
/* A frame at once, before everything queued; while there is an open channel. */
int link_write_frame(struct link *link, uint16_t type, const struct buf *payload, struct err *err);
/* A REFUSE frame, if the peer can be told anything. */
void link_refuse(struct link *link, uint16_t reason, const char *text);

/* What is true now. Grants the lease that it tells of. */
void link_fill_heartbeat(struct link *link, struct wire_heartbeat *heartbeat);
/* Of the connection, or a datagram. */
void link_take_heartbeat(struct link *link, const struct wire_heartbeat *heartbeat, bool datagram);

/* ---- link_beacon.c ---- */

/* The standby, right after its HELLO; `features`: what both want. `port` may be NULL. */
int link_beacon_offer(struct link *link, struct beacon_port *port, uint64_t features,
		      struct err *err);
/* The primary: a BEACON frame came. */
int link_beacon_take(struct link *link, const uint8_t *payload, size_t len, struct err *err);
/* The connection is left; `over`: the peer has to be told. Idempotent. */
void link_beacon_end(struct link *link, bool over);

/* ---- link_dial.c ---- */

/* After `failures` attempts in a row that failed, wait so long, most_ms at most; `random` is any number. */
uint32_t link_backoff_ms(unsigned failures, uint32_t most_ms, uint32_t random);
/* The wait is over: try. */
void link_dial_attempt(struct link *link);
/* on_down was told: wait for the next attempt. */
void link_dial_again(struct link *link);
void link_dial_hello(struct link *link, struct wire_hello *own);
void link_dial_cancel(struct link *link);
void link_dial_free(struct link *link);

/* ---- link_listen.c ---- */

/* Asks the listener's owner; on RC_OK the link is that owner's. *port: the listener's, or NULL. */
int link_listen_hello(struct link *link, const struct wire_hello *peer, struct wire_hello *own,
		      struct beacon_port **port, struct err *err);
/* A stranger's connection ended: logs, and closes the link. */
void link_listen_lost(struct link *link);
/* So many strangers come and go that there are no last words for them. */
bool link_listen_is_crowded(const struct link_listener *listener);
/* A stranger's link was freed. */
void link_listen_gone(struct link_listener *listener);

#endif
