#include "net/nbd_client_internal.h"

#include "appliance/base/clock.h"
#include "appliance/base/mem.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define SLICE_MS 100 /* between looks at `cancel` */

static bool is_cancelled(const struct nbd_client *client)
{
	return client->cancel != NULL && atomic_load(client->cancel);
}

/* Until the socket is ready for `events`. */
static int wait_for(const struct nbd_client *client, short events, struct err *err)
{
	const uint64_t until_ns = clock_now_ns() + client->timeout_ms * CLOCK_NS_PER_MS;
	struct pollfd poll_fd = { .fd = client->fd, .events = events };
	int r;

	do {
		if (is_cancelled(client))
			return err_set(err, RC_CANCELLED, "given up");
		r = poll(&poll_fd, 1, SLICE_MS);
		if (r > 0)
			return RC_OK;
		if (r < 0 && errno != EINTR)
			return err_system(err, errno, "poll");
	} while (clock_now_ns() < until_ns);
	return err_set(err, RC_TIMEOUT, "no answer for %u ms", client->timeout_ms);
}

static int failed(int errnum, struct err *err)
{
	if (errnum == EPIPE || errnum == ECONNRESET)
		return err_set(err, RC_CLOSED, "the connection was closed");
	return err_system(err, errnum, "the connection");
}

int nbd_client_send(struct nbd_client *client, const void *data, size_t len, struct err *err)
{
	const uint8_t *from = data;
	ssize_t r;
	int rc = RC_OK;

	while (rc == RC_OK && len > 0) {
		r = send(client->fd, from, len, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (r >= 0) {
			from += r;
			len -= (size_t)r;
		} else if (errno == EAGAIN) {
			rc = wait_for(client, POLLOUT, err);
		} else if (errno != EINTR) {
			rc = failed(errno, err);
		}
	}
	return rc;
}

/* *done of them have come. */
static int receive(struct nbd_client *client, uint8_t *to, size_t len, size_t *done,
		   struct err *err)
{
	ssize_t r;
	int rc = RC_OK;

	while (rc == RC_OK && *done < len) {
		r = recv(client->fd, to + *done, len - *done, MSG_DONTWAIT);
		if (r > 0) {
			*done += (size_t)r;
		} else if (r == 0) {
			client->ended = true;
			rc = err_set(err, RC_CLOSED, "the connection was closed");
		} else if (errno == EAGAIN) {
			rc = wait_for(client, POLLIN, err);
		} else if (errno != EINTR) {
			client->ended = true;
			rc = failed(errno, err);
		}
	}
	return rc;
}

int nbd_client_receive(struct nbd_client *client, void *to, size_t len, struct err *err)
{
	size_t done = 0;

	return receive(client, to, len, &done, err);
}

int nbd_client_receive_head(struct nbd_client *client, struct err *err)
{
	return receive(client, client->head, sizeof(client->head), &client->head_len, err);
}

bool nbd_client_has(const struct nbd_client *client, size_t len)
{
	uint8_t room[64];
	const ssize_t r = recv(client->fd, room, len < sizeof(room) ? len : sizeof(room),
			       MSG_PEEK | MSG_DONTWAIT);

	return r < 0 ? errno != EAGAIN && errno != EINTR : r == 0 || (size_t)r >= len;
}

static int connect_to(int fd, const char *path, struct err *err)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	if (strlen(path) >= sizeof(address.sun_path))
		return err_set(err, RC_LIMIT, "%.200s: longer than a unix socket's path may be",
			       path);
	memcpy(address.sun_path, path, strlen(path));
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		return RC_OK;
	if (errno == ENOENT || errno == ECONNREFUSED)
		return err_set(err, RC_CLOSED, "%.200s: nobody listens there", path);
	return err_system(err, errno, "%.200s", path);
}

int nbd_client_open_on(struct nbd_client **out, int fd, const struct nbd_client_options *options,
		       struct err *err)
{
	struct nbd_client *client = mem_zalloc(1, sizeof(*client));
	int rc;

	if (client == NULL) {
		(void)close(fd);
		return err_nomem(err, "an NBD client");
	}
	client->fd = fd;
	client->timeout_ms = options->timeout_ms;
	client->cancel = options->cancel;
	rc = nbd_client_handshake(client, options->name, err);
	if (rc != RC_OK)
		nbd_client_close(client);
	else
		*out = client;
	return rc;
}

int nbd_client_open(struct nbd_client **client, const struct nbd_client_options *options,
		    struct err *err)
{
	const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int rc;

	if (fd < 0)
		return err_system(err, errno, "a socket");
	rc = connect_to(fd, options->socket, err);
	if (rc == RC_OK)
		return nbd_client_open_on(client, fd, options, err);
	(void)close(fd);
	return rc;
}

void nbd_client_close(struct nbd_client *client)
{
	if (client == NULL)
		return;
	(void)close(client->fd);
	mem_free(client);
}
