/*
 * Theory of operation. Changes of one name that were not read yet are one report for the kernel, with a bit for each, where the first of
 * them was; so is the same rename done again. What they say may not be what happened last, and who is renamed may not be who was told to
 * have that name: the other of an exchange, one that was found by a look, one whose way here was merged into an earlier report. So
 * of each name it is kept who was told to have it (told.h), reports that are known or cannot be are left out, and fanotify_settle.c
 * compares with what is there once all was read.
 *
 * A directory's place is the tree's, whatever a report calls it.
 */
#include "fs-watch/fanotify_tell.h"

#include "appliance/base/log.h"
#include "fs-watch/scan.h"

#include <string.h>
#include <stdio.h>
#include <unistd.h>

#define REMOVED_MAX ((size_t)256 << 20) /* bytes */
#define ALL_TOLD 1 /* who has the name "" of a directory: all in it was told of */
#define REMOVED 2  /* the same; and it is gone */

/* A name in a directory inside; `dir` NULL: outside. */
struct spot {
	struct tree_dir *dir;
	const char *name;
};

/* ---- who has the name ------------------------------------------------------------------------ */

static uint64_t who_of(const struct fanotify_event *event)
{
	return event->has_target ? told_who(&event->target) : 1;
}

static void note(struct watch_fanotify *f, struct spot spot, uint64_t who, bool is_dir, bool doubt)
{
	if (!told_set(&f->told, tree_key_of(spot.dir), spot.name, who, is_dir, doubt))
		f->lost = true;
}

/* False: nobody knows. All that is in a directory of which the name "" was told was told as well. */
static bool was_told(const struct watch_fanotify *f, struct spot spot, uint64_t *who)
{
	const struct told_name *name = told_find(&f->told, tree_key_of(spot.dir), spot.name);

	*who = name != NULL ? name->who : TOLD_NOBODY;
	return name != NULL || told_find(&f->told, tree_key_of(spot.dir), "") != NULL;
}

/* A report says something else of it than what was told. */
static void doubt(struct watch_fanotify *f, struct spot spot)
{
	const struct told_name *name = told_find(&f->told, tree_key_of(spot.dir), spot.name);

	note(f, spot, name != NULL ? name->who : TOLD_NOBODY, name != NULL && name->is_dir, true);
}

static bool is_told_to_be(const struct watch_fanotify *f, struct spot spot, uint64_t who)
{
	uint64_t told;

	return was_told(f, spot, &told) && told == who;
}

/* Somebody else has the name, or nobody. */
static bool is_told_not_to_be(const struct watch_fanotify *f, struct spot spot, uint64_t who)
{
	uint64_t told;

	return was_told(f, spot, &told) && told != who;
}

static bool is_there(const struct watch_fanotify *f, struct spot spot, const struct tree_key *who)
{
	const struct fanotify_fs *fs = fanotify_system_of(f, who);
	const int fd = fs != NULL ? fanotify_place_open(fs, tree_key_of(spot.dir)) : -1;
	struct tree_key key;
	bool there;

	if (fd < 0)
		return false;
	there = fanotify_place_child(&key, fs->fsid, fd, spot.name) &&
		told_who(&key) == told_who(who);
	(void)close(fd);
	return there;
}

/* A directory is known to be elsewhere. */
static bool contradicts(const struct watch_fanotify *f, const struct fanotify_event *event,
			struct spot spot)
{
	const struct tree_dir *dir = (event->mask & FAN_ONDIR) != 0 && event->has_target ?
					     tree_find(f->tree, &event->target) :
					     NULL;

	return dir != NULL && tree_is_inside(dir) &&
	       (tree_parent_of(dir) != spot.dir || strcmp(tree_name_of(dir), spot.name) != 0);
}

static bool is_gone(const struct watch_fanotify *f, const struct tree_key *dir)
{
	const struct fanotify_fs *fs = fanotify_system_of(f, dir);
	const int fd = fs != NULL ? fanotify_place_open(fs, dir) : -1;

	if (fd < 0)
		return fs != NULL;
	(void)close(fd);
	return false;
}

/* ---- telling --------------------------------------------------------------------------------- */

static void tell(struct watch_fanotify *f, enum watch_kind kind, struct watch_flags flags,
		 struct spot spot)
{
	watch_tell(f->watch, kind, flags, spot.dir, spot.name, NULL, NULL);
}

/* Of another one than who has the report that is being told of. */
static void tell_of(struct watch_fanotify *f, enum watch_kind kind, struct watch_flags flags,
		    struct spot spot, const struct tree_key *who)
{
	const struct tree_key *target = f->watch->target;

	f->watch->target = who;
	tell(f, kind, flags, spot);
	f->watch->target = target;
}

struct look {
	struct watch_fanotify *f;
	const struct fanotify_fs *fs;
};

/* It was told of in another place, and has come from there. */
static void tell_from_elsewhere(struct watch_fanotify *f, const struct tree_dir *dir,
				struct spot to)
{
	const struct watch_flags flags = { .is_dir = true, .coalesced = true, .scanned = true };
	const struct tree_key key = *tree_key_of(dir);
	const struct spot from = { tree_find(f->tree, tree_key_of(tree_parent_of(dir))),
				   tree_name_of(dir) };

	watch_tell(f->watch, WATCH_RENAME, flags, to.dir, to.name, from.dir, from.name);
	note(f, from, TOLD_NOBODY, false, true);
	if (tree_put(f->tree, &key, to.dir, to.name) == NULL)
		f->lost = true;
}

static bool on_content(void *owner, struct scan_entry *entry)
{
	const struct look *look = owner;
	struct watch_fanotify *f = look->f;
	const bool is_dir = S_ISDIR(entry->st.st_mode);
	const struct spot spot = { .dir = entry->dir_tag, .name = entry->name };
	const struct tree_dir *known;
	struct tree_key key;

	if (!fanotify_place_child(&key, look->fs->fsid, entry->dir_fd, entry->name))
		return false;
	known = is_dir ? tree_find(f->tree, &key) : NULL;
	if (known != NULL && tree_is_inside(known)) {
		if (tree_parent_of(known) != spot.dir ||
		    strcmp(tree_name_of(known), spot.name) != 0)
			tell_from_elsewhere(f, known, spot);
		note(f, spot, told_who(&key), true, true);
		return false;
	}
	tell_of(f, WATCH_CREATE, (struct watch_flags){ .is_dir = is_dir, .scanned = true }, spot,
		&key);
	note(f, spot, told_who(&key), is_dir, true);
	if (!is_dir)
		return false;
	entry->tag = tree_put(f->tree, &key, spot.dir, entry->name);
	if (entry->tag == NULL)
		return false;
	note(f, (struct spot){ entry->tag, "" }, ALL_TOLD, true, false);
	return true;
}

void fanotify_tell_contents(struct watch_fanotify *f, const struct tree_dir *parent,
			    const char *name)
{
	struct tree_dir *dir = tree_child(f->tree, parent, name);
	struct look look = { .f = f };
	struct err err;
	int fd;

	if (dir == NULL)
		return;
	look.fs = fanotify_system_of(f, tree_key_of(dir));
	fd = look.fs != NULL ? fanotify_place_open(look.fs, tree_key_of(dir)) : -1;
	if (fd < 0)
		return;
	tree_drop_below(f->tree, dir); /* somebody may have asked where they are, and nobody told */
	note(f, (struct spot){ dir, "" }, ALL_TOLD, true, false);
	if (scan(fd, "", dir, on_content, &look, &err) != RC_OK) {
		log_warn("fs-watch", "%s", err.text);
		f->lost = true;
	}
	(void)close(fd);
}

/* It is gone, with all that is below it. Who has a file of it open may still write. */
static void drop_target(struct watch_fanotify *f, const struct fanotify_event *event)
{
	struct tree_dir *target = event->has_target ? tree_find(f->tree, &event->target) : NULL;

	if (target != NULL)
		tree_drop(f->tree, target);
	if (event->has_target)
		(void)fanotify_put_outside(f, &event->target);
}

/* One that had the name is not there any more. */
static void put_target(struct watch_fanotify *f, const struct fanotify_event *event,
		       struct tree_dir *dir)
{
	struct tree_dir *other = tree_child(f->tree, dir, event->at.name);

	if (!event->has_target)
		return;
	if (other != NULL && other != tree_find(f->tree, &event->target))
		tree_drop(f->tree, other);
	if (tree_put(f->tree, &event->target, dir, event->at.name) == NULL)
		f->lost = true;
}

/* ---- removals that come later ---------------------------------------------------------------- */

/*
 * A directory was made and removed, in one report; what has happened in it is behind that. The last of them is told of first: it may be in
 * one before.
 */
static void remove_later(struct watch_fanotify *f, const struct fanotify_event *event)
{
	f->removed.limit = REMOVED_MAX;
	if (!buf_append(&f->removed, &event->target, sizeof(event->target)) ||
	    !told_set(&f->told, &event->target, "", REMOVED, true, false))
		f->lost = true;
}

static bool is_removed(const struct watch_fanotify *f, const struct tree_dir *dir)
{
	const struct told_name *mark = told_find(&f->told, tree_key_of(dir), "");

	return mark != NULL && mark->who == REMOVED;
}

static void tell_removed(struct watch_fanotify *f, struct tree_dir *dir)
{
	const struct tree_key key = *tree_key_of(dir);
	const struct spot at = { tree_find(f->tree, tree_key_of(tree_parent_of(dir))),
				 tree_name_of(dir) };
	const struct watch_flags flags = { .is_dir = true, .coalesced = true };

	tell_of(f, WATCH_DELETE, flags, at, &key);
	note(f, at, TOLD_NOBODY, false, false);
	tree_drop(f->tree, dir);
	(void)fanotify_put_outside(f, &key);
}

void fanotify_tell_removed(struct watch_fanotify *f, const struct tree_dir *top)
{
	struct tree_dir *dir;
	struct tree_key key;

	for (size_t end = f->removed.len; end > 0; end -= sizeof(key)) {
		memcpy(&key, f->removed.data + end - sizeof(key), sizeof(key));
		dir = tree_find(f->tree, &key);
		if (dir != NULL && dir != top && tree_parent_of(dir) != NULL &&
		    tree_is_inside(dir) && is_removed(f, dir) &&
		    (top == NULL || tree_is_below(dir, top)))
			tell_removed(f, dir);
	}
	if (top == NULL)
		buf_reset(&f->removed);
}

/* Another one has the name now. */
static void make_room(struct watch_fanotify *f, struct spot at)
{
	struct tree_dir *dir = f->removed.len > 0 ? tree_child(f->tree, at.dir, at.name) : NULL;

	if (dir == NULL || !is_removed(f, dir))
		return;
	fanotify_tell_removed(f, dir);
	tell_removed(f, dir);
}

/* ---- of one name ----------------------------------------------------------------------------- */

static void tell_created(struct watch_fanotify *f, const struct fanotify_event *event,
			 struct spot at, struct watch_flags flags)
{
	const uint64_t who = who_of(event);
	uint64_t told;

	if (was_told(f, at, &told) && told == who) {
		doubt(f, at);
		return;
	}
	make_room(f, at);
	if (flags.is_dir)
		put_target(f, event, at.dir);
	tell(f, WATCH_CREATE, flags, at);
	note(f, at, who, flags.is_dir, false);
}

static void tell_deleted(struct watch_fanotify *f, const struct fanotify_event *event,
			 struct spot at, struct watch_flags flags)
{
	struct tree_dir *dir;

	if (contradicts(f, event, at)) {
		f->lost = true;
		return;
	}
	dir = flags.is_dir && f->removed.len > 0 && event->has_target ?
		      tree_find(f->tree, &event->target) :
		      NULL;
	if (dir != NULL && tree_has_children(dir))
		fanotify_tell_removed(f, dir);
	if (is_told_not_to_be(f, at, who_of(event))) {
		doubt(f, at);
	} else {
		tell(f, WATCH_DELETE, flags, at);
		note(f, at, TOLD_NOBODY, false, false);
	}
	if (flags.is_dir)
		drop_target(f, event);
}

static const struct {
	uint64_t bit;
	enum watch_kind kind;
} order[] = {
	{ FAN_MODIFY, WATCH_WRITE },
	{ FAN_ATTRIB, WATCH_ATTRIBUTE },
	{ FAN_CLOSE_WRITE, WATCH_CLOSE },
};
#define ORDERS (sizeof(order) / sizeof(order[0]))

static void tell_changes(struct watch_fanotify *f, const struct fanotify_event *event,
			 struct tree_dir *dir)
{
	const uint64_t both = FAN_CREATE | FAN_DELETE,
		       bits = event->mask & FANOTIFY_MASK & ~(uint64_t)FAN_ONDIR;
	const struct watch_flags flags = { .is_dir = (event->mask & FAN_ONDIR) != 0,
					   .coalesced = (bits & (bits - 1)) != 0 };
	const struct spot at = { .dir = dir, .name = event->at.name };
	/* Removed first, and made anew: of the same file, by a link. */
	const bool anew = (bits & both) == both && event->has_target && !flags.is_dir &&
			  is_there(f, at, &event->target);

	if (anew)
		tell_deleted(f, event, at, flags);
	if ((bits & FAN_CREATE) != 0)
		tell_created(f, event, at, flags);
	for (size_t i = 0; i < ORDERS; i++) {
		if ((bits & order[i].bit) != 0)
			tell(f, order[i].kind, flags, at);
	}
	if ((bits & both) == both && flags.is_dir && event->has_target)
		remove_later(f, event);
	else if ((bits & FAN_DELETE) != 0 && !anew)
		tell_deleted(f, event, at, flags);
}

/* ---- of a rename ----------------------------------------------------------------------------- */

/* The second of the two reports of an exchange: who was in its place went the other way. */
static bool is_exchange(const struct watch_fanotify *f, const struct fanotify_event *event)
{
	const struct fanotify_event *first;

	for (size_t i = 0; i < FANOTIFY_RENAMES; i++) {
		first = &f->renames[i];
		if (first->from.there && event->has_target && first->has_target &&
		    first->pid == event->pid && tree_key_is(&first->from.dir, &event->at.dir) &&
		    tree_key_is(&first->at.dir, &event->from.dir) &&
		    !tree_key_is(&first->target, &event->target))
			return true;
	}
	return false;
}

/* Where who is renamed was told to be. */
static struct spot spot_before(struct watch_fanotify *f, const struct fanotify_event *event)
{
	struct spot from = { fanotify_inside(f, &event->from.dir), event->from.name };

	if (from.dir == NULL)
		return from;
	if (is_told_not_to_be(f, from, who_of(event))) {
		if ((event->mask & FAN_ONDIR) != 0 && !is_exchange(f, event))
			f->lost = true;
		doubt(f, from);
		from.dir = NULL;
	} else if (contradicts(f, event, from)) {
		f->lost = true;
	}
	return from;
}

/* `is_new`: nobody has told of what is in it. */
static void move_dir(struct watch_fanotify *f, const struct fanotify_event *event, struct spot from,
		     struct spot to, bool is_new)
{
	if (to.dir == NULL && from.dir != NULL)
		drop_target(f, event);
	if (to.dir == NULL)
		return;
	put_target(f, event, to.dir);
	if (is_new)
		fanotify_tell_contents(f, to.dir, to.name);
}

static void tell_exchanged(struct watch_fanotify *f, const struct fanotify_event *event,
			   struct spot to, struct watch_flags flags)
{
	const struct tree_dir *from = fanotify_inside(f, &event->from.dir);

	if (from != NULL)
		watch_tell(f->watch, WATCH_RENAME, flags, to.dir, to.name, from, event->from.name);
}

static void tell_moved(struct watch_fanotify *f, const struct fanotify_event *event,
		       struct spot from, struct spot to, struct watch_flags flags)
{
	const uint64_t who = who_of(event);
	const bool same = from.dir != NULL && to.dir != NULL &&
			  tree_root_of(from.dir) == tree_root_of(to.dir);

	if (to.dir != NULL)
		make_room(f, to);
	if (same)
		watch_tell(f->watch, WATCH_RENAME, flags, to.dir, to.name, from.dir, from.name);
	else if (flags.exchanged)
		tell_exchanged(f, event, to, flags);
	else if (from.dir != NULL)
		tell(f, WATCH_DELETE, flags, from);
	if (!same && to.dir != NULL && !flags.exchanged)
		tell(f, WATCH_CREATE, flags, to);
	if (from.dir != NULL)
		note(f, from, TOLD_NOBODY, false, true);
	if (to.dir != NULL)
		note(f, to, who, flags.is_dir, false);
	if (flags.is_dir && event->has_target && !told_moved(&f->told, &event->target))
		f->lost = true;
	if (flags.is_dir)
		move_dir(f, event, from, to, !same);
}

/* It was found where it is now, by a look. */
static void tell_left(struct watch_fanotify *f, const struct fanotify_event *event, struct spot to)
{
	const struct watch_flags flags = { .is_dir = (event->mask & FAN_ONDIR) != 0 };
	const struct spot from = { fanotify_inside(f, &event->from.dir), event->from.name };

	doubt(f, to);
	if (from.dir == NULL || is_told_not_to_be(f, from, who_of(event)))
		return;
	tell(f, WATCH_DELETE, flags, from);
	note(f, from, TOLD_NOBODY, false, true);
}

static void tell_rename(struct watch_fanotify *f, const struct fanotify_event *event)
{
	struct watch_flags flags = { .is_dir = (event->mask & FAN_ONDIR) != 0 };
	struct spot from, to = { fanotify_inside(f, &event->at.dir), event->at.name };
	const struct tree_dir *before;

	if (to.dir != NULL && flags.is_dir && fanotify_inside(f, &event->from.dir) == NULL) {
		/* Nor is what is below it outside any more. */
		tree_drop_outside(f->tree);
		to.dir = fanotify_inside(f, &event->at.dir);
	}
	if (to.dir != NULL && is_told_to_be(f, to, who_of(event))) {
		tell_left(f, event, to);
		return;
	}
	from = spot_before(f, event);
	if (f->lost)
		return;
	if (from.dir == NULL) {
		before = fanotify_inside(f, &event->from.dir);
		flags.exchanged = before != NULL && to.dir != NULL && is_exchange(f, event) &&
				  tree_root_of(before) == tree_root_of(to.dir);
		flags.coalesced =
			!flags.exchanged && (before != NULL || is_gone(f, &event->from.dir));
	}
	tell_moved(f, event, from, to, flags);
}

void fanotify_tell(struct watch_fanotify *f, const struct fanotify_event *event)
{
	struct tree_dir *dir;

	if ((event->mask & FAN_Q_OVERFLOW) != 0) {
		f->lost = true;
		return;
	}
	if (event->pid == f->pid || !event->at.there)
		return;
	if ((event->mask & FAN_RENAME) != 0) {
		if (event->from.there)
			tell_rename(f, event);
		f->renames[f->renamed++ % FANOTIFY_RENAMES] = *event;
		return;
	}
	dir = fanotify_inside(f, &event->at.dir);
	if (dir != NULL)
		tell_changes(f, event, dir);
	else if ((event->mask & (FAN_CREATE | FAN_ONDIR)) == (FAN_CREATE | FAN_ONDIR) &&
		 event->has_target)
		(void)fanotify_put_outside(f, &event->target); /* it need not be looked for */
	else if ((event->mask & (FAN_DELETE | FAN_ONDIR)) == (FAN_DELETE | FAN_ONDIR))
		drop_target(f, event);
}
