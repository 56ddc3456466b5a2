/*
 * The life of a link. One timer serves its state:
 *
 *   WAITING    the next attempt               GREETING   the deadline
 *   UP         heartbeats                     DOWN       on_down, in the loop's next turn
 *
 * on_down is told from that timer even when the reason came from the loop, so that there is one
 * path and no callback comes from within a call of the owner's. A channel that ended lingers on
 * its own (channel.c); it is counted in `pending`, so that link_close() finishes after it, but its
 * link no longer points to it and may have the next one.
 */
#include "net/link_internal.h"

#include "appliance/base/clock.h"
#include "appliance/base/log.h"
#include "appliance/base/mem.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define KEY_PATIENCE 4 /* the accepting end gives the dialler a quarter more than its limit */
static_assert(LINK_KEY_RECORDS + LINK_KEY_RECORDS / KEY_PATIENCE < TLS_RECORDS_MAX,
	      "even a dialler that does not change its key stays below the limit");

#define STATE(name) (1u << LINK_##name)

static const struct {
	const char *name;
	unsigned next;
} states[] = {
	[LINK_WAITING] = { "waiting", STATE(GREETING) | STATE(CLOSING) },
	[LINK_GREETING] = { "greeting", STATE(UP) | STATE(DOWN) | STATE(CLOSING) },
	[LINK_UP] = { "up", STATE(DOWN) | STATE(CLOSING) },
	[LINK_DOWN] = { "down", STATE(WAITING) | STATE(CLOSING) },
	[LINK_CLOSING] = { "closing", 0 },
};
static_assert(sizeof(states) / sizeof(states[0]) == LINK_STATES, "a line for every state");

void link_move(struct link *link, enum link_state state)
{
	assert((states[link->state].next & (1u << state)) != 0);
	link->state = state;
}

/* ---- beginning ---- */

int link_create(struct link **out, uv_loop_t *loop, uint8_t role,
		const struct link_options *options, struct err *err)
{
	struct link *link;

	assert(options->heartbeat_ms > 0 && options->dead_ms > options->heartbeat_ms);
	link = mem_zalloc(1, sizeof(*link));
	if (link == NULL)
		return err_nomem(err, "link");
	link->loop = loop;
	link->role = role;
	link->options = *options;
	link->options.site = link->site = mem_strdup(options->site);
	if (link->site == NULL) {
		mem_free(link);
		return err_nomem(err, "link");
	}
	(void)uv_timer_init(loop, &link->timer);
	(void)uv_timer_init(loop, &link->pulse);
	link->timer.data = link->pulse.data = link;
	link->pending = 2;
	link->state = LINK_WAITING;
	link_reset_protocol(link);
	*out = link;
	return RC_OK;
}

void link_begin(struct link *link)
{
	link_move(link, LINK_GREETING);
	link_reset_protocol(link);
	link->refusal = 0;
	link_start_timer(link, LINK_HANDSHAKE_MS, 0);
}

struct channel_options link_channel_options(const struct link *link)
{
	return (struct channel_options){
		.identity = link->options.identity,
		.peer_role = link->role == WIRE_ROLE_PRIMARY ? "standby" : "primary",
		.retransmit_us = link->options.heartbeat_ms * LINK_RETRANSMIT_US,
		.user_timeout_ms = link->options.dead_ms,
	};
}

/* ---- the timer ---- */

/* Whether the connection was dropped because its keys have served enough. */
static bool change_key(struct link *link)
{
	uint64_t records = channel_records(link->channel), most = link->options.key_records;

	if (most == 0)
		most = LINK_KEY_RECORDS;
	if (link->dialler == NULL)
		most += most / KEY_PATIENCE;
	if (records < most)
		return false;
	log_info("link", "%s: %llu records under one key: another connection takes over",
		 link->peer, (unsigned long long)records);
	link_drop(link, WIRE_REASON_REKEY, "the next connection follows at once");
	return true;
}

/* The heartbeat: is the peer dead? Is the key worn out? */
static void tick(struct link *link)
{
	uint64_t now = clock_now_ns(), dead_ns = link->options.dead_ms * CLOCK_NS_PER_MS;
	uint64_t since_tick = now - link->ticked_ns;
	struct err err;

	link->ticked_ns = now;
	/*
	 * If this process did not run (stopped, starved), what the peer sent meanwhile is in the
	 * socket still: it has until the next tick to be read.
	 */
	if (now - link->tcp_heard_ns > dead_ns &&
	    since_tick < dead_ns / 2 + link->options.heartbeat_ms * CLOCK_NS_PER_MS) {
		(void)err_set(&err, RC_TIMEOUT, "%s: nothing heard for %.0f ms",
			      channel_address(link->channel), clock_ms(now - link->tcp_heard_ns));
		link_abandon(link, &err);
		return;
	}
	if (change_key(link))
		return;
	link->beat_due = true;
	channel_wake(link->channel);
}

static void too_late(struct link *link)
{
	struct err err;

	if (link->channel == NULL)
		(void)err_set(&err, RC_TIMEOUT, "no address for the name within %d ms",
			      LINK_HANDSHAKE_MS);
	else
		(void)err_set(&err, RC_TIMEOUT, "%s: still %s after %d ms",
			      channel_address(link->channel),
			      channel_is_open(link->channel) ? "without a hello" :
							       channel_stage(link->channel),
			      LINK_HANDSHAKE_MS);
	link_lost(link, &err);
}

static void tell_down(struct link *link)
{
	link_queue_clear(&link->queue);
	link->told_down = true;
	if (link->ops == NULL) {
		link_listen_lost(link);
		return;
	}
	link->ops->on_down(link->owner, &link->down);
	if (link->state == LINK_DOWN && link->dialler != NULL)
		link_dial_again(link);
}

static void on_timer(uv_timer_t *timer)
{
	struct link *link = timer->data;

	switch (link->state) {
	case LINK_WAITING:
		link_dial_attempt(link);
		break;
	case LINK_GREETING:
		too_late(link);
		break;
	case LINK_UP:
		tick(link);
		break;
	case LINK_DOWN:
		tell_down(link);
		break;
	default:
		break;
	}
}

void link_start_timer(struct link *link, uint64_t after_ms, uint64_t repeat_ms)
{
	/* The loop's idea of now may be old by what its callbacks took. */
	uv_update_time(link->loop);
	(void)uv_timer_start(&link->timer, on_timer, after_ms, repeat_ms);
}

/* ---- ending ---- */

/* The channel goes on without us until it is gone (on_gone: link_let_go()). */
static void leave_channel(struct link *link)
{
	if (link->channel == NULL)
		return;
	link->totals.bytes_sent += channel_sent(link->channel);
	link->totals.bytes_received += channel_received(link->channel);
	if (link->listener != NULL && link_listen_is_crowded(link->listener))
		channel_close(link->channel);
	else
		channel_end(link->channel);
	link->channel = NULL;
}

void link_lost(struct link *link, const struct err *err)
{
	assert(link->state == LINK_GREETING || link->state == LINK_UP);
	link->down = *err;
	link->told_down = false;
	link_move(link, LINK_DOWN);
	link_beacon_end(link, false);
	leave_channel(link);
	link_start_timer(link, 0, 0);
}

void link_abandon(struct link *link, const struct err *err)
{
	link_beacon_end(link, true);
	channel_close(link->channel);
	link_lost(link, err);
}

void link_drop(struct link *link, uint16_t reason, const char *text)
{
	struct err err;

	if (link->state != LINK_UP && link->state != LINK_GREETING)
		return;
	link->returns = link->state == LINK_UP && wire_reason_returns(reason);
	link_refuse(link, reason, text);
	(void)err_set(&err, RC_CANCELLED, "dropped: %s (%s)", text, wire_reason_text(reason));
	link_lost(link, &err);
}

static void on_timer_closed(uv_handle_t *handle)
{
	link_let_go(handle->data);
}

void link_close(struct link *link, void (*on_closed)(void *owner))
{
	if (link->state == LINK_CLOSING)
		return;
	link_move(link, LINK_CLOSING);
	link->on_closed = on_closed;
	link_beacon_end(link, false);
	leave_channel(link);
	if (link->dialler != NULL)
		link_dial_cancel(link);
	uv_close((uv_handle_t *)&link->timer, on_timer_closed);
	uv_close((uv_handle_t *)&link->pulse, on_timer_closed);
}

void link_let_go(struct link *link)
{
	struct link_listener *listener = link->listener;
	void (*on_closed)(void *owner) = link->on_closed;
	void *owner = link->owner;

	assert(link->pending > 0);
	if (--link->pending > 0)
		return;
	assert(link->state == LINK_CLOSING);
	link_queue_clear(&link->queue);
	frame_reader_free(&link->reader);
	link_dial_free(link);
	mem_free(link->site);
	mem_free(link);
	if (listener != NULL)
		link_listen_gone(listener);
	if (on_closed != NULL)
		on_closed(owner);
}

/* ---- sending ---- */

int link_send(struct link *link, uint16_t type, uint64_t term, uint64_t epoch, const void *payload,
	      size_t len, struct err *err)
{
	struct wire_header header = { .type = type, .term = term, .epoch = epoch };
	int rc;

	assert(wire_allowed(link->role, type) && type != WIRE_BATCH && type != WIRE_HELLO);
	if (len < wire_payload_min(type) || len > wire_payload_max(type))
		return err_set(err, RC_INVALID, "a %s frame of %zu bytes, %zu to %zu can be sent",
			       wire_type_name(type), len, wire_payload_min(type),
			       wire_payload_max(type));
	if (link->state != LINK_UP)
		return RC_OK;
	header.length = (uint32_t)wire_payload_for(type, link->features, len);
	link->term = term;
	rc = link_queue_add(&link->queue, &header, payload, err);
	if (rc == RC_OK)
		channel_wake(link->channel);
	return rc;
}

bool link_send_bulk(struct link *link, uint64_t term, uint64_t epoch, const uint8_t *payload,
		    size_t len, void (*release)(void *context), void *context)
{
	const struct link_batch batch = {
		.data = payload,
		.len = len,
		.term = term,
		.epoch = epoch,
		.release = release,
		.context = context,
	};

	if (link->state != LINK_UP || !link_queue_add_batch(&link->queue, &batch))
		return false;
	link->term = term;
	channel_wake(link->channel);
	return true;
}

void link_grant(struct link *link, uint64_t bytes)
{
	if (link->state != LINK_UP)
		return;
	link->granted += bytes;
	if (link->window == 0)
		link->window = bytes;
	/* In quarters of the window: the peer never runs dry and few frames are needed. */
	if (link->granted_told > 0 && link->granted - link->granted_told < link->window / 4)
		return;
	link->credit_due = true;
	channel_wake(link->channel);
}

/* ---- what is known ---- */

bool link_is_up(const struct link *link)
{
	return link->state == LINK_UP;
}

uint64_t link_heard_ns(const struct link *link)
{
	return link->heard_ns;
}

void link_set_lease(struct link *link, uint64_t lease_ns, uint64_t term)
{
	link->lease_ns = lease_ns;
	link->term = term;
}

uint64_t link_granted_ns(const struct link *link)
{
	return link->granted_until_ns;
}

uint64_t link_lease_ns(const struct link *link)
{
	return link->leased_until_ns;
}

uint64_t link_lease_from_ns(const struct link *link)
{
	return link->leased_from_ns;
}

uint64_t link_standby(const struct link *link)
{
	return link->peer_identity;
}

uint64_t link_lease_length_ns(const struct link *link)
{
	return link->leased_for_ns;
}

uint64_t link_lease_term(const struct link *link)
{
	return link->leased_term;
}

uint64_t link_round_trip_ns(const struct link *link)
{
	return link->round_trip_ns;
}

const char *link_peer(const struct link *link)
{
	return link->peer;
}

uint64_t link_features(const struct link *link)
{
	return link->features;
}

uint16_t link_refusal(const struct link *link)
{
	return link->refusal;
}

struct link_totals link_totals(const struct link *link)
{
	struct link_totals totals = link->totals;

	if (link->channel != NULL) {
		totals.bytes_sent += channel_sent(link->channel);
		totals.bytes_received += channel_received(link->channel);
	}
	return totals;
}
