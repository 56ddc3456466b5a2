/*
 * A client of one NBD export behind a unix socket of this machine. It blocks, so it is for a thread that
 * may wait, and for one at a time.
 *
 * Writes are pipelined: nbd_client_write() and nbd_client_zero() come back when the request is on its way,
 * NBD_CLIENT_OPEN_MAX of them at most are not answered yet, and nbd_client_settle() waits for them. Ranges
 * that overlap need a settle between them. A read sees everything written before it.
 *
 * An error of any function is final, be it the server's answer or that it gave none for so long: what was
 * not settled before has happened or not, or will. All functions say that error from then on, but nbd_client_is_quiet(), which tells
 * that it will not any more; before that nothing is to be written there by another client. Then nbd_client_close().
 */
#ifndef NET_NBD_CLIENT_H
#define NET_NBD_CLIENT_H

#include "appliance/base/err.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NBD_CLIENT_OPEN_MAX 16 /* QEMU's server takes up no more of one client at once */

struct nbd_client;

struct nbd_client_options {
	const char *socket, *name; /* of the export */
	uint32_t timeout_ms;	   /* without a byte from the server, while something is awaited */
	const atomic_bool *cancel; /* RC_CANCELLED soon after it has become true; may be NULL */
};

/*
 * RC_CLOSED: nobody listens there. RC_UNSUPPORTED: what it exports cannot be written to, or not as needed
 * here (flush, zeroes). Else RC_REFUSED (its words), RC_INVALID, RC_TIMEOUT, RC_IO. `options` is used no more
 * afterwards, but `cancel`.
 */
int nbd_client_open(struct nbd_client **client, const struct nbd_client_options *options,
		    struct err *err);
/* The same on a connected stream socket, which becomes the client's also after a failure. */
int nbd_client_open_on(struct nbd_client **client, int fd, const struct nbd_client_options *options,
		       struct err *err);
void nbd_client_close(struct nbd_client *client); /* NULL is fine */

uint64_t nbd_client_bytes(const struct nbd_client *client);

/* Ranges are within the export; `len` at most NBD_CLIENT_PIECE. */
#define NBD_CLIENT_PIECE ((size_t)32 << 20)
int nbd_client_read(struct nbd_client *client, uint64_t offset, uint8_t *to, size_t len,
		    struct err *err);
int nbd_client_write(struct nbd_client *client, uint64_t offset, const uint8_t *data, size_t len,
		     struct err *err);
/* It reads as zeroes afterwards, and need not take any room. */
int nbd_client_zero(struct nbd_client *client, uint64_t offset, size_t len, struct err *err);
int nbd_client_settle(struct nbd_client *client, struct err *err);

/*
 * Asks that what was written becomes durable, and does not wait for that. RC_STATE while another one is not
 * answered. Whether one is: looks, without waiting. One that the server has refused is not any more, and has
 * made nothing durable: then nbd_client_is_broken(), as after every error.
 */
int nbd_client_flush(struct nbd_client *client, struct err *err);
bool nbd_client_is_flushing(struct nbd_client *client);
bool nbd_client_is_broken(const struct nbd_client *client);

/*
 * After an error: of all that the server was asked to change, each thing has its answer, or the server has ended the connection. Looks,
 * without waiting. It stays false after an answer that made no sense.
 */
bool nbd_client_is_quiet(struct nbd_client *client);

/*
 * Calls `data` for each run of bytes that may hold something, in order; of what is left out the server says
 * that it reads as zeroes. All of it is one run where the server does not tell.
 */
int nbd_client_extents(struct nbd_client *client, uint64_t offset, uint64_t len,
		       void (*data)(void *owner, uint64_t offset, uint64_t len), void *owner,
		       struct err *err);

#endif
