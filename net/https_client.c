/*
 * A client has at most one `current` connection. It is dialled for a request and kept after the
 * answer for the next one, if that goes to the same server. Whatever is wrong with it (an error,
 * bytes that nobody asked for, a request given up, an answer that ends the connection) lets it go:
 * it forgets its client, closes by itself, and the next request dials anew. Nothing is sent twice
 * here: whether a request may be repeated is its owner's business (struct https_progress tells
 * what happened to it).
 *
 * A connection's life: connecting (TCP and TLS, net/channel.c), open and idle, open with a request
 * sent, open and draining: the answer was handed over at its first line and its end did not come
 * yet. A request that finds the connection draining waits up to HTTPS_DRAIN_MS for it.
 *
 * Time: one timer for the request. An error that occurs within https_post() waits in `failure` for
 * the timer, so that callbacks come from the loop only.
 */
#include "net/https_client.h"

#include "appliance/base/clock.h"
#include "appliance/base/mem.h"
#include "net/channel.h"
#include "net/http_parse.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define HEAD_MAX ((size_t)1 << 10) /* of a request: a host's name, a short path, constants */
#define BODY_MAX ((size_t)64 << 10)
#define READ_BYTES ((size_t)8 << 10)

struct connection {
	struct https_client *client; /* who pays for it: told when it is gone */
	struct channel *channel;
	struct http_parse parse;
	struct address host;
	struct sockaddr_storage to;
	bool current; /* the client's; else on its way out */
	bool open, draining;
	bool waiting;	   /* for an answer */
	unsigned requests; /* written so far */
	uint64_t idle_ns;  /* since when it is idle or draining */
};

struct https_client {
	uv_loop_t *loop;
	struct tls_identity *identity;
	size_t answer_max;
	https_done done;
	void *owner;
	uv_timer_t timer;
	struct connection *current;
	unsigned connections; /* not gone yet */
	bool closing, timer_closed;
	void (*on_closed)(void *owner);
	/* the request */
	bool busy;
	bool first_line;
	struct buf bytes; /* head and body, until it is written */
	uint64_t deadline_ns;
	uint32_t timeout_ms;
	struct https_progress progress;
	struct address host;
	struct sockaddr_storage to;
	struct err failure; /* code RC_OK: none */
};

static const struct channel_ops channel_ops;

/* ---- the end of a connection and of a request ---- */

static void let_go(struct https_client *client)
{
	void (*on_closed)(void *owner) = client->on_closed;
	void *owner = client->owner;

	if (!client->closing || !client->timer_closed || client->connections > 0)
		return;
	buf_free(&client->bytes);
	mem_free(client);
	if (on_closed != NULL)
		on_closed(owner);
}

static void on_gone(void *owner)
{
	struct connection *connection = owner;
	struct https_client *client = connection->client;

	http_parse_free(&connection->parse);
	mem_free(connection);
	client->connections--;
	let_go(client);
}

/* It is not the client's any more. */
static void detach(struct connection *connection)
{
	if (connection->current)
		connection->client->current = NULL;
	connection->current = false;
}

static void drop(struct connection *connection)
{
	detach(connection);
	channel_end(connection->channel);
}

/* The request is over, one way or the other. Calls its owner: nothing may be relied on after. */
static void finish(struct https_client *client, const struct https_answer *answer,
		   const struct err *err)
{
	const struct https_progress progress = client->progress;

	assert(client->busy);
	client->busy = false;
	buf_reset(&client->bytes);
	(void)uv_timer_stop(&client->timer);
	client->done(client->owner, answer, &progress, err);
}

static void fail(struct https_client *client, struct err *err)
{
	const struct err copy = *err;

	finish(client, NULL, &copy);
}

/* ---- a request leaves ---- */

static int send_request(struct connection *connection, struct err *err)
{
	struct https_client *client = connection->client;
	int rc;

	http_parse_next(&connection->parse);
	client->progress.reused = connection->requests > 0;
	client->progress.sent_ns = clock_now_ns();
	connection->requests++;
	connection->waiting = true;
	rc = channel_write(connection->channel, client->bytes.data, client->bytes.len, err);
	buf_reset(&client->bytes);
	return rc;
}

/* Whether the client's request is for this connection to send, now. */
static bool is_ready(const struct connection *connection)
{
	return connection->current && connection->open && !connection->waiting &&
	       !connection->draining && connection->client->busy;
}

static int on_open(void *owner, struct err *err)
{
	struct connection *connection = owner;

	connection->open = true;
	connection->idle_ns = clock_now_ns();
	return is_ready(connection) ? send_request(connection, err) : RC_OK;
}

static int on_output(void *owner, struct err *err)
{
	struct connection *connection = owner;

	return is_ready(connection) ? send_request(connection, err) : RC_OK;
}

static void on_timer(uv_timer_t *timer);

/* Until the deadline, or for less. */
static void start_timer(struct https_client *client, uint64_t most_ms)
{
	uint64_t now_ns = clock_now_ns(), ms = 0;

	if (client->deadline_ns > now_ns)
		ms = (client->deadline_ns - now_ns + CLOCK_NS_PER_MS - 1) / CLOCK_NS_PER_MS;
	/* The loop's idea of now may be older than the deadline's. */
	uv_update_time(client->loop);
	(void)uv_timer_start(&client->timer, on_timer, ms < most_ms ? ms : most_ms, 0);
}

static int dial(struct https_client *client, struct err *err)
{
	struct connection *made = mem_zalloc(1, sizeof(*made));
	struct channel_options options = { .identity = client->identity,
					   .user_timeout_ms = client->timeout_ms };
	int rc;

	if (made == NULL)
		return err_nomem(err, "connection");
	made->client = client;
	made->host = client->host;
	made->to = client->to;
	options.server_name = made->host.host;
	http_parse_init(&made->parse, HTTP_RESPONSE, client->answer_max);
	rc = channel_connect(&made->channel, client->loop, &made->to, &options, &channel_ops, made,
			     err);
	if (rc != RC_OK) {
		http_parse_free(&made->parse);
		mem_free(made);
		return rc;
	}
	made->current = true;
	client->connections++;
	client->current = made;
	return RC_OK;
}

static void dial_or_fail(struct https_client *client)
{
	struct err err;

	if (dial(client, &err) == RC_OK)
		return;
	client->failure = err;
	start_timer(client, 0);
}

/* ---- an answer comes ---- */

/* The connection is free for the next request, if it can be. */
static void settle(struct connection *connection)
{
	connection->idle_ns = clock_now_ns();
	connection->draining = false;
	if (!http_parse_keep_alive(&connection->parse))
		drop(connection);
	else
		channel_wake(connection->channel); /* a request may be waiting for this */
}

static void hand_over(struct connection *connection)
{
	static const uint8_t nothing[1];
	struct https_client *client = connection->client;
	const struct buf *body = &connection->parse.body;
	const struct https_answer answer = { .status = http_parse_status(&connection->parse),
					     .body = body->len > 0 ? body->data : nothing,
					     .len = body->len };

	connection->waiting = false;
	finish(client, &answer, NULL);
}

static bool has_line(const struct connection *connection)
{
	const struct http_parse *parse = &connection->parse;

	return connection->client->first_line && http_parse_status(parse) == 200 &&
	       parse->body.len > 0 && memchr(parse->body.data, '\n', parse->body.len) != NULL;
}

/* After bytes were parsed: a whole message, a line of one, or neither. */
static void look(struct connection *connection)
{
	if (connection->parse.complete && http_parse_status(&connection->parse) < 200) {
		http_parse_next(&connection->parse); /* a provisional answer */
		return;
	}
	if (connection->draining) {
		if (connection->parse.complete)
			settle(connection);
		return;
	}
	/* Settled first: the owner may have the next request, for which it has to be free. */
	if (connection->parse.complete) {
		settle(connection);
		hand_over(connection);
	} else if (has_line(connection)) {
		connection->draining = true;
		connection->idle_ns = clock_now_ns();
		hand_over(connection);
	}
}

static int take(struct connection *connection, const uint8_t *bytes, size_t len, struct err *err)
{
	size_t used;
	int rc;

	while (len > 0 && connection->current) {
		if (!connection->waiting && !connection->draining)
			return err_set(err, RC_INVALID, "HTTP: an answer that nobody asked for");
		rc = http_parse_feed(&connection->parse, bytes, len, &used, err);
		if (rc != RC_OK)
			return rc;
		bytes += used;
		len -= used;
		look(connection);
	}
	return RC_OK;
}

static int on_input(void *owner, struct err *err)
{
	struct connection *connection = owner;
	uint8_t bytes[READ_BYTES];
	size_t got;
	int rc;

	do {
		rc = channel_read(connection->channel, bytes, sizeof(bytes), &got, err);
		if (rc == RC_OK)
			rc = take(connection, bytes, got, err);
	} while (rc == RC_OK && got > 0 && connection->current);
	return rc;
}

static void on_end(void *owner, const struct err *err)
{
	struct connection *connection = owner;
	struct https_client *client = connection->client;
	bool concerned =
		connection->current && client->busy && (connection->waiting || !connection->open);
	bool waits = connection->current && client->busy && !concerned;
	struct err why = *err, ignored;

	detach(connection);
	/* The end of the connection may be the end of the answer. */
	if (concerned && connection->waiting && err->code == RC_CLOSED &&
	    http_parse_end(&connection->parse, &ignored) == RC_OK && connection->parse.complete)
		hand_over(connection);
	else if (concerned)
		fail(client, &why);
	else if (waits)
		dial_or_fail(client);
}

static const struct channel_ops channel_ops = { .on_open = on_open,
						.on_input = on_input,
						.on_output = on_output,
						.on_end = on_end,
						.on_gone = on_gone };

/* ---- time ---- */

static int describe_timeout(const struct https_client *client, struct err *err)
{
	const struct connection *connection = client->current;
	char where[ADDRESS_TEXT_MAX];

	address_print(where, &client->to);
	if (connection != NULL && !connection->open)
		return err_set(err, RC_TIMEOUT, "%s: no connection within %u ms (%s)", where,
			       client->timeout_ms, channel_stage(connection->channel));
	return err_set(err, RC_TIMEOUT, "%s: no answer within %u ms", where, client->timeout_ms);
}

static void on_timer(uv_timer_t *timer)
{
	struct https_client *client = timer->data;
	struct connection *connection = client->current;
	struct err err;

	if (client->failure.code != RC_OK) {
		fail(client, &client->failure);
		return;
	}
	if (clock_now_ns() < client->deadline_ns) {
		/* It was draining for long enough. */
		if (connection != NULL && connection->draining) {
			drop(connection);
			dial_or_fail(client);
		}
		if (client->failure.code == RC_OK)
			start_timer(client, UINT64_MAX);
		return;
	}
	(void)describe_timeout(client, &err);
	if (connection != NULL)
		drop(connection);
	fail(client, &err);
}

/* ---- for the owner ---- */

int https_open(struct https_client **client, uv_loop_t *loop, struct tls_identity *identity,
	       size_t answer_max, https_done done, void *owner, struct err *err)
{
	struct https_client *made = mem_zalloc(1, sizeof(*made));

	if (made == NULL)
		return err_nomem(err, "HTTPS client");
	made->loop = loop;
	made->identity = identity;
	made->answer_max = answer_max;
	made->done = done;
	made->owner = owner;
	made->bytes.limit = HEAD_MAX + BODY_MAX;
	(void)uv_timer_init(loop, &made->timer);
	made->timer.data = made;
	*client = made;
	return RC_OK;
}

static int print_request(struct buf *out, const struct https_request *request, struct err *err)
{
	bool v6 = strchr(request->host->host, ':') != NULL;

	buf_reset(out);
	out->failed = false;
	(void)buf_printf(out,
			 "POST %s HTTP/1.1\r\nHost: %s%s%s:%u\r\nAccept: application/json\r\n"
			 "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
			 request->path, v6 ? "[" : "", request->host->host, v6 ? "]" : "",
			 request->host->port, request->body->len);
	(void)buf_append(out, request->body->data, request->body->len);
	return out->failed ?
		       err_set(err, RC_LIMIT, "a request that is too long, or no memory for it") :
		       RC_OK;
}

/* Whether the request can go over the connection that is there. */
static bool can_reuse(const struct connection *connection, const struct https_request *request)
{
	uint64_t idle_ns = clock_now_ns() - connection->idle_ns;
	uint64_t most_ms = connection->draining ? HTTPS_DRAIN_MS : HTTPS_IDLE_MS;

	return connection->open && idle_ns < most_ms * CLOCK_NS_PER_MS &&
	       connection->host.port == request->host->port &&
	       strcmp(connection->host.host, request->host->host) == 0;
}

int https_post(struct https_client *client, const struct https_request *request, struct err *err)
{
	int rc;

	assert(!client->busy && !client->closing);
	rc = print_request(&client->bytes, request, err);
	if (rc != RC_OK)
		return rc;
	client->busy = true;
	client->first_line = request->first_line;
	client->host = *request->host;
	client->to = request->to;
	client->timeout_ms = request->timeout_ms;
	client->deadline_ns = clock_now_ns() + request->timeout_ms * CLOCK_NS_PER_MS;
	client->progress = (struct https_progress){ 0 };
	client->failure.code = RC_OK;
	if (client->current != NULL && !can_reuse(client->current, request))
		drop(client->current);
	if (client->current == NULL) {
		start_timer(client, UINT64_MAX);
		dial_or_fail(client);
		return RC_OK;
	}
	start_timer(client, client->current->draining ? HTTPS_DRAIN_MS : UINT64_MAX);
	channel_wake(client->current->channel);
	return RC_OK;
}

void https_cancel(struct https_client *client)
{
	if (!client->busy)
		return;
	client->busy = false;
	buf_reset(&client->bytes);
	(void)uv_timer_stop(&client->timer);
	if (client->current != NULL)
		drop(client->current);
}

static void on_timer_closed(uv_handle_t *handle)
{
	struct https_client *client = handle->data;

	client->timer_closed = true;
	let_go(client);
}

void https_close(struct https_client *client, void (*on_closed)(void *owner))
{
	assert(!client->closing);
	https_cancel(client);
	if (client->current != NULL)
		drop(client->current);
	client->closing = true;
	client->on_closed = on_closed;
	uv_close((uv_handle_t *)&client->timer, on_timer_closed);
}
