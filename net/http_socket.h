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

#endif
