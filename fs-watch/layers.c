#include "fs-watch/layers.h"

#include "appliance/base/buf.h"
#include "appliance/base/mem.h"
#include <string.h>
#include <xxhash.h>

#define BUCKETS_MIN 64

enum state { STOPPED, RUNNING, IGNORED };

struct layer {
	struct layer *next;	     /* of its bucket */
	struct layer *older, *newer; /* of those that have something kept */
	enum state state;
	void *container;
	struct buf kept;   /* of struct kept, each followed by its paths */
	uint64_t first_ns; /* of what is kept */
	uint64_t lost_ns;  /* since then some was dropped; 0: none */
	struct layer_notes notes;
	char name[];
};

struct kept {
	struct watch_event event;    /* but for its pointers */
	uint32_t path_len, from_len; /* with their NUL; of none, 0 */
};

struct layers {
	struct layer **buckets;
	size_t nbuckets, count, kept, kept_max;
	struct layer *oldest, *newest;
	void (*tell)(void *owner, void *container, const struct watch_event *event);
	void *owner;
};

/* ---- the table ------------------------------------------------------------------------------- */

struct layers *layers_open(size_t kept_max,
			   void (*tell)(void *owner, void *container,
					const struct watch_event *event),
			   void *owner)
{
	struct layers *layers = mem_zalloc(1, sizeof(*layers));

	if (layers == NULL)
		return NULL;
	*layers = (struct layers){
		.nbuckets = BUCKETS_MIN, .kept_max = kept_max, .tell = tell, .owner = owner
	};
	layers->buckets = mem_zalloc(BUCKETS_MIN, sizeof(struct layer *));
	if (layers->buckets == NULL) {
		mem_free(layers);
		return NULL;
	}
	return layers;
}

static struct layer **slot_of(const struct layers *layers, const char *name, size_t len)
{
	struct layer **at = &layers->buckets[XXH64(name, len, 0) % layers->nbuckets];

	while (*at != NULL && (strncmp((*at)->name, name, len) != 0 || (*at)->name[len] != '\0'))
		at = &(*at)->next;
	return at;
}

struct layer *layers_find(const struct layers *layers, const char *name, size_t len)
{
	return *slot_of(layers, name, len);
}

/* Without memory it goes on as it is. */
static void grow(struct layers *layers)
{
	struct layer **old = layers->buckets, **at, *layer;
	const size_t nold = layers->nbuckets;
	struct layer **more = mem_zalloc(nold * 2, sizeof(struct layer *));

	if (more == NULL)
		return;
	layers->buckets = more;
	layers->nbuckets = nold * 2;
	for (size_t i = 0; i < nold; i++) {
		while ((layer = old[i]) != NULL) {
			old[i] = layer->next;
			layer->next = NULL;
			at = slot_of(layers, layer->name, strlen(layer->name));
			*at = layer;
		}
	}
	mem_free(old);
}

struct layer *layers_get(struct layers *layers, const char *name, size_t len)
{
	struct layer *layer = layers_find(layers, name, len);

	if (layer != NULL || len > LAYERS_NAME_MAX)
		return layer;
	if (layers->count >= layers->nbuckets)
		grow(layers);
	layer = mem_zalloc(1, sizeof(*layer) + len + 1);
	if (layer == NULL)
		return NULL;
	memcpy(layer->name, name, len);
	layer->kept.limit = layers->kept_max;
	*slot_of(layers, name, len) = layer;
	layers->count++;
	return layer;
}

void layers_each(struct layers *layers, void (*each)(void *owner, struct layer *layer), void *owner)
{
	struct layer *layer, *next;

	for (size_t i = 0; i < layers->nbuckets; i++) {
		for (layer = layers->buckets[i]; layer != NULL; layer = next) {
			next = layer->next;
			each(owner, layer);
		}
	}
}

size_t layers_count(const struct layers *layers)
{
	return layers->count;
}

size_t layers_kept(const struct layers *layers)
{
	return layers->kept;
}

/* ---- what is kept ---------------------------------------------------------------------------- */

static void unlink_kept(struct layers *layers, struct layer *layer)
{
	*(layer->older != NULL ? &layer->older->newer : &layers->oldest) = layer->newer;
	*(layer->newer != NULL ? &layer->newer->older : &layers->newest) = layer->older;
	layer->older = layer->newer = NULL;
}

/* It has nothing kept any more. */
static void clear(struct layers *layers, struct layer *layer)
{
	if (layer->kept.len > 0)
		unlink_kept(layers, layer);
	layers->kept -= layer->kept.len;
	buf_free(&layer->kept);
	layer->kept.limit = layers->kept_max;
}

static void note_lost(struct layer *layer, uint64_t since_ns)
{
	if (layer->lost_ns == 0)
		layer->lost_ns = since_ns;
}

static void drop(struct layers *layers, struct layer *layer)
{
	note_lost(layer, layer->first_ns);
	clear(layers, layer);
}

static bool put(struct layer *layer, const struct watch_event *event)
{
	const size_t before = layer->kept.len;
	struct kept kept = {
		.event = *event,
		.path_len = (uint32_t)strlen(event->path) + 1,
		.from_len = event->from != NULL ? (uint32_t)strlen(event->from) + 1 : 0,
	};

	(void)buf_append(&layer->kept, &kept, sizeof(kept));
	(void)buf_append(&layer->kept, event->path, kept.path_len);
	if (event->from != NULL)
		(void)buf_append(&layer->kept, event->from, kept.from_len);
	if (!layer->kept.failed)
		return true;
	layer->kept.failed = false;
	layer->kept.len = before;
	return false;
}

static void keep(struct layers *layers, struct layer *layer, const struct watch_event *event)
{
	const size_t before = layer->kept.len;

	if (!put(layer, event)) {
		if (before > 0)
			drop(layers, layer);
		note_lost(layer, event->time_ns);
		return;
	}
	layers->kept += layer->kept.len - before;
	if (before == 0) {
		layer->first_ns = event->time_ns;
		layer->older = layers->newest;
		*(layers->newest != NULL ? &layers->newest->newer : &layers->oldest) = layer;
		layers->newest = layer;
	}
	while (layers->kept > layers->kept_max)
		drop(layers, layers->oldest);
}

static void tell_kept(struct layers *layers, const struct layer *layer)
{
	const uint8_t *data = layer->kept.data;
	struct kept kept;
	size_t at = 0;

	while (at < layer->kept.len) {
		memcpy(&kept, data + at, sizeof(kept));
		at += sizeof(kept);
		kept.event.path = (const char *)data + at;
		at += kept.path_len;
		kept.event.from = kept.from_len > 0 ? (const char *)data + at : NULL;
		at += kept.from_len;
		kept.event.root = NULL;
		kept.event.target = NULL;
		layers->tell(layers->owner, layer->container, &kept.event);
	}
}

/* ---- one layer ------------------------------------------------------------------------------- */

void layer_event(struct layers *layers, struct layer *layer, const struct watch_event *event)
{
	if (layer->state == RUNNING)
		layers->tell(layers->owner, layer->container, event);
	else if (layer->state == STOPPED)
		keep(layers, layer, event);
}

void layer_name(struct layer *layer, void *container)
{
	layer->container = container;
}

void *layer_container(const struct layer *layer)
{
	return layer->container;
}

void layer_ignore(struct layers *layers, struct layer *layer)
{
	clear(layers, layer);
	layer->state = IGNORED;
}

uint64_t layer_start(struct layers *layers, struct layer *layer)
{
	const uint64_t lost_ns = layer->lost_ns;

	if (layer->state != STOPPED)
		return 0;
	tell_kept(layers, layer);
	clear(layers, layer);
	layer->lost_ns = 0;
	layer->state = RUNNING;
	return lost_ns;
}

void layer_stop(struct layer *layer)
{
	if (layer->state == RUNNING)
		layer->state = STOPPED;
}

bool layer_runs(const struct layer *layer)
{
	return layer->state == RUNNING;
}

struct layer_notes *layer_notes(struct layer *layer)
{
	return &layer->notes;
}

const char *layer_id(const struct layer *layer)
{
	return layer->name;
}

static void free_layer(struct layers *layers, struct layer *layer)
{
	clear(layers, layer);
	overlay_forget(&layer->notes.overlay);
	mem_free(layer->notes.lower);
	mem_free(layer);
	layers->count--;
}

void layers_forget(struct layers *layers, struct layer *layer)
{
	struct layer **at = slot_of(layers, layer->name, strlen(layer->name));

	*at = layer->next;
	free_layer(layers, layer);
}

void layers_close(struct layers *layers)
{
	struct layer *layer;

	if (layers == NULL)
		return;
	for (size_t i = 0; i < layers->nbuckets; i++) {
		while ((layer = layers->buckets[i]) != NULL) {
			layers->buckets[i] = layer->next;
			free_layer(layers, layer);
		}
	}
	mem_free(layers->buckets);
	mem_free(layers);
}
