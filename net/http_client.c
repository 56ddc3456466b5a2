/*
 * http_fetch(): connect, send, receive, with one deadline over all of it. The connection is used
 * once, so the server is asked to close it.
 */
#include "net/http.h"

#include "appliance/base/clock.h"
#include "net/address.h"
#include "net/http_parse.h"
#include "net/http_socket.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define REQUEST_MAX (HTTP_HEADERS_MAX + HTTP_BODY_MAX)
#define READ_BYTES ((size_t)8 << 10)

/* Waits for `events` until the deadline. */
static int wait_for(int fd, short events, uint64_t deadline_ns, struct err *err)
{
	struct pollfd poll_fd = { .fd = fd, .events = events };
	uint64_t now_ns;
	int r;

	for (;;) {
		now_ns = clock_now_ns();
		if (now_ns >= deadline_ns)
			return err_set(err, RC_TIMEOUT, "no answer in time");
		r = poll(&poll_fd, 1, (int)((deadline_ns - now_ns) / CLOCK_NS_PER_MS) + 1);
		if (r > 0)
			return RC_OK;
		if (r < 0 && errno != EINTR)
			return err_system(err, errno, "waiting");
	}
}

/* The connected socket in *fd, which is the caller's to close in any case (-1: none). */
static int open_connection(int *fd, const char *address, uint64_t deadline_ns, struct err *err)
{
	struct http_socket to;
	int rc, failure = 0;
	socklen_t len = sizeof(failure);

	*fd = -1;
	rc = http_socket_of(&to, address, false, err);
	if (rc != RC_OK)
		return rc;
	*fd = socket(to.address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (*fd < 0)
		return err_system(err, errno, "a socket");
	if (connect(*fd, (const struct sockaddr *)&to.address, to.len) == 0)
		return RC_OK;
	if (errno != EINPROGRESS)
		return err_system(err, errno, "connecting");
	rc = wait_for(*fd, POLLOUT, deadline_ns, err);
	if (rc != RC_OK)
		return rc;
	if (getsockopt(*fd, SOL_SOCKET, SO_ERROR, &failure, &len) < 0)
		failure = errno;
	return failure != 0 ? err_system(err, failure, "connecting") : RC_OK;
}

static int send_request(int fd, const struct buf *request, uint64_t deadline_ns, struct err *err)
{
	size_t sent = 0;
	ssize_t r;
	int rc;

	while (sent < request->len) {
		r = send(fd, request->data + sent, request->len - sent, MSG_NOSIGNAL);
		if (r >= 0) {
			sent += (size_t)r;
			continue;
		}
		if (errno == EPIPE || errno == ECONNRESET)
			return RC_OK; /* it answered before it heard all: that answer tells more */
		if (errno != EAGAIN && errno != EINTR)
			return err_system(err, errno, "sending");
		rc = wait_for(fd, POLLOUT, deadline_ns, err);
		if (rc != RC_OK)
			return rc;
	}
	return RC_OK;
}

/* All of one read, until a message is complete that is not a provisional one (100 Continue). */
static int take(struct http_parse *parse, const uint8_t *bytes, size_t len, struct err *err)
{
	size_t used = 0;
	int rc = RC_OK;

	while (len > 0 && rc == RC_OK && !parse->complete) {
		rc = http_parse_feed(parse, bytes, len, &used, err);
		bytes += used;
		len -= used;
		if (rc == RC_OK && parse->complete && http_parse_status(parse) < 200)
			http_parse_next(parse);
	}
	return rc;
}

static int receive_answer(int fd, struct http_parse *parse, uint64_t deadline_ns, struct err *err)
{
	uint8_t bytes[READ_BYTES];
	ssize_t r;
	int rc = RC_OK;

	while (rc == RC_OK && !parse->complete) {
		rc = wait_for(fd, POLLIN, deadline_ns, err);
		if (rc != RC_OK)
			return rc;
		r = recv(fd, bytes, sizeof(bytes), 0);
		if (r > 0) {
			rc = take(parse, bytes, (size_t)r, err);
		} else if (r == 0) {
			rc = http_parse_end(parse, err);
			if (rc == RC_OK && !parse->complete)
				rc = err_set(err, RC_CLOSED, "closed without an answer");
		} else if (errno != EAGAIN && errno != EINTR) {
			rc = err_system(err, errno, "receiving");
		}
	}
	return rc;
}

/* By number, whatever name it was found by: http_host.h. */
static void host_of(int fd, char host[ADDRESS_TEXT_MAX])
{
	struct sockaddr_storage peer = { .ss_family = AF_UNIX };
	socklen_t len = sizeof(peer);

	(void)getpeername(fd, (struct sockaddr *)&peer, &len);
	if (peer.ss_family == AF_UNIX)
		(void)snprintf(host, ADDRESS_TEXT_MAX, "localhost");
	else
		address_print(host, &peer);
}

static int print_request(struct buf *request, int fd, const char *path, const char *body,
			 struct err *err)
{
	char host[ADDRESS_TEXT_MAX];

	host_of(fd, host);
	request->limit = REQUEST_MAX;
	(void)buf_printf(
		request,
		"%s %s HTTP/1.1\r\nHost: %s\r\nAccept: application/json\r\nConnection: close\r\n",
		body != NULL ? "POST" : "GET", path, host);
	if (body != NULL)
		(void)buf_printf(request,
				 "Content-Type: application/json\r\nContent-Length: %zu\r\n",
				 strlen(body));
	(void)buf_printf(request, "\r\n%s", body != NULL ? body : "");
	return request->failed ?
		       err_set(err, RC_LIMIT, "a request that is too long, or no memory for it") :
		       RC_OK;
}

int http_fetch(const char *address, const char *path, const char *body, uint32_t timeout_ms,
	       int *status, struct buf *answer, struct err *err)
{
	uint64_t deadline_ns = clock_now_ns() + timeout_ms * CLOCK_NS_PER_MS;
	struct http_parse parse;
	struct buf request = { .limit = REQUEST_MAX };
	int rc, fd = -1;

	http_parse_init(&parse, HTTP_RESPONSE,
			answer->limit > 0 ? answer->limit : BUF_LIMIT_DEFAULT);
	rc = open_connection(&fd, address, deadline_ns, err);
	if (rc == RC_OK)
		rc = print_request(&request, fd, path, body, err);
	if (rc == RC_OK)
		rc = send_request(fd, &request, deadline_ns, err);
	if (rc == RC_OK)
		rc = receive_answer(fd, &parse, deadline_ns, err);
	if (rc == RC_OK) {
		*status = http_parse_status(&parse);
		if (!buf_append(answer, parse.body.data, parse.body.len))
			rc = err_nomem(err, "the answer");
	}
	if (fd >= 0)
		(void)close(fd);
	buf_free(&request);
	http_parse_free(&parse);
	return rc;
}
