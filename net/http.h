/*
 * A small HTTP/1.1 server for health and status (parser: llhttp). GET, HEAD and POST with small
 * bodies (also behind Expect: 100-continue), one response per request, keep-alive, hard limits on
 * every size and on time; nothing else. It answers with what a handler fills in, at once, on the loop's thread. And a blocking
 * client for our own verbs.
 */
#ifndef NET_HTTP_H
#define NET_HTTP_H

#include "appliance/base/buf.h"
#include "appliance/base/err.h"

#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#define HTTP_CONNECTIONS_MAX 64		    /* a monitor, a few operators; idle ones make room */
#define HTTP_TARGET_MAX 1024		    /* our longest has 30 bytes: 414 */
#define HTTP_HEADERS_MAX ((size_t)16 << 10) /* target included; usual limits are 8 to 16 KiB: 431 */
#define HTTP_BODY_MAX ((size_t)64 << 10)    /* of a request: 413 */
#define HTTP_ANSWER_MAX ((size_t)4 << 20)   /* of a response: 64 KiB for each possible instance */
#define HTTP_IDLE_MS 10000 /* for a whole request, and for taking a whole response */

struct http_request {
	const char *method;  /* "GET" (also for HEAD) or "POST" */
	const char *path;    /* without the query, as sent: nothing is decoded */
	const char *query;   /* "" when none */
	const uint8_t *body; /* never NULL */
	size_t body_len;
};

struct http_response {
	int status;		  /* 200 before the handler is called */
	const char *content_type; /* "application/json" before the handler is called */
	const char
		*allow;	 /* with a 405: the methods that would do, e.g. "GET, HEAD"; NULL before */
	struct buf body; /* at most HTTP_ANSWER_MAX; if it has failed, 503 is answered */
};

/* Must not call http_close(). */
typedef void (*http_handler)(void *owner, const struct http_request *request,
			     struct http_response *response);

/* Makes the response {"error": "text"}, escaped, with that status. */
void http_error(struct http_response *response, int status, const char *text);

struct http_server;

/*
 * `address`: "127.0.0.1:7080", "[::1]:7080", "localhost:7080" (resolved now, which may take its
 * time), "unix:/run/understudy.sock" (mode 0600; a socket file that nobody listens on any more is
 * replaced). Port 0: any, see http_port(). A POST must be application/json (415 otherwise), which a
 * page in somebody's browser cannot send to another server without its consent; and, but for a unix
 * socket, have our Host (http_host.h) and no Origin (403), so that no page can pass for ours.
 */
int http_listen(struct http_server **server, uv_loop_t *loop, const char *address,
		http_handler handler, void *owner, struct err *err);
uint16_t http_port(const struct http_server *server); /* 0 for a unix socket */
/*
 * Ends all connections too; on_closed (may be NULL) is called with http_listen()'s owner. NULL is
 * no server.
 */
void http_close(struct http_server *server, void (*on_closed)(void *owner));

/*
 * A blocking client for our own verbs (`status`, `takeover`): one request, one bounded answer
 * (answer->limit) within timeout_ms (a name that has to be resolved may take longer). `body` NULL:
 * GET, else POST of JSON. The server is named by number in Host, whatever its name. RC_OK whatever
 * the *status: 404 is an answer.
 */
int http_fetch(const char *address, const char *path, const char *body, uint32_t timeout_ms,
	       int *status, struct buf *answer, struct err *err);

#endif
