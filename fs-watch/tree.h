/*
 * The directories of the watched trees, as far as anybody needed to know them: who is in whom, by what name. No I/O.
 *
 * A directory is known by a key, the kernel's word for it that holds whatever it is called: a file handle, or an inotify
 * watch. One that is renamed takes all below it along at no cost.
 */
#ifndef FS_WATCH_TREE_H
#define FS_WATCH_TREE_H

#include "appliance/base/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TREE_KEY_MAX \
	160 /* bytes: a file system's number, and a handle of MAX_HANDLE_SZ (128) with its type */
#define TREE_DEPTH_MAX \
	4096 /* a path of PATH_MAX has half of that; deeper ones can be made, step by step */

struct tree;
struct tree_dir;

struct tree_key {
	size_t len;
	uint8_t bytes[TREE_KEY_MAX];
};

/* Of the same directory. */
bool tree_key_is(const struct tree_key *one, const struct tree_key *other);

/* NULL: no memory. `dropped`, NULL for none, is told of each directory that is forgotten. */
struct tree *tree_open(void (*dropped)(void *owner, const struct tree_key *key), void *owner);
void tree_close(struct tree *tree);

struct tree_dir *tree_find(const struct tree *tree, const struct tree_key *key);

/* The top of a tree; `root` is the caller's word for it. NULL: no memory. */
struct tree_dir *tree_add_root(struct tree *tree, const struct tree_key *key, void *root);
/* It is in `parent` by this name from now on, new or moved. NULL: no memory, or it would be below itself. */
struct tree_dir *tree_put(struct tree *tree, const struct tree_key *key, struct tree_dir *parent,
			  const char *name);
/* It is in no watched tree, or nowhere any more. */
struct tree_dir *tree_put_outside(struct tree *tree, const struct tree_key *key);

/* NULL: it is not known. */
struct tree_dir *tree_child(const struct tree *tree, const struct tree_dir *parent,
			    const char *name);

/* Forgets one with all below it; all below it; and all that are in no tree. */
void tree_drop(struct tree *tree, struct tree_dir *dir);
void tree_drop_below(struct tree *tree, struct tree_dir *dir);
void tree_drop_outside(struct tree *tree);
/* All but the tops. */
void tree_drop_all(struct tree *tree);

/* It is `upper`, or anywhere below it. */
bool tree_is_below(const struct tree_dir *lower, const struct tree_dir *upper);
bool tree_is_inside(const struct tree_dir *dir);
bool tree_has_children(const struct tree_dir *dir); /* known ones */
bool tree_is_top(const struct tree_dir *dir);
/* Of one inside. */
void *tree_root_of(const struct tree_dir *dir);
/* NULL: it is a top, or outside. */
const struct tree_dir *tree_parent_of(const struct tree_dir *dir);
const char *tree_name_of(const struct tree_dir *dir);
const struct tree_key *tree_key_of(const struct tree_dir *dir);
/*
 * Appends the path of `name` in a directory inside, and a NUL; "" is the directory itself. False: no memory, or past the
 * buffer's limit.
 */
bool tree_path(const struct tree_dir *dir, const char *name, struct buf *path);

/* How many are known, and of those how many outside. */
size_t tree_count(const struct tree *tree);
size_t tree_count_outside(const struct tree *tree);

#endif
