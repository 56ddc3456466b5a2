/*
 * HTTP/1.x messages taken apart by llhttp, with our limits. No socket here: bytes in, one message
 * at a time out.
 */
#ifndef NET_HTTP_PARSE_H
#define NET_HTTP_PARSE_H

#include "appliance/base/buf.h"
#include "appliance/base/err.h"

#include <llhttp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HTTP_HOST_MAX 272 /* a name of 253 bytes or an address in brackets, and a port */

struct http_parse {
	/* the message so far */
	struct buf target; /* a request's, with a NUL behind its end */
	struct buf body;
	bool complete;
	bool is_json;		      /* its Content-Type is application/json */
	bool has_origin;	      /* a web page of some site has sent it */
	char host[HTTP_HOST_MAX + 1]; /* as it came; "" when there is none that can be used */
	/* private */
	llhttp_t parser;
	size_t raw; /* bytes of this message, headers and framing included */
	bool headers_complete;
	int refusal;
	bool has_host, has_hosts; /* one at least, several */
	bool expects;		  /* Expect: 100-continue */
	char name[16],
		value[HTTP_HOST_MAX + 1]; /* the header being read, as far as it can matter */
	size_t name_len, value_len;
};

/* For requests or responses; bodies have at most `body_max` bytes. Not to be moved afterwards. */
void http_parse_init(struct http_parse *parse, llhttp_type_t type, size_t body_max);
void http_parse_free(struct http_parse *parse);

/*
 * Takes bytes until a message is complete or they are used up (*used tells). An error (RC_INVALID,
 * RC_LIMIT, RC_NOMEM) is final, and http_parse_refusal() is the status to answer a request with.
 */
int http_parse_feed(struct http_parse *parse, const uint8_t *bytes, size_t len, size_t *used,
		    struct err *err);
int http_parse_refusal(const struct http_parse *parse);

/*
 * The first `len` bytes of the body so far have been used, and are dropped: of an answer that comes for as long as both ends like, the limits
 * are of what is kept.
 */
void http_parse_use(struct http_parse *parse, size_t len);

/*
 * The rest of a request comes when its client has been told to go on (100 Continue): true once for
 * such a request.
 */
bool http_parse_is_awaiting_word(struct http_parse *parse);

/* The other end has closed: RC_OK if that ended a message (complete then) or nothing had begun. */
int http_parse_end(struct http_parse *parse, struct err *err);

/* After a complete message: makes ready for the next one on the same connection. */
void http_parse_next(struct http_parse *parse);

/* Has a message begun and not ended? */
bool http_parse_midway(const struct http_parse *parse);

/* Of a complete message. */
const char *http_parse_method(const struct http_parse *parse);
int http_parse_status(const struct http_parse *parse);
bool http_parse_keep_alive(const struct http_parse *parse);

#endif
