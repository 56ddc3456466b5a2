/*
 * Theory of operation. A container is known by what the engine tells of it (an event, or the list when the engine is there); then it is asked
 * for, once, to know its layer. Until that answer comes what happens in the layer is kept as that of one that does not run (layers.h), so an
 * answer that is late costs nothing. What an answer says of its running counts unless an event has come since it was asked for.
 *
 * `die` comes after all that the container did, by another way than the kernel's: what the kernel has is told first.
 */
#include "fs-watch/containers_internal.h"

#include "appliance/base/clock.h"
#include "appliance/base/log.h"
#include "appliance/base/mem.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define KEPT_MAX ((size_t)64 << 20)
#define LONGEST_ID 12 /* digits by which people name a container, at least */

/* ---- who they are ---------------------------------------------------------------------------- */

static struct container *find(const struct containers *cs, const char *id)
{
	struct container *c = cs->list;

	while (c != NULL && strcmp(c->id, id) != 0)
		c = c->next;
	return c;
}

static struct container *get(struct containers *cs, const char *id, const char *name)
{
	struct container *c = find(cs, id);

	if (c == NULL) {
		c = mem_zalloc(1, sizeof(*c));
		if (c == NULL) {
			log_warn("fs-watch", "container %.12s: no memory; it is not watched", id);
			return NULL;
		}
		(void)snprintf(c->id, sizeof(c->id), "%s", id);
		c->containers = cs;
		c->next = cs->list;
		cs->list = c;
	}
	if (*name != '\0')
		(void)snprintf(c->name, sizeof(c->name), "%s", name);
	return c;
}

static bool is_wanted(const struct containers *cs, const struct container *c)
{
	return cs->name == NULL || strcmp(cs->name, c->name) == 0 ||
	       (strlen(cs->name) >= LONGEST_ID && strncmp(c->id, cs->name, strlen(cs->name)) == 0);
}

static void forget(struct containers *cs, struct container *c)
{
	struct container **at = &cs->list;

	while (*at != c)
		at = &(*at)->next;
	*at = c->next;
	if (cs->by_inotify && c->watched_ns != 0)
		watch_remove(cs->watch, c);
	if (c->layer != NULL)
		layers_forget(cs->layers, c->layer);
	mem_free(c);
}

static void stop(struct containers *cs, struct container *c);

/* Once nobody waits for an answer. */
static void forget_if_gone(struct containers *cs, struct container *c)
{
	if (!c->is_gone || c->asked)
		return;
	stop(cs, c);
	forget(cs, c);
}

/* ---- their lives ----------------------------------------------------------------------------- */

static void on_inspected(void *owner, const char *id, int status, const char *json, size_t len,
			 const struct err *err);

static void ask(struct containers *cs, struct container *c)
{
	struct err err;

	if (c->asked)
		return;
	c->asked = true;
	c->changed = false;
	if (engine_inspect(cs->engine, c->id, on_inspected, &err) != RC_OK)
		log_warn("fs-watch", "container %s: %s", c->name, err.text);
}

/* Its layer is known. `started_ns`: since when it runs; 0: since an event said so, and the layer was known before. */
static void start(struct containers *cs, struct container *c, uint64_t started_ns)
{
	const uint64_t watched_ns = cs->by_inotify ? c->watched_ns : cs->watched_ns;
	uint64_t lost_ns;

	if (!c->wanted || layer_runs(c->layer))
		return;
	lost_ns = layer_start(cs->layers, c->layer);
	if (started_ns != 0 && started_ns < watched_ns)
		containers_scan(cs, c, started_ns, (watched_ns - started_ns) / CLOCK_NS_PER_MS + 1);
	else if (lost_ns != 0)
		containers_scan(cs, c, lost_ns, 0);
}

static void stop(struct containers *cs, struct container *c)
{
	if (c->layer == NULL || !layer_runs(c->layer))
		return;
	watch_read_all(cs->watch);
	layer_stop(c->layer);
	if (cs->by_inotify && c->watched_ns != 0) {
		watch_remove(cs->watch, c);
		c->watched_ns = 0;
	}
}

static void tell_unseen(struct containers *cs, const struct container *c)
{
	const struct watch_event event = {
		.kind = WATCH_LOST, .is_dir = true, .time_ns = containers_now_ns(), .path = ""
	};

	if (is_wanted(cs, c))
		cs->ops->on_event(cs->owner, c->name, &event);
}

/* By inotify: the upperdir of one that runs, or has just been made. */
static void watch_upper(struct containers *cs, struct container *c, const char *upper)
{
	struct err err;

	if (!cs->by_inotify || !c->wanted || c->watched_ns != 0)
		return;
	if (watch_add(cs->watch, upper, c, &err) != RC_OK)
		log_warn("fs-watch", "container %s: %s; it is not watched", c->name, err.text);
	else
		c->watched_ns = containers_now_ns();
}

/* "ROOT/DRIVER/LAYER/diff" is the upperdir's path. NULL: it is another. */
static struct layer *layer_of(struct containers *cs, const char *upper)
{
	const size_t len = strlen(cs->dir);
	const char *name = upper + len + 1, *end;

	if (strncmp(upper, cs->dir, len) != 0 || upper[len] != '/')
		return NULL;
	end = strchr(name, '/');
	return end != NULL && end > name && *name != '.' && strcmp(end, "/diff") == 0 ?
		       layers_get(cs->layers, name, (size_t)(end - name)) :
		       NULL;
}

/* False: it cannot be watched. */
static bool know_layer(struct containers *cs, struct container *c,
		       const struct engine_container *told)
{
	if (c->layer != NULL)
		return true;
	c->layer = layer_of(cs, told->upper);
	if (c->layer == NULL) {
		log_warn("fs-watch",
			 "container %s: its upperdir '%.200s' is not in %.200s; it is not watched",
			 c->name, told->upper, cs->dir);
		return false;
	}
	layer_name(c->layer, c);
	c->wanted = is_wanted(cs, c);
	if (!c->wanted)
		layer_ignore(cs->layers, c->layer);
	return true;
}

static void on_told(struct containers *cs, struct container *c, const struct engine_container *told)
{
	const bool runs = c->changed ? c->runs : told->running;
	const bool is_new = c->layer == NULL;

	(void)snprintf(c->name, sizeof(c->name), "%s", told->name);
	if (!know_layer(cs, c, told))
		return;
	if (runs || c->is_made || c->has_run || told->started_ns == 0) /* or it was never started */
		watch_upper(cs, c, told->upper);
	if (is_new && c->has_run && faccessat(cs->driver_fd, layer_id(c->layer), F_OK, 0) != 0)
		tell_unseen(cs, c);
	if (is_new && c->wanted && (!cs->by_inotify || c->watched_ns != 0))
		cs->ops->on_watched(cs->owner, c->name, c->id);
	if (cs->by_inotify && c->changed) { /* since when it runs is not in there */
		ask(cs, c);
		return;
	}
	if (runs || c->has_run)
		start(cs, c, told->started_ns);
	if (!runs)
		stop(cs, c);
	c->runs = runs;
	c->has_run = c->is_made = false;
}

static void on_inspected(void *owner, const char *id, int status, const char *json, size_t len,
			 const struct err *err)
{
	struct containers *cs = owner;
	struct container *c = find(cs, id);
	struct engine_container told;
	struct err why = { 0 };

	if (c == NULL)
		return;
	c->asked = false;
	if (err != NULL) { /* the engine is going away; it is asked again with the list */
		log_debug("fs-watch", "container %s: %s", c->name, err->text);
	} else if (status == 404) {
		if (c->has_run && c->layer == NULL)
			tell_unseen(cs, c);
		forget(cs, c);
	} else if (status != 200 || engine_format_container(&told, json, len, &why) != RC_OK) {
		log_warn("fs-watch", "container %s: the engine answers %d %s", c->name, status,
			 why.text);
	} else {
		on_told(cs, c, &told);
		forget_if_gone(cs, c);
	}
	containers_check_ready(cs);
}

static void on_event(void *owner, const struct engine_event *event)
{
	struct containers *cs = owner;
	struct container *c = get(cs, event->id, event->name);

	if (c == NULL)
		return;
	c->heard = true;
	if (event->kind == ENGINE_START || event->kind == ENGINE_DIE)
		c->changed = true;
	if (event->kind == ENGINE_START)
		c->runs = c->has_run = true;
	if (event->kind == ENGINE_CREATE)
		c->is_made = true;
	if (event->kind == ENGINE_DIE) {
		c->runs = false;
		stop(cs, c);
		if (c->layer != NULL && c->wanted && cs->ops->on_ended != NULL)
			cs->ops->on_ended(cs->owner, c->name);
	} else if (event->kind == ENGINE_DESTROY) {
		c->is_gone = true;
		forget_if_gone(cs, c);
	} else if (event->kind == ENGINE_START && c->layer != NULL && !cs->by_inotify) {
		c->has_run = false;
		start(cs, c, 0);
	} else if (event->kind != ENGINE_RENAME) {
		ask(cs, c);
	}
}

/* ---- the engine ------------------------------------------------------------------------------ */

bool containers_is_asking(const struct containers *cs)
{
	const struct container *c = cs->list;

	while (c != NULL && !c->asked)
		c = c->next;
	return c != NULL;
}

void containers_check_ready(struct containers *cs)
{
	if (containers_is_asking(cs) || cs->listing || !cs->is_open || cs->is_ready)
		return;
	cs->is_ready = true;
	cs->ops->on_engine(cs->owner, NULL);
}

static void on_listed(void *owner, const char *id)
{
	struct containers *cs = owner;
	struct container *c = get(cs, id, "");

	if (c == NULL)
		return;
	c->listed = true;
	ask(cs, c);
}

static void on_list(void *owner, const char *id, int status, const char *json, size_t len,
		    const struct err *err)
{
	struct containers *cs = owner;
	struct container *c, *next;
	struct err why = { 0 };

	(void)id;
	cs->listing = false;
	for (c = cs->list; c != NULL; c = c->next)
		c->listed = c->heard;
	if (err != NULL)
		why = *err;
	else if (status != 200)
		(void)err_set(&why, RC_REFUSED, "the engine answers %d", status);
	else
		(void)engine_format_list(json, len, on_listed, cs, &why);
	if (why.code != RC_OK) { /* if it has gone away, it is asked again when it is there */
		log_warn("fs-watch", "the list of containers: %s", why.text);
		return;
	}
	for (c = cs->list; c != NULL; c = next) {
		next = c->next;
		if (c->listed)
			continue;
		stop(cs, c);
		forget(cs, c);
	}
	containers_check_ready(cs);
}

static void on_open(void *owner, const struct engine_info *info)
{
	struct containers *cs = owner;
	struct err err;

	if (cs->watch == NULL && containers_watch(cs, info, &err) != RC_OK) {
		cs->ops->on_failed(cs->owner, &err);
		return;
	}
	for (struct container *c = cs->list; c != NULL; c = c->next)
		c->heard = c->changed = c->asked = false;
	cs->is_open = cs->listing = true;
	if (engine_list(cs->engine, on_list, &err) != RC_OK)
		log_warn("fs-watch", "%s", err.text);
}

static void on_lost(void *owner, const struct err *err)
{
	struct containers *cs = owner;

	if (!cs->is_open && cs->is_told_lost)
		return;
	cs->is_told_lost = true;
	cs->is_open = cs->is_ready = false;
	cs->ops->on_engine(cs->owner, err);
}

/* ---- open and close -------------------------------------------------------------------------- */

int containers_open(struct containers **out, uv_loop_t *loop, const char *socket, const char *name,
		    enum watch_way way, const struct containers_ops *ops, void *owner,
		    struct err *err)
{
	static const struct engine_ops engine_ops = { on_open, on_event, on_lost };
	struct containers *cs = mem_zalloc(1, sizeof(*cs));
	int rc = RC_OK;

	if (cs == NULL)
		return err_nomem(err, "containers");
	*cs = (struct containers){
		.loop = loop, .ops = ops, .owner = owner, .name = name, .way = way, .driver_fd = -1
	};
	cs->layers = layers_open(KEPT_MAX, containers_tell, cs);
	if (cs->layers == NULL)
		rc = err_nomem(err, "containers");
	else
		rc = engine_open(&cs->engine, loop, socket, &engine_ops, cs, err);
	if (rc != RC_OK) {
		layers_close(cs->layers);
		mem_free(cs);
		return rc;
	}
	*out = cs;
	return RC_OK;
}

const char *containers_way(const struct containers *cs)
{
	return cs->watch == NULL ? NULL : cs->by_inotify ? "inotify" : "fanotify";
}

static void free_it(void *owner)
{
	struct containers *cs = owner;
	struct container *c;

	while ((c = cs->list) != NULL) {
		cs->list = c->next;
		mem_free(c);
	}
	layers_close(cs->layers);
	if (cs->driver_fd >= 0)
		(void)close(cs->driver_fd);
	mem_free(cs->dir);
	mem_free(cs);
}

void containers_close(struct containers *cs)
{
	if (cs == NULL)
		return;
	engine_close(cs->engine);
	if (cs->watch != NULL)
		watch_close(cs->watch, free_it, cs);
	else
		free_it(cs);
}
