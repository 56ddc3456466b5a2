/*
 * Theory of operation
 *
 * A connection goes round: READING a request, ANSWERING it, READING the next, until one side has
 * had enough; then DRAINING and gone. One request is handled at a time: while its response is being
 * written nothing is read, and what a client sent ahead (pipelining) waits in `ahead`, which is at
 * most one read.
 *
 * One timer per connection bounds each state as a whole: a client that sends or takes a byte now
 * and then gains nothing by it. A request that is late is answered 408 if it has begun.
 *
 * Beyond HTTP_CONNECTIONS_MAX the connection that has been READING for longest makes room: somebody
 * who opens many and says nothing on them does not keep an operator out. Where all of them are
 * being answered the newest is told 503.
 *
 * After an error the client may still be sending. Closing at once would make its kernel throw our
 * answer away (a reset overtakes it), so our side is shut down and what comes is read and dropped
 * for a moment.
 */
#include "net/http.h"

#include "appliance/base/mem.h"
#include "net/http_host.h"
#include "net/http_parse.h"
#include "net/http_socket.h"
#include "net/stale_socket.h"

#include <assert.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>

#define BACKLOG 16
#define REFUSED_MAX (2 * HTTP_CONNECTIONS_MAX) /* so many are told why; the rest just closed */
#define READ_BYTES ((size_t)8 << 10)
#define HEAD_MAX 512  /* of a response */
#define DRAIN_MS 1000 /* long enough for an answer to arrive, short enough to be no burden */
#define METHODS "GET, HEAD, POST"

enum state { READING, ANSWERING, DRAINING };

union stream {
	uv_handle_t handle;
	uv_stream_t stream;
	uv_tcp_t tcp;
	uv_pipe_t pipe;
};

struct connection {
	struct connection *next, **at; /* `at`: what points to us */
	struct http_server *server;
	union stream stream;
	uv_timer_t timer;
	unsigned handles;
	enum state state;
	uint64_t since_ms; /* uv_now() when it was entered */
	bool closing, keep_alive;
	struct http_parse parse;
	uint8_t ahead[READ_BYTES];
	size_t ahead_len;
	char head[HEAD_MAX];
	struct http_response response;
	uv_write_t write;
	uv_shutdown_t shutdown;
};

struct http_server {
	uv_loop_t *loop;
	union stream listener;
	struct http_socket socket;
	char host[HTTP_HOST_MAX + 1]; /* what is listened on, as it was given */
	http_handler handler;
	void *owner;
	void (*on_closed)(void *owner);
	struct connection *connections;
	unsigned open; /* connections and the listener */
	unsigned count;
	bool closing;
};

static void go_on(struct connection *connection);

/* ---- ending ---- */

static void server_let_go(struct http_server *server)
{
	if (--server->open > 0)
		return;
	if (server->on_closed != NULL)
		server->on_closed(server->owner);
	mem_free(server);
}

static void on_connection_handle_closed(uv_handle_t *handle)
{
	struct connection *connection = handle->data;
	struct http_server *server = connection->server;

	if (--connection->handles > 0)
		return;
	http_parse_free(&connection->parse);
	buf_free(&connection->response.body);
	mem_free(connection);
	server_let_go(server);
}

static void end(struct connection *connection)
{
	if (connection->closing)
		return;
	connection->closing = true;
	*connection->at = connection->next;
	if (connection->next != NULL)
		connection->next->at = connection->at;
	connection->server->count--;
	uv_close(&connection->stream.handle, on_connection_handle_closed);
	uv_close((uv_handle_t *)&connection->timer, on_connection_handle_closed);
}

/* ---- time ---- */

static void start_response(struct connection *connection);
static void respond(struct connection *connection, bool with_body);

static void on_time_out(uv_timer_t *timer)
{
	struct connection *connection = timer->data;

	if (connection->state == READING && http_parse_midway(&connection->parse)) {
		start_response(connection);
		connection->keep_alive = false;
		http_error(&connection->response, 408, "the request did not arrive in time");
		respond(connection, true);
	} else {
		end(connection);
	}
}

static void enter(struct connection *connection, enum state state)
{
	connection->state = state;
	connection->since_ms = uv_now(connection->server->loop);
	(void)uv_timer_start(&connection->timer, on_time_out,
			     state == DRAINING ? DRAIN_MS : HTTP_IDLE_MS, 0);
}

/* ---- answering ---- */

static const char *reason_of(int status)
{
	static const struct {
		int status;
		const char *reason;
	} reasons[] = {
		{ 200, "OK" },
		{ 202, "Accepted" },
		{ 204, "No Content" },
		{ 400, "Bad Request" },
		{ 403, "Forbidden" },
		{ 404, "Not Found" },
		{ 405, "Method Not Allowed" },
		{ 408, "Request Timeout" },
		{ 409, "Conflict" },
		{ 413, "Content Too Large" },
		{ 414, "URI Too Long" },
		{ 415, "Unsupported Media Type" },
		{ 431, "Request Header Fields Too Large" },
		{ 500, "Internal Server Error" },
		{ 503, "Service Unavailable" },
		{ 505, "HTTP Version Not Supported" },
	};
	size_t i;

	for (i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++) {
		if (reasons[i].status == status)
			return reasons[i].reason;
	}
	return "Status";
}

void http_error(struct http_response *response, int status, const char *text)
{
	response->status = status;
	response->content_type = "application/json";
	buf_reset(&response->body);
	(void)buf_printf(&response->body, "{\"error\": \"");
	for (; *text != '\0'; text++) {
		if (*text == '"' || *text == '\\')
			(void)buf_append_u8(&response->body, '\\');
		if ((unsigned char)*text < 0x20)
			(void)buf_printf(&response->body, "\\u%04x", (unsigned char)*text);
		else
			(void)buf_append_u8(&response->body, (uint8_t)*text);
	}
	(void)buf_printf(&response->body, "\"}\n");
}

static void on_drained(uv_shutdown_t *shutdown, int status)
{
	struct connection *connection = shutdown->data;

	if (status < 0)
		end(connection);
}

static void on_written(uv_write_t *write, int status)
{
	struct connection *connection = write->data;

	if (connection->closing)
		return;
	if (status < 0) {
		end(connection);
		return;
	}
	buf_reset(&connection->response.body);
	if (connection->keep_alive) {
		http_parse_next(&connection->parse);
		enter(connection, READING);
		go_on(connection);
		return;
	}
	enter(connection, DRAINING);
	connection->ahead_len = 0;
	connection->shutdown.data = connection;
	if (uv_shutdown(&connection->shutdown, &connection->stream.stream, on_drained) < 0)
		end(connection);
	else
		go_on(connection);
}

/* Writes the response. When there is no memory for one, the status alone still goes out. */
static void respond(struct connection *connection, bool with_body)
{
	struct http_response *response = &connection->response;
	uv_buf_t parts[2];
	int len;

	(void)uv_read_stop(&connection->stream.stream);
	if (response->body.failed) {
		buf_reset(&response->body);
		response->status = 503;
	}
	if (response->status == 405 && response->allow == NULL)
		response->allow = METHODS;
	len = snprintf(connection->head, sizeof(connection->head),
		       "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n"
		       "Cache-Control: no-store\r\n"
		       "%s%s%sConnection: %s\r\n\r\n",
		       response->status, reason_of(response->status), response->content_type,
		       response->body.len, response->allow != NULL ? "Allow: " : "",
		       response->allow != NULL ? response->allow : "",
		       response->allow != NULL ? "\r\n" : "",
		       connection->keep_alive ? "keep-alive" : "close");
	assert(len > 0 && len < HEAD_MAX); /* all of it is our own text */
	parts[0] = uv_buf_init(connection->head, (unsigned)len);
	parts[1] = uv_buf_init((char *)response->body.data,
			       with_body ? (unsigned)response->body.len : 0);
	connection->write.data = connection;
	enter(connection, ANSWERING);
	if (uv_write(&connection->write, &connection->stream.stream, parts, 2, on_written) < 0)
		end(connection);
}

static void start_response(struct connection *connection)
{
	struct http_response *response = &connection->response;

	buf_reset(&response->body);
	response->body.limit = HTTP_ANSWER_MAX;
	response->status = 200;
	response->content_type = "application/json";
	response->allow = NULL;
}

/* A request that changes something may come from a program only, not from a page in a browser. */
static bool is_from_a_page(const struct connection *connection)
{
	const struct http_server *server = connection->server;
	const struct http_parse *parse = &connection->parse;

	return !server->socket.is_unix &&
	       (parse->has_origin || !http_host_is_ours(parse->host, server->host));
}

/* A complete request: refused here, or given to the handler. */
static void handle(struct connection *connection)
{
	static const uint8_t nothing[1];
	struct http_parse *parse = &connection->parse;
	struct http_response *response = &connection->response;
	const char *method = http_parse_method(parse);
	bool head = strcmp(method, "HEAD") == 0, post = strcmp(method, "POST") == 0;
	struct http_request request = { .method = post ? "POST" : "GET", .query = "" };
	char *query;

	connection->keep_alive = http_parse_keep_alive(parse);
	request.path = (const char *)parse->target.data;
	query = strchr((char *)parse->target.data, '?');
	if (query != NULL) {
		*query = '\0';
		request.query = query + 1;
	}
	request.body = parse->body.data != NULL ? parse->body.data : nothing;
	request.body_len = parse->body.len;
	if (!head && !post && strcmp(method, "GET") != 0)
		http_error(response, 405, "this server knows " METHODS);
	else if (request.path[0] != '/')
		http_error(response, 400, "the target must begin with a slash");
	else if (post && is_from_a_page(connection))
		http_error(response, 403,
			   "a POST must name this server in Host by number, as localhost or as in "
			   "http.listen, and have no Origin");
	else if (post && !parse->is_json)
		http_error(response, 415, "the body of a POST must be application/json");
	else
		connection->server->handler(connection->server->owner, &request, response);
	respond(connection, !head);
}

/* ---- reading ---- */

/* Nothing else is being written then. What does not fit is not waited for: it would go on by itself. */
static void tell_to_go_on(struct connection *connection)
{
	static char word[] = "HTTP/1.1 100 Continue\r\n\r\n";
	uv_buf_t buffer = uv_buf_init(word, sizeof(word) - 1);

	(void)uv_try_write(&connection->stream.stream, &buffer, 1);
}

/* What was read: to the parser, until a request is complete. */
static void take(struct connection *connection)
{
	struct http_parse *parse = &connection->parse;
	struct err err;
	size_t used;
	int rc;

	rc = http_parse_feed(parse, connection->ahead, connection->ahead_len, &used, &err);
	if (rc != RC_OK) {
		start_response(connection);
		connection->keep_alive = false;
		http_error(&connection->response, http_parse_refusal(parse), err.text);
		respond(connection, true);
		return;
	}
	connection->ahead_len -= used;
	memmove(connection->ahead, connection->ahead + used, connection->ahead_len);
	if (parse->complete) {
		start_response(connection);
		handle(connection);
	} else if (http_parse_is_awaiting_word(parse)) {
		tell_to_go_on(connection);
	}
}

static void on_buffer(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer)
{
	struct connection *connection = handle->data;

	(void)suggested;
	*buffer = uv_buf_init((char *)connection->ahead, sizeof(connection->ahead));
}

static void on_read(uv_stream_t *stream, ssize_t len, const uv_buf_t *buffer)
{
	struct connection *connection = stream->data;

	(void)buffer;
	if (len < 0) {
		end(connection);
	} else if (len > 0 && connection->state == READING) {
		connection->ahead_len = (size_t)len;
		take(connection);
	}
}

/* First what was sent ahead, then the socket. */
static void go_on(struct connection *connection)
{
	if (connection->ahead_len > 0)
		take(connection);
	if (!connection->closing && connection->state != ANSWERING &&
	    uv_read_start(&connection->stream.stream, on_buffer, on_read) < 0)
		end(connection);
}

/* ---- accepting ---- */

static int init_stream(uv_loop_t *loop, union stream *stream, bool is_unix)
{
	return is_unix ? uv_pipe_init(loop, &stream->pipe, 0) : uv_tcp_init(loop, &stream->tcp);
}

static struct connection *connection_create(struct http_server *server)
{
	struct connection *connection = mem_zalloc(1, sizeof(*connection));

	if (connection == NULL)
		return NULL;
	if (init_stream(server->loop, &connection->stream, server->socket.is_unix) < 0) {
		mem_free(connection);
		return NULL;
	}
	(void)uv_timer_init(server->loop, &connection->timer);
	connection->stream.handle.data = connection->timer.data = connection;
	connection->handles = 2;
	connection->server = server;
	http_parse_init(&connection->parse, HTTP_REQUEST, HTTP_BODY_MAX);
	start_response(connection);
	connection->next = server->connections;
	if (connection->next != NULL)
		connection->next->at = &connection->next;
	connection->at = &server->connections;
	server->connections = connection;
	server->open++;
	server->count++;
	return connection;
}

/* Ends one that has asked for nothing yet, if there is one beside the newest. */
static void make_room(struct http_server *server)
{
	struct connection *longest = NULL, *at;

	/* The newest is at the head of the list, so of two that are equal the older one is taken. */
	for (at = server->connections->next; at != NULL; at = at->next) {
		if (at->state == READING && (longest == NULL || at->since_ms <= longest->since_ms))
			longest = at;
	}
	if (longest != NULL)
		end(longest);
}

static void on_connection(uv_stream_t *listener, int status)
{
	struct http_server *server = listener->data;
	struct connection *connection;

	if (status < 0)
		return;
	connection = connection_create(server);
	if (connection == NULL)
		return; /* no memory: it waits in the backlog */
	if (uv_accept(listener, &connection->stream.stream) < 0 || server->count > REFUSED_MAX) {
		end(connection);
		return;
	}
	enter(connection, READING);
	if (server->count > HTTP_CONNECTIONS_MAX)
		make_room(server);
	if (server->count > HTTP_CONNECTIONS_MAX) {
		http_error(&connection->response, 503, "too many connections");
		respond(connection, true);
		return;
	}
	go_on(connection);
}

/* ---- listening ---- */

static int bind_listener(struct http_server *server)
{
	const struct sockaddr *address = (const struct sockaddr *)&server->socket.address;
	struct sockaddr_un un;
	mode_t before;
	int r;

	if (!server->socket.is_unix)
		return uv_tcp_bind(&server->listener.tcp, address, 0);
	memcpy(&un, address, sizeof(un));
	stale_socket_remove(un.sun_path);
	before = umask(
		0177); /* made with mode 0600: there is no moment at which others may connect */
	r = uv_pipe_bind(&server->listener.pipe, un.sun_path);
	(void)umask(before);
	return r;
}

static void on_listener_closed(uv_handle_t *handle)
{
	server_let_go(handle->data);
}

int http_listen(struct http_server **out, uv_loop_t *loop, const char *address,
		http_handler handler, void *owner, struct err *err)
{
	struct http_server *server = mem_zalloc(1, sizeof(*server));
	int rc, r;

	*out = NULL;
	if (server == NULL)
		return err_nomem(err, "an HTTP server");
	server->loop = loop;
	server->handler = handler;
	server->owner = owner;
	(void)snprintf(server->host, sizeof(server->host), "%s", address);
	rc = http_socket_of(&server->socket, address, true, err);
	if (rc == RC_OK && init_stream(loop, &server->listener, server->socket.is_unix) < 0)
		rc = err_set(err, RC_IO, "an HTTP listener could not be made");
	if (rc != RC_OK) {
		mem_free(server);
		return rc;
	}
	server->listener.handle.data = server;
	server->open = 1;
	r = bind_listener(server);
	if (r == 0)
		r = uv_listen(&server->listener.stream, BACKLOG, on_connection);
	if (r < 0) {
		(void)http_socket_refused(&server->socket, r, err);
		http_close(server, NULL);
		return err_prefix(err, "listening on %s: ", address);
	}
	*out = server;
	return RC_OK;
}

uint16_t http_port(const struct http_server *server)
{
	union {
		struct sockaddr_storage storage;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
	} name;
	int len = sizeof(name);

	if (server->socket.is_unix ||
	    uv_tcp_getsockname(&server->listener.tcp, (struct sockaddr *)&name.storage, &len) < 0)
		return 0;
	return ntohs(name.storage.ss_family == AF_INET ? name.v4.sin_port : name.v6.sin6_port);
}

void http_close(struct http_server *server, void (*on_closed)(void *owner))
{
	if (server == NULL || server->closing)
		return;
	server->closing = true;
	server->on_closed = on_closed;
	while (server->connections != NULL)
		end(server->connections);
	uv_close(&server->listener.handle, on_listener_closed);
}
