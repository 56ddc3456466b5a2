/*
 * The end of a capture for its instance: it is let go from COLO (colo_release.h), and runs on.
 *
 * Or it must not run: an operator has stopped it, or it may not answer its clients any more. QEMU
 * (10.0) sets every instance running that leaves COLO, and tells nobody before; so one that is to
 * stand is stopped, and its network cables are pulled (nic_links.h), before it is let go; then it
 * is stopped again and the cables are put back. For the milliseconds between, it computes, and is
 * not heard.
 *
 * If we end inside of these milliseconds the instance may be left running, without its cables.
 */
#ifndef REPLICA_LET_GO_H
#define REPLICA_LET_GO_H

#include "replica/colo_release.h"

#include <stdbool.h>

struct let_go;

struct let_go_ops {
	/* Asked before and after: whether the instance is to stand. */
	bool (*stands)(void *owner);
	/* As of colo_release_begin(); `status` is "paused" of one that stands. */
	void (*done)(void *owner, const struct colo_release_end *end);
};

/* As colo_release_create(). */
int let_go_create(struct let_go **let_go, uv_loop_t *loop, struct qmp *qmp, const char *part,
		  const struct let_go_ops *ops, void *owner, struct err *err);

/* As colo_release_ready(). */
void let_go_ready(struct let_go *let_go);
/* Once, after the stream was shut down. */
void let_go_begin(struct let_go *let_go);
/*
 * Each of QEMU's events. True, after let_go_begin(): somebody has let the instance go on, who is not
 * QEMU on its way out of COLO.
 */
bool let_go_event(struct let_go *let_go, const char *name);
/* What it waits for, if that is worth telling; else NULL. */
const char *let_go_waits(const struct let_go *let_go);

/* Frees when nothing is open any more, then calls on_closed (may be NULL). No other callback comes. */
void let_go_close(struct let_go *let_go, void (*on_closed)(void *owner));

#endif
