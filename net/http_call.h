/*
 * A GET over a unix socket, in a loop: an answer that comes whole, or a stream of it for as long as both ends like. One connection each.
 */
#ifndef NET_HTTP_CALL_H
#define NET_HTTP_CALL_H

#include "appliance/base/buf.h"
#include "appliance/base/err.h"

#include <stddef.h>
#include <stdint.h>
#include <uv.h>

struct http_call;

struct http_call_ops {
	/*
	 * Of a stream, else NULL: the answer has begun, with that status, or gone on; `body` is what of it has not been used, and the return value
	 * how much of that is now.
	 */
	size_t (*on_part)(void *owner, int status, const struct buf *body);
	/* It is over; `body` is what has not been used. Or `err`, and no answer. Close it, here or later. */
	void (*on_end)(void *owner, int status, const struct buf *body, const struct err *err);
};

/*
 * `socket`: the path of a unix socket. `body_max`: of what is kept of the answer. timeout_ms: to its end, 0 for none. Callbacks come from the
 * loop only.
 */
int http_call_open(struct http_call **call, uv_loop_t *loop, const char *socket, const char *path,
		   size_t body_max, uint32_t timeout_ms, const struct http_call_ops *ops,
		   void *owner, struct err *err);

/* No callback from here on. Frees it in the loop; NULL is fine. */
void http_call_close(struct http_call *call);

#endif
