/*
 * Theory of operation. Each directory is in two hash tables, by its key and by its name in its parent, and in the list of its parent's
 * children. What has no parent of its own hangs below one of two that nobody sees: the tops, and those outside. So the
 * place of a directory is where the way up ends, and moving one moves all below it.
 */
#include "fs-watch/tree.h"

#include "appliance/base/mem.h"

#include <string.h>
#include <xxhash.h>

#define SLOTS_MIN 64

enum kept { KEPT_OUTSIDE, KEPT_TOPS, KEPTS };

struct tree_dir {
	struct tree_dir *parent, *children, *next, *prev;
	struct tree_dir *by_key, *by_name; /* the next of the same slot */
	void *root;			   /* of a top */
	char *name;			   /* NULL: it has none */
	struct tree_key key;
};

struct tree {
	struct tree_dir kept[KEPTS];
	struct tree_dir **keys, **names;
	size_t slots, count, outside;
	void (*dropped)(void *owner, const struct tree_key *key);
	void *owner;
};

static size_t key_slot(const struct tree *tree, const struct tree_key *key)
{
	return (size_t)XXH64(key->bytes, key->len, 0) & (tree->slots - 1);
}

static size_t name_slot(const struct tree *tree, const struct tree_dir *parent, const char *name)
{
	return (size_t)XXH64(name, strlen(name), (uint64_t)(uintptr_t)parent) & (tree->slots - 1);
}

bool tree_key_is(const struct tree_key *one, const struct tree_key *other)
{
	return one->len == other->len && memcmp(one->bytes, other->bytes, one->len) == 0;
}

/* ---- the tables ------------------------------------------------------------------------------ */

static void link_key(struct tree *tree, struct tree_dir *dir)
{
	struct tree_dir **slot = &tree->keys[key_slot(tree, &dir->key)];

	dir->by_key = *slot;
	*slot = dir;
}

static void link_name(struct tree *tree, struct tree_dir *dir)
{
	struct tree_dir **slot;

	if (dir->name == NULL)
		return;
	slot = &tree->names[name_slot(tree, dir->parent, dir->name)];
	dir->by_name = *slot;
	*slot = dir;
}

static void unlink_key(struct tree *tree, const struct tree_dir *dir)
{
	struct tree_dir **at = &tree->keys[key_slot(tree, &dir->key)];

	while (*at != dir)
		at = &(*at)->by_key;
	*at = dir->by_key;
}

static void unlink_name(struct tree *tree, const struct tree_dir *dir)
{
	struct tree_dir **at;

	if (dir->name == NULL)
		return;
	at = &tree->names[name_slot(tree, dir->parent, dir->name)];
	while (*at != dir)
		at = &(*at)->by_name;
	*at = dir->by_name;
}

/* Twice the slots; without memory the chains get longer, and no more. */
static void grow(struct tree *tree)
{
	const size_t old_slots = tree->slots, slots = old_slots * 2;
	struct tree_dir **old = tree->keys, *dir, *next;
	struct tree_dir **keys = mem_zalloc(slots, sizeof(struct tree_dir *));
	struct tree_dir **names = mem_zalloc(slots, sizeof(struct tree_dir *));

	if (keys == NULL || names == NULL) {
		mem_free(keys);
		mem_free(names);
		return;
	}
	mem_free(tree->names);
	tree->keys = keys;
	tree->names = names;
	tree->slots = slots;
	for (size_t i = 0; i < old_slots; i++) {
		for (dir = old[i]; dir != NULL; dir = next) {
			next = dir->by_key;
			link_key(tree, dir);
			link_name(tree, dir);
		}
	}
	mem_free(old);
}

/* ---- who is in whom -------------------------------------------------------------------------- */

static void join(struct tree *tree, struct tree_dir *dir, struct tree_dir *parent)
{
	dir->parent = parent;
	dir->prev = NULL;
	dir->next = parent->children;
	if (parent->children != NULL)
		parent->children->prev = dir;
	parent->children = dir;
	tree->outside += parent == &tree->kept[KEPT_OUTSIDE];
	link_name(tree, dir);
}

static void leave(struct tree *tree, struct tree_dir *dir)
{
	unlink_name(tree, dir);
	tree->outside -= dir->parent == &tree->kept[KEPT_OUTSIDE];
	if (dir->prev != NULL)
		dir->prev->next = dir->next;
	else
		dir->parent->children = dir->next;
	if (dir->next != NULL)
		dir->next->prev = dir->prev;
}

static void forget(struct tree *tree, struct tree_dir *dir)
{
	leave(tree, dir);
	unlink_key(tree, dir);
	tree->count--;
	if (tree->dropped != NULL)
		tree->dropped(tree->owner, &dir->key);
	mem_free(dir->name);
	mem_free(dir);
}

/* Those at the ends first: no more of the stack than this, however deep it is. */
static void empty(struct tree *tree, struct tree_dir *top)
{
	struct tree_dir *dir = top, *parent;

	while (top->children != NULL) {
		while (dir->children != NULL)
			dir = dir->children;
		parent = dir->parent;
		forget(tree, dir);
		dir = parent;
	}
}

struct tree *tree_open(void (*dropped)(void *owner, const struct tree_key *key), void *owner)
{
	struct tree *tree = mem_zalloc(1, sizeof(*tree));

	if (tree == NULL)
		return NULL;
	tree->dropped = dropped;
	tree->owner = owner;
	tree->slots = SLOTS_MIN;
	tree->keys = mem_zalloc(SLOTS_MIN, sizeof(struct tree_dir *));
	tree->names = mem_zalloc(SLOTS_MIN, sizeof(struct tree_dir *));
	if (tree->keys != NULL && tree->names != NULL)
		return tree;
	tree_close(tree);
	return NULL;
}

void tree_close(struct tree *tree)
{
	if (tree == NULL)
		return;
	tree->dropped = NULL;
	for (unsigned i = 0; i < KEPTS; i++)
		empty(tree, &tree->kept[i]);
	mem_free(tree->keys);
	mem_free(tree->names);
	mem_free(tree);
}

struct tree_dir *tree_find(const struct tree *tree, const struct tree_key *key)
{
	struct tree_dir *dir = tree->keys[key_slot(tree, key)];

	while (dir != NULL && !tree_key_is(&dir->key, key))
		dir = dir->by_key;
	return dir;
}

struct tree_dir *tree_child(const struct tree *tree, const struct tree_dir *parent,
			    const char *name)
{
	struct tree_dir *dir = tree->names[name_slot(tree, parent, name)];

	while (dir != NULL && (dir->parent != parent || strcmp(dir->name, name) != 0))
		dir = dir->by_name;
	return dir;
}

bool tree_is_below(const struct tree_dir *lower, const struct tree_dir *upper)
{
	while (lower != NULL && lower != upper)
		lower = lower->parent;
	return lower != NULL;
}

static struct tree_dir *make(struct tree *tree, const struct tree_key *key)
{
	struct tree_dir *dir = mem_zalloc(1, sizeof(*dir));

	if (dir == NULL)
		return NULL;
	dir->key.len = key->len;
	memcpy(dir->key.bytes, key->bytes, key->len);
	if (tree->count >= tree->slots)
		grow(tree);
	tree->count++;
	link_key(tree, dir);
	return dir;
}

/* `name` becomes the directory's. */
static struct tree_dir *put(struct tree *tree, const struct tree_key *key, struct tree_dir *parent,
			    char *name)
{
	struct tree_dir *dir = tree_find(tree, key);

	if (dir != NULL && tree_is_below(parent, dir)) {
		mem_free(name);
		return NULL;
	}
	if (dir != NULL)
		leave(tree, dir);
	else
		dir = make(tree, key);
	if (dir == NULL) {
		mem_free(name);
		return NULL;
	}
	mem_free(dir->name);
	dir->name = name;
	join(tree, dir, parent);
	return dir;
}

struct tree_dir *tree_put(struct tree *tree, const struct tree_key *key, struct tree_dir *parent,
			  const char *name)
{
	char *copy = mem_strdup(name);

	return copy != NULL ? put(tree, key, parent, copy) : NULL;
}

struct tree_dir *tree_put_outside(struct tree *tree, const struct tree_key *key)
{
	return put(tree, key, &tree->kept[KEPT_OUTSIDE], NULL);
}

struct tree_dir *tree_add_root(struct tree *tree, const struct tree_key *key, void *root)
{
	struct tree_dir *dir = put(tree, key, &tree->kept[KEPT_TOPS], NULL);

	if (dir != NULL)
		dir->root = root;
	return dir;
}

void tree_drop(struct tree *tree, struct tree_dir *dir)
{
	empty(tree, dir);
	forget(tree, dir);
}

void tree_drop_below(struct tree *tree, struct tree_dir *dir)
{
	empty(tree, dir);
}

void tree_drop_outside(struct tree *tree)
{
	empty(tree, &tree->kept[KEPT_OUTSIDE]);
}

void tree_drop_all(struct tree *tree)
{
	struct tree_dir *top = tree->kept[KEPT_TOPS].children;

	for (; top != NULL; top = top->next)
		empty(tree, top);
	tree_drop_outside(tree);
}

/* ---- where one is ---------------------------------------------------------------------------- */

bool tree_is_inside(const struct tree_dir *dir)
{
	return tree_root_of(dir) != NULL;
}

bool tree_has_children(const struct tree_dir *dir)
{
	return dir->children != NULL;
}

bool tree_is_top(const struct tree_dir *dir)
{
	return dir->root != NULL;
}

void *tree_root_of(const struct tree_dir *dir)
{
	while (dir->root == NULL && dir->parent != NULL)
		dir = dir->parent;
	return dir->root;
}

const struct tree_dir *tree_parent_of(const struct tree_dir *dir)
{
	return dir->name != NULL ? dir->parent : NULL;
}

const char *tree_name_of(const struct tree_dir *dir)
{
	return dir->name;
}

const struct tree_key *tree_key_of(const struct tree_dir *dir)
{
	return &dir->key;
}

bool tree_path(const struct tree_dir *dir, const char *name, struct buf *path)
{
	const size_t name_len = strlen(name), start = path->len;
	const struct tree_dir *at;
	size_t len = name_len, part;
	uint8_t *end;

	for (at = dir; at->root == NULL && at->parent != NULL; at = at->parent)
		len += strlen(at->name) + (len > 0);
	if (buf_extend(path, len + 1) == NULL)
		return false;
	end = path->data + start + len;
	*end = '\0';
	end -= name_len;
	memcpy(end, name, name_len);
	for (at = dir; at->root == NULL && at->parent != NULL; at = at->parent) {
		part = strlen(at->name);
		if (*end != '\0')
			*--end = '/';
		end -= part;
		memcpy(end, at->name, part);
	}
	return true;
}

size_t tree_count(const struct tree *tree)
{
	return tree->count;
}

size_t tree_count_outside(const struct tree *tree)
{
	return tree->outside;
}
