/*
 * What containers.c (their lives) and containers_watch.c (what happens in their layers) have in common.
 */
#ifndef FS_WATCH_CONTAINERS_INTERNAL_H
#define FS_WATCH_CONTAINERS_INTERNAL_H

#include "fs-watch/containers.h"
#include "fs-watch/engine.h"
#include "fs-watch/layers.h"
#include "fs-watch/overlay.h"

struct container {
	struct container *next;
	struct containers *containers;
	char id[ENGINE_ID_MAX + 1];
	char name[ENGINE_NAME_MAX + 1];
	struct layer *layer;   /* NULL: it is not known yet */
	uint64_t watched_ns;   /* by inotify: since then its upperdir is; 0: it is not */
	bool wanted;	       /* by its name; once its layer is known */
	bool runs;	       /* as the engine said last */
	bool has_run, is_made; /* events have said so, and it was not dealt with yet */
	bool asked;	       /* an answer is to come */
	bool changed;	       /* it has started or ended since it was asked for */
	bool heard;	       /* an event has come since the list was asked for */
	bool listed;
	bool is_gone; /* an event says so */
};

struct containers {
	uv_loop_t *loop;
	const struct containers_ops *ops;
	void *owner;
	const char *name;
	enum watch_way way;
	struct engine *engine;
	struct watch *watch; /* NULL: until the engine has said where */
	struct layers *layers;
	struct container *list;
	char *dir; /* the storage driver's */
	int driver_fd;
	uint64_t watched_ns;
	bool has_gone;	  /* layers without a container, it may be */
	unsigned waiting; /* states of layers that may wait for their other half */
	bool by_inotify;
	bool is_open, listing, is_ready, is_told_lost;
};

/* ---- containers.c ---- */

/* Of some container an answer of the engine is to come. */
bool containers_is_asking(const struct containers *containers);
/* Tells, if all that the engine has is known. */
void containers_check_ready(struct containers *containers);

/* ---- containers_watch.c ---- */

uint64_t containers_now_ns(void);
/* Begins to watch where the engine has its layers. */
int containers_watch(struct containers *containers, const struct engine_info *info,
		     struct err *err);
/* For layers_open(). */
void containers_tell(void *owner, void *container, const struct watch_event *event);
/* Tells that something was lost, or nobody was there to see for `unseen_ms`, and of all that has changed since then. */
void containers_scan(struct containers *containers, struct container *container, uint64_t since_ns,
		     uint64_t unseen_ms);

#endif
