/*
 * Inside of nbd_client.h: the connection (nbd_client_socket.c), the handshake (nbd_client_open.c), requests and
 * replies (nbd_client.c).
 */
#ifndef NET_NBD_CLIENT_INTERNAL_H
#define NET_NBD_CLIENT_INTERNAL_H

#include "net/nbd_client.h"
#include "net/nbd_format.h"

/* A request without its whole answer. */
struct nbd_open {
	bool used;
	enum nbd_command command;
	uint64_t cookie, offset;
	uint32_t length;
	uint8_t *to;   /* of READ */
	uint32_t done; /* bytes of it that have come */
};

#define NBD_CLIENT_REPLY 16 /* of a simple one; the head of a chunk has 4 more */

struct nbd_client {
	int fd;
	uint32_t timeout_ms;
	const atomic_bool *cancel;
	uint64_t bytes;
	uint16_t flags; /* enum nbd_transmission_flags */
	bool structured, has_context;
	uint32_t context; /* "base:allocation" */
	uint64_t cookie;  /* of the last request */
	struct nbd_open open[NBD_CLIENT_OPEN_MAX];
	size_t nopen;
	uint8_t head[NBD_CLIENT_REPLY]; /* of a reply, as far as it has come */
	size_t head_len;
	struct err why; /* the first error; RC_OK: none */
	bool ended;	/* the server has closed it */
	bool lost;	/* what comes next is no reply's beginning */
	/* Of BLOCK_STATUS: what its reply tells. */
	void (*data)(void *owner, uint64_t offset, uint64_t len);
	void *owner;
	uint32_t told; /* bytes about which it has told */
};

/* All of them, or an error. */
int nbd_client_send(struct nbd_client *client, const void *data, size_t len, struct err *err);
int nbd_client_receive(struct nbd_client *client, void *to, size_t len, struct err *err);
/* The same of a reply's beginning: what has come of it is kept when the rest does not. */
int nbd_client_receive_head(struct nbd_client *client, struct err *err);
/* At least `len` bytes have come, or the connection has ended: receiving them does not wait. */
bool nbd_client_has(const struct nbd_client *client, size_t len);

int nbd_client_handshake(struct nbd_client *client, const char *name, struct err *err);

#endif
