/*
 * The accepting end. Whoever connects is a stranger until HELLO: its link belongs to the listener
 * and has LINK_HANDSHAKE_MS. Then the owner's on_hello() takes it or refuses it.
 *
 * Bounded: strangers are at most LINK_STRANGERS_MAX, and LINK_STRANGERS_PER_SOURCE from one source;
 * when one more comes, another one is closed at once (link_strangers.h), so that no number of
 * silent connections keeps an honest peer out. Links whose end is under way count too: when there
 * are CROWD of all kinds, the next ends are without last words.
 *
 * Strangers that come to nothing are logged with the reason. Of each kind (enum subject) there are a few
 * lines in LOG_WINDOW_MS, so that a flood of one does not hide what an honest peer of another is refused
 * for; the rest is counted, and told when that time is over, or the listener is closed. A peer that is
 * refused again for the same reason is not told of each time (repeat.h).
 */
#include "net/link_internal.h"

#include "appliance/base/clock.h"
#include "appliance/base/log.h"
#include "appliance/base/mem.h"
#include "appliance/base/repeat.h"
#include "net/link_strangers.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define LISTEN_REMEDY ": another process listens there; end it, or choose another port"
#define BACKLOG 64
#define CROWD (2U * LINK_STRANGERS_MAX)
#define LOG_WINDOW_MS 10000

enum subject {
	UNKNOWN,   /* no TLS, or not to its end; what is refused to all alike */
	UNTRUSTED, /* a certificate, the peer's or ours, was refused */
	KNOWN,	   /* TLS was done: of our CA */
	DISPLACED,
	SUBJECTS
};

static const struct {
	unsigned lines; /* in a window */
	const char *rest;
} subjects[] = {
	[UNKNOWN] = { 10, "connections that came to nothing" },
	[UNTRUSTED] = { 10, "connections for which a certificate was refused" },
	[KNOWN] = { 10, "connections with good certificates that came to nothing" },
	[DISPLACED] = { 1, "connections that were closed to make room" },
};
static_assert(sizeof(subjects) / sizeof(subjects[0]) == SUBJECTS, "a line for every subject");

struct complaints {
	unsigned lines, unlogged;
	struct repeat same; /* of a peer that is refused, and comes again and again */
};

struct link_listener {
	uv_tcp_t tcp;
	uv_tcp_t away; /* the connection being turned away */
	bool turning_away, one_waits;
	uv_loop_t *loop;
	struct beacon_port *port; /* NULL: heartbeats by TCP only */
	struct link_options options;
	char *site; /* options.site */
	const struct link_accept_ops *ops;
	void *owner;
	struct link *strangers; /* a list through `next`, the oldest first */
	unsigned nstrangers;	/* in that list */
	unsigned pending;	/* own handles, strangers' links, a connection being turned away */
	bool closing;
	void (*on_closed)(void *owner);
	struct complaints complaints[SUBJECTS];
	uv_timer_t window; /* of the lines that are counted */
};

/* ---- the log ---- */

static void tell_rest(struct link_listener *listener)
{
	struct complaints *complaints;
	int subject;

	for (subject = 0; subject < SUBJECTS; subject++) {
		complaints = &listener->complaints[subject];
		if (complaints->unlogged > 0)
			log_warn("link", "%u more %s were not logged", complaints->unlogged,
				 subjects[subject].rest);
		complaints->lines = complaints->unlogged = 0;
	}
}

static void on_window_over(uv_timer_t *timer)
{
	tell_rest(timer->data);
}

static void complain(struct link_listener *listener, enum subject subject, const struct err *err)
{
	struct complaints *complaints = &listener->complaints[subject];
	unsigned again;

	if (!uv_is_active((const uv_handle_t *)&listener->window))
		(void)uv_timer_start(&listener->window, on_window_over, LOG_WINDOW_MS, 0);
	if (complaints->lines >= subjects[subject].lines) {
		complaints->unlogged++;
		return;
	}
	if (err->code == RC_REFUSED &&
	    !repeat_is_due(&complaints->same, err->text, clock_now_ns(), &again))
		return;
	complaints->lines++;
	log_warn("link", "%s", err->text);
}

static enum subject subject_of(const struct link *link)
{
	if (link_heard_ns(link) != 0)
		return KNOWN;
	return link->down.code == RC_REFUSED ? UNTRUSTED : UNKNOWN;
}

/* ---- ending ---- */

static void let_go(struct link_listener *listener)
{
	void (*on_closed)(void *owner) = listener->on_closed;
	void *owner = listener->owner;

	if (--listener->pending > 0)
		return;
	assert(listener->closing && listener->nstrangers == 0);
	mem_free(listener->site);
	mem_free(listener);
	if (on_closed != NULL)
		on_closed(owner);
}

void link_listen_gone(struct link_listener *listener)
{
	let_go(listener);
}

bool link_listen_is_crowded(const struct link_listener *listener)
{
	return listener->pending > CROWD;
}

static void remove_stranger(struct link_listener *listener, struct link *link)
{
	struct link **at = &listener->strangers;

	while (*at != link)
		at = &(*at)->next;
	*at = link->next;
	link->next = NULL;
	listener->nstrangers--;
}

void link_listen_lost(struct link *link)
{
	struct link_listener *listener = link->listener;

	complain(listener, subject_of(link), &link->down);
	remove_stranger(listener, link);
	link_close(link, NULL);
}

static void on_handle_closed(uv_handle_t *handle)
{
	let_go(handle->data);
}

static void on_port_closed(void *owner)
{
	let_go(owner);
}

void link_listener_close(struct link_listener *listener, void (*on_closed)(void *owner))
{
	struct link *link;

	if (listener->closing)
		return;
	listener->closing = true;
	listener->on_closed = on_closed;
	tell_rest(listener);
	while ((link = listener->strangers) != NULL) {
		remove_stranger(listener, link);
		link_close(link, NULL);
	}
	if (listener->port != NULL) {
		listener->pending++;
		beacon_port_close(listener->port, on_port_closed, listener);
		listener->port = NULL;
	}
	uv_close((uv_handle_t *)&listener->tcp, on_handle_closed);
	uv_close((uv_handle_t *)&listener->window, on_handle_closed);
}

/* ---- strangers ---- */

int link_listen_hello(struct link *link, const struct wire_hello *peer, struct wire_hello *own,
		      struct beacon_port **port, struct err *err)
{
	struct link_listener *listener = link->listener;
	const struct link_ops *ops = NULL;
	uint16_t reason = WIRE_REASON_INSTANCE;
	void *owner = NULL;
	int rc;

	rc = listener->ops->on_hello(listener->owner, link, peer, own, &ops, &owner, &reason, err);
	if (rc != RC_OK) {
		link->refuse_with = reason;
		return rc;
	}
	/* The owner may have closed the listener, and with it every stranger, right there. */
	if (link->state != LINK_GREETING)
		return err_set(err, RC_CANCELLED, "the listener was closed");
	assert(ops != NULL);
	remove_stranger(listener, link);
	link->listener = NULL;
	link->ops = ops;
	link->owner = owner;
	*port = listener->port;
	let_go(listener);
	return RC_OK;
}

/* ---- a crowd of them ---- */

static enum link_stranger_stage stage_of(const struct link *link)
{
	if (channel_is_open(link->channel))
		return LINK_STRANGER_KNOWN;
	return channel_received(link->channel) > 0 ? LINK_STRANGER_SPEAKING : LINK_STRANGER_SILENT;
}

static void displace(struct link_listener *listener, struct link *link)
{
	static const char *const stages[] = {
		[LINK_STRANGER_SILENT] = "without a word",
		[LINK_STRANGER_SPEAKING] = "in the TLS handshake",
		[LINK_STRANGER_KNOWN] = "without a hello",
	};
	static_assert(sizeof(stages) / sizeof(stages[0]) == LINK_STRANGER_STAGES,
		      "words for every stage");
	struct err err;

	(void)err_set(&err, RC_LIMIT, "%s: closed after %.0f ms %s, to make room for a newer one",
		      channel_address(link->channel), clock_ms(clock_now_ns() - link->began_ns),
		      stages[stage_of(link)]);
	complain(listener, DISPLACED, &err);
	remove_stranger(listener, link);
	channel_close(link->channel);
	link_close(link, NULL);
}

/* One more has come, and is the last of the list. */
static void make_room(struct link_listener *listener)
{
	struct link_stranger strangers[LINK_STRANGERS_MAX + 1];
	struct link *links[LINK_STRANGERS_MAX + 1], *link;
	size_t count = 0, excess;

	for (link = listener->strangers; link != NULL; link = link->next) {
		if (link->state != LINK_GREETING)
			continue; /* it leaves the list in the loop's next turn */
		assert(count <= LINK_STRANGERS_MAX);
		links[count] = link;
		strangers[count].source = channel_source(link->channel);
		strangers[count++].stage = stage_of(link);
	}
	excess = link_strangers_excess(strangers, count);
	if (excess < count)
		displace(listener, links[excess]);
}

static void add_stranger(struct link_listener *listener, struct link *link)
{
	struct link **at = &listener->strangers;

	while (*at != NULL)
		at = &(*at)->next;
	*at = link;
	listener->nstrangers++;
	link->began_ns = clock_now_ns();
}

/* ---- accepting ---- */

static void on_connection(uv_stream_t *stream, int status);

static void on_turned_away(uv_handle_t *handle)
{
	struct link_listener *listener = handle->data;

	listener->turning_away = false;
	if (listener->one_waits && !listener->closing) {
		listener->one_waits = false;
		on_connection((uv_stream_t *)&listener->tcp, 0);
	}
	let_go(listener);
}

/*
 * Accepts a connection, so that it leaves the kernel's queue, and closes it. One at a time, with a
 * handle that is always there: libuv does not accept another one until somebody took the last, and
 * this must not depend on memory.
 */
static void turn_away(struct link_listener *listener, const struct err *why)
{
	if (listener->turning_away) {
		listener->one_waits = true;
		return;
	}
	complain(listener, UNKNOWN, why);
	if (uv_tcp_init(listener->loop, &listener->away) != 0)
		return;
	listener->away.data = listener;
	listener->turning_away = true;
	listener->pending++;
	(void)uv_accept((uv_stream_t *)&listener->tcp, (uv_stream_t *)&listener->away);
	uv_close((uv_handle_t *)&listener->away, on_turned_away);
}

static void accept_stranger(struct link_listener *listener)
{
	struct channel_options options;
	struct link *link;
	struct err err;

	if (link_create(&link, listener->loop, WIRE_ROLE_STANDBY, &listener->options, &err) !=
	    RC_OK) {
		turn_away(listener, &err);
		return;
	}
	link->listener = listener;
	listener->pending++;
	options = link_channel_options(link);
	if (channel_accept(&link->channel, (uv_stream_t *)&listener->tcp, &options,
			   &link_channel_ops, link, &err) != RC_OK) {
		turn_away(listener, &err);
		link_close(link, NULL);
		return;
	}
	link->pending++;
	add_stranger(listener, link);
	link_begin(link);
	make_room(listener);
}

static void on_connection(uv_stream_t *stream, int status)
{
	struct link_listener *listener = stream->data;
	struct err err;

	if (status != 0) {
		(void)err_set(&err, RC_IO, "accept: %s", uv_strerror(status));
		complain(listener, UNKNOWN, &err);
		return;
	}
	accept_stranger(listener);
}

/* ---- beginning ---- */

/* Waits for the resolver if the address is a name: this is done once, at the start. */
static int resolve(uv_loop_t *loop, const struct address *address, struct sockaddr_storage *out,
		   struct err *err)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE };
	uv_getaddrinfo_t request;
	char port[8];
	int r;

	if (address_to_socket(address, out))
		return RC_OK;
	(void)snprintf(port, sizeof(port), "%u", address->port);
	r = uv_getaddrinfo(loop, &request, NULL, address->host, port, &hints);
	if (r != 0)
		return err_set(err, RC_INVALID, "%s: %s", address->host, uv_strerror(r));
	memset(out, 0, sizeof(*out));
	if (request.addrinfo->ai_addrlen <= sizeof(*out))
		memcpy(out, request.addrinfo->ai_addr, request.addrinfo->ai_addrlen);
	uv_freeaddrinfo(request.addrinfo);
	return RC_OK;
}

/* For datagrams, of the same number. */
static void open_port(struct link_listener *listener, const struct sockaddr_storage *at)
{
	struct sockaddr_storage same = *at;
	struct err err;

	address_set_port(&same, link_listener_port(listener));
	if (beacon_port_open(&listener->port, listener->loop, &same, &err) != RC_OK)
		log_warn("link", "no heartbeats by datagram: %s", err.text);
}

static int start(struct link_listener *listener, const struct sockaddr_storage *at, struct err *err)
{
	int r;

	r = uv_tcp_bind(&listener->tcp, (const struct sockaddr *)at, 0);
	if (r == 0)
		r = uv_listen((uv_stream_t *)&listener->tcp, BACKLOG, on_connection);
	if (r != 0)
		return err_set(err, RC_IO, "%s%s", uv_strerror(r),
			       r == UV_EADDRINUSE ? LISTEN_REMEDY : "");
	open_port(listener, at);
	return RC_OK;
}

int link_listen(struct link_listener **out, uv_loop_t *loop, const char *address,
		const struct link_options *options, const struct link_accept_ops *ops, void *owner,
		struct err *err)
{
	struct link_listener *listener;
	struct sockaddr_storage at;
	struct address parsed;
	int rc, r;

	rc = address_parse(&parsed, address, true, err);
	if (rc == RC_OK)
		rc = resolve(loop, &parsed, &at, err);
	if (rc != RC_OK)
		return rc;
	listener = mem_zalloc(1, sizeof(*listener));
	if (listener == NULL)
		return err_nomem(err, "listener");
	listener->options = *options;
	listener->options.site = listener->site = mem_strdup(options->site);
	r = listener->site != NULL ? uv_tcp_init(loop, &listener->tcp) : UV_ENOMEM;
	if (r != 0) {
		mem_free(listener->site);
		mem_free(listener);
		return err_set(err, r == UV_ENOMEM ? RC_NOMEM : RC_IO, "listener: %s",
			       uv_strerror(r));
	}
	listener->loop = loop;
	(void)uv_timer_init(loop, &listener->window); /* cannot fail */
	listener->tcp.data = listener->window.data = listener;
	listener->ops = ops;
	listener->owner = owner;
	listener->pending = 2;
	rc = start(listener, &at, err);
	if (rc != RC_OK) {
		(void)err_prefix(err, "%s: ", address);
		link_listener_close(listener, NULL);
		return rc;
	}
	*out = listener;
	return RC_OK;
}

uint16_t link_listener_port(const struct link_listener *listener)
{
	struct sockaddr_storage name;
	struct sockaddr_in6 v6;
	struct sockaddr_in v4;
	int len = sizeof(name);

	if (uv_tcp_getsockname(&listener->tcp, (struct sockaddr *)&name, &len) != 0)
		return 0;
	memcpy(&v4, &name, sizeof(v4));
	memcpy(&v6, &name, sizeof(v6));
	return ntohs(name.ss_family == AF_INET ? v4.sin_port : v6.sin6_port);
}
