/*
 * Theory of operation. Each directory has a watch, whose number is its key. A new directory is watched first and looked into then, so that
 * nothing in it is missed; what that look finds and its events tell as well is told once (inotify_seen.h), until the events that were
 * in the queue at the end of the look have been taken.
 *
 * A watch is made by a path, and the path is the one of the event's time: whoever has renamed a directory since may have put another one in
 * its place. What has happened until the watch was made is in the queue then; if any of it takes a name of the path away, the directory
 * is `missed`, and looked for again when a name changes. One that has a watch already keeps its place until its own rename is taken: as
 * that, or as having left, if it has come into a directory that was not watched yet.
 *
 * A directory that leaves the tree takes its watches along, which are removed. When the queue has overflowed everything is begun anew:
 * other watches, and a scan.
 */
#include "fs-watch/inotify_queue.h"
#include "fs-watch/inotify_seen.h"
#include "fs-watch/long_path.h"
#include "fs-watch/scan.h"
#include "fs-watch/watch_internal.h"

#include "appliance/base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define TURN_EVENTS 65536 /* told of in one turn of the loop */
#define MASK                                                                              \
	(IN_CREATE | IN_MODIFY | IN_CLOSE_WRITE | IN_ATTRIB | IN_DELETE | IN_MOVED_FROM | \
	 IN_MOVED_TO | IN_ONLYDIR | IN_EXCL_UNLINK)

/* A directory that was not there by the name that it had been made with; or was there, and has another place yet, `untold`. */
struct missed {
	struct missed *next;
	int dir;
	bool untold;
	char name[];
};

struct watch_inotify {
	struct watch *watch;
	struct tree *tree;
	uv_poll_t poll;
	struct inotify_queue queue;
	struct inotify_seen seen;
	uint64_t seen_until; /* of the queue's bytes */
	uint64_t drained_ns; /* since 1970: all before had been read */
	struct missed *missed;
	bool overflowed;
};

static struct tree_dir *dir_at(const struct watch_inotify *n, int wd)
{
	const struct tree_key key = inotify_queue_key(wd);

	return tree_find(n->tree, &key);
}

/* ---- what was missed ------------------------------------------------------------------------- */

static void forget_missed(struct watch_inotify *n)
{
	struct missed *missed;

	while ((missed = n->missed) != NULL) {
		n->missed = missed->next;
		mem_free(missed);
	}
}

/* Without memory: as if events were lost. */
static void note_missed(struct watch_inotify *n, const struct tree_dir *dir, const char *name,
			bool untold)
{
	const size_t len = strlen(name) + 1;
	struct missed *missed = mem_alloc(sizeof(*missed) + len);

	if (missed == NULL) {
		n->overflowed = true;
		return;
	}
	missed->dir = inotify_queue_watch(dir);
	missed->untold = untold;
	memcpy(missed->name, name, len);
	missed->next = n->missed;
	n->missed = missed;
}

/* It is not to be looked for there any more. False: it was not. */
static bool was_missed(struct watch_inotify *n, const struct tree_dir *dir, const char *name)
{
	struct missed **at = &n->missed, *missed;

	while ((missed = *at) != NULL &&
	       (missed->dir != inotify_queue_watch(dir) || strcmp(missed->name, name) != 0))
		at = &missed->next;
	if (missed == NULL)
		return false;
	*at = missed->next;
	mem_free(missed);
	return true;
}

/* ---- a look into a directory ----------------------------------------------------------------- */

/* -1 and errno. */
static int add_watch(const struct watch_inotify *n, int fd)
{
	char path[64];

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return inotify_add_watch(n->queue.fd, path, MASK);
}

static void explain(struct err *err, int errnum, const char *path)
{
	(void)err_system(err, errnum, "inotify: %.200s", path);
	if (errnum == ENOSPC)
		(void)err_append(err, ": more directories than fs.inotify.max_user_watches allows");
}

struct look {
	struct watch_inotify *n;
	void *root;
	bool tells;
	struct err err;
};

/* NULL: it has a place already; or an error. */
static struct tree_dir *put(struct look *look, int fd, struct tree_dir *parent, const char *name,
			    const char *path)
{
	struct watch_inotify *n = look->n;
	const int wd = add_watch(n, fd);
	const struct tree_key key = inotify_queue_key(wd);
	struct tree_dir *dir;

	if (wd < 0) {
		explain(&look->err, errno, path);
		return NULL;
	}
	if (tree_find(n->tree, &key) != NULL)
		return NULL;
	dir = parent != NULL ? tree_put(n->tree, &key, parent, name) :
			       tree_add_root(n->tree, &key, look->root);
	if (dir == NULL)
		(void)err_nomem(&look->err, "a directory");
	else if (look->tells)
		inotify_seen_dir(&n->seen, wd);
	return dir;
}

/* Each entry knows its directory. */
static bool on_entry(void *owner, struct scan_entry *entry)
{
	struct look *look = owner;
	struct tree_dir *dir = entry->dir_tag;

	if (entry->fd >= 0) {
		entry->tag = put(look, entry->fd, dir, entry->name, entry->path);
		if (entry->tag == NULL && look->tells && look->err.code == RC_OK)
			note_missed(look->n, dir, entry->name, true);
		if (entry->tag == NULL)
			return false;
	}
	if (!look->tells)
		return true;
	inotify_seen_found(&look->n->seen, inotify_queue_watch(dir), entry->name);
	watch_tell_path(look->n->watch, WATCH_CREATE,
			(struct watch_flags){ .is_dir = entry->fd >= 0, .scanned = true },
			look->root, entry->path);
	return true;
}

/* Watches what is in `dir`, which is watched. */
static int look_into(struct look *look, int fd, struct tree_dir *dir, const char *path,
		     struct err *err)
{
	int rc = scan(fd, path, dir, on_entry, look, err);

	if (rc == RC_OK && look->err.code != RC_OK) {
		*err = look->err;
		rc = (int)err->code;
	}
	if (look->tells)
		look->n->seen_until = inotify_queue_end(&look->n->queue);
	return rc;
}

static void on_dropped(void *owner, const struct tree_key *key)
{
	const struct watch_inotify *n = owner;
	int wd;

	memcpy(&wd, key->bytes, sizeof(wd));
	(void)inotify_rm_watch(n->queue.fd, wd);
}

static int open_in(const struct watch_inotify *n, const struct tree_dir *dir, const char *name,
		   struct buf *path)
{
	const struct watch_root *root = watch_root_of(n->watch, tree_root_of(dir));

	return root != NULL && tree_path(dir, name, path) ?
		       long_path_open(root->fd, (char *)path->data) :
		       -1;
}

/* A directory that is new in this tree. False: there is none of that name now, or another one. */
static bool take_in(struct watch_inotify *n, struct tree_dir *dir, const char *name, bool untold)
{
	struct look look = { .n = n, .root = tree_root_of(dir), .tells = true };
	struct buf path = { 0 };
	const int fd = open_in(n, dir, name, &path);
	struct tree_dir *new = fd >= 0 ? put(&look, fd, dir, name, (const char *)path.data) : NULL;
	bool is_it = new != NULL && !inotify_queue_leaves(&n->queue, dir, name);
	struct err err = look.err;

	if (new != NULL && !is_it)
		tree_drop(n->tree, new);
	if (is_it && untold)
		watch_tell(n->watch, WATCH_CREATE,
			   (struct watch_flags){ .is_dir = true, .scanned = true }, dir, name, NULL,
			   NULL);
	if (is_it)
		(void)look_into(&look, fd, new, (const char *)path.data, &err);
	if (err.code != RC_OK)
		watch_failed(n->watch, &err);
	if (fd >= 0)
		(void)close(fd);
	buf_free(&path);
	return is_it;
}

/* Names have changed. What is not found when all has been read (`last`) is gone. */
static void try_missed(struct watch_inotify *n, bool last)
{
	struct missed *list = n->missed, *missed;
	struct tree_dir *dir;

	n->missed = NULL;
	while ((missed = list) != NULL) {
		list = missed->next;
		dir = dir_at(n, missed->dir);
		if (dir != NULL && !take_in(n, dir, missed->name, missed->untold) && !last) {
			missed->next = n->missed;
			n->missed = missed;
		} else {
			mem_free(missed);
		}
	}
}

/* ---- telling --------------------------------------------------------------------------------- */

static const char *name_of(const struct inotify_event *event)
{
	return event->len > 0 ? event->name : "";
}

static void take_in_later(struct watch_inotify *n, struct tree_dir *dir, const char *name)
{
	if (!take_in(n, dir, name, false))
		note_missed(n, dir, name, false);
}

static void tell_made(struct watch_inotify *n, struct tree_dir *dir, const char *name, bool is_dir)
{
	if (!inotify_seen_made(&n->seen, inotify_queue_watch(dir), name))
		return;
	watch_tell(n->watch, WATCH_CREATE, (struct watch_flags){ .is_dir = is_dir }, dir, name,
		   NULL, NULL);
	if (is_dir)
		take_in_later(n, dir, name);
}

static void tell_gone(struct watch_inotify *n, struct tree_dir *dir, const char *name, bool is_dir)
{
	struct tree_dir *child = is_dir ? tree_child(n->tree, dir, name) : NULL;

	if (inotify_seen_gone(&n->seen, inotify_queue_watch(dir), name))
		watch_tell(n->watch, WATCH_DELETE, (struct watch_flags){ .is_dir = is_dir }, dir,
			   name, NULL, NULL);
	if (child != NULL)
		tree_drop(n->tree, child);
	else if (is_dir)
		(void)was_missed(n, dir, name);
	if (is_dir)
		try_missed(n, false);
}

/* The directory has its new name, and takes what is below it along. */
static void move_dir(struct watch_inotify *n, struct tree_dir *from, const char *from_name,
		     struct tree_dir *to, const char *name)
{
	struct tree_dir *child = tree_child(n->tree, from, from_name);
	struct tree_key key;

	(void)was_missed(n, to, name);
	if (child != NULL) {
		key = *tree_key_of(child);
		(void)tree_put(n->tree, &key, to, name);
	} else if (was_missed(n, from, from_name)) {
		note_missed(n, to, name, false);
	} else {
		take_in_later(n, to, name);
	}
	try_missed(n, false);
}

static void tell_moved(struct watch_inotify *n, struct tree_dir *from, const char *from_name,
		       struct tree_dir *to, const char *name, bool is_dir)
{
	const struct watch_flags flags = { .is_dir = is_dir };
	const bool was_told = inotify_seen_gone(&n->seen, inotify_queue_watch(from), from_name);
	const bool is_new = inotify_seen_made(&n->seen, inotify_queue_watch(to), name);
	struct tree_dir *old = tree_child(n->tree, to, name);

	if (old != NULL && old != tree_child(n->tree, from, from_name))
		tree_drop(n->tree, old); /* it had the name */
	if (was_told && is_new)
		watch_tell(n->watch, WATCH_RENAME, flags, to, name, from, from_name);
	else if (was_told)
		watch_tell(n->watch, WATCH_DELETE, flags, from, from_name, NULL, NULL);
	else if (is_new)
		watch_tell(n->watch, WATCH_CREATE, flags, to, name, NULL, NULL);
	if (is_dir)
		move_dir(n, from, from_name, to, name);
}

/* A name in a directory that may go meanwhile. */
struct left {
	int wd;
	char name[NAME_MAX + 1];
};

/* By its path now. */
static bool left_is_there(const struct watch_inotify *n, const struct left *left, bool *is_dir)
{
	const struct tree_dir *dir = dir_at(n, left->wd);
	const struct watch_root *root =
		dir != NULL ? watch_root_of(n->watch, tree_root_of(dir)) : NULL;
	struct buf path = { 0 };
	struct stat st;
	const bool there = root != NULL && tree_path(dir, "", &path) &&
			   long_path_stat(root->fd, (char *)path.data, left->name, &st);

	*is_dir = there && S_ISDIR(st.st_mode);
	buf_free(&path);
	return there;
}

/*
 * A name has left, and is there: a whiteout was left behind, it was exchanged with the one it has gone to (of which the kernel tells as
 * of two renames), or what has put somebody there is to be told. Where it cannot be said which, everything is looked at.
 */
static void look_behind(struct watch_inotify *n, const struct left *left,
			const struct left *gone_to, size_t at, size_t other)
{
	size_t back;
	bool is_dir, other_is_dir;

	if (!left_is_there(n, left, &is_dir))
		return;
	inotify_queue_wait(&n->queue);
	back = other > 0 ? inotify_queue_back(&n->queue, at, other) : 0;
	if (back > 0 && left_is_there(n, gone_to, &other_is_dir)) {
		inotify_queue_cancel_both(&n->queue, back);
		n->overflowed = inotify_queue_mentions(&n->queue, left->wd, left->name) ||
				inotify_queue_mentions(&n->queue, gone_to->wd, gone_to->name);
	} else if (inotify_queue_mentions(&n->queue, left->wd, left->name)) {
		return;
	}
	if (!n->overflowed && left_is_there(n, left, &is_dir))
		tell_made(n, dir_at(n, left->wd), left->name, is_dir);
}

static void tell_halves(struct watch_inotify *n, struct tree_dir *from, const char *from_name,
			struct tree_dir *to, const char *name, bool is_dir)
{
	if (to == NULL) {
		tell_gone(n, from, from_name, is_dir);
	} else if (tree_root_of(from) == tree_root_of(to)) {
		tell_moved(n, from, from_name, to, name, is_dir);
	} else {
		tell_gone(n, from, from_name, is_dir);
		tell_made(n, to, name, is_dir);
	}
}

static void tell_from(struct watch_inotify *n, size_t at, struct tree_dir *from)
{
	struct left left = { .wd = inotify_queue_watch(from) }, gone_to = { 0 };
	size_t other = inotify_queue_other_half(&n->queue, at);
	const struct inotify_event *event = inotify_queue_event(&n->queue, at), *half;
	const bool is_dir = (event->mask & IN_ISDIR) != 0;
	struct tree_dir *to = NULL;

	(void)snprintf(left.name, sizeof(left.name), "%s", name_of(event));
	if (other > 0) {
		half = inotify_queue_event(&n->queue, other);
		to = dir_at(n, half->wd);
		gone_to.wd = half->wd;
		(void)snprintf(gone_to.name, sizeof(gone_to.name), "%s", name_of(half));
	}
	if (to != NULL)
		inotify_queue_cancel(&n->queue, other);
	else
		other = 0;
	tell_halves(n, from, left.name, to, gone_to.name, is_dir);
	look_behind(n, &left, &gone_to, at, other);
}

static void tell_name(struct watch_inotify *n, const struct inotify_event *event,
		      struct tree_dir *dir)
{
	const bool is_dir = (event->mask & IN_ISDIR) != 0;
	char name[NAME_MAX + 1]; /* the queue may move */

	(void)snprintf(name, sizeof(name), "%s", name_of(event));
	if ((event->mask & IN_DELETE) != 0)
		tell_gone(n, dir, name, is_dir);
	else
		tell_made(n, dir, name, is_dir);
}

static void tell_change(struct watch_inotify *n, const struct inotify_event *event,
			const struct tree_dir *dir)
{
	const struct watch_flags flags = { .is_dir = (event->mask & IN_ISDIR) != 0 };

	if ((event->mask & IN_MODIFY) != 0)
		watch_tell(n->watch, WATCH_WRITE, flags, dir, name_of(event), NULL, NULL);
	else if ((event->mask & IN_CLOSE_WRITE) != 0)
		watch_tell(n->watch, WATCH_CLOSE, flags, dir, name_of(event), NULL, NULL);
	/* A directory tells of its own attributes, and its parent of them, too. */
	else if ((event->mask & IN_ATTRIB) != 0 && (event->len > 0 || tree_is_top(dir)))
		watch_tell(n->watch, WATCH_ATTRIBUTE, flags, dir, name_of(event), NULL, NULL);
}

static void tell(struct watch_inotify *n, size_t at)
{
	const struct inotify_event *event = inotify_queue_event(&n->queue, at);
	struct tree_dir *dir = dir_at(n, event->wd);

	if ((event->mask & IN_Q_OVERFLOW) != 0)
		n->overflowed = true;
	if (dir == NULL || n->overflowed)
		return;
	if ((event->mask & IN_MOVED_FROM) != 0)
		tell_from(n, at, dir);
	else if ((event->mask & (IN_CREATE | IN_MOVED_TO | IN_DELETE)) != 0)
		tell_name(n, event, dir);
	else
		tell_change(n, event, dir);
}

/* ---- reading --------------------------------------------------------------------------------- */

/* Other watches, and a look at everything: what is in the queue is of the old ones. */
static void renew(struct watch_inotify *n)
{
	struct look look = { .n = n };
	struct tree_dir *top;

	inotify_seen_forget(&n->seen);
	forget_missed(n);
	do {
		inotify_queue_forget(&n->queue);
	} while (inotify_queue_read(&n->queue));
	n->overflowed = false;
	for (const struct watch_root *root = n->watch->roots; root != NULL; root = root->next) {
		if (root->way != WATCH_INOTIFY || n->watch->closing)
			continue;
		watch_inotify_remove(n, root);
		look.root = root->root;
		top = put(&look, root->fd, NULL, "", root->path);
		if (top != NULL)
			watch_rescan(n->watch, root, n->drained_ns, top, on_entry, &look);
		if (look.err.code != RC_OK)
			watch_failed(n->watch, &look.err);
	}
}

/* True: there may be more. */
static bool tell_many(struct watch_inotify *n)
{
	unsigned told = 0;
	size_t at;

	while (told < TURN_EVENTS && !n->watch->closing) {
		if (n->overflowed)
			renew(n);
		if (n->seen.count > 0 && inotify_queue_taken(&n->queue) >= n->seen_until)
			inotify_seen_forget(&n->seen);
		if (inotify_queue_next(&n->queue, &at) != NULL) {
			tell(n, at);
			told++;
		} else if (!inotify_queue_read(&n->queue)) {
			try_missed(n, true);
			n->drained_ns = watch_now_ns();
			watch_idle(n->watch);
			return false;
		}
	}
	return !n->watch->closing;
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
	(void)status;
	(void)events;
	(void)tell_many(poll->data);
}

void watch_inotify_read_all(struct watch_inotify *n)
{
	while (tell_many(n))
		;
}

/* ---- the trees ------------------------------------------------------------------------------- */

int watch_inotify_open(struct watch_inotify **out, struct watch *watch, struct err *err)
{
	const int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	struct watch_inotify *n;

	if (fd < 0)
		return err_system(err, errno, "inotify");
	n = mem_zalloc(1, sizeof(*n));
	if (n != NULL) {
		n->watch = watch;
		n->drained_ns = watch_now_ns();
		inotify_queue_init(&n->queue, fd);
		n->tree = tree_open(on_dropped, n);
	}
	if (n == NULL || n->tree == NULL || uv_poll_init(watch->loop, &n->poll, fd) != 0) {
		if (n != NULL)
			tree_close(n->tree);
		mem_free(n);
		(void)close(fd);
		return err_nomem(err, "inotify");
	}
	n->poll.data = n;
	watch->open++;
	(void)uv_poll_start(&n->poll, UV_READABLE, on_readable);
	*out = n;
	return RC_OK;
}

int watch_inotify_add(struct watch_inotify *n, struct watch_root *root, struct err *err)
{
	struct look look = { .n = n, .root = root->root };
	struct tree_dir *top = put(&look, root->fd, NULL, "", root->path);
	int rc;

	if (top == NULL) {
		*err = look.err;
		if (err->code == RC_OK)
			(void)err_set(err, RC_INVALID, "%.200s: it is watched already", root->path);
		return (int)err->code;
	}
	rc = look_into(&look, root->fd, top, "", err);
	if (rc != RC_OK)
		watch_inotify_remove(n, root);
	return rc;
}

void watch_inotify_remove(struct watch_inotify *n, const struct watch_root *root)
{
	struct tree_dir *top = dir_at(n, add_watch(n, root->fd));

	if (top != NULL)
		tree_drop(n->tree, top);
}

static void on_closed(uv_handle_t *handle)
{
	struct watch_inotify *n = handle->data;
	struct watch *watch = n->watch;

	(void)close(n->queue.fd);
	inotify_seen_forget(&n->seen);
	forget_missed(n);
	tree_close(n->tree);
	inotify_queue_free(&n->queue);
	mem_free(n);
	watch_handle_closed(watch);
}

void watch_inotify_close(struct watch_inotify *n)
{
	(void)uv_poll_stop(&n->poll);
	uv_close((uv_handle_t *)&n->poll, on_closed);
}
