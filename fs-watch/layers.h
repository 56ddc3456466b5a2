/*
 * The layers of an engine's storage driver that something happens in: whose each is, and whether its container runs. What happens in one that
 * is no running container's is kept, in order, until that container starts, and told of then: its first instruction has run before the engine
 * says so. No I/O.
 *
 * The engine's word comes by another way than what happens, and may be late: the container may have ended, and its layer be gone.
 *
 * What is kept is bounded for all of them together. Past that, the one that has waited longest loses all it has kept, and remembers since when.
 */
#ifndef FS_WATCH_LAYERS_H
#define FS_WATCH_LAYERS_H

#include "fs-watch/event.h"
#include "fs-watch/overlay.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LAYERS_NAME_MAX 128 /* bytes of a layer's name: 64 digits, usually */

struct layers;
struct layer;

/* `tell` gets what happened in the layers of running containers, with what layer_name() was given. NULL: no memory. */
struct layers *layers_open(size_t kept_max,
			   void (*tell)(void *owner, void *container,
					const struct watch_event *event),
			   void *owner);
void layers_close(struct layers *layers);

/* It is made if it is not known. NULL: no memory, or the name is too long. */
struct layer *layers_get(struct layers *layers, const char *name, size_t len);
/* NULL: it is not known. */
struct layer *layers_find(const struct layers *layers, const char *name, size_t len);
/* With all that was kept. */
void layers_forget(struct layers *layers, struct layer *layer);
/* `each` may forget the one that it is given. */
void layers_each(struct layers *layers, void (*each)(void *owner, struct layer *layer),
		 void *owner);
size_t layers_count(const struct layers *layers);
size_t layers_kept(const struct layers *layers); /* bytes */

/* Something happened in it. Its root is not kept. */
void layer_event(struct layers *layers, struct layer *layer, const struct watch_event *event);

/* It is the container's: the caller's word, not NULL. */
void layer_name(struct layer *layer, void *container);
void *layer_container(const struct layer *layer); /* NULL: nobody's yet */
/* Nobody wants to know of it: nothing is kept, nor told. */
void layer_ignore(struct layers *layers, struct layer *layer);

/*
 * Its container runs: tells of all that was kept, and of what comes from now on. 0; or since when (since 1970) some may have been lost: of
 * this the caller tells, and looks at the layer. Of one that runs, 0.
 */
uint64_t layer_start(struct layers *layers, struct layer *layer);
/* It does not run any more. */
void layer_stop(struct layer *layer);
bool layer_runs(const struct layer *layer);

/* The caller's own, zero at first. */
struct layer_notes {
	struct overlay_state overlay;
	char *lower;	/* what it lies on (overlay_look.h): released with it by mem_free() */
	int engine_pid; /* who makes what it is mounted on, and removes it */
};
struct layer_notes *layer_notes(struct layer *layer);
const char *layer_id(const struct layer *layer);

#endif
