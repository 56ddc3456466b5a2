/*
 * Theory of operation. By fanotify the driver's directory is one tree: the first part of a path is the layer, and what is behind goes through
 * the layer's overlay_state to its layer. By inotify each upperdir is a tree.
 */
#include "fs-watch/containers_internal.h"

#include "appliance/base/clock.h"
#include "appliance/base/log.h"
#include "appliance/base/mem.h"
#include "fs-watch/overlay_look.h"
#include "fs-watch/scan.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

/* Change times are those of the last tick of the kernel's. */
#define SCAN_SLACK_NS (100 * CLOCK_NS_PER_MS)

uint64_t containers_now_ns(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * CLOCK_NS_PER_S + (uint64_t)ts.tv_nsec;
}

void containers_tell(void *owner, void *container, const struct watch_event *event)
{
	const struct containers *cs = owner;
	const struct container *c = container;
	struct watch_event told = *event;

	told.root = container;
	cs->ops->on_event(cs->owner, c->name, &told);
}

/* ---- by fanotify ----------------------------------------------------------------------------- */

struct in_layer {
	struct containers *cs;
	struct layer *layer;
};

static void to_layer(void *owner, const struct watch_event *event)
{
	const struct in_layer *in = owner;

	layer_event(in->cs->layers, in->layer, event);
}

/* What is behind the layer's name, whose length is in *len. */
static const char *behind_layer(const char *path, size_t *len)
{
	const char *slash = strchr(path, '/');

	*len = slash != NULL ? (size_t)(slash - path) : strlen(path);
	return slash != NULL ? slash + 1 : path + *len;
}

static void look(struct containers *cs, struct layer *layer, const struct watch_event *event,
		 struct overlay_facts *facts)
{
	const struct overlay_wants wants = overlay_wants(event);
	const int fd = wants.what ? watch_open_target(cs->watch, event) : -1;
	struct layer_notes *notes = layer_notes(layer);

	*facts = (struct overlay_facts){ 0 };
	if (wants.what && event->scanned) {
		facts->what = overlay_look_now(cs->driver_fd, layer_id(layer),
					       event->path + strlen("diff/"));
	} else if (fd >= 0) {
		facts->what = overlay_look_what(fd);
	}
	if (fd >= 0)
		(void)close(fd);
	if (!wants.lower)
		return;
	if (notes->lower == NULL)
		notes->lower = overlay_look_lower(cs->driver_fd, layer_id(layer));
	facts->is_lower =
		notes->lower != NULL &&
		overlay_look_is_lower(cs->driver_fd, layer_id(layer), notes->lower,
				      event->path + strlen("diff/"), facts->what == OVERLAY_COPY);
}

static void in_one_layer(struct containers *cs, struct layer *layer,
			 const struct watch_event *event)
{
	struct in_layer in = { .cs = cs, .layer = layer };
	struct overlay_state *state = &layer_notes(layer)->overlay;
	const bool waited = state->waits;
	struct overlay_facts facts;

	look(cs, layer, event, &facts);
	overlay_event(state, event, &facts, to_layer, &in);
	cs->waiting += state->waits ? 1 : 0;
	cs->waiting -= waited ? 1 : 0;
}

/* A container's is kept until the engine says that the container is gone: it may not have said yet that it ran. */
static void sweep(void *owner, struct layer *layer)
{
	struct containers *cs = owner;

	if (layer_container(layer) == NULL &&
	    faccessat(cs->driver_fd, layer_id(layer), F_OK, AT_SYMLINK_NOFOLLOW) != 0)
		layers_forget(cs->layers, layer);
}

/*
 * When a container is removed so is its layer, perhaps before the engine's word of its end is here: by the process that has removed what it
 * was mounted on. The container's own deletions are by others; and what is copied in by the engine is not only deleted.
 */
static bool is_removal(const struct layer_notes *notes, const struct watch_event *event)
{
	return event->kind == WATCH_DELETE && event->pid != 0 && event->pid == notes->engine_pid;
}

/* Layers that the engine makes for its own use, to put names that it mounts on there. */
static bool is_engines(const char *name, size_t len)
{
	static const char init[] = "-init";

	return len > strlen(init) && memcmp(name + len - strlen(init), init, strlen(init)) == 0;
}

static void on_driver_event(struct containers *cs, const struct watch_event *event)
{
	struct watch_event inner = *event;
	struct layer *layer;
	size_t len, from_len = 0;

	inner.path = behind_layer(event->path, &len);
	if (event->from != NULL)
		inner.from = behind_layer(event->from, &from_len);
	if (*inner.path == '\0' && event->is_dir && event->kind == WATCH_DELETE)
		cs->has_gone = true;
	if (*inner.path == '\0' || is_engines(event->path, len))
		return;
	if (event->from != NULL && (from_len != len || strncmp(event->from, event->path, len) != 0))
		return; /* nobody's but the engine's */
	if (strncmp(inner.path, "work", 4) == 0 && event->from == NULL)
		return;
	layer = layers_get(cs->layers, event->path, len);
	if (layer == NULL)
		return;
	if (strcmp(inner.path, "merged") == 0)
		layer_notes(layer)->engine_pid = event->pid;
	else if (!is_removal(layer_notes(layer), event))
		in_one_layer(cs, layer, &inner);
}

/* ---- by inotify ------------------------------------------------------------------------------ */

static void on_upper_event(struct containers *cs, struct container *c,
			   const struct watch_event *event)
{
	const struct overlay_facts facts = {
		.what = overlay_look_now(cs->driver_fd, layer_id(c->layer), event->path)
	};
	struct watch_event told = *event;

	if (overlay_judge_seen(&told.kind, event, &facts))
		layer_event(cs->layers, c->layer, &told);
}

/* ---- both ------------------------------------------------------------------------------------ */

struct telling {
	struct containers *cs;
	const struct watch_event *event;
};

static void tell_one(void *owner, struct layer *layer)
{
	const struct telling *telling = owner;

	layer_event(telling->cs->layers, layer, telling->event);
}

/* Events of all were lost. */
static void tell_all(struct containers *cs, const struct watch_event *event)
{
	struct telling telling = { .cs = cs, .event = event };

	layers_each(cs->layers, tell_one, &telling);
}

static void on_event(void *owner, const struct watch_event *event)
{
	struct containers *cs = owner;

	if (cs->by_inotify)
		on_upper_event(cs, event->root, event);
	else if (event->kind == WATCH_LOST)
		tell_all(cs, event);
	else
		on_driver_event(cs, event);
}

static void flush(void *owner, struct layer *layer)
{
	struct in_layer in = { .cs = owner, .layer = layer };

	overlay_flush(&layer_notes(layer)->overlay, to_layer, &in);
}

static void on_idle(void *owner)
{
	struct containers *cs = owner;

	if (cs->waiting > 0)
		layers_each(cs->layers, flush, cs);
	cs->waiting = 0;
	if (cs->has_gone && !containers_is_asking(cs)) {
		cs->has_gone = false;
		layers_each(cs->layers, sweep, cs);
	}
}

static void on_failed(void *owner, const struct err *err)
{
	struct containers *cs = owner;

	cs->ops->on_failed(cs->owner, err);
}

/* ---- a look ---------------------------------------------------------------------------------- */

struct looking {
	struct containers *cs;
	struct container *c;
	uint64_t since_ns;
};

static bool on_scanned(void *owner, struct scan_entry *entry)
{
	const struct looking *looking = owner;
	const uint64_t changed_ns = (uint64_t)entry->st.st_ctim.tv_sec * CLOCK_NS_PER_S +
				    (uint64_t)entry->st.st_ctim.tv_nsec;
	struct watch_event event = { .kind = WATCH_FOUND,
				     .is_dir = S_ISDIR(entry->st.st_mode),
				     .scanned = true,
				     .time_ns = containers_now_ns(),
				     .path = entry->path };

	if (changed_ns + SCAN_SLACK_NS < looking->since_ns)
		return true;
	if (overlay_look_now(looking->cs->driver_fd, layer_id(looking->c->layer), entry->path) ==
	    OVERLAY_WHITEOUT)
		event.kind = WATCH_DELETE;
	containers_tell(looking->cs, looking->c, &event);
	return true;
}

void containers_scan(struct containers *cs, struct container *c, uint64_t since_ns,
		     uint64_t unseen_ms)
{
	const struct watch_event lost = { .kind = WATCH_LOST,
					  .is_dir = true,
					  .scanned = true,
					  .time_ns = containers_now_ns(),
					  .unseen_ms = unseen_ms,
					  .path = "" };
	struct looking looking = { .cs = cs, .c = c, .since_ns = since_ns };
	char diff[LAYERS_NAME_MAX + 8];
	struct err err;
	int fd;

	containers_tell(cs, c, &lost);
	(void)snprintf(diff, sizeof(diff), "%s/diff", layer_id(c->layer));
	fd = openat(cs->driver_fd, diff, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return; /* it is gone */
	if (scan(fd, "", NULL, on_scanned, &looking, &err) != RC_OK)
		log_warn("fs-watch", "container %s: %s: what has changed there is not told",
			 c->name, err.text);
	(void)close(fd);
}

/* ---- the way --------------------------------------------------------------------------------- */

static int find_driver(struct containers *cs, const struct engine_info *info, struct err *err)
{
	char dir[PATH_MAX], real[PATH_MAX];

	if (strcmp(info->driver, "overlay2") != 0 && strcmp(info->driver, "overlay") != 0)
		return err_set(
			err, RC_UNSUPPORTED,
			"the engine's storage driver is %s: only overlay2 and overlay are known",
			info->driver);
	if ((size_t)snprintf(dir, sizeof(dir), "%s/%s", info->root, info->driver) >= sizeof(dir))
		return err_set(err, RC_LIMIT, "the engine's directory has too long a path");
	if (realpath(dir, real) == NULL)
		return err_system(err, errno, "%.200s", dir);
	cs->driver_fd = open(real, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (cs->driver_fd < 0)
		return err_system(err, errno, "%.200s", real);
	cs->dir = mem_strdup(dir); /* as the engine has it in the upperdirs' paths */
	return cs->dir != NULL ? RC_OK : err_nomem(err, "a path");
}

/* Before Linux 6.5 overlayfs opened its files so that nobody was told of what is written to them (FMODE_NONOTIFY). */
static void warn_of_writes(void)
{
	struct utsname name;
	unsigned long major, minor;
	char *end;

	if (uname(&name) != 0)
		return;
	major = strtoul(name.release, &end, 10);
	minor = *end == '.' ? strtoul(end + 1, NULL, 10) : 0;
	if (major < 6 || (major == 6 && minor < 5))
		log_warn(
			"fs-watch",
			"Linux %.64s: before 6.5 nobody is told of what is written through overlayfs: of "
			"containers no 'write' and no 'close' is told, but all the rest",
			name.release);
}

int containers_watch(struct containers *cs, const struct engine_info *info, struct err *err)
{
	static const struct watch_ops ops = { .on_event = on_event,
					      .on_failed = on_failed,
					      .on_idle = on_idle };
	int rc = find_driver(cs, info, err);

	warn_of_writes();
	if (rc == RC_OK && cs->way != WATCH_INOTIFY) {
		rc = watch_open(&cs->watch, cs->loop, WATCH_FANOTIFY, &ops, cs, err);
		if (rc == RC_OK)
			rc = watch_add(cs->watch, cs->dir, cs, err);
		if (rc != RC_UNSUPPORTED || cs->way == WATCH_FANOTIFY) {
			cs->watched_ns = containers_now_ns();
			return rc;
		}
		watch_close(cs->watch, NULL, NULL);
		cs->watch = NULL;
		rc = RC_OK;
	}
	cs->by_inotify = true;
	return rc == RC_OK ? watch_open(&cs->watch, cs->loop, WATCH_INOTIFY, &ops, cs, err) : rc;
}
