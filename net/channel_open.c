/* How a channel begins: connecting or accepting, the socket's options, the first word of TLS. */
#include "net/channel_internal.h"

#include "appliance/base/mem.h"

#include <netinet/tcp.h>
#include <string.h>

/* Of Linux 6.15; where the C library does not know it yet. */
#ifndef TCP_RTO_MIN_US
#define TCP_RTO_MIN_US 45
#endif

static int start(struct channel *channel, struct err *err)
{
	struct sockaddr_storage peer;
	int len = sizeof(peer), lowat = CHANNEL_NOTSENT, r;
	unsigned timeout = channel->options.user_timeout_ms;
	int retransmit = (int)channel->options.retransmit_us;
	uv_os_fd_t fd;

	if (uv_tcp_getpeername(&channel->tcp, (struct sockaddr *)&peer, &len) == 0) {
		address_print(channel->address, &peer);
		channel->source = address_source(&peer);
	}
	/* These make it better; where the system has none of them it works without. */
	(void)uv_tcp_nodelay(&channel->tcp, 1);
	if (uv_fileno((uv_handle_t *)&channel->tcp, &fd) == 0) {
		(void)setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &lowat, sizeof(lowat));
		if (retransmit > 0)
			(void)setsockopt(fd, IPPROTO_TCP, TCP_RTO_MIN_US, &retransmit,
					 sizeof(retransmit));
		if (timeout > 0)
			(void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout,
					 sizeof(timeout));
	}
	r = uv_read_start((uv_stream_t *)&channel->tcp, channel_on_alloc, channel_on_read);
	if (r != 0)
		return err_set(err, RC_IO, "read: %s", uv_strerror(r));
	channel->state = CHANNEL_HANDSHAKE;
	return RC_OK;
}

static void on_connected(uv_connect_t *request, int status)
{
	struct channel *channel = request->data;
	struct err err;
	int rc = RC_OK;

	if (channel->state != CHANNEL_CONNECTING)
		return;
	if (status != 0)
		rc = err_set(&err, RC_CLOSED, "%s", uv_strerror(status));
	if (rc == RC_OK)
		rc = start(channel, &err);
	if (rc == RC_OK)
		rc = channel_handshake(channel, &err);
	if (rc == RC_OK)
		rc = channel_flush(channel, &err);
	if (rc != RC_OK && channel->state < CHANNEL_ENDING)
		channel_fail(channel, &err);
}

/* NULL on failure. */
static struct channel *create(uv_loop_t *loop, bool server, const struct channel_options *options,
			      struct err *err)
{
	struct channel *channel = mem_zalloc(1, sizeof(*channel));
	size_t i;
	int rc, r;

	if (channel == NULL) {
		(void)err_nomem(err, "connection");
		return NULL;
	}
	channel->input = mem_alloc(CHANNEL_INPUT);
	rc = channel->input != NULL ? RC_OK : err_nomem(err, "connection");
	if (rc == RC_OK)
		rc = server || options->server_name == NULL ?
			     tls_create(&channel->tls, options->identity, server,
					options->peer_role, err) :
			     tls_create_client(&channel->tls, options->identity,
					       options->server_name, err);
	r = rc == RC_OK ? uv_tcp_init(loop, &channel->tcp) : 0;
	if (r != 0)
		rc = err_set(err, RC_IO, "socket: %s", uv_strerror(r));
	if (rc != RC_OK) {
		tls_destroy(channel->tls);
		mem_free(channel->input);
		mem_free(channel);
		return NULL;
	}
	(void)uv_timer_init(loop, &channel->linger);
	(void)uv_idle_init(loop, &channel->wake);
	channel->handles = 3;
	channel->options = *options;
	channel->tcp.data = channel->linger.data = channel->wake.data = channel;
	channel->connect.data = channel->shutdown.data = channel;
	for (i = 0; i < 2; i++) {
		channel->chunks[i].channel = channel;
		channel->chunks[i].request.data = &channel->chunks[i];
		channel->chunks[i].data.limit = TLS_OUTPUT_MAX;
	}
	return channel;
}

int channel_connect(struct channel **channel, uv_loop_t *loop, const struct sockaddr_storage *to,
		    const struct channel_options *options, const struct channel_ops *ops,
		    void *owner, struct err *err)
{
	struct channel *made = create(loop, false, options, err);
	int r;

	if (made == NULL)
		return (int)err->code;
	address_print(made->address, to);
	r = uv_tcp_connect(&made->connect, &made->tcp, (const struct sockaddr *)to, on_connected);
	if (r != 0) {
		channel_close(made);
		return err_set(err, RC_IO, "%s: connect: %s", made->address, uv_strerror(r));
	}
	made->ops = ops;
	made->owner = owner;
	*channel = made;
	return RC_OK;
}

int channel_accept(struct channel **channel, uv_stream_t *listener,
		   const struct channel_options *options, const struct channel_ops *ops,
		   void *owner, struct err *err)
{
	struct channel *made = create(listener->loop, true, options, err);
	int rc = RC_OK, r;

	if (made == NULL)
		return (int)err->code;
	r = uv_accept(listener, (uv_stream_t *)&made->tcp);
	if (r != 0)
		rc = err_set(err, RC_IO, "accept: %s", uv_strerror(r));
	if (rc == RC_OK)
		rc = start(made, err);
	if (rc != RC_OK) {
		channel_close(made);
		return rc;
	}
	made->ops = ops;
	made->owner = owner;
	*channel = made;
	return RC_OK;
}

/* ---- what the socket knows ---- */

bool channel_addresses(const struct channel *channel, struct sockaddr_storage *own,
		       struct sockaddr_storage *peer)
{
	int own_len = sizeof(*own), peer_len = sizeof(*peer);

	memset(own, 0, sizeof(*own));
	memset(peer, 0, sizeof(*peer));
	return uv_tcp_getsockname(&channel->tcp, (struct sockaddr *)own, &own_len) == 0 &&
	       uv_tcp_getpeername(&channel->tcp, (struct sockaddr *)peer, &peer_len) == 0;
}

bool channel_is_stuck(const struct channel *channel)
{
	struct tcp_info info = { 0 };
	socklen_t len = sizeof(info);
	uv_os_fd_t fd;

	return uv_fileno((const uv_handle_t *)&channel->tcp, &fd) == 0 &&
	       getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) == 0 && info.tcpi_unacked > 0 &&
	       info.tcpi_retransmits > 0;
}
