/*
 * Serves one NBD export over a unix socket (protocol: nbd_session.h), to a QEMU on this machine. All
 * clients see the same bytes, so one may use several connections; what is answered has happened for
 * all of them. Everything happens on the loop's thread, in the order in which a connection asks.
 */
#ifndef NET_NBD_SERVER_H
#define NET_NBD_SERVER_H

#include "net/nbd_session.h"

#include <uv.h>

#define NBD_CONNECTIONS_MAX 16 /* QEMU opens as many at most where a server allows several */

struct nbd_server;

/* Ranges are within the export. NBD_OK, or what the client is told. Must not close the server. */
struct nbd_server_ops {
	enum nbd_error (*read)(void *owner, uint64_t offset, uint8_t *to, uint32_t len);
	enum nbd_error (*write)(void *owner, uint64_t offset, const uint8_t *data, uint32_t len);
	/* They read as zeroes afterwards; `hole`: no room has to be kept for them. */
	enum nbd_error (*zero)(void *owner, uint64_t offset, uint32_t len, bool hole);
	/* What was written is as safe as it can be made. Also after a request with FUA. */
	enum nbd_error (*flush)(void *owner);
	/* How many bytes from there, of at most `len` and at least 1, are alike: enum nbd_extent_flags. */
	uint32_t (*extent)(void *owner, uint64_t offset, uint32_t len, uint32_t *flags);
	/*
	 * The client that matters, by its connection's number from 1 on: the oldest that has changed the export, until
	 * then the oldest that came to its requests. `fd` -1: it has ended, and there is no other. May be NULL.
	 */
	void (*connection)(void *owner, unsigned number, int fd);
};

/* The socket file is made with mode 0600; one that nobody listens on is replaced. */
int nbd_server_open(struct nbd_server **server, uv_loop_t *loop, const char *path,
		    const struct nbd_export *export, const struct nbd_server_ops *ops, void *owner,
		    struct err *err);
unsigned nbd_server_clients(const struct nbd_server *server);

/* Ends all connections and removes the socket file; frees, then calls on_closed (may be NULL). */
void nbd_server_close(struct nbd_server *server, void (*on_closed)(void *owner));

#endif
