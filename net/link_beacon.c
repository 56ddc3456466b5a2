/*
 * A link's heartbeats as datagrams (beacon.h), beside those in its connection.
 *
 * Why: after a network was cut for some 100 ms, TCP stays silent until its next retransmission,
 * which may be as far away again; and what it carries waits behind whatever the network has queued
 * of it. A datagram is there when the network is. So whoever is heard by either has been heard, and
 * leases are granted by both; a network that lets no datagrams through leaves the others.
 *
 * When: as soon as HELLO is exchanged, if both ends can. The standby makes the keys and gives them
 * in a BEACON frame; the primary begins to send, the standby answers to where that came from. From
 * then on BEATS datagrams leave in each heartbeat's time; and QUICK of them while the peer, who was
 * heard before, is silent, so that the end of a short cut is noticed soon, by both.
 *
 * A network that is whole with a connection that is not: once datagrams have come without a gap for
 * LINK_STUCK_MS and two round trips, and all that time the peer has not acknowledged what TCP sent
 * again, waiting for TCP's next attempt is worse than a new connection. The dialler decides that;
 * the other end tells it by BEACON_STUCK when its own half is the one. The dialler tells the other
 * end by BEACON_OVER, because over the connection it cannot, and dials again at once.
 */
#include "net/link_internal.h"

#include "appliance/base/clock.h"
#include "appliance/base/log.h"

#include <string.h>

#define BEATS 2	 /* datagrams in a heartbeat's time */
#define QUICK 8	 /* while the peer is silent */
#define COPIES 2 /* of BEACON_OVER: it comes once and nothing repeats it */

static void on_pulse(uv_timer_t *timer);

static bool is_dialler(const struct link *link)
{
	return link->dialler != NULL;
}

/* ---- out ---- */

static void send_beat(struct link *link, bool over)
{
	const bool stuck = link->stuck_ns != 0 && !is_dialler(link);
	struct wire_heartbeat heartbeat;
	struct beacon_beat beat;

	link_fill_heartbeat(link, &heartbeat);
	beat = (struct beacon_beat){
		.flags = (stuck ? BEACON_STUCK : 0) | (over ? BEACON_OVER : 0),
		.clock_ns = heartbeat.clock_ns,
		.echo_ns = heartbeat.echo_ns,
		.held_ns = heartbeat.held_ns,
		.lease_ns = heartbeat.lease_ns,
	};
	beacon_send(link->beacon, &beat);
}

static uint64_t heartbeat_ns(const struct link *link)
{
	return link->options.heartbeat_ms * CLOCK_NS_PER_MS;
}

static void set_pace(struct link *link, unsigned beats)
{
	uint64_t ms = link->options.heartbeat_ms / beats;

	if (link->pace == beats)
		return;
	link->pace = beats;
	uv_update_time(link->loop);
	(void)uv_timer_start(&link->pulse, on_pulse, ms > 0 ? ms : 1, ms > 0 ? ms : 1);
}

/* ---- a network that is whole, a connection that is not ---- */

/* Since when TCP tries in vain, as far as this end has seen; 0: it does not. */
static void watch_tcp(struct link *link, uint64_t now)
{
	if (!link->peer_stuck && !channel_is_stuck(link->channel))
		link->stuck_ns = 0;
	else if (link->stuck_ns == 0)
		link->stuck_ns = now;
}

static bool is_hopeless(const struct link *link, uint64_t now)
{
	uint64_t patience = LINK_STUCK_MS * CLOCK_NS_PER_MS + 2 * link->round_trip_ns;

	return link->stuck_ns != 0 && now - link->stuck_ns >= patience &&
	       now - link->beacon_heard_ns < heartbeat_ns(link) &&
	       now - link->beacon_whole_ns >= patience;
}

static void give_up(struct link *link, uint64_t now)
{
	struct err err;

	(void)err_set(&err, RC_TIMEOUT,
		      "%s: datagrams come, TCP is stuck for %.0f ms; another connection is tried",
		      channel_address(link->channel), clock_ms(now - link->stuck_ns));
	link->hasty = true;
	link_abandon(link, &err);
}

static void on_pulse(uv_timer_t *timer)
{
	struct link *link = timer->data;
	uint64_t now = clock_now_ns();

	watch_tcp(link, now);
	if (is_dialler(link) && is_hopeless(link, now)) {
		give_up(link, now);
		return;
	}
	set_pace(link,
		 link->beacon_heard_ns != 0 && now - link->beacon_heard_ns > heartbeat_ns(link) ?
			 QUICK :
			 BEATS);
	send_beat(link, false);
}

/* ---- in ---- */

static void on_beat(void *owner, const struct beacon_beat *beat)
{
	const struct wire_heartbeat heartbeat = {
		.sequence = beat->sequence,
		.clock_ns = beat->clock_ns,
		.echo_ns = beat->echo_ns,
		.held_ns = beat->held_ns,
		.lease_ns = beat->lease_ns,
	};
	struct link *link = owner;
	uint64_t now = clock_now_ns();
	struct err err;

	if ((beat->flags & BEACON_OVER) != 0) {
		(void)err_set(&err, RC_CLOSED, "%s: the peer has given this connection up",
			      channel_address(link->channel));
		link_abandon(link, &err);
		return;
	}
	if (link->beacon_heard_ns == 0 || now - link->beacon_heard_ns > 2 * heartbeat_ns(link))
		link->beacon_whole_ns = now;
	link->beacon_heard_ns = link->heard_ns = now;
	link->peer_stuck = is_dialler(link) && (beat->flags & BEACON_STUCK) != 0;
	link_take_heartbeat(link, &heartbeat, true);
	if (link->pace == QUICK)
		send_beat(link, false); /* the network is there again: let the peer know now */
	set_pace(link, BEATS);
}

/* ---- life ---- */

static int begin(struct link *link, struct beacon_port *port, const struct beacon_keys *keys,
		 const struct sockaddr_storage *own, const struct sockaddr_storage *peer,
		 struct err *err)
{
	const bool dialler = is_dialler(link);
	const struct beacon_options options = {
		.id = keys->id,
		.out = dialler ? keys->primary : keys->standby,
		.in = dialler ? keys->standby : keys->primary,
		.to = dialler ? peer : NULL,
		.from = dialler ? NULL : own,
		.on_beat = on_beat,
		.owner = link,
	};
	int rc = beacon_open(&link->beacon, port, &options, err);

	if (rc == RC_OK)
		set_pace(link, BEATS);
	return rc;
}

static int tell_keys(struct link *link, const struct beacon_keys *keys, struct err *err)
{
	struct buf payload = { 0 };
	int rc;

	(void)beacon_put_keys(&payload, keys);
	rc = link_write_frame(link, WIRE_BEACON, &payload, err);
	if (payload.data != NULL)
		memset(payload.data, 0, payload.len);
	buf_free(&payload);
	return rc;
}

int link_beacon_offer(struct link *link, struct beacon_port *port, uint64_t features,
		      struct err *err)
{
	struct sockaddr_storage own, peer;
	struct beacon_keys keys;
	int rc = RC_OK;

	if (port == NULL || (features & WIRE_FEATURE_BEACON) == 0 ||
	    !channel_addresses(link->channel, &own, &peer))
		return RC_OK;
	if (uv_random(NULL, NULL, &keys, sizeof(keys), 0, NULL) != 0 || keys.id == 0)
		return RC_OK; /* the connection has heartbeats of its own */
	rc = begin(link, port, &keys, &own, &peer, err);
	if (rc == RC_OK)
		rc = tell_keys(link, &keys, err);
	beacon_forget_keys(&keys);
	return rc;
}

static void on_port_closed(void *owner)
{
	link_let_go(owner);
}

/* The dialler's own port: of the family and address that its connection has. */
static int open_port(struct link *link, const struct sockaddr_storage *own, struct err *err)
{
	struct sockaddr_storage at = *own;
	int rc;

	address_set_port(&at, 0);
	rc = beacon_port_open(&link->port, link->loop, &at, err);
	if (rc == RC_OK)
		link->pending++;
	return rc;
}

int link_beacon_take(struct link *link, const uint8_t *payload, size_t len, struct err *err)
{
	struct sockaddr_storage own, peer;
	struct beacon_keys keys;
	int rc;

	rc = beacon_get_keys(&keys, payload, len, err);
	if (rc != RC_OK)
		return rc;
	if (link->beacon != NULL)
		return err_set(err, RC_INVALID, "keys for datagrams came twice");
	if (channel_addresses(link->channel, &own, &peer)) {
		rc = link->port == NULL ? open_port(link, &own, err) : RC_OK;
		if (rc == RC_OK)
			rc = begin(link, link->port, &keys, &own, &peer, err);
		if (rc == RC_OK)
			send_beat(link, false);
		else
			log_warn("link", "%s: no datagrams: %s", link->peer, err->text);
	}
	beacon_forget_keys(&keys);
	return RC_OK; /* without them there are the heartbeats of the connection */
}

void link_beacon_end(struct link *link, bool over)
{
	unsigned i;

	(void)uv_timer_stop(&link->pulse);
	if (link->beacon != NULL) {
		for (i = 0; over && i < COPIES; i++)
			send_beat(link, true);
		link->beacons_refused += beacon_refused(link->beacon);
		beacon_close(link->beacon);
	}
	if (link->port != NULL)
		beacon_port_close(link->port, on_port_closed, link);
	link->beacon = NULL;
	link->port = NULL;
	link->pace = 0;
	link->beacon_heard_ns = link->beacon_whole_ns = link->stuck_ns = 0;
	link->peer_stuck = false;
}

bool link_hears_datagrams(const struct link *link)
{
	return link->state == LINK_UP && link->beacon_heard_ns != 0 &&
	       clock_now_ns() - link->beacon_heard_ns < link->options.dead_ms * CLOCK_NS_PER_MS;
}

uint64_t link_datagrams_refused(const struct link *link)
{
	return link->beacons_refused + (link->beacon != NULL ? beacon_refused(link->beacon) : 0);
}
