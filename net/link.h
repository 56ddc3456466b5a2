/*
 * A link: one authenticated connection between a primary's agent and a standby's appliance for one
 * instance; mutual TLS 1.3, framed as wire.h.
 *
 * Small frames (link_send) go ahead of bulk (link_send_bulk), but for those whose place among the
 * batches matters (wire_is_ordered(): LAYOUT, EPOCH, COMMIT ...): these and the batches leave in
 * the order of the calls. INSTANCE overtakes batches, but no COMMIT (wire_follows_commits()).
 *
 * Bulk enters the TLS stream in fragments of LINK_SLICE, only while the socket takes what it is
 * given, and little of it is handed to the kernel at a time (TCP_NOTSENT_LOWAT), so a heartbeat
 * waits for at most one slice and CHANNEL_NOTSENT. Bulk beyond the peer's credit stays with the
 * caller. Anything received counts as a sign of life; heartbeats are sent every `heartbeat_ms`
 * regardless, and more often as datagrams, which wait for nothing (link_beacon.c). A connection
 * that is silent for `dead_ms` is closed (the failure detector above uses link_heard_ns() and its
 * own, shorter, limits). The dialler reconnects for ever with growing, jittered waits
 * (LINK_BACKOFF_*).
 *
 * A connection's keys serve for a limited number of TLS records. Well before that the dialler drops
 * the connection, saying so (WIRE_REASON_REKEY), and connects again; to both owners it is a short
 * loss of the link, of which link_refusal() tells the other end's that nothing is wrong.
 *
 * All functions are the loop thread's and may be called at any time, also from the callbacks.
 * Callbacks come from the loop only, never from within a call.
 */
#ifndef NET_LINK_H
#define NET_LINK_H

#include "appliance/base/err.h"
#include "net/tls.h"
#include "net/wire.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#define LINK_SLICE WIRE_FRAGMENT_MAX
/*
 * Per ms of the heartbeat's interval: TCP sends what was lost again after so long, then after twice, four
 * times that; by default after 15, 45, 105 and 225 ms, so that a link that comes back before the
 * detection limit is heard before it. (The system's own 200 ms would be followed by 400.)
 */
#define LINK_RETRANSMIT_US 300
#define LINK_DEAD_FACTOR 3 /* both roles: dead_ms is this many detection limits */
#define LINK_BACKOFF_FIRST_MS 50
#define LINK_BACKOFF_LAST_MS 2000
#define LINK_BACKOFF_REFUSED_MS 10000 /* after a refusal that stays one: wire_reason_lasts() */
#define LINK_LEASE_MAX_NS UINT64_C(600000000000) /* ten minutes, as the longest detect_ms */
/* Who grants a lease waits longer by this part of it: clocks may run apart by so much. */
#define LINK_LEASE_MARGIN 7
/* A connection that was up for longer makes the waits short again, as link_drop() with a reason to return does. */
#define LINK_STEADY_MS 1000
#define LINK_STUCK_MS 100 /* that TCP is given, on a network that is whole, to get going again */
#define LINK_HANDSHAKE_MS \
	5000 /* name, TCP, TLS and HELLO together; bounds what a silent stranger can
				  hold open */
/*
 * Connections that have not said HELLO yet: one for each instance that a site may have (64), so
 * that all its agent's links may come at once; and in all twice as many, some 6 MiB. Beyond that
 * some are closed at once: which, link_strangers.h says.
 */
#define LINK_STRANGERS_PER_SOURCE 64
#define LINK_STRANGERS_MAX 128
/* To grant at least: credit is told in quarters, and the rest must do for the largest batch. */
#define LINK_WINDOW_MIN (2 * WIRE_BATCH_MAX)
/*
 * TLS records in one direction after which the dialler takes a new connection: 256 GiB if all are
 * full. Seven tenths of TLS_RECORDS_MAX: a heartbeat is when it is looked at, and 10 GB/s make
 * 30000 between two. A dialler that does not do it is dropped by the other end after a quarter
 * more.
 */
#define LINK_KEY_RECORDS (UINT64_C(1) << 24)

struct link;
struct link_listener;

struct link_options {
	struct tls_identity *identity; /* outlives the links */
	const char *site;	       /* copied */
	uint32_t heartbeat_ms, dead_ms;
	uint64_t key_records; /* 0: LINK_KEY_RECORDS */
};

struct link_ops {
	/* HELLO exchanged: frames may be sent. `peer` is valid during the call. */
	void (*on_up)(void *owner, const struct wire_hello *peer);
	/*
	 * Any frame but HELLO, REFUSE, HEARTBEAT and CREDIT, which the link keeps to itself; a
	 * batch comes whole. An error closes the link with WIRE_REASON_PROTOCOL.
	 */
	int (*on_frame)(void *owner, const struct wire_header *header, const uint8_t *payload,
			struct err *err);
	/*
	 * There is room again (and for bulk credit) for what link_send() or link_send_bulk()
	 * refused. May be NULL.
	 */
	void (*on_room)(void *owner);
	/*
	 * The connection ended (or, for a dialler, an attempt failed), for whatever reason but
	 * link_close(), and why. Once per connection or attempt. Bulk taken was released before. A
	 * dialler tries again by itself; of an accepted link nothing more comes: link_close() it.
	 */
	void (*on_down)(void *owner, const struct err *err);
};

/*
 * Dials `address` ("192.0.2.7:7400", "[2001:db8::7]:7400" or a name) for one instance; own role:
 * primary. `hello` gives the session and epoch to tell, asked anew at each connection; the other
 * fields are filled before the call.
 */
int link_dial(struct link **link, uv_loop_t *loop, const char *address,
	      const struct link_options *options, const char *instance,
	      void (*hello)(void *owner, struct wire_hello *own), const struct link_ops *ops,
	      void *owner, struct err *err);

struct link_accept_ops {
	/*
	 * A primary said HELLO (TLS done, role right, version fine). Give session and epoch in
	 * `own` (the rest is filled) and set *link_ops, *link_owner to accept: the link is the
	 * callee's from then on, on_up follows. Or return an RC with err and *reason (enum
	 * wire_reason) to refuse.
	 */
	int (*on_hello)(void *owner, struct link *link, const struct wire_hello *peer,
			struct wire_hello *own, const struct link_ops **link_ops, void **link_owner,
			uint16_t *reason, struct err *err);
};

/* Who cannot come in is logged here, with the reason, at a bounded rate. */
int link_listen(struct link_listener **listener, uv_loop_t *loop, const char *address,
		const struct link_options *options, const struct link_accept_ops *ops, void *owner,
		struct err *err);
/* The port it really has (address with port 0). */
uint16_t link_listener_port(const struct link_listener *listener);
/*
 * Accepted links stay. Idempotent; on_closed (may be NULL) when the loop has let go of everything.
 */
void link_listener_close(struct link_listener *listener, void (*on_closed)(void *owner));

/*
 * A control frame; copied. Dropped silently when the link is down (on_down told). RC_LIMIT: too
 * much is waiting, on_room follows; larger than the type allows: RC_INVALID.
 */
int link_send(struct link *link, uint16_t type, uint64_t term, uint64_t epoch, const void *payload,
	      size_t len, struct err *err);

/*
 * A BATCH frame of 1 to WIRE_BATCH_MAX bytes. False: link down, no credit, or too much queued;
 * nothing was taken, on_room follows while the link is up. True: `payload` stays valid until
 * `release` is called (sent, or link gone; from the loop).
 */
bool link_send_bulk(struct link *link, uint64_t term, uint64_t epoch, const uint8_t *payload,
		    size_t len, void (*release)(void *context), void *context);

/*
 * Receiver: `bytes` more of bulk payload were dealt with; credit goes out in good portions. The
 * first call of a connection gives the window, LINK_WINDOW_MIN or more. A peer that sends more bulk
 * than it was granted breaks the protocol.
 */
void link_grant(struct link *link, uint64_t bytes);

bool link_is_up(const struct link *link);
uint64_t link_features(const struct link *link); /* what both ends want; of the last connection */
/* clock_now_ns() of the last bytes or datagram from the authenticated peer; 0: never. */
uint64_t link_heard_ns(const struct link *link);
uint64_t link_round_trip_ns(const struct link *link); /* smoothed, from heartbeats; 0: unknown */

/*
 * Leases. The standby: every heartbeat from now on lets the primary serve for lease_ns, counted from
 * when it sent the heartbeat that is answered; 0: none any more. link_granted_ns(): when the last
 * lease that was granted has run out for sure, by this machine's clock and if others run no slower.
 * `term`: in which it stands by.
 */
void link_set_lease(struct link *link, uint64_t lease_ns, uint64_t term);
uint64_t link_granted_ns(const struct link *link);
/*
 * The primary: until when it may serve by this link, and the highest term in which it was allowed
 * to (datagrams do not say theirs); 0: never granted. Both outlive a connection, but not one to another
 * standby.
 */
uint64_t link_lease_ns(const struct link *link);
uint64_t link_lease_term(const struct link *link);
/* When the heartbeat was sent by which it was asked for; 0: never granted. */
uint64_t link_lease_from_ns(const struct link *link);
/* Which standby granted it (wire.h, HELLO), and was there last; 0: it did not say. */
uint64_t link_standby(const struct link *link);
/* For how long from when the heartbeat was sent, as last granted; 0: never. */
uint64_t link_lease_length_ns(const struct link *link);

/* Address and certificate name, for logs and status. */
const char *link_peer(const struct link *link);
/* The enum wire_reason by which the peer refused or ended the last connection; 0: it gave none. */
uint16_t link_refusal(const struct link *link);
/* The peer was heard by datagrams lately; and those that came and were not valid. */
bool link_hears_datagrams(const struct link *link);
uint64_t link_datagrams_refused(const struct link *link);
struct link_totals {
	uint64_t bytes_sent, bytes_received, connections;
};
struct link_totals link_totals(const struct link *link);

/*
 * Says why (REFUSE frame) and closes this connection, if there is one; on_down follows, and a
 * dialler will try again: after the shortest wait if wire_reason_returns(), so that a lease outlives it.
 */
void link_drop(struct link *link, uint16_t reason, const char *text);
/*
 * For good: no callback follows but on_closed (may be NULL), when the loop has let go of
 * everything and bulk was released; at most CHANNEL_LINGER_MS later, or what resolving a name
 * takes. Idempotent: the first on_closed counts. Accepted links are freed by this, too.
 */
void link_close(struct link *link, void (*on_closed)(void *owner));

#endif
