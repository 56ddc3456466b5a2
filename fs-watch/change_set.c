/*
 * Theory of operation. A node for each name that has changed, and for each above it, so that a rename moves all that is below it. What was there
 * before the epoch is renamed and removed by operations. Directories are made by operations as well, since something may be moved into them
 * before the end; a file that is new has no operation at all: it is written at its last name, if it still has one.
 */
#include "fs-watch/change_set.h"

#include "appliance/base/buf.h"
#include "appliance/base/mem.h"

#include <string.h>
#include <xxhash.h>

#define SLOTS_MIN 64
#define OPS_MAX 1000000 /* then the tree is looked at: it costs less */
#define PATH_LIMIT ((size_t)1 << 20)

struct node {
	struct node *parent, *children, *next, *prev;
	struct node *by_name;
	char *name;
	unsigned what;
	bool covers; /* new, and in place of what may have been there before */
};

struct op {
	enum change_op_kind kind;
	char *path, *from;
};

struct change_set {
	struct node *top;
	struct node **slots;
	size_t nslots, count;
	struct op *ops;
	size_t nops, room;
	bool whole;
};

/* ---- names ----------------------------------------------------------------------------------- */

static struct node **slot_of(const struct change_set *set, const struct node *parent,
			     const char *name, size_t len)
{
	return &set->slots[XXH64(name, len, (uint64_t)(uintptr_t)parent) & (set->nslots - 1)];
}

static struct node *child(const struct change_set *set, const struct node *parent, const char *name,
			  size_t len)
{
	struct node *node = *slot_of(set, parent, name, len);

	while (node != NULL && (node->parent != parent || strncmp(node->name, name, len) != 0 ||
				node->name[len] != '\0'))
		node = node->by_name;
	return node;
}

static void link_name(struct change_set *set, struct node *node)
{
	struct node **slot = slot_of(set, node->parent, node->name, strlen(node->name));

	node->by_name = *slot;
	*slot = node;
}

/* Twice the slots; without memory the chains get longer, and no more. */
static void grow(struct change_set *set)
{
	struct node **old = set->slots, *node, *next;
	struct node **slots = mem_zalloc(set->nslots * 2, sizeof(struct node *));
	const size_t nold = set->nslots;

	if (slots == NULL)
		return;
	set->slots = slots;
	set->nslots = nold * 2;
	for (size_t i = 0; i < nold; i++) {
		for (node = old[i]; node != NULL; node = next) {
			next = node->by_name;
			link_name(set, node);
		}
	}
	mem_free(old);
}

static void join(struct change_set *set, struct node *node, struct node *parent)
{
	node->parent = parent;
	node->prev = NULL;
	node->next = parent->children;
	if (parent->children != NULL)
		parent->children->prev = node;
	parent->children = node;
	link_name(set, node);
}

static void leave(struct change_set *set, struct node *node)
{
	struct node **at = slot_of(set, node->parent, node->name, strlen(node->name));

	while (*at != node)
		at = &(*at)->by_name;
	*at = node->by_name;
	if (node->prev != NULL)
		node->prev->next = node->next;
	else
		node->parent->children = node->next;
	if (node->next != NULL)
		node->next->prev = node->prev;
}

/* With all that is below it, those at the ends first. */
static void drop(struct change_set *set, struct node *top)
{
	struct node *node = top, *parent;

	do {
		while (node->children != NULL)
			node = node->children;
		parent = node->parent;
		leave(set, node);
		set->count--;
		if (node == top)
			parent = NULL;
		mem_free(node->name);
		mem_free(node);
		node = parent;
	} while (node != NULL);
}

static struct node *make(struct change_set *set, struct node *parent, const char *name, size_t len)
{
	struct node *node = mem_zalloc(1, sizeof(*node));

	if (node != NULL)
		node->name = mem_strndup(name, len);
	if (node == NULL || node->name == NULL) {
		mem_free(node);
		return NULL;
	}
	if (set->count >= set->nslots)
		grow(set);
	set->count++;
	join(set, node, parent);
	return node;
}

/* The node of a path; NULL: there is none, or, to `make_it`, no memory. */
static struct node *find(struct change_set *set, const char *path, bool make_it)
{
	struct node *node = set->top, *next;
	size_t len;

	for (; *path != '\0' && node != NULL; path += len + (path[len] == '/')) {
		len = strcspn(path, "/");
		next = child(set, node, path, len);
		node = next == NULL && make_it ? make(set, node, path, len) : next;
	}
	return node;
}

/* ---- operations ------------------------------------------------------------------------------ */

static bool add_op(struct change_set *set, enum change_op_kind kind, const char *path,
		   const char *from)
{
	const size_t room = set->room > 0 ? set->room * 2 : 16;
	struct op op = { .kind = kind };
	struct op *more;

	if (set->nops == OPS_MAX)
		return false;
	if (set->nops == set->room) {
		more = mem_realloc(set->ops, room * sizeof(*more));
		if (more == NULL)
			return false;
		set->ops = more;
		set->room = room;
	}
	op.path = mem_strdup(path);
	op.from = from != NULL ? mem_strdup(from) : NULL;
	if (op.path == NULL || (from != NULL && op.from == NULL)) {
		mem_free(op.path);
		mem_free(op.from);
		return false;
	}
	set->ops[set->nops++] = op;
	return true;
}

static bool note(struct change_set *set, const char *path, unsigned what)
{
	struct node *node = find(set, path, true);

	if (node == NULL)
		return false;
	node->what |= what;
	return true;
}

static bool make_new(struct change_set *set, const struct watch_event *event)
{
	struct node *node = find(set, event->path, true);

	if (node == NULL)
		return false;
	if (event->is_dir) {
		node->what |= CHANGE_ATTRIBUTES;
		return add_op(set, CHANGE_MAKE_DIR, event->path, NULL);
	}
	/* What it has replaced without an event of its own may be there still. */
	node->covers = node->covers || (node->what != 0 && (node->what & CHANGE_NEW) == 0);
	node->what = CHANGE_NEW | CHANGE_CONTENT | CHANGE_ATTRIBUTES;
	return true;
}

/* Who has the epoch before has nothing of that name. */
static bool is_unknown_there(const struct node *node)
{
	return node != NULL && (node->what & CHANGE_NEW) != 0 && !node->covers;
}

static bool remove_one(struct change_set *set, const char *path)
{
	struct node *node = find(set, path, false);
	const bool is_unknown = is_unknown_there(node);

	if (node != NULL && node != set->top)
		drop(set, node);
	return is_unknown || add_op(set, CHANGE_REMOVE, path, NULL);
}

static bool contains(const struct node *outer, const struct node *inner)
{
	while (inner != NULL && inner != outer)
		inner = inner->parent;
	return inner != NULL;
}

/* Takes a node with all that is below it to another name, whose own one goes. */
static bool move_node(struct change_set *set, struct node *node, const char *path)
{
	struct node *place = find(set, path, true), *parent;
	char *name;

	if (place == NULL || contains(place, node) || contains(node, place))
		return false;
	name = mem_strdup(place->name);
	if (name == NULL)
		return false;
	parent = place->parent;
	drop(set, place);
	leave(set, node);
	mem_free(node->name);
	node->name = name;
	join(set, node, parent);
	return true;
}

/* A new file is only called otherwise; its old name is gone, and it may have the place of one that was there before. */
static bool move_new(struct change_set *set, struct node *node, const char *path, const char *from)
{
	const bool covered = node->covers, fresh = is_unknown_there(find(set, path, false));

	if (!move_node(set, node, path))
		return false;
	node->covers = !fresh;
	return !covered || add_op(set, CHANGE_REMOVE, from, NULL);
}

static bool move_one(struct change_set *set, const struct watch_event *event)
{
	struct node *node = find(set, event->from, false), *place;

	if (node != NULL && (node->what & CHANGE_NEW) != 0)
		return move_new(set, node, event->path, event->from);
	if (!add_op(set, CHANGE_MOVE, event->path, event->from))
		return false;
	if (node != NULL)
		return move_node(set, node, event->path);
	place = find(set, event->path, false);
	if (place != NULL)
		drop(set, place);
	return true;
}

/* ---- the set --------------------------------------------------------------------------------- */

struct change_set *change_set_open(void)
{
	struct change_set *set = mem_zalloc(1, sizeof(*set));

	if (set == NULL)
		return NULL;
	set->nslots = SLOTS_MIN;
	set->slots = mem_zalloc(SLOTS_MIN, sizeof(struct node *));
	set->top = mem_zalloc(1, sizeof(*set->top));
	if (set->slots != NULL && set->top != NULL)
		return set;
	change_set_close(set);
	return NULL;
}

void change_set_clear(struct change_set *set)
{
	for (size_t i = 0; i < set->nops; i++) {
		mem_free(set->ops[i].path);
		mem_free(set->ops[i].from);
	}
	set->nops = 0;
	while (set->top->children != NULL)
		drop(set, set->top->children);
	set->top->what = 0;
	set->whole = false;
}

void change_set_close(struct change_set *set)
{
	if (set == NULL)
		return;
	if (set->slots != NULL && set->top != NULL)
		change_set_clear(set);
	mem_free(set->slots);
	mem_free(set->ops);
	mem_free(set->top);
	mem_free(set);
}

static bool take(struct change_set *set, const struct watch_event *event)
{
	switch (event->kind) {
	case WATCH_CREATE:
		return make_new(set, event);
	case WATCH_WRITE:
	case WATCH_CLOSE:
		return note(set, event->path, CHANGE_CONTENT | CHANGE_ATTRIBUTES);
	case WATCH_ATTRIBUTE:
		return note(set, event->path, CHANGE_ATTRIBUTES);
	case WATCH_RENAME:
		return move_one(set, event);
	case WATCH_DELETE:
		return remove_one(set, event->path);
	default: /* lost, and found */
		return false;
	}
}

void change_set_add(struct change_set *set, const struct watch_event *event)
{
	if (!set->whole)
		set->whole = !take(set, event);
}

bool change_set_is_whole_tree(const struct change_set *set)
{
	return set->whole;
}

bool change_set_is_empty(const struct change_set *set)
{
	return !set->whole && set->nops == 0 && set->top->children == NULL && set->top->what == 0;
}

size_t change_set_ops(const struct change_set *set)
{
	return set->nops;
}

struct change_op change_set_op(const struct change_set *set, size_t number)
{
	const struct op *op = &set->ops[number];

	return (struct change_op){ .kind = op->kind, .path = op->path, .from = op->from };
}

static bool put_path(struct buf *path, const struct node *node)
{
	const struct node *at;
	size_t len = 0, part;
	uint8_t *end;

	for (at = node; at->parent != NULL; at = at->parent)
		len += strlen(at->name) + (at->parent->parent != NULL);
	buf_reset(path);
	if (buf_extend(path, len + 1) == NULL)
		return false;
	end = path->data + len;
	*end = '\0';
	for (at = node; at->parent != NULL; at = at->parent) {
		if (at != node)
			*--end = '/';
		part = strlen(at->name);
		end -= part;
		memcpy(end, at->name, part);
	}
	return true;
}

/* The one after it, going down first. */
static const struct node *after(const struct node *node)
{
	if (node->children != NULL)
		return node->children;
	while (node != NULL && node->next == NULL)
		node = node->parent;
	return node != NULL ? node->next : NULL;
}

bool change_set_each(const struct change_set *set,
		     void (*each)(void *owner, const char *path, unsigned what), void *owner)
{
	struct buf path = { .limit = PATH_LIMIT };
	bool told = true;

	for (const struct node *node = set->top; node != NULL && told; node = after(node)) {
		if (node->what == 0)
			continue;
		told = put_path(&path, node);
		if (told)
			each(owner, (const char *)path.data, node->what);
	}
	buf_free(&path);
	return told;
}
