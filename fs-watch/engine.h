/*
 * A client of a container engine's API on its unix socket: what happens to containers as the engine tells of it, and questions. No polling:
 * when the engine goes away, it is tried again, at growing intervals.
 */
#ifndef FS_WATCH_ENGINE_H
#define FS_WATCH_ENGINE_H

#include "appliance/base/err.h"
#include "fs-watch/engine_format.h"

#include <stddef.h>
#include <uv.h>

struct engine;

struct engine_ops {
	/* It is there, or there again: what happens from now on is told. What is so already has to be asked for. */
	void (*on_open)(void *owner, const struct engine_info *info);
	void (*on_event)(void *owner, const struct engine_event *event);
	/* It does not answer; it is tried again by itself. */
	void (*on_lost)(void *owner, const struct err *err);
};

/* `err` NULL: its answer. `id`: whose it is, or "". */
typedef void (*engine_done)(void *owner, const char *id, int status, const char *json, size_t len,
			    const struct err *err);

/* `socket`: its path. Callbacks come from the loop only. */
int engine_open(struct engine **engine, uv_loop_t *loop, const char *socket,
		const struct engine_ops *ops, void *owner, struct err *err);
/* Asks for all containers. */
int engine_list(struct engine *engine, engine_done done, struct err *err);
/* Asks for one, for which nobody is asking yet; several at a time, the others wait. */
int engine_inspect(struct engine *engine, const char *id, engine_done done, struct err *err);
/* No callback from here on. Frees it in the loop; NULL is fine. */
void engine_close(struct engine *engine);

#endif
