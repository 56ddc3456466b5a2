/*
 * Makes way for a new replica: a QEMU that an earlier process of ours left at the same QMP socket
 * is ended if it still waits for its memory. One that runs an instance is never touched.
 */
#ifndef REPLICA_PREDECESSOR_H
#define REPLICA_PREDECESSOR_H

#include "appliance/base/err.h"

#include <uv.h>

struct predecessor;

/*
 * `part` names it in the log. `done` is called once, from the loop, and then all is freed: code
 * RC_OK, nobody is there (any more); RC_STATE, an instance runs there; RC_TIMEOUT, somebody is
 * there who does not answer (another process of ours talks to it); RC_CANCELLED. Returns RC_CLOSED
 * when nobody listens there at all.
 */
int predecessor_clear(struct predecessor **predecessor, uv_loop_t *loop, const char *part,
		      const char *qmp_path, void (*done)(void *owner, const struct err *result),
		      void *owner, struct err *err);

/* `done` follows with RC_CANCELLED, unless it was about to be called anyway. */
void predecessor_cancel(struct predecessor *predecessor);

#endif
