/* HTTP as a client sends it to our server, or a server to our verbs. */
#include "net/http.h"
#include "net/http_parse.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

#define BODY_MAX 4096 /* small, so that the fuzzer gets past it */

static void need(bool holds)
{
	if (!holds)
		abort();
}

static void check(const struct http_parse *parse, bool response)
{
	need(parse->body.len <= BODY_MAX);
	need(parse->target.len <= HTTP_TARGET_MAX);
	need(http_parse_method(parse) != NULL);
	(void)http_parse_keep_alive(parse);
	if (response)
		need(http_parse_status(parse) >= 0);
	else
		need(parse->target.data != NULL &&
		     strlen((const char *)parse->target.data) <= parse->target.len);
}

/* False when nothing more can be read from this connection. */
static bool take_piece(struct http_parse *parse, const uint8_t *at, size_t len, bool response)
{
	struct err err;
	size_t used;

	while (len > 0) {
		if (http_parse_feed(parse, at, len, &used, &err) != RC_OK) {
			need(http_parse_refusal(parse) >= 400);
			return false;
		}
		need(used <= len && (used == len || parse->complete));
		at += used;
		len -= used;
		if (parse->complete) {
			check(parse, response);
			http_parse_next(parse);
		}
	}
	return true;
}

/* The first byte says which side we are, and in pieces of what size the rest arrives. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct http_parse parse;
	bool response, going = true;
	size_t piece, at;
	struct err err;

	if (size == 0)
		return 0;
	response = (data[0] & 1) != 0;
	http_parse_init(&parse, response ? HTTP_RESPONSE : HTTP_REQUEST, BODY_MAX);
	for (at = 1; at < size && going; at += piece) {
		piece = (size_t)(data[0] >> 1) * 8 + 1;
		piece = piece < size - at ? piece : size - at;
		going = take_piece(&parse, data + at, piece, response);
	}
	if (going && http_parse_end(&parse, &err) == RC_OK && parse.complete)
		check(&parse, response);
	http_parse_free(&parse);
	return 0;
}
