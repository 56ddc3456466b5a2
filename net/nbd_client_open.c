/*
 * The handshake: structured replies, then the context "base:allocation", then the export. A server that has none
 * of the first two is one that does not tell what of it is zero.
 */
#include "net/nbd_client_internal.h"

#include "appliance/base/buf.h"
#include "appliance/base/bytes.h"

#include <string.h>

#define CONTEXT "base:allocation"
#define GREETING_BYTES 18
#define REPLY_HEADER 20
#define REPLY_MAX 4160 /* a context's name or a message, of at most 4096 bytes, and numbers */
#define REPLIES_MAX 32 /* to one option: QEMU sends 4 */
#define NAME_MAX_BYTES 255
#define WORDS_MAX 200

struct reply {
	uint32_t option, kind, len;
	uint8_t data[REPLY_MAX];
};

static int send_option(struct nbd_client *client, enum nbd_option option, const void *data,
		       size_t len, struct err *err)
{
	struct buf out = { 0 };
	int rc;

	(void)buf_append_be64(&out, NBD_OPTION_MAGIC);
	(void)buf_append_be32(&out, option);
	(void)buf_append_be32(&out, (uint32_t)len);
	rc = buf_append(&out, data, len) ? nbd_client_send(client, out.data, out.len, err) :
					   err_nomem(err, "an NBD option");
	buf_free(&out);
	return rc;
}

static int receive_reply(struct nbd_client *client, enum nbd_option option, struct reply *reply,
			 struct err *err)
{
	uint8_t head[REPLY_HEADER];
	int rc = nbd_client_receive(client, head, sizeof(head), err);

	if (rc != RC_OK)
		return rc;
	reply->option = bytes_get_be32(head + 8);
	reply->kind = bytes_get_be32(head + 12);
	reply->len = bytes_get_be32(head + 16);
	if (bytes_get_be64(head) != NBD_REPLY_MAGIC || reply->option != (uint32_t)option)
		return err_set(err, RC_INVALID, "what answers there is no NBD server");
	if (reply->len > sizeof(reply->data))
		return err_set(err, RC_LIMIT, "a reply of %u bytes to an option", reply->len);
	return nbd_client_receive(client, reply->data, reply->len, err);
}

/* What the server says to a refusal, as far as it can be printed. */
static int refused(const struct reply *reply, const char *what, struct err *err)
{
	char words[WORDS_MAX + 1];
	size_t len = reply->len < WORDS_MAX ? reply->len : WORDS_MAX, i;

	for (i = 0; i < len; i++)
		words[i] = (char)(reply->data[i] >= ' ' && reply->data[i] <= '~' ? reply->data[i] :
										   '?');
	words[len] = '\0';
	return err_set(err, RC_REFUSED, "%s: refused (error %u)%s%s", what,
		       reply->kind & ~NBD_REPLY_ERROR, len > 0 ? ": " : "", words);
}

static void put_name(struct buf *out, const char *name)
{
	(void)buf_append_be32(out, (uint32_t)strlen(name));
	(void)buf_append(out, name, strlen(name));
}

/* Takes what comes before the ACK; false: it breaks the protocol. */
typedef bool (*take_reply)(struct nbd_client *client, const struct reply *reply);

/* *taken: ACK; else it was refused, and `reply` has that. */
static int ask(struct nbd_client *client, enum nbd_option option, const struct buf *data,
	       take_reply take, struct reply *reply, bool *taken, struct err *err)
{
	int rc = data->failed ? err_nomem(err, "an NBD option") :
				send_option(client, option, data->data, data->len, err);

	*taken = false;
	for (unsigned i = 0; rc == RC_OK && i < REPLIES_MAX; i++) {
		rc = receive_reply(client, option, reply, err);
		if (rc != RC_OK || (reply->kind & NBD_REPLY_ERROR) != 0)
			return rc;
		*taken = reply->kind == NBD_REPLY_ACK;
		if (*taken)
			return RC_OK;
		if (take == NULL || !take(client, reply))
			return err_set(err, RC_INVALID, "an NBD server with an answer of kind %u",
				       reply->kind);
	}
	return rc != RC_OK ? rc : err_set(err, RC_LIMIT, "an NBD server without an end");
}

static bool take_context(struct nbd_client *client, const struct reply *reply)
{
	const size_t len = strlen(CONTEXT);

	if (reply->kind != NBD_REPLY_META_CONTEXT || reply->len != 4 + len ||
	    memcmp(reply->data + 4, CONTEXT, len) != 0 || client->has_context)
		return false;
	client->has_context = true;
	client->context = bytes_get_be32(reply->data);
	return true;
}

static bool take_info(struct nbd_client *client, const struct reply *reply)
{
	if (reply->kind != NBD_REPLY_INFO || reply->len < 2)
		return false;
	if (bytes_get_be16(reply->data) != NBD_INFO_EXPORT)
		return true;
	if (reply->len != 12)
		return false;
	client->bytes = bytes_get_be64(reply->data + 2);
	client->flags = bytes_get_be16(reply->data + 10);
	return true;
}

static int ask_context(struct nbd_client *client, const char *name, struct reply *reply,
		       struct err *err)
{
	struct buf data = { 0 };
	bool taken;
	int rc = ask(client, NBD_OPTION_STRUCTURED_REPLY, &data, NULL, reply, &client->structured,
		     err);

	if (rc != RC_OK || !client->structured)
		return rc;
	put_name(&data, name);
	(void)buf_append_be32(&data, 1);
	put_name(&data, CONTEXT);
	rc = ask(client, NBD_OPTION_SET_META_CONTEXT, &data, take_context, reply, &taken, err);
	client->has_context = client->has_context && taken;
	buf_free(&data);
	return rc;
}

static int ask_export(struct nbd_client *client, const char *name, struct reply *reply,
		      struct err *err)
{
	const uint16_t needed = NBD_HAS_FLAGS | NBD_SEND_FLUSH | NBD_SEND_WRITE_ZEROES;
	struct buf data = { 0 };
	bool taken;
	int rc;

	put_name(&data, name);
	(void)buf_append_be16(&data, 0); /* nothing in particular is to be told */
	rc = ask(client, NBD_OPTION_GO, &data, take_info, reply, &taken, err);
	buf_free(&data);
	if (rc != RC_OK)
		return rc;
	if (!taken)
		return refused(reply, name, err);
	if ((client->flags & needed) != needed || (client->flags & NBD_READ_ONLY) != 0)
		return err_set(err, RC_UNSUPPORTED,
			       "%.64s: cannot be written to, flushed or zeroed (flags %#x)", name,
			       client->flags);
	if (client->bytes == 0 || client->bytes > INT64_MAX)
		return err_set(err, RC_INVALID, "%.64s: has no size", name);
	return RC_OK;
}

int nbd_client_handshake(struct nbd_client *client, const char *name, struct err *err)
{
	uint8_t greeting[GREETING_BYTES], flags[4];
	struct reply reply;
	int rc;

	if (strlen(name) > NAME_MAX_BYTES)
		return err_set(err, RC_LIMIT, "the name of an export of more than %d bytes",
			       NAME_MAX_BYTES);
	rc = nbd_client_receive(client, greeting, sizeof(greeting), err);
	if (rc != RC_OK)
		return rc;
	if (bytes_get_be64(greeting) != NBD_MAGIC ||
	    bytes_get_be64(greeting + 8) != NBD_OPTION_MAGIC ||
	    (bytes_get_be16(greeting + 16) & NBD_FIXED_NEWSTYLE) == 0)
		return err_set(err, RC_INVALID, "what answers there is no NBD server");
	bytes_put_be32(flags, NBD_FIXED_NEWSTYLE);
	rc = nbd_client_send(client, flags, sizeof(flags), err);
	if (rc == RC_OK)
		rc = ask_context(client, name, &reply, err);
	return rc == RC_OK ? ask_export(client, name, &reply, err) : rc;
}
