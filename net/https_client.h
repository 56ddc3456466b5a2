/*
 * An HTTP/1.1 client over TLS 1.3 on a libuv loop (parser: llhttp): POST of JSON, one request at a
 * time, over one connection that is kept for the next request to the same server.
 *
 * The process has to ignore SIGPIPE. All functions and callbacks are the loop thread's. Callbacks
 * come from the loop only, never from within a call, and may call anything here.
 */
#ifndef NET_HTTPS_CLIENT_H
#define NET_HTTPS_CLIENT_H

#include "appliance/base/buf.h"
#include "appliance/base/err.h"
#include "net/address.h"
#include "net/tls.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#define HTTPS_IDLE_MS 30000 /* a connection idle for longer may be dead without a sign (NAT) */
#define HTTPS_DRAIN_MS 100  /* for the end of an answer of which only the first line counted */

struct https_client;

struct https_request {
	const struct address *host; /* who the server has to be, and the Host header; copied */
	struct sockaddr_storage to; /* where it is */
	const char *path;	    /* only during the call, as is the body */
	const struct buf *body;
	uint32_t timeout_ms; /* from now to the answer, connecting included */
	bool first_line;     /* the answer is wanted as soon as its body has one line */
};

struct https_answer {
	int status;	     /* 200 and so on */
	const uint8_t *body; /* never NULL; valid during the callback */
	size_t len;
};

/* How far a request came; also of one that failed. */
struct https_progress {
	uint64_t sent_ns; /* monotonic, just before its first byte was written; 0: none was */
	bool reused;	  /* over a connection that had served before */
};

/* Either `answer`, whatever its status, or `err` is not NULL. */
typedef void (*https_done)(void *owner, const struct https_answer *answer,
			   const struct https_progress *progress, const struct err *err);

/* `identity` is from tls_identity_load_client(); bodies of answers have at most `answer_max` bytes.
 */
int https_open(struct https_client **client, uv_loop_t *loop, struct tls_identity *identity,
	       size_t answer_max, https_done done, void *owner, struct err *err);

/* If it fails, no callback follows. One request at a time: from its callback on, or https_cancel(), another. */
int https_post(struct https_client *client, const struct https_request *request, struct err *err);

/* Gives up the request and its connection, if there is one; its callback does not come. */
void https_cancel(struct https_client *client);

/* Ends everything; on_closed (may be NULL) is called with https_open()'s owner. */
void https_close(struct https_client *client, void (*on_closed)(void *owner));

#endif
