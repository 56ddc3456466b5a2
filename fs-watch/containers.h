/*
 * What containers change in their file systems, from their first instruction to their last: the engine tells of their lives (engine.h), the
 * kernel of what happens in the layers (watch.h), and overlay.h what that means.
 *
 * By fanotify one mark on the file system of the engine's storage is all, whatever runs there; what happens before the engine says that a
 * container runs is kept until then. By inotify each container's upperdir is watched from when it is made, or found to run, to its end.
 *
 * A container that had run before it was watched has first a `lost` with `unseen_ms`, and a `found` for what has changed meanwhile.
 */
#ifndef FS_WATCH_CONTAINERS_H
#define FS_WATCH_CONTAINERS_H

#include "appliance/base/err.h"
#include "fs-watch/watch.h"

#include <stdbool.h>
#include <uv.h>

#define CONTAINERS_SOCKET "/var/run/docker.sock"

struct containers;

struct containers_ops {
	/* The event's path is the container's, without a slash in front. `kind` may also be `copy-up`. */
	void (*on_event)(void *owner, const char *name, const struct watch_event *event);
	/* From now on nothing of it is missed; it need not run yet. `id` is the engine's. */
	void (*on_watched)(void *owner, const char *name, const char *id);
	/* NULL, or: it has ended, and all that it has done is told. */
	void (*on_ended)(void *owner, const char *name);
	/* The engine is there, and all that it has is known; and when it is gone. What is known is watched on. */
	void (*on_engine)(void *owner, const struct err *err);
	/* It cannot go on: close it. */
	void (*on_failed)(void *owner, const struct err *err);
};

/* `name`: of one container, or the beginning of its id; NULL: all. `socket`: the engine's. */
int containers_open(struct containers **containers, uv_loop_t *loop, const char *socket,
		    const char *name, enum watch_way way, const struct containers_ops *ops,
		    void *owner, struct err *err);
/* "fanotify", "inotify"; NULL: not yet. */
const char *containers_way(const struct containers *containers);

/* Not from inside a callback; none comes from here on. Frees it in the loop; NULL is fine. */
void containers_close(struct containers *containers);

#endif
