/*
 * Theory of operation. What differs may be that of a change whose report is still to come: the kernel changes a name, and tells then. So a
 * moment is waited (MOMENT_US), and what is in the queue then will tell of it by itself. Of what nothing will be told, a file's name is put
 * right. With a directory in it, everything is as if events were lost, and looked at.
 */
#include "fs-watch/fanotify_tell.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <stdio.h>
#include <unistd.h>

#define MOMENT_US 1000

/* Open, of the directory that was looked into last. */
struct last_dir {
	int fd;
	const struct fanotify_fs *fs;
	struct tree_key key;
};

/* False: it is not there any more. */
static bool open_dir(const struct watch_fanotify *f, struct last_dir *last,
		     const struct tree_key *key)
{
	if (last->fs != NULL && tree_key_is(&last->key, key))
		return last->fd >= 0;
	if (last->fd >= 0)
		(void)close(last->fd);
	last->key = *key;
	last->fs = fanotify_system_of(f, key);
	last->fd = last->fs != NULL ? fanotify_place_open(last->fs, key) : -1;
	return last->fd >= 0;
}

static void close_dir(const struct last_dir *last)
{
	if (last->fd >= 0)
		(void)close(last->fd);
}

/* ---- a name ---------------------------------------------------------------------------------- */

/* Inside, and as it was told not to be; `who` has it. */
static struct tree_dir *differs(const struct watch_fanotify *f, struct last_dir *last,
				const struct told_doubt *doubt, struct tree_key *key, uint64_t *who)
{
	const struct told_name *told = told_find(&f->told, &doubt->dir, doubt->name);
	struct tree_dir *dir = tree_find(f->tree, &doubt->dir);

	if (told == NULL || dir == NULL || !tree_is_inside(dir) || *doubt->name == '\0' ||
	    !open_dir(f, last, &doubt->dir))
		return NULL;
	*who = TOLD_NOBODY;
	if (fanotify_place_child(key, last->fs->fsid, last->fd, doubt->name))
		*who = told_who(key);
	else if (errno != ENOENT)
		return NULL;
	return *who != told->who ? dir : NULL;
}

static bool names_agree(const struct watch_fanotify *f)
{
	struct last_dir last = { .fd = -1 };
	struct told_doubt doubt;
	struct tree_key key;
	uint64_t who;
	bool agree = true;

	for (size_t at = 0; agree && told_next_doubt(&f->told, &at, &doubt);)
		agree = differs(f, &last, &doubt, &key, &who) == NULL;
	close_dir(&last);
	return agree;
}

static bool is_directory(int dir_fd, const char *name)
{
	struct stat st;

	return fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
}

/* False: of some a report is to come. */
static bool correct_names(struct watch_fanotify *f, const struct told *coming)
{
	const struct watch_flags flags = { .coalesced = true, .scanned = true };
	struct last_dir last = { .fd = -1 };
	struct told_doubt doubt;
	struct tree_dir *dir;
	struct tree_key key;
	uint64_t who;
	bool all = true;

	for (size_t at = 0; !f->lost && told_next_doubt(&f->told, &at, &doubt);) {
		dir = differs(f, &last, &doubt, &key, &who);
		if (dir == NULL)
			continue;
		if (told_find(coming, &doubt.dir, doubt.name) != NULL) {
			all = false;
			continue;
		}
		if (told_find(&f->told, &doubt.dir, doubt.name)->is_dir ||
		    is_directory(last.fd, doubt.name)) {
			f->lost = true;
			break;
		}
		f->watch->target = who != TOLD_NOBODY ? &key : NULL;
		watch_tell(f->watch, who != TOLD_NOBODY ? WATCH_CREATE : WATCH_DELETE, flags, dir,
			   doubt.name, NULL, NULL);
		f->watch->target = NULL;
		(void)told_set(&f->told, &doubt.dir, doubt.name, who, false, true);
	}
	close_dir(&last);
	return all;
}

/* ---- a directory ----------------------------------------------------------------------------- */

/* Known, and not where it is known to be. */
static bool is_elsewhere(const struct watch_fanotify *f, const struct tree_key *key)
{
	const struct tree_dir *dir = tree_find(f->tree, key);
	const struct fanotify_fs *fs = fanotify_system_of(f, key);
	const int fd = dir != NULL && tree_parent_of(dir) != NULL && fs != NULL ?
			       fanotify_place_open(fs, key) :
			       -1;
	enum fanotify_place_now now;
	char name[NAME_MAX + 1];
	struct tree_key parent;

	if (fd < 0)
		return false;
	now = fanotify_place_now(fs, fd, &parent, name);
	(void)close(fd);
	return now == FANOTIFY_PLACE_BELOW &&
	       (strcmp(name, tree_name_of(dir)) != 0 ||
		!tree_key_is(&parent, tree_key_of(tree_parent_of(dir))));
}

static bool dirs_agree(const struct watch_fanotify *f)
{
	struct fanotify_place coming;
	struct tree_key key;

	for (size_t at = 0; told_next_moved(&f->told, &at, &key);) {
		if (is_elsewhere(f, &key) && !fanotify_queue_place(&f->queue, &key, &coming))
			return false;
	}
	return true;
}

/* ---- all ------------------------------------------------------------------------------------- */

/* The names of which something will be told. */
static bool find_coming(const struct watch_fanotify *f, struct told *coming)
{
	struct fanotify_event event;
	bool all = true;

	for (size_t at = f->queue.at; all && fanotify_queue_ahead(&f->queue, &at, &event);) {
		if (event.at.there)
			all = told_set(coming, &event.at.dir, event.at.name, 1, false, false);
		if (all && event.from.there)
			all = told_set(coming, &event.from.dir, event.from.name, 1, false, false);
	}
	return all;
}

int fanotify_settle(struct watch_fanotify *f)
{
	struct told coming = { 0 };
	bool all;

	fanotify_tell_removed(f, NULL);
	if (dirs_agree(f) && names_agree(f)) {
		told_forget(&f->told);
		return RC_STATE;
	}
	(void)usleep(MOMENT_US);
	fanotify_read_all(f);
	if (f->lost || f->failed.code != RC_OK)
		return RC_OK;
	f->lost = !find_coming(f, &coming) || !dirs_agree(f);
	all = !f->lost && correct_names(f, &coming);
	told_free(&coming);
	if (all && !f->lost)
		told_forget(&f->told);
	return f->lost || f->queue.at < f->queue.data.len ? RC_OK : RC_STATE;
}
