/*
 * An instance that an agent and its guardian, which ended together, have left in COLO, perhaps
 * inside a checkpoint: it is let go, as at the end of any capture (let_go.h).
 */
#ifndef APPLIANCE_LEFTOVER_H
#define APPLIANCE_LEFTOVER_H

#include "appliance/base/err.h"
#include "replica/qmp.h"

#include <stdbool.h>
#include <uv.h>

struct leftover;

struct leftover_ops {
	/* Asked before and after: whether the instance is to stand. Not after leftover_end(). */
	bool (*stands)(void *owner);
	/* It runs or stands, or nothing could be done; the leftover is freed. Never from inside a call. */
	void (*done)(void *owner);
};

/* `qmp` answers, and stays the caller's until `done`, also when its connection is lost. */
int leftover_begin(struct leftover **leftover, uv_loop_t *loop, struct qmp *qmp, const char *name,
		   const struct leftover_ops *ops, void *owner, struct err *err);

/* Each of QEMU's events. */
void leftover_event(struct leftover *leftover, const char *name);

/* The owner is to end: `done` follows in LEFTOVER_END_MS at most, and sooner from a QEMU that answers. */
#define LEFTOVER_END_MS 1000 /* ten times what it takes then */
void leftover_end(struct leftover *leftover);

#endif
