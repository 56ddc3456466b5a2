#include "net/http_parse.h"

#include "net/http.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#define FRAMING_MAX ((size_t)16 << 10) /* chunk sizes and extensions around a body in chunks */

/* ---- what llhttp calls ---- */

static struct http_parse *parse_of(llhttp_t *parser)
{
	return parser->data;
}

static int refuse(struct http_parse *parse, int status)
{
	parse->refusal = status;
	return HPE_USER;
}

static int on_url(llhttp_t *parser, const char *at, size_t len)
{
	struct http_parse *parse = parse_of(parser);

	if (len > HTTP_TARGET_MAX - parse->target.len)
		return refuse(parse, 414);
	return buf_append(&parse->target, at, len) ? 0 : refuse(parse, 503);
}

/* The target as a string: the NUL is not counted. */
static int on_url_complete(llhttp_t *parser)
{
	struct http_parse *parse = parse_of(parser);

	if (!buf_append_u8(&parse->target, 0))
		return refuse(parse, 503);
	parse->target.len--;
	return 0;
}

static void keep(char *to, size_t size, size_t *len, const char *at, size_t count)
{
	size_t room = size - *len;

	if (count > room)
		count = room;
	memcpy(to + *len, at, count);
	*len += count;
}

static int on_header_field(llhttp_t *parser, const char *at, size_t len)
{
	struct http_parse *parse = parse_of(parser);

	keep(parse->name, sizeof(parse->name), &parse->name_len, at, len);
	return 0;
}

static int on_header_value(llhttp_t *parser, const char *at, size_t len)
{
	struct http_parse *parse = parse_of(parser);

	keep(parse->value, sizeof(parse->value), &parse->value_len, at, len);
	return 0;
}

static bool is_header(const struct http_parse *parse, const char *name)
{
	return parse->name_len == strlen(name) &&
	       strncasecmp(parse->name, name, parse->name_len) == 0;
}

/* One that is too long, or not the only one, is nobody's. */
static void take_host(struct http_parse *parse)
{
	bool whole = parse->value_len < sizeof(parse->host) && !parse->has_host;

	parse->has_hosts = parse->has_host;
	parse->has_host = true;
	if (whole)
		memcpy(parse->host, parse->value, parse->value_len);
	parse->host[whole ? parse->value_len : 0] = '\0';
}

static int on_header_complete(llhttp_t *parser)
{
	static const char json[] = "application/json", word[] = "100-continue";
	struct http_parse *parse = parse_of(parser);
	size_t value = strlen(json);

	if (is_header(parse, "host"))
		take_host(parse);
	else if (is_header(parse, "origin"))
		parse->has_origin = true;
	else if (is_header(parse, "expect"))
		parse->expects = parse->value_len == strlen(word) &&
				 strncasecmp(parse->value, word, strlen(word)) == 0;
	else if (is_header(parse, "content-type"))
		parse->is_json = parse->value_len >= value &&
				 strncasecmp(parse->value, json, value) == 0 &&
				 (parse->value_len == value || parse->value[value] == ';' ||
				  isspace((unsigned char)parse->value[value]));
	parse->name_len = parse->value_len = 0;
	return 0;
}

static bool is_of_1_1(const llhttp_t *parser)
{
	return parser->http_major == 1 && parser->http_minor >= 1;
}

static int on_headers_complete(llhttp_t *parser)
{
	struct http_parse *parse = parse_of(parser);

	parse->headers_complete = true;
	if (parser->type == HTTP_REQUEST && is_of_1_1(parser) &&
	    (!parse->has_host || parse->has_hosts))
		return refuse(parse, 400);
	if (parser->content_length > parse->body.limit && (parser->flags & F_CONTENT_LENGTH) != 0)
		return refuse(parse, 413);
	return 0;
}

static int on_body(llhttp_t *parser, const char *at, size_t len)
{
	struct http_parse *parse = parse_of(parser);

	if (len > parse->body.limit - parse->body.len)
		return refuse(parse, 413);
	return buf_append(&parse->body, at, len) ? 0 : refuse(parse, 503);
}

static int on_message_complete(llhttp_t *parser)
{
	parse_of(parser)->complete = true;
	return HPE_PAUSED;
}

static const llhttp_settings_t settings = {
	.on_url = on_url,
	.on_url_complete = on_url_complete,
	.on_header_field = on_header_field,
	.on_header_value = on_header_value,
	.on_header_value_complete = on_header_complete,
	.on_headers_complete = on_headers_complete,
	.on_body = on_body,
	.on_message_complete = on_message_complete,
};

/* ---- what our callers call ---- */

void http_parse_init(struct http_parse *parse, llhttp_type_t type, size_t body_max)
{
	memset(parse, 0, sizeof(*parse));
	parse->target.limit = HTTP_TARGET_MAX + 1;
	parse->body.limit = body_max;
	llhttp_init(&parse->parser, type, &settings);
	parse->parser.data = parse;
}

void http_parse_free(struct http_parse *parse)
{
	buf_free(&parse->target);
	buf_free(&parse->body);
}

/* What is too long in a message whose bytes have run past their limit. */
static int judge_length(struct http_parse *parse, struct err *err)
{
	if (!parse->headers_complete && parse->raw >= HTTP_HEADERS_MAX) {
		parse->refusal = 431;
		return err_set(err, RC_LIMIT, "HTTP: headers longer than %zu bytes",
			       HTTP_HEADERS_MAX);
	}
	if (parse->raw > HTTP_HEADERS_MAX + parse->body.limit + FRAMING_MAX) {
		parse->refusal = 413;
		return err_set(err, RC_LIMIT, "HTTP: a message longer than %zu bytes",
			       HTTP_HEADERS_MAX + parse->body.limit + FRAMING_MAX);
	}
	return RC_OK;
}

static int explain(struct http_parse *parse, llhttp_errno_t error, struct err *err)
{
	const char *reason = llhttp_get_error_reason(&parse->parser);

	switch (parse->refusal) {
	case 0:
		parse->refusal =
			error == HPE_INVALID_VERSION || error == HPE_PAUSED_H2_UPGRADE ? 505 : 400;
		return err_set(err, RC_INVALID, "HTTP: %s",
			       reason != NULL ? reason : llhttp_errno_name(error));
	case 400:
		return err_set(err, RC_INVALID, "HTTP: a request has one Host");
	case 413:
		return err_set(err, RC_LIMIT, "HTTP: a body longer than %zu bytes",
			       parse->body.limit);
	case 414:
		return err_set(err, RC_LIMIT, "HTTP: a target longer than %d bytes",
			       HTTP_TARGET_MAX);
	default:
		return err_nomem(err, "an HTTP message");
	}
}

int http_parse_feed(struct http_parse *parse, const uint8_t *bytes, size_t len, size_t *used,
		    struct err *err)
{
	const char *at = (const char *)bytes;
	llhttp_errno_t error;
	size_t slice, done;
	int rc = RC_OK;

	*used = 0;
	while (*used < len && !parse->complete && rc == RC_OK) {
		slice = len - *used;
		/* Headers are fed no further than they may go, so that their limit is exact. */
		if (!parse->headers_complete && slice > HTTP_HEADERS_MAX - parse->raw)
			slice = HTTP_HEADERS_MAX - parse->raw;
		error = llhttp_execute(&parse->parser, at + *used, slice);
		done = slice;
		if (parse->complete)
			done = (size_t)(llhttp_get_error_pos(&parse->parser) - (at + *used));
		else if (error != HPE_OK)
			return explain(parse, error, err);
		*used += done;
		parse->raw += done;
		if (!parse->complete)
			rc = judge_length(parse, err);
	}
	return rc;
}

void http_parse_use(struct http_parse *parse, size_t len)
{
	buf_consume(&parse->body, len);
	parse->raw = parse->body.len + 1; /* it is midway */
}

int http_parse_refusal(const struct http_parse *parse)
{
	return parse->refusal != 0 ? parse->refusal : 400;
}

bool http_parse_is_awaiting_word(struct http_parse *parse)
{
	const bool waits = parse->expects && parse->headers_complete && !parse->complete &&
			   parse->body.len == 0 && is_of_1_1(&parse->parser);

	if (waits)
		parse->expects = false;
	return waits;
}

bool http_parse_midway(const struct http_parse *parse)
{
	return parse->raw > 0 && !parse->complete;
}

int http_parse_end(struct http_parse *parse, struct err *err)
{
	llhttp_errno_t error;

	if (!http_parse_midway(parse))
		return RC_OK;
	error = llhttp_finish(&parse->parser);
	if (parse->complete)
		return RC_OK;
	if (error != HPE_OK)
		return explain(parse, error, err);
	return err_set(err, RC_CLOSED, "HTTP: closed in the middle of a message");
}

void http_parse_next(struct http_parse *parse)
{
	buf_reset(&parse->target);
	buf_reset(&parse->body);
	parse->complete = parse->headers_complete = parse->is_json = false;
	parse->has_host = parse->has_hosts = parse->has_origin = parse->expects = false;
	parse->host[0] = '\0';
	parse->raw = 0;
	parse->name_len = parse->value_len = 0;
	llhttp_resume(&parse->parser);
}

const char *http_parse_method(const struct http_parse *parse)
{
	return llhttp_method_name((llhttp_method_t)parse->parser.method);
}

int http_parse_status(const struct http_parse *parse)
{
	return parse->parser.status_code;
}

bool http_parse_keep_alive(const struct http_parse *parse)
{
	return llhttp_should_keep_alive(&parse->parser) != 0 && parse->parser.upgrade == 0;
}
