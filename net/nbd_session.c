/*
 * Theory of operation
 *
 * `in` begins with what is wanted now: the client's flags, an option's header, an option with its
 * data, a request's header, a WRITE with its data. When that many bytes are there, the step for the
 * state is taken, and says how many are wanted next. Up to NBD_READ_AHEAD bytes are read at once, so
 * most requests come whole, and what came behind one is moved to the front when it is done with. Of a longer
 * one just its rest is read: so that is never much.
 *
 * The data of a request that is refused are read all the same, or what follows could not be told
 * from them; so a length is only believed up to NBD_PAYLOAD_MAX.
 */
#include "net/nbd_session.h"

#include "appliance/base/bytes.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define CLIENT_FLAGS ((size_t)4)
#define ALLOCATION "base:allocation"
#define KEPT_MAX ((size_t)2 << 20) /* a buffer for what QEMU's mirror writes at once, 1 MiB */
#define OLD_PADDING 124		   /* zeroes after EXPORT_NAME's answer */
#define TRANSMISSION_FLAGS                                                                       \
	(NBD_HAS_FLAGS | NBD_SEND_FLUSH | NBD_SEND_FUA | NBD_SEND_TRIM | NBD_SEND_WRITE_ZEROES | \
	 NBD_SEND_DF | NBD_CAN_MULTI_CONN)

/* ---- what is wanted ------------------------------------------------------------------------ */

static int want(struct nbd_session *s, size_t len, struct err *err)
{
	const size_t room = len > NBD_READ_AHEAD ? len : NBD_READ_AHEAD;

	s->want = len;
	return room <= s->in.len || buf_extend(&s->in, room - s->in.len) != NULL ?
		       RC_OK :
		       err_nomem(err, "an NBD request");
}

/* Only for so long as a write of that size is under way. */
static int give_back(struct nbd_session *s, struct err *err)
{
	struct buf smaller = { .limit = s->in.limit };

	if (s->in.capacity <= KEPT_MAX)
		return RC_OK;
	if (!buf_append(&smaller, s->in.data, s->have))
		return err_nomem(err, "an NBD request");
	buf_free(&s->in);
	s->in = smaller;
	return RC_OK;
}

/* What was wanted is done with; of what follows `len` bytes are wanted first. */
static int want_next(struct nbd_session *s, size_t len, struct err *err)
{
	int rc;

	s->have -= s->want;
	memmove(s->in.data, s->in.data + s->want, s->have);
	s->in_data = s->done = false;
	rc = give_back(s, err);
	return rc == RC_OK ? want(s, len, err) : rc;
}

static size_t header_of(const struct nbd_session *s)
{
	return s->state == NBD_SERVING ? NBD_REQUEST_HEADER : NBD_OPTION_HEADER;
}

int nbd_session_init(struct nbd_session *s, const struct nbd_export *export, size_t out_max,
		     struct err *err)
{
	assert(export->bytes <= INT64_MAX && *export->name != '\0');
	*s = (struct nbd_session){ .export = export };
	s->in.limit = NBD_REQUEST_HEADER + NBD_PAYLOAD_MAX;
	s->out.limit = out_max;
	(void)buf_append_be64(&s->out, NBD_MAGIC);
	(void)buf_append_be64(&s->out, NBD_OPTION_MAGIC);
	(void)buf_append_be16(&s->out, NBD_FIXED_NEWSTYLE | NBD_NO_ZEROES);
	return s->out.failed ? err_nomem(err, "an NBD session") : want(s, CLIENT_FLAGS, err);
}

void nbd_session_free(struct nbd_session *s)
{
	buf_free(&s->in);
	buf_free(&s->out);
}

uint8_t *nbd_session_space(struct nbd_session *s, size_t *room)
{
	*room = (s->want > NBD_READ_AHEAD ? s->want : NBD_READ_AHEAD) - s->have;
	return s->state != NBD_ENDED ? s->in.data + s->have : NULL;
}

void nbd_session_filled(struct nbd_session *s, size_t got)
{
	assert(got <= s->in.len - s->have);
	s->have += got;
}

/* ---- handshake ------------------------------------------------------------------------------ */

static void put_reply(struct nbd_session *s, uint32_t option, uint32_t kind, const void *data,
		      size_t len)
{
	(void)buf_append_be64(&s->out, NBD_REPLY_MAGIC);
	(void)buf_append_be32(&s->out, option);
	(void)buf_append_be32(&s->out, kind);
	(void)buf_append_be32(&s->out, (uint32_t)len);
	(void)buf_append(&s->out, data, len);
}

static void put_refusal(struct nbd_session *s, uint32_t option, enum nbd_reply_error error)
{
	put_reply(s, option, NBD_REPLY_ERROR | (uint32_t)error, "", 0);
}

static bool is_ours(const struct nbd_session *s, const uint8_t *name, size_t len)
{
	return name != NULL && len == strlen(s->export->name) &&
	       memcmp(name, s->export->name, len) == 0;
}

/* A name with its length before it, as most options have it. */
static bool named_ours(const struct nbd_session *s, struct cursor *c)
{
	const uint32_t len = cursor_be32(c);

	return is_ours(s, cursor_bytes(c, len), len);
}

static void put_list(struct nbd_session *s, size_t len)
{
	uint8_t entry[4 + NBD_NAME_MAX];
	const size_t name = strlen(s->export->name);

	if (len != 0) {
		put_refusal(s, NBD_OPTION_LIST, NBD_REPLY_INVALID);
		return;
	}
	bytes_put_be32(entry, (uint32_t)name);
	memcpy(entry + 4, s->export->name, name);
	put_reply(s, NBD_OPTION_LIST, NBD_REPLY_SERVER, entry, 4 + name);
	put_reply(s, NBD_OPTION_LIST, NBD_REPLY_ACK, "", 0);
}

/* INFO and GO. True: the client may go on to its requests. */
static bool put_info(struct nbd_session *s, uint32_t option, struct cursor c)
{
	const bool ours = named_ours(s, &c);
	const uint16_t wanted = cursor_be16(&c);
	uint8_t export[12], sizes[14];

	(void)cursor_bytes(&c, (size_t)wanted * 2); /* told is what there is to tell */
	if (c.short_read || c.left > 0) {
		put_refusal(s, option, NBD_REPLY_INVALID);
		return false;
	}
	if (!ours) {
		put_refusal(s, option, NBD_REPLY_UNKNOWN);
		return false;
	}
	bytes_put_be16(export, NBD_INFO_EXPORT);
	bytes_put_be64(export + 2, s->export->bytes);
	bytes_put_be16(export + 10, TRANSMISSION_FLAGS);
	put_reply(s, option, NBD_REPLY_INFO, export, sizeof(export));
	bytes_put_be16(sizes, NBD_INFO_BLOCK_SIZE);
	bytes_put_be32(sizes + 2, 1);
	bytes_put_be32(sizes + 6, s->export->block);
	bytes_put_be32(sizes + 10, NBD_PAYLOAD_MAX);
	put_reply(s, option, NBD_REPLY_INFO, sizes, sizeof(sizes));
	put_reply(s, option, NBD_REPLY_ACK, "", 0);
	return option == NBD_OPTION_GO;
}

/* What a query names: the context itself or, where it is asked what there is, its "base:". */
static bool names_allocation(const uint8_t *query, size_t len, bool list)
{
	return (len == strlen(ALLOCATION) && memcmp(query, ALLOCATION, len) == 0) ||
	       (list && len == strlen("base:") && memcmp(query, "base:", len) == 0);
}

/* LIST_META_CONTEXT and SET_META_CONTEXT. */
static void put_contexts(struct nbd_session *s, uint32_t option, struct cursor c)
{
	const bool list = option == NBD_OPTION_LIST_META_CONTEXT, ours = named_ours(s, &c);
	uint32_t queries = cursor_be32(&c), len;
	bool named = list && queries == 0;
	uint8_t context[4 + sizeof(ALLOCATION) - 1];
	const uint8_t *query;

	if (!list)
		s->contexts = false;
	for (; queries > 0 && !c.short_read; queries--) {
		len = cursor_be32(&c);
		query = cursor_bytes(&c, len);
		named = named || (query != NULL && names_allocation(query, len, list));
	}
	if (c.short_read || c.left > 0 || !s->structured) {
		put_refusal(s, option, NBD_REPLY_INVALID);
		return;
	}
	if (!ours) {
		put_refusal(s, option, NBD_REPLY_UNKNOWN);
		return;
	}
	if (named) {
		bytes_put_be32(context, list ? 0 : NBD_CONTEXT_ALLOCATION);
		memcpy(context + 4, ALLOCATION, sizeof(ALLOCATION) - 1);
		put_reply(s, option, NBD_REPLY_META_CONTEXT, context, sizeof(context));
		s->contexts = s->contexts || !list;
	}
	put_reply(s, option, NBD_REPLY_ACK, "", 0);
}

static int choose_by_name(struct nbd_session *s, const uint8_t *name, size_t len, struct err *err)
{
	uint8_t *padding;

	if (!is_ours(s, name, len)) /* to this option there is no answer that says so */
		return err_set(err, RC_INVALID, "NBD: the client asks for another export than %s",
			       s->export->name);
	(void)buf_append_be64(&s->out, s->export->bytes);
	(void)buf_append_be16(&s->out, TRANSMISSION_FLAGS);
	if (!s->no_zeroes && (padding = buf_extend(&s->out, OLD_PADDING)) != NULL)
		memset(padding, 0, OLD_PADDING);
	s->state = NBD_SERVING;
	return RC_OK;
}

static void take_structured(struct nbd_session *s, size_t len)
{
	s->structured = s->structured || len == 0;
	if (len == 0)
		put_reply(s, NBD_OPTION_STRUCTURED_REPLY, NBD_REPLY_ACK, "", 0);
	else
		put_refusal(s, NBD_OPTION_STRUCTURED_REPLY, NBD_REPLY_INVALID);
}

static int take_option(struct nbd_session *s, uint32_t option, const uint8_t *data, size_t len,
		       struct err *err)
{
	switch (option) {
	case NBD_OPTION_EXPORT_NAME:
		return choose_by_name(s, data, len, err);
	case NBD_OPTION_ABORT:
		put_reply(s, option, NBD_REPLY_ACK, "", 0);
		s->state = NBD_ENDED;
		break;
	case NBD_OPTION_LIST:
		put_list(s, len);
		break;
	case NBD_OPTION_INFO:
	case NBD_OPTION_GO:
		if (put_info(s, option, cursor_of(data, len)))
			s->state = NBD_SERVING;
		break;
	case NBD_OPTION_STRUCTURED_REPLY:
		take_structured(s, len);
		break;
	case NBD_OPTION_LIST_META_CONTEXT:
	case NBD_OPTION_SET_META_CONTEXT:
		put_contexts(s, option, cursor_of(data, len));
		break;
	default:
		put_refusal(s, option, NBD_REPLY_UNSUPPORTED);
	}
	return RC_OK;
}

static int on_greeting(struct nbd_session *s, struct err *err)
{
	const uint32_t flags = bytes_get_be32(s->in.data);

	if ((flags & NBD_FIXED_NEWSTYLE) == 0 ||
	    (flags & ~(uint32_t)(NBD_FIXED_NEWSTYLE | NBD_NO_ZEROES)) != 0)
		return err_set(err, RC_INVALID, "NBD: client flags %#x", flags);
	s->no_zeroes = (flags & NBD_NO_ZEROES) != 0;
	s->state = NBD_OPTIONS;
	return want_next(s, NBD_OPTION_HEADER, err);
}

static int on_option(struct nbd_session *s, struct err *err)
{
	struct cursor c = cursor_of(s->in.data, NBD_OPTION_HEADER);
	const uint64_t magic = cursor_be64(&c);
	const uint32_t option = cursor_be32(&c), len = cursor_be32(&c);
	int rc;

	if (magic != NBD_OPTION_MAGIC)
		return err_set(err, RC_INVALID, "NBD: an option does not begin as one");
	if (len > NBD_OPTION_MAX)
		return err_set(err, RC_LIMIT, "NBD: option %u has %u bytes, %zu are taken", option,
			       len, NBD_OPTION_MAX);
	if (!s->in_data && s->options++ >= NBD_OPTIONS_MAX)
		return err_set(err, RC_LIMIT, "NBD: more than %d options", NBD_OPTIONS_MAX);
	if (!s->in_data && len > 0) {
		s->in_data = true;
		return want(s, NBD_OPTION_HEADER + len, err);
	}
	rc = take_option(s, option, s->in.data + NBD_OPTION_HEADER, len, err);
	return rc == RC_OK ? want_next(s, header_of(s), err) : rc;
}

/* ---- requests ------------------------------------------------------------------------------- */

/* The flags that may come with each; 0 bits: no such command. */
static bool flags_fit(uint16_t command, uint16_t flags)
{
	static const uint16_t may[] = {
		[NBD_READ] = NBD_FUA | NBD_DF,
		[NBD_WRITE] = NBD_FUA,
		[NBD_DISCONNECT] = NBD_FUA, /* FUA on any command is allowed to be ignored */
		[NBD_FLUSH] = NBD_FUA,
		[NBD_TRIM] = NBD_FUA,
		[NBD_WRITE_ZEROES] = NBD_FUA | NBD_NO_HOLE,
		[NBD_BLOCK_STATUS] = NBD_FUA | NBD_REQ_ONE,
	};

	return command < sizeof(may) / sizeof(may[0]) && may[command] != 0 &&
	       (flags & ~may[command]) == 0;
}

/* Whether it is answered in chunks, where that was agreed upon. */
static bool has_chunks(enum nbd_command command)
{
	return command == NBD_READ || command == NBD_BLOCK_STATUS;
}

/* What is wrong with it, if it has a place in the export. */
static enum nbd_error fits(const struct nbd_session *s, const struct nbd_request *r)
{
	const bool grows = r->command == NBD_WRITE || r->command == NBD_WRITE_ZEROES;

	if (!flags_fit((uint16_t)r->command, r->flags))
		return NBD_EINVAL;
	if (r->command == NBD_FLUSH)
		return r->offset == 0 && r->length == 0 ? NBD_OK : NBD_EINVAL;
	if (r->command == NBD_BLOCK_STATUS && !s->contexts)
		return NBD_EINVAL;
	if (r->length == 0 || (r->command == NBD_READ && r->length > NBD_PAYLOAD_MAX))
		return NBD_EINVAL;
	if (r->offset > s->export->bytes || r->length > s->export->bytes - r->offset)
		return grows ? NBD_ENOSPC : NBD_EINVAL;
	return NBD_OK;
}

static int read_request(struct nbd_session *s, struct err *err)
{
	struct nbd_request *r = &s->request;
	struct cursor c = cursor_of(s->in.data, NBD_REQUEST_HEADER);

	if (cursor_be32(&c) != NBD_REQUEST_MAGIC)
		return err_set(err, RC_INVALID, "NBD: a request does not begin as one");
	r->flags = cursor_be16(&c);
	r->command = cursor_be16(&c);
	r->cookie = cursor_be64(&c);
	r->offset = cursor_be64(&c);
	r->length = cursor_be32(&c);
	if (r->command == NBD_WRITE && r->length > NBD_PAYLOAD_MAX)
		return err_set(err, RC_LIMIT, "NBD: a write of %u bytes, %zu are taken", r->length,
			       NBD_PAYLOAD_MAX);
	return RC_OK;
}

static int on_request(struct nbd_session *s, const struct nbd_request **request, struct err *err)
{
	const struct nbd_request *r = &s->request;
	enum nbd_error error;
	int rc = s->in_data ? RC_OK : read_request(s, err);

	if (rc != RC_OK)
		return rc;
	if (r->command == NBD_DISCONNECT) {
		s->state = NBD_ENDED;
		return RC_OK;
	}
	if (!s->in_data && r->command == NBD_WRITE && r->length > 0) {
		s->in_data = true;
		return want(s, NBD_REQUEST_HEADER + r->length, err);
	}
	error = fits(s, r);
	if (error == NBD_OK)
		*request = r;
	else
		nbd_put_error(&s->out, s->structured && has_chunks(r->command), r->cookie, error);
	s->request.data = s->in_data ? s->in.data + NBD_REQUEST_HEADER : NULL;
	s->done = true; /* the data stay until the next one is asked for */
	return RC_OK;
}

static int step(struct nbd_session *s, const struct nbd_request **request, struct err *err)
{
	if (s->state == NBD_GREETING)
		return on_greeting(s, err);
	if (s->state == NBD_OPTIONS)
		return on_option(s, err);
	return s->done ? want_next(s, NBD_REQUEST_HEADER, err) : on_request(s, request, err);
}

int nbd_session_next(struct nbd_session *s, const struct nbd_request **request, struct err *err)
{
	int rc = RC_OK;

	*request = NULL;
	while (rc == RC_OK && *request == NULL && s->state != NBD_ENDED && s->have >= s->want)
		rc = step(s, request, err);
	if (rc == RC_OK && s->out.failed)
		rc = err_set(err, RC_LIMIT, "NBD: the client does not read its replies");
	if (rc != RC_OK)
		s->state = NBD_ENDED;
	return rc;
}
