/*
 * What is said on a connection, and what is done with what the peer says.
 *
 * Out, whenever the socket has room (send_more()): heartbeat, credit, queued control frames, then
 * bulk, one fragment at a time and only when nothing at all waits in the socket. Heartbeats and
 * credit are not queued but written with what is true at that moment, so they can neither pile up
 * nor be old. In one go no more than about LINK_SLICE is encrypted.
 *
 * In (take_frames()): frame_reader.c checks form and order, this file the rest. What breaks the
 * protocol gets a REFUSE with the reason before the connection is closed.
 */
#include "net/link_internal.h"

#include "appliance/base/clock.h"
#include "appliance/base/log.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define SMOOTHING 8 /* a round trip counts for 1/8, as in TCP */

static uint8_t peer_role(const struct link *link)
{
	return link->role == WIRE_ROLE_PRIMARY ? WIRE_ROLE_STANDBY : WIRE_ROLE_PRIMARY;
}

void link_reset_protocol(struct link *link)
{
	link_queue_clear(&link->queue);
	frame_reader_free(&link->reader);
	frame_reader_init(&link->reader, peer_role(link));
	link->greeted = link->beat_due = link->credit_due = false;
	link->refuse_with = 0;
	link->up_ns = link->ticked_ns = 0;
	link->beats = link->beats_heard = 0;
	link->peer_clock_ns = link->peer_clock_at_ns = 0;
	link->granted = link->granted_told = link->window = link->bulk_received = 0;
}

/* ---- out ---- */

int link_write_frame(struct link *link, uint16_t type, const struct buf *payload, struct err *err)
{
	struct wire_header header = { .type = type, .term = link->term };
	uint8_t bytes[WIRE_HEADER + 2 + WIRE_TEXT_MAX];

	assert(payload->len <= sizeof(bytes) - WIRE_HEADER);
	if (payload->failed)
		return err_nomem(err, "a frame to send");
	header.length = (uint32_t)payload->len;
	wire_put_header(bytes, &header);
	memcpy(bytes + WIRE_HEADER, payload->data, payload->len);
	return channel_write(link->channel, bytes, WIRE_HEADER + payload->len, err);
}

void link_refuse(struct link *link, uint16_t reason, const char *text)
{
	struct buf payload = { 0 };
	struct err ignored;

	/* Nobody listens before TLS is done; a failure to say this is no news either. */
	if (link->channel != NULL && channel_is_open(link->channel) &&
	    wire_put_reason(&payload, reason, text))
		(void)link_write_frame(link, WIRE_REFUSE, &payload, &ignored);
	buf_free(&payload);
}

static int say_hello(struct link *link, struct err *err)
{
	struct buf payload = { 0 };
	int rc = RC_OK;

	if (!wire_put_hello(&payload, &link->own))
		rc = payload.failed ? err_nomem(err, "hello") :
				      err_set(err, RC_INVALID, "hello: a name cannot be sent");
	if (rc == RC_OK)
		rc = link_write_frame(link, WIRE_HELLO, &payload, err);
	buf_free(&payload);
	link->greeted = true;
	return rc;
}

void link_fill_heartbeat(struct link *link, struct wire_heartbeat *heartbeat)
{
	uint64_t now = clock_now_ns();

	*heartbeat = (struct wire_heartbeat){
		.clock_ns = now,
		.echo_ns = link->peer_clock_ns,
		.held_ns = link->peer_clock_ns > 0 ? now - link->peer_clock_at_ns : 0,
	};
	if (link->peer_clock_ns > 0 && link->lease_ns > 0) {
		heartbeat->lease_ns = link->lease_ns;
		/* It counts from before we heard of that clock. */
		link->granted_until_ns = link->peer_clock_at_ns + link->lease_ns +
					 link->lease_ns / LINK_LEASE_MARGIN;
	}
}

static int beat(struct link *link, struct err *err)
{
	struct wire_heartbeat heartbeat;
	struct buf payload = { 0 };
	int rc;

	link_fill_heartbeat(link, &heartbeat);
	heartbeat.sequence = ++link->beats;
	(void)wire_put_heartbeat(&payload, &heartbeat);
	rc = link_write_frame(link, WIRE_HEARTBEAT, &payload, err);
	buf_free(&payload);
	link->beat_due = false;
	return rc;
}

static int tell_credit(struct link *link, struct err *err)
{
	struct buf payload = { 0 };
	int rc;

	(void)buf_append_le64(&payload, link->granted);
	rc = link_write_frame(link, WIRE_CREDIT, &payload, err);
	buf_free(&payload);
	link->granted_told = link->granted;
	link->credit_due = false;
	return rc;
}

/* One fragment of bulk, unless something is still on its way to the kernel. */
static int send_fragment(struct link *link, struct err *err)
{
	uint8_t header[WIRE_HEADER];
	const uint8_t *data;
	size_t len;
	int rc;

	if (!channel_is_idle(link->channel) || channel_unsent(link->channel) >= LINK_SLICE ||
	    !link_queue_fragment(&link->queue, header, &data, &len))
		return RC_OK;
	rc = channel_write(link->channel, header, sizeof(header), err);
	if (rc == RC_OK)
		rc = channel_write(link->channel, data, len, err);
	if (rc == RC_OK)
		link_queue_remove_fragment(&link->queue);
	return rc;
}

static int send_more(void *owner, struct err *err)
{
	struct link *link = owner;
	struct channel *channel = link->channel;
	const struct link_frame *frame;
	int rc = RC_OK;

	if (link->state != LINK_UP)
		return RC_OK;
	if (link->beat_due)
		rc = beat(link, err);
	if (rc == RC_OK && link->credit_due)
		rc = tell_credit(link, err);
	while (rc == RC_OK && channel_unsent(channel) < LINK_SLICE &&
	       (frame = link_queue_first(&link->queue)) != NULL) {
		rc = channel_write(channel, frame->bytes, frame->len, err);
		if (rc == RC_OK)
			link_queue_remove_first(&link->queue);
	}
	if (rc == RC_OK)
		rc = send_fragment(link, err);
	/* A batch's release may have ended the link. */
	if (rc == RC_OK && link->channel == channel && link_queue_has_room(&link->queue) &&
	    link->ops->on_room != NULL)
		link->ops->on_room(link->owner);
	return rc;
}

/* ---- HELLO ---- */

static int on_open(void *owner, struct err *err)
{
	struct link *link = owner;

	link->heard_ns = link->tcp_heard_ns = clock_now_ns();
	(void)snprintf(link->peer, sizeof(link->peer), "%s (%s)", channel_address(link->channel),
		       channel_peer_name(link->channel));
	link->own = (struct wire_hello){
		.lowest = WIRE_VERSION_LOWEST,
		.highest = WIRE_VERSION_HIGHEST,
		.features = WIRE_FEATURES,
		.role = link->role,
	};
	(void)snprintf(link->own.site, sizeof(link->own.site), "%s", link->options.site);
	if (link->dialler == NULL)
		return RC_OK; /* the dialler speaks first */
	link_dial_hello(link, &link->own);
	return say_hello(link, err);
}

static int refused(struct link *link, uint16_t reason, int rc)
{
	link->refuse_with = reason;
	return rc;
}

static int on_hello(struct link *link, const struct wire_header *header, const uint8_t *payload,
		    struct err *err)
{
	struct beacon_port *port = NULL;
	struct wire_hello peer;
	int rc;

	rc = wire_get_hello(&peer, payload, header->length, err);
	if (rc != RC_OK)
		return rc;
	rc = wire_check_versions(&link->own, &peer, err);
	if (rc != RC_OK)
		return refused(link, WIRE_REASON_VERSION, rc);
	if (peer.role != peer_role(link))
		return refused(link, WIRE_REASON_ROLE,
			       err_set(err, RC_REFUSED, "%s", wire_reason_text(WIRE_REASON_ROLE)));
	if (link->dialler == NULL) {
		(void)snprintf(link->own.instance, sizeof(link->own.instance), "%s", peer.instance);
		rc = link_listen_hello(link, &peer, &link->own, &port, err);
		if ((peer.features & WIRE_FEATURE_IDENTITY) == 0)
			link->own.identity = 0;
		if (rc == RC_OK)
			rc = say_hello(link, err);
		if (rc == RC_OK)
			rc = link_beacon_offer(link, port, link->own.features & peer.features, err);
		if (rc != RC_OK)
			return rc;
	} else if (strcmp(peer.instance, link->own.instance) != 0) {
		return refused(link, WIRE_REASON_INSTANCE,
			       err_set(err, RC_REFUSED, "asked for instance '%s', '%s' answered",
				       link->own.instance, peer.instance));
	}
	link_up(link, &peer);
	return RC_OK;
}

/* What another standby granted is not this one's word. */
static void know_standby(struct link *link, uint64_t identity)
{
	if (identity != link->peer_identity)
		link->leased_until_ns = link->leased_from_ns = link->leased_term =
			link->leased_for_ns = 0;
	link->peer_identity = identity;
}

void link_up(struct link *link, const struct wire_hello *peer)
{
	know_standby(link, peer->identity);
	link->features = link->own.features & peer->features;
	link_move(link, LINK_UP);
	link->up_ns = link->ticked_ns = clock_now_ns();
	link->totals.connections++;
	log_info("link", "%s: connected with %s", link->peer, channel_cipher(link->channel));
	link->beat_due = true; /* at once: it brings the first round trip */
	link_start_timer(link, link->options.heartbeat_ms, link->options.heartbeat_ms);
	channel_wake(link->channel);
	link->ops->on_up(link->owner, peer);
}

/* ---- in ---- */

static int on_refuse(struct link *link, const struct wire_header *header, const uint8_t *payload,
		     struct err *err)
{
	char text[WIRE_TEXT_MAX + 1];
	uint16_t reason;
	int rc;

	rc = wire_get_reason(&reason, text, payload, header->length, err);
	if (rc != RC_OK)
		return rc;
	link->refusal = reason;
	link->refuse_with = 0; /* the peer is leaving: nothing to say */
	return err_set(err, RC_REFUSED, "refused by the peer: %s: %.300s", wire_reason_text(reason),
		       text);
}

void link_take_heartbeat(struct link *link, const struct wire_heartbeat *heartbeat, bool datagram)
{
	uint64_t now = clock_now_ns(), trip;

	/* Of the two ways the slower one may bring what is old. */
	if (heartbeat->clock_ns > link->peer_clock_ns) {
		link->peer_clock_ns = heartbeat->clock_ns;
		link->peer_clock_at_ns = now;
	}
	/* An echo that cannot be of this connection tells nothing. */
	if (heartbeat->echo_ns < link->up_ns || heartbeat->echo_ns > now ||
	    heartbeat->held_ns > now - heartbeat->echo_ns)
		return;
	if (heartbeat->lease_ns > 0 && heartbeat->lease_ns <= LINK_LEASE_MAX_NS)
		link->leased_for_ns = heartbeat->lease_ns;
	if (heartbeat->lease_ns > 0 && heartbeat->lease_ns <= LINK_LEASE_MAX_NS &&
	    heartbeat->echo_ns + heartbeat->lease_ns > link->leased_until_ns) {
		link->leased_until_ns = heartbeat->echo_ns + heartbeat->lease_ns;
		link->leased_from_ns = heartbeat->echo_ns;
	}
	/* What waited behind bulk is not the network's. */
	if (!datagram && link_hears_datagrams(link))
		return;
	trip = now - heartbeat->echo_ns - heartbeat->held_ns;
	trip = trip > 0 ? trip : 1; /* 0 means unknown */
	if (link->round_trip_ns == 0)
		link->round_trip_ns = trip;
	else
		link->round_trip_ns += trip / SMOOTHING - link->round_trip_ns / SMOOTHING;
}

static int on_heartbeat(struct link *link, const struct wire_header *header, const uint8_t *payload,
			struct err *err)
{
	struct wire_heartbeat heartbeat;
	int rc;

	rc = wire_get_heartbeat(&heartbeat, payload, header->length, err);
	if (rc != RC_OK)
		return rc;
	link->beats_heard++;
	if (heartbeat.lease_ns > 0 && header->term > link->leased_term)
		link->leased_term = header->term;
	link_take_heartbeat(link, &heartbeat, false);
	return RC_OK;
}

static int on_credit(struct link *link, const struct wire_header *header, const uint8_t *payload,
		     struct err *err)
{
	uint64_t total;
	int rc;

	rc = wire_get_u64(&total, payload, header->length, err);
	if (rc == RC_OK)
		rc = link_queue_credit(&link->queue, total, err);
	if (rc == RC_OK)
		channel_wake(link->channel); /* bulk, or on_room, may be waiting for it */
	return rc;
}

static int on_frame(struct link *link, const struct wire_header *header, const uint8_t *payload,
		    struct err *err)
{
	link->refuse_with =
		WIRE_REASON_PROTOCOL; /* of any error from here on, unless said otherwise */
	switch (header->type) {
	case WIRE_HELLO:
		return on_hello(link, header, payload, err);
	case WIRE_REFUSE:
		return on_refuse(link, header, payload, err);
	case WIRE_HEARTBEAT:
		return on_heartbeat(link, header, payload, err);
	case WIRE_CREDIT:
		return on_credit(link, header, payload, err);
	case WIRE_BEACON:
		return link_beacon_take(link, payload, header->length, err);
	case WIRE_BATCH:
		link->bulk_received += header->length;
		if (link->bulk_received > link->granted)
			return err_set(err, RC_LIMIT,
				       "the peer sent more bulk than it was granted");
		break;
	default:
		break;
	}
	return link->ops->on_frame(link->owner, header, payload, err);
}

/* Whatever came, as long as the link is on this channel: a callback may have left it. */
static int take_frames(struct link *link, struct channel *channel, struct err *err)
{
	const struct wire_header *header;
	const uint8_t *payload;
	size_t room, got;
	uint8_t *to;
	int rc;

	while (link->channel == channel) {
		to = frame_reader_space(&link->reader, &room);
		rc = channel_read(channel, to, room, &got, err);
		if (rc != RC_OK)
			return rc;
		if (got == 0)
			return RC_OK;
		link->refuse_with = WIRE_REASON_PROTOCOL;
		rc = frame_reader_filled(&link->reader, got, &header, &payload, err);
		if (rc == RC_OK && header != NULL)
			rc = on_frame(link, header, payload, err);
		if (rc != RC_OK)
			return rc;
		link->refuse_with = 0;
	}
	return RC_OK;
}

static int on_input(void *owner, struct err *err)
{
	struct link *link = owner;
	struct channel *channel = link->channel;
	int rc;

	link->heard_ns = link->tcp_heard_ns = clock_now_ns();
	link->refuse_with = 0;
	rc = take_frames(link, channel, err);
	if (rc != RC_OK && link->channel == channel && link->refuse_with != 0)
		link_refuse(link, link->refuse_with, err->text);
	return rc;
}

/* ---- life ---- */

static void on_end(void *owner, const struct err *err)
{
	struct link *link = owner;
	struct err whole = *err;

	/* A channel that the link has left ends by channel_end(), not by this. */
	assert(link->channel != NULL);
	if (err->code == RC_CLOSED && frame_reader_is_inside(&link->reader))
		(void)err_set(&whole, RC_CLOSED, "%.400s, in the middle of a frame", err->text);
	link_lost(link, &whole);
}

static void on_gone(void *owner)
{
	link_let_go(owner);
}

const struct channel_ops link_channel_ops = {
	.on_open = on_open,
	.on_input = on_input,
	.on_output = send_more,
	.on_end = on_end,
	.on_gone = on_gone,
};
