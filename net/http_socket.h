/*
 * The addresses of http.h as socket addresses, for the server and the client alike.
 */
#ifndef NET_HTTP_SOCKET_H
#define NET_HTTP_SOCKET_H

#include "appliance/base/err.h"

#include <stdbool.h>
#include <sys/socket.h>

struct http_socket {
	struct sockaddr_storage address;
	socklen_t len;
	bool is_unix;
};

/*
 * Resolves names, which may block. RC_INVALID: not an address; RC_IO: a name that cannot be
 * resolved.
 */
int http_socket_of(struct http_socket *to, const char *text, bool any_port, struct err *err);

/* Only processes of this machine reach it: a unix socket, or an address that is the machine itself. */
bool http_socket_is_local(const char *text);

/*
 * Why it cannot be listened on, as `r`, libuv's code, has it; for a unix socket with what is wrong
 * with its directory, and the remedy. Sets and returns RC_IO.
 */
int http_socket_refused(const struct http_socket *socket, int r, struct err *err);

#endif
