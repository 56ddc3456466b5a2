/*
 * Theory of operation
 *
 * What comes is read right into its session (uv_read_start() asks where to), and each request is
 * answered before the next one is looked at. A reply that the socket does not take at once is sent when
 * it does; until then nothing of that client is read or looked at: so there is one reply to send at a
 * time, bounded by what one request may ask for.
 *
 * A guest's synced write waits for this: of a request that comes whole it is a read and a write.
 */
#include "net/nbd_server.h"

#include "appliance/base/log.h"
#include "appliance/base/mem.h"
#include "net/stale_socket.h"

#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>

#define REPLIES_MAX (NBD_PAYLOAD_MAX + 4096) /* the largest READ, and what was refused before it */
#define REPLY_KEPT_MAX 4096
#define EXTENTS_MAX 256 /* in one reply; a client asks on from there */
#define BACKLOG 16

struct client {
	struct client *next;
	struct nbd_server *server;
	uv_pipe_t pipe;
	uv_write_t write;
	struct nbd_session session;
	struct buf sending;
	unsigned number; /* of all connections; 0: it was not taken */
	bool writes;	 /* it has changed the export */
	bool closing;
};

struct nbd_server {
	uv_loop_t *loop;
	uv_pipe_t listener;
	struct nbd_export export;
	const struct nbd_server_ops *ops;
	void *owner;
	char path[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
	struct client *clients; /* the newest first */
	struct client *main;	/* told by ops->connection; NULL: none */
	unsigned count, accepted;
	bool closing, listener_closed;
	void (*on_closed)(void *owner);
};

static bool send_replies(struct client *client);

/* ---- ends ----------------------------------------------------------------------------------- */

static void free_if_done(struct nbd_server *server)
{
	void (*on_closed)(void *) = server->on_closed;
	void *owner = server->owner;

	if (!server->closing || !server->listener_closed || server->clients != NULL)
		return;
	mem_free(server);
	if (on_closed != NULL)
		on_closed(owner);
}

static void on_client_closed(uv_handle_t *handle)
{
	struct client *client = handle->data, **at = &client->server->clients;
	struct nbd_server *server = client->server;

	while (*at != client)
		at = &(*at)->next;
	*at = client->next;
	server->count--;
	nbd_session_free(&client->session);
	buf_free(&client->sending);
	mem_free(client);
	free_if_done(server);
}

/* Whoever connects and asks for nothing, or goes again, is not taken for the one whose requests matter. */
static void choose(struct nbd_server *server)
{
	const unsigned before = server->main != NULL ? server->main->number : 0;
	struct client *client, *best = NULL;
	int fd = -1;

	for (client = server->clients; client != NULL; client = client->next) {
		if (!client->closing && client->session.state == NBD_SERVING &&
		    (best == NULL || client->writes || !best->writes))
			best = client;
	}
	if (best == server->main)
		return;
	server->main = best;
	if (best != NULL)
		(void)uv_fileno((const uv_handle_t *)&best->pipe, &fd);
	if (server->ops->connection != NULL)
		server->ops->connection(server->owner, best != NULL ? best->number : before, fd);
}

static void end(struct client *client)
{
	if (client->closing)
		return;
	client->closing = true;
	choose(client->server); /* while its number may still be told */
	uv_close((uv_handle_t *)&client->pipe, on_client_closed);
}

/* ---- requests ------------------------------------------------------------------------------- */

static void answer_read(struct client *client, const struct nbd_request *request)
{
	struct nbd_session *session = &client->session;
	struct nbd_server *server = client->server;
	uint8_t *data = mem_alloc(request->length);
	enum nbd_error error = NBD_ENOMEM;

	if (data != NULL)
		error = server->ops->read(server->owner, request->offset, data, request->length);
	if (error == NBD_OK)
		nbd_put_data(&session->out, session->structured, request->cookie, request->offset,
			     data, request->length);
	else
		nbd_put_error(&session->out, session->structured, request->cookie, error);
	mem_free(data);
}

static void answer_extents(struct client *client, const struct nbd_request *request)
{
	const struct nbd_server *server = client->server;
	const size_t most = (request->flags & NBD_REQ_ONE) != 0 ? 1 : EXTENTS_MAX;
	struct nbd_extent extents[EXTENTS_MAX];
	uint32_t done = 0;
	size_t count;

	for (count = 0; count < most && done < request->length; count++) {
		extents[count].length =
			server->ops->extent(server->owner, request->offset + done,
					    request->length - done, &extents[count].flags);
		done += extents[count].length;
	}
	nbd_put_extents(&client->session.out, request->cookie, NBD_CONTEXT_ALLOCATION, extents,
			count);
}

static enum nbd_error change(const struct nbd_server *server, const struct nbd_request *request)
{
	enum nbd_error error = NBD_OK;

	if (request->command == NBD_WRITE)
		error = server->ops->write(server->owner, request->offset, request->data,
					   request->length);
	else if (request->command != NBD_FLUSH)
		error = server->ops->zero(server->owner, request->offset, request->length,
					  (request->flags & NBD_NO_HOLE) == 0);
	if (error == NBD_OK && (request->command == NBD_FLUSH || (request->flags & NBD_FUA) != 0))
		error = server->ops->flush(server->owner);
	return error;
}

static void answer(struct client *client, const struct nbd_request *request)
{
	enum nbd_error error;

	if (request->command == NBD_READ) {
		answer_read(client, request);
	} else if (request->command == NBD_BLOCK_STATUS) {
		answer_extents(client, request);
	} else {
		if (!client->writes) {
			client->writes = true;
			choose(client->server);
		}
		error = change(client->server, request);
		if (error == NBD_OK)
			nbd_put_done(&client->session.out, request->cookie);
		else
			nbd_put_error(&client->session.out, false, request->cookie, error);
	}
}

/* ---- bytes ---------------------------------------------------------------------------------- */

static void give_space(uv_handle_t *handle, size_t suggested, uv_buf_t *to)
{
	struct client *client = handle->data;
	size_t room;

	(void)suggested;
	to->base = (char *)nbd_session_space(&client->session, &room);
	to->len = to->base != NULL ? room : 0; /* none: on_read() is told so */
}

/* Until there is no whole request any more, or a reply has to wait. */
static void serve(struct client *client)
{
	const struct nbd_request *request;
	struct err err;

	do {
		if (nbd_session_next(&client->session, &request, &err) != RC_OK)
			log_warn("nbd", "%s: %s", client->server->path, err.text);
		else if (request != NULL)
			answer(client, request);
		if (client->server->main == NULL)
			choose(client->server);
		if (client->session.out.failed) /* no memory for what was asked */
			client->session.state = NBD_ENDED;
	} while (send_replies(client) && request != NULL);
}

static void on_read(uv_stream_t *stream, ssize_t got, const uv_buf_t *from)
{
	struct client *client = stream->data;

	(void)from;
	if (got < 0) {
		end(client);
		return;
	}
	if (got == 0)
		return;
	nbd_session_filled(&client->session, (size_t)got);
	serve(client);
}

static void on_sent(uv_write_t *write, int status)
{
	struct client *client = write->data;

	buf_free(&client->sending);
	if (client->closing)
		return;
	if (status != 0 || client->session.state == NBD_ENDED ||
	    uv_read_start((uv_stream_t *)&client->pipe, give_space, on_read) != 0)
		end(client);
	else
		serve(client);
}

/* What is left from `at` on. */
static void send_rest(struct client *client, size_t at)
{
	uv_buf_t piece;

	(void)uv_read_stop((uv_stream_t *)&client->pipe);
	client->sending = client->session.out;
	client->session.out = (struct buf){ .limit = REPLIES_MAX };
	piece = uv_buf_init((char *)client->sending.data + at,
			    (unsigned)(client->sending.len - at));
	client->write.data = client;
	if (uv_write(&client->write, (uv_stream_t *)&client->pipe, &piece, 1, on_sent) != 0)
		end(client);
}

/* True: all of it has gone, and the client is served on. */
static bool send_replies(struct client *client)
{
	struct buf *out = &client->session.out;
	uv_buf_t piece = uv_buf_init((char *)out->data, (unsigned)out->len);
	int sent = 0;

	if (out->len > 0)
		sent = uv_try_write((uv_stream_t *)&client->pipe, &piece, 1);
	if (sent < (int)out->len && (sent > 0 || sent == UV_EAGAIN)) {
		send_rest(client, sent > 0 ? (size_t)sent : 0);
		return false;
	}
	if (sent < 0 || client->session.state == NBD_ENDED) {
		end(client);
		return false;
	}
	if (out->capacity > REPLY_KEPT_MAX)
		buf_free(out);
	else
		buf_reset(out);
	return true;
}

/* ---- clients -------------------------------------------------------------------------------- */

static struct client *client_create(struct nbd_server *server)
{
	struct client *client = mem_zalloc(1, sizeof(*client));
	struct err err;

	if (client == NULL)
		return NULL;
	if (nbd_session_init(&client->session, &server->export, REPLIES_MAX, &err) != RC_OK) {
		nbd_session_free(&client->session);
		mem_free(client);
		return NULL;
	}
	client->server = server;
	(void)uv_pipe_init(server->loop, &client->pipe, 0);
	client->pipe.data = client;
	client->next = server->clients;
	server->clients = client;
	server->count++;
	return client;
}

static void begin(struct client *client)
{
	if (uv_read_start((uv_stream_t *)&client->pipe, give_space, on_read) != 0) {
		end(client);
		return;
	}
	client->number = ++client->server->accepted;
	(void)send_replies(client);
}

static void on_connection(uv_stream_t *listener, int status)
{
	struct nbd_server *server = listener->data;
	struct client *client = status == 0 ? client_create(server) : NULL;

	if (client == NULL)
		return; /* no memory: it waits in the backlog */
	if (uv_accept(listener, (uv_stream_t *)&client->pipe) != 0 ||
	    server->count > NBD_CONNECTIONS_MAX)
		end(client);
	else
		begin(client);
}

/* ---- life ----------------------------------------------------------------------------------- */

static int listen_at(struct nbd_server *server, struct err *err)
{
	mode_t before;
	int r;

	stale_socket_remove(server->path);
	before = umask(0177); /* there is no moment at which others may connect */
	r = uv_pipe_bind(&server->listener, server->path);
	(void)umask(before);
	if (r == 0)
		r = uv_listen((uv_stream_t *)&server->listener, BACKLOG, on_connection);
	return r == 0 ? RC_OK : err_set(err, RC_IO, "%s: %s", server->path, uv_strerror(r));
}

static void on_listener_closed(uv_handle_t *handle)
{
	struct nbd_server *server = handle->data;

	server->listener_closed = true;
	free_if_done(server);
}

int nbd_server_open(struct nbd_server **out, uv_loop_t *loop, const char *path,
		    const struct nbd_export *export, const struct nbd_server_ops *ops, void *owner,
		    struct err *err)
{
	struct nbd_server *server;
	int rc;

	if (strlen(path) >= sizeof(server->path))
		return err_set(err, RC_INVALID, "%s: a socket's path has at most %zu bytes", path,
			       sizeof(server->path) - 1);
	server = mem_zalloc(1, sizeof(*server));
	if (server == NULL)
		return err_nomem(err, "an NBD server");
	server->loop = loop;
	server->export = *export;
	server->ops = ops;
	server->owner = owner;
	memcpy(server->path, path, strlen(path) + 1);
	(void)uv_pipe_init(loop, &server->listener, 0);
	server->listener.data = server;
	rc = listen_at(server, err);
	if (rc != RC_OK) {
		nbd_server_close(server, NULL);
		return rc;
	}
	*out = server;
	return RC_OK;
}

unsigned nbd_server_clients(const struct nbd_server *server)
{
	return server->count;
}

void nbd_server_close(struct nbd_server *server, void (*on_closed)(void *owner))
{
	struct client *client;

	server->closing = true;
	server->on_closed = on_closed;
	for (client = server->clients; client != NULL; client = client->next)
		end(client);
	uv_close((uv_handle_t *)&server->listener, on_listener_closed); /* removes the file */
}
