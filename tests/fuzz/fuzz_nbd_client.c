/* What an NBD server may send to the client: handshake, then replies to a read, to writes, and to a question for extents. */
#include "appliance/base/buf.h"
#include "net/nbd_client.h"
#include "net/nbd_format.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SENT_MAX 65536
#define BYTES (UINT64_C(1) << 20)

static uint64_t at;

static void on_data(void *owner, uint64_t offset, uint64_t len)
{
	(void)owner;
	CHECK(offset >= at && len > 0 && offset <= BYTES && len <= BYTES - offset);
	at = offset + len;
}

static void option(struct buf *out, enum nbd_option number, uint32_t kind, uint32_t len)
{
	(void)buf_append_be64(out, NBD_REPLY_MAGIC);
	(void)buf_append_be32(out, number);
	(void)buf_append_be32(out, kind);
	(void)buf_append_be32(out, len);
}

/* A handshake without fault, so that the rest is reached. */
static void open_well(struct buf *out)
{
	(void)buf_append_be64(out, NBD_MAGIC);
	(void)buf_append_be64(out, NBD_OPTION_MAGIC);
	(void)buf_append_be16(out, NBD_FIXED_NEWSTYLE);
	option(out, NBD_OPTION_STRUCTURED_REPLY, NBD_REPLY_ACK, 0);
	option(out, NBD_OPTION_SET_META_CONTEXT, NBD_REPLY_META_CONTEXT, 19);
	(void)buf_append_be32(out, 7);
	(void)buf_append(out, "base:allocation", 15);
	option(out, NBD_OPTION_SET_META_CONTEXT, NBD_REPLY_ACK, 0);
	option(out, NBD_OPTION_GO, NBD_REPLY_INFO, 12);
	(void)buf_append_be16(out, NBD_INFO_EXPORT);
	(void)buf_append_be64(out, BYTES);
	(void)buf_append_be16(out, NBD_HAS_FLAGS | NBD_SEND_FLUSH | NBD_SEND_WRITE_ZEROES);
	option(out, NBD_OPTION_GO, NBD_REPLY_ACK, 0);
}

/* In the order that the second byte says. */
static void use(struct nbd_client *client, unsigned order)
{
	uint8_t *room = malloc(4096);
	struct err err;
	int rc = RC_OK;

	CHECK(room != NULL);
	memset(room, 0, 4096);
	for (unsigned i = 0; rc == RC_OK && i < 4; i++, order /= 4) {
		at = 0;
		if (order % 4 == 0)
			rc = nbd_client_read(client, 4096, room, 4096, &err);
		else if (order % 4 == 1)
			rc = nbd_client_write(client, 0, room, 512, &err);
		else if (order % 4 == 2)
			rc = nbd_client_extents(client, 0, BYTES, on_data, NULL, &err);
		else
			rc = nbd_client_flush(client, &err) == RC_OK &&
					     nbd_client_is_flushing(client) ?
				     nbd_client_zero(client, 0, 4096, &err) :
				     nbd_client_settle(client, &err);
	}
	if (rc == RC_OK)
		(void)nbd_client_settle(client, &err);
	free(room);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct nbd_client_options options = { .name = "d", .timeout_ms = 1000 };
	struct buf sent = { .limit = 2 * SENT_MAX };
	struct nbd_client *client;
	struct err err;
	int fds[2];

	if (size < 2 || size > SENT_MAX || socketpair(AF_UNIX, SOCK_STREAM, 0, fds) != 0)
		return 0;
	if (data[0] % 4 != 0)
		open_well(&sent);
	(void)buf_append(&sent, data + 2, size - 2);
	CHECK(!sent.failed && send(fds[1], sent.data, sent.len, MSG_DONTWAIT) == (ssize_t)sent.len);
	(void)shutdown(fds[1], SHUT_WR);
	buf_free(&sent);
	if (nbd_client_open_on(&client, fds[0], &options, &err) == RC_OK) {
		CHECK(nbd_client_bytes(client) > 0);
		if (nbd_client_bytes(client) >= BYTES)
			use(client, data[1]);
		CHECK(nbd_client_is_quiet(client) || nbd_client_is_broken(client));
		nbd_client_close(client);
	}
	(void)close(fds[1]);
	return 0;
}
