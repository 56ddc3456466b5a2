/*
 * Requests are sent at once and kept in a table until their reply is whole; replies come in any order and are
 * read when somebody waits. What is not answered takes a few bytes in the socket each, so the server is never held up by
 * us while we send.
 *
 * The first error is kept, and told to whoever asks for anything afterwards: it may be the answer to what nobody waits for. Replies
 * are read after it only for nbd_client_is_quiet(). A read, or a question for holes, is asked when nothing that changes the disk is
 * open, so no such reply writes into memory that the caller has taken back. A request that was not sent whole is not carried out.
 */
#include "net/nbd_client_internal.h"

#include "appliance/base/bytes.h"

#include <assert.h>
#include <inttypes.h>

#define ERROR_MAX 4102			/* a chunk's error and its message */
#define EXTENTS_MAX (UINT32_C(1) << 20) /* in one reply; QEMU sends an eighth of that at most */
#define EXTENTS_AT_ONCE 256
#define EXTENT_BYTES 8
#define STATUS_BYTES (UINT64_C(1) << 30) /* asked about at once */
#define CHUNK_DONE 1			 /* flag: the last one of its reply */

/* ---- requests -------------------------------------------------------------------------------- */

static int receive_reply(struct nbd_client *client, struct err *err);

static struct nbd_open *find(struct nbd_client *client, uint64_t cookie)
{
	for (size_t i = 0; i < NBD_CLIENT_OPEN_MAX; i++)
		if (client->open[i].used && client->open[i].cookie == cookie)
			return &client->open[i];
	return NULL;
}

static bool is_flushing(const struct nbd_client *client)
{
	for (size_t i = 0; i < NBD_CLIENT_OPEN_MAX; i++)
		if (client->open[i].used && client->open[i].command == NBD_FLUSH)
			return true;
	return false;
}

static struct nbd_open *free_place(struct nbd_client *client)
{
	size_t i = 0;

	while (client->open[i].used)
		i++;
	assert(i < NBD_CLIENT_OPEN_MAX);
	return &client->open[i];
}

static void close_open(struct nbd_client *client, struct nbd_open *open)
{
	open->used = false;
	client->nopen--;
}

static int check(const struct nbd_client *client, struct err *err)
{
	if (client->why.code != RC_OK)
		*err = client->why;
	return (int)client->why.code;
}

static int request(struct nbd_client *client, const struct nbd_open *wanted, const uint8_t *data,
		   uint64_t *cookie, struct err *err)
{
	uint8_t head[NBD_REQUEST_HEADER];
	struct nbd_open *open;
	int rc = check(client, err);

	assert(wanted->length <= NBD_CLIENT_PIECE || wanted->command == NBD_BLOCK_STATUS);
	while (rc == RC_OK && client->nopen == NBD_CLIENT_OPEN_MAX)
		rc = receive_reply(client, err);
	if (rc != RC_OK)
		return rc;
	open = free_place(client);
	*open = *wanted;
	open->used = true;
	open->cookie = *cookie = ++client->cookie;
	client->nopen++;
	bytes_put_be32(head, NBD_REQUEST_MAGIC);
	bytes_put_be16(head + 4, 0);
	bytes_put_be16(head + 6, (uint16_t)open->command);
	bytes_put_be64(head + 8, open->cookie);
	bytes_put_be64(head + 16, open->offset);
	bytes_put_be32(head + 24, open->length);
	rc = nbd_client_send(client, head, sizeof(head), err);
	if (rc == RC_OK && data != NULL)
		rc = nbd_client_send(client, data, open->length, err);
	if (rc != RC_OK) {
		close_open(client, open);
		client->why = *err;
	}
	return rc;
}

/* Until that one has its answer. */
static int await(struct nbd_client *client, uint64_t cookie, struct err *err)
{
	int rc = RC_OK;

	while (rc == RC_OK && find(client, cookie) != NULL)
		rc = receive_reply(client, err);
	return rc;
}

/* ---- replies --------------------------------------------------------------------------------- */

static const char *word_of(uint32_t error)
{
	switch (error) {
	case NBD_EIO:
		return "input/output error";
	case NBD_ENOMEM:
		return "out of memory";
	case NBD_EINVAL:
		return "invalid request";
	case NBD_ENOSPC:
		return "no space left";
	default:
		return "error";
	}
}

static int answered(struct nbd_client *client, struct nbd_open *open, uint32_t error,
		    struct err *err)
{
	static const char *const names[] = {
		[NBD_READ] = "reading",	  [NBD_WRITE] = "writing",
		[NBD_FLUSH] = "flushing", [NBD_WRITE_ZEROES] = "writing zeroes",
		[NBD_TRIM] = "trimming",  [NBD_BLOCK_STATUS] = "asking for holes",
	};

	close_open(client, open);
	client->lost = false;
	if (error != 0)
		return err_set(err, RC_IO, "%s: %s (%" PRIu32 ")", names[open->command],
			       word_of(error), error);
	if (open->command == NBD_READ && open->done != open->length)
		return err_set(err, RC_INVALID, "reading: %u bytes of %u came", open->done,
			       open->length);
	return RC_OK;
}

static int simple_reply(struct nbd_client *client, const uint8_t *head, struct err *err)
{
	struct nbd_open *open = find(client, bytes_get_be64(head + 8));
	const uint32_t error = bytes_get_be32(head + 4);
	int rc = RC_OK;

	if (open == NULL || open->command == NBD_BLOCK_STATUS ||
	    (open->command == NBD_READ && client->structured && error == 0))
		return err_set(err, RC_INVALID, "an answer to what was not asked");
	if (error == 0 && open->command == NBD_READ) {
		rc = nbd_client_receive(client, open->to, open->length, err);
		open->done = open->length;
	}
	return rc == RC_OK ? answered(client, open, error, err) : rc;
}

/* `len`: what is left of the chunk. */
static int data_chunk(struct nbd_client *client, struct nbd_open *open, bool hole, uint32_t len,
		      struct err *err)
{
	uint8_t head[12];
	const uint32_t head_len = hole ? 12 : 8;
	uint64_t offset;
	uint32_t bytes;
	int rc;

	if (open->command != NBD_READ || len < head_len || (hole && len != head_len))
		return err_set(err, RC_INVALID, "data that were not asked for");
	rc = nbd_client_receive(client, head, head_len, err);
	if (rc != RC_OK)
		return rc;
	offset = bytes_get_be64(head);
	bytes = hole ? bytes_get_be32(head + 8) : len - head_len;
	if (offset < open->offset || offset - open->offset > open->length ||
	    bytes > open->length - (offset - open->offset) || bytes > open->length - open->done)
		return err_set(err, RC_INVALID, "data that were not asked for");
	open->done += bytes;
	if (!hole)
		return nbd_client_receive(client, open->to + (offset - open->offset), bytes, err);
	for (uint32_t i = 0; i < bytes; i++)
		open->to[offset - open->offset + i] = 0;
	return RC_OK;
}

/* Told of each run that may hold something, up to the end of what was asked about. */
static int some_extents(struct nbd_client *client, struct nbd_open *open, const uint8_t *at,
			uint32_t count, struct err *err)
{
	for (uint32_t i = 0; i < count; i++, at += EXTENT_BYTES) {
		const uint32_t flags = bytes_get_be32(at + 4);
		uint32_t len = bytes_get_be32(at);

		if (len == 0)
			return err_set(err, RC_INVALID, "an extent of no bytes");
		len = len < open->length - open->done ? len : open->length - open->done;
		if ((flags & NBD_ZERO) == 0 && len > 0)
			client->data(client->owner, open->offset + open->done, len);
		open->done += len;
	}
	client->told = open->done;
	return RC_OK;
}

static int status_chunk(struct nbd_client *client, struct nbd_open *open, uint32_t len,
			struct err *err)
{
	uint8_t room[EXTENTS_AT_ONCE * EXTENT_BYTES];
	uint32_t left, part;
	int rc;

	if (open->command != NBD_BLOCK_STATUS || open->done > 0 || len < 4 + EXTENT_BYTES ||
	    (len - 4) % EXTENT_BYTES != 0 || len - 4 > EXTENTS_MAX * EXTENT_BYTES)
		return err_set(err, RC_INVALID, "extents of %" PRIu32 " bytes", len);
	rc = nbd_client_receive(client, room, 4, err);
	if (rc == RC_OK && bytes_get_be32(room) != client->context)
		return err_set(err, RC_INVALID, "extents of another context");
	for (left = (len - 4) / EXTENT_BYTES; rc == RC_OK && left > 0; left -= part) {
		part = left < EXTENTS_AT_ONCE ? left : EXTENTS_AT_ONCE;
		rc = nbd_client_receive(client, room, part * EXTENT_BYTES, err);
		if (rc == RC_OK)
			rc = some_extents(client, open, room, part, err);
	}
	return rc;
}

static int error_chunk(struct nbd_client *client, struct nbd_open *open, uint32_t len,
		       struct err *err)
{
	uint8_t room[ERROR_MAX];
	int rc;

	if (len < 6 || len > sizeof(room))
		return err_set(err, RC_INVALID, "an error of %" PRIu32 " bytes", len);
	rc = nbd_client_receive(client, room, len, err);
	if (rc != RC_OK)
		return rc;
	return answered(client, open, bytes_get_be32(room) != 0 ? bytes_get_be32(room) : NBD_EIO,
			err);
}

static int chunk(struct nbd_client *client, const uint8_t *head, struct err *err)
{
	struct nbd_open *open = find(client, bytes_get_be64(head + 8));
	const uint16_t flags = bytes_get_be16(head + 4), kind = bytes_get_be16(head + 6);
	uint8_t length[4];
	uint32_t len;
	int rc = nbd_client_receive(client, length, sizeof(length), err);

	if (rc != RC_OK)
		return rc;
	len = bytes_get_be32(length);
	if (open == NULL || !client->structured)
		return err_set(err, RC_INVALID, "an answer to what was not asked");
	if (kind == NBD_CHUNK_OFFSET_DATA || kind == NBD_CHUNK_OFFSET_HOLE)
		rc = data_chunk(client, open, kind == NBD_CHUNK_OFFSET_HOLE, len, err);
	else if (kind == NBD_CHUNK_BLOCK_STATUS)
		rc = status_chunk(client, open, len, err);
	else if ((kind & NBD_CHUNK_ERROR_BIT) != 0)
		return error_chunk(client, open, len, err);
	else if (kind != NBD_CHUNK_NONE || len != 0 || (flags & CHUNK_DONE) == 0)
		rc = err_set(err, RC_INVALID, "a chunk of kind %u with %u bytes", kind, len);
	return rc == RC_OK && (flags & CHUNK_DONE) != 0 ? answered(client, open, 0, err) : rc;
}

static int rest_of_reply(struct nbd_client *client, struct err *err)
{
	const uint32_t magic = bytes_get_be32(client->head);
	int rc;

	client->head_len = 0;
	client->lost = true; /* an error that is an answer excepted */
	if (magic == NBD_SIMPLE_MAGIC)
		rc = simple_reply(client, client->head, err);
	else if (magic == NBD_CHUNK_MAGIC)
		rc = chunk(client, client->head, err);
	else
		rc = err_set(err, RC_INVALID, "what answers there is no NBD server");
	client->lost = client->lost && rc != RC_OK;
	return rc;
}

static int receive_reply(struct nbd_client *client, struct err *err)
{
	int rc = nbd_client_receive_head(client, err);

	if (rc == RC_OK)
		rc = rest_of_reply(client, err);
	if (rc != RC_OK && client->why.code == RC_OK)
		client->why = *err;
	return rc;
}

static bool has_reply(const struct nbd_client *client)
{
	return nbd_client_has(client, sizeof(client->head) - client->head_len);
}

/* ---- for the caller -------------------------------------------------------------------------- */

uint64_t nbd_client_bytes(const struct nbd_client *client)
{
	return client->bytes;
}

/* All but a flush, which nobody waits for. */
int nbd_client_settle(struct nbd_client *client, struct err *err)
{
	int rc = check(client, err);

	while (rc == RC_OK && client->nopen > (is_flushing(client) ? 1 : 0))
		rc = receive_reply(client, err);
	return rc;
}

int nbd_client_read(struct nbd_client *client, uint64_t offset, uint8_t *to, size_t len,
		    struct err *err)
{
	struct nbd_open wanted = { .command = NBD_READ, .offset = offset, .length = (uint32_t)len };
	uint64_t cookie;
	int rc = nbd_client_settle(client, err);

	wanted.to = to;
	if (rc == RC_OK)
		rc = request(client, &wanted, NULL, &cookie, err);
	return rc == RC_OK ? await(client, cookie, err) : rc;
}

int nbd_client_write(struct nbd_client *client, uint64_t offset, const uint8_t *data, size_t len,
		     struct err *err)
{
	const struct nbd_open wanted = { .command = NBD_WRITE,
					 .offset = offset,
					 .length = (uint32_t)len };
	uint64_t cookie;

	return request(client, &wanted, data, &cookie, err);
}

int nbd_client_zero(struct nbd_client *client, uint64_t offset, size_t len, struct err *err)
{
	const struct nbd_open wanted = { .command = NBD_WRITE_ZEROES,
					 .offset = offset,
					 .length = (uint32_t)len };
	uint64_t cookie;

	return request(client, &wanted, NULL, &cookie, err);
}

int nbd_client_flush(struct nbd_client *client, struct err *err)
{
	const struct nbd_open wanted = { .command = NBD_FLUSH };
	uint64_t cookie;

	if (is_flushing(client))
		return err_set(err, RC_STATE, "a flush is not answered yet");
	return request(client, &wanted, NULL, &cookie, err);
}

bool nbd_client_is_flushing(struct nbd_client *client)
{
	struct err unsaid;

	while (client->why.code == RC_OK && is_flushing(client) && has_reply(client))
		(void)receive_reply(client, &unsaid); /* or it is broken */
	return is_flushing(client);
}

bool nbd_client_is_broken(const struct nbd_client *client)
{
	return client->why.code != RC_OK;
}

static bool is_changing(const struct nbd_client *client)
{
	for (size_t i = 0; i < NBD_CLIENT_OPEN_MAX; i++)
		if (client->open[i].used && (client->open[i].command == NBD_WRITE ||
					     client->open[i].command == NBD_WRITE_ZEROES))
			return true;
	return false;
}

bool nbd_client_is_quiet(struct nbd_client *client)
{
	struct err unsaid;

	while (!client->ended && !client->lost && is_changing(client) && has_reply(client))
		(void)receive_reply(client, &unsaid);
	return client->ended || !is_changing(client);
}

int nbd_client_extents(struct nbd_client *client, uint64_t offset, uint64_t len,
		       void (*data)(void *owner, uint64_t offset, uint64_t len), void *owner,
		       struct err *err)
{
	const uint64_t end = offset + len;
	struct nbd_open wanted = { .command = NBD_BLOCK_STATUS };
	uint64_t cookie;
	int rc = nbd_client_settle(client, err);

	if (rc == RC_OK && !client->has_context) {
		data(owner, offset, len);
		return RC_OK;
	}
	client->data = data;
	client->owner = owner;
	while (rc == RC_OK && offset < end) {
		wanted.offset = offset;
		wanted.length =
			(uint32_t)(end - offset < STATUS_BYTES ? end - offset : STATUS_BYTES);
		client->told = 0;
		rc = request(client, &wanted, NULL, &cookie, err);
		if (rc == RC_OK)
			rc = await(client, cookie, err);
		if (rc == RC_OK && client->told == 0)
			rc = err_set(err, RC_INVALID, "no extents");
		offset += client->told;
	}
	return rc;
}
