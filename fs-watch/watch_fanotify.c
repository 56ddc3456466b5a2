/*
 * Theory of operation. One group for everything, with a mark on each file system that has a watched tree: the kernel tells of every change
 * in it, anywhere, by the handle of the directory and the name in it. A directory is looked for when it is heard of first, and its
 * place kept up to date by the reports from then on. What is outside is dropped.
 *
 * Where a directory was when something happened in it, its next rename or removal tells: that is looked for among the reports that are not
 * taken yet. If there is none, it is where the kernel says that it is now; all that has happened until then is read first, for a rename in
 * between. If it is gone, and of its removal nothing is there yet (the kernel removes, and tells then), that is waited for, GIVE_UP_MS at
 * most, and once: it may have been removed long ago, and somebody has a file of it open. What is told of one that is gone matters to nobody.
 *
 * What is told of the reports is in fanotify_tell.c.
 */
#include "fs-watch/fanotify_tell.h"

#include "appliance/base/clock.h"
#include "appliance/base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#define TURN_EVENTS 65536 /* told of in one turn of the loop */
#define OUTSIDE_MAX 16384 /* directories that are of no interest, remembered */
#define GIVE_UP_MS 20

/* ---- where ----------------------------------------------------------------------------------- */

static struct fanotify_fs *system_of(const struct watch_fanotify *f, const uint8_t *fsid)
{
	struct fanotify_fs *fs = f->systems;

	while (fs != NULL && memcmp(fs->fsid, fsid, sizeof(fs->fsid)) != 0)
		fs = fs->next;
	return fs;
}

const struct fanotify_fs *fanotify_system_of(const struct watch_fanotify *f,
					     const struct tree_key *key)
{
	return system_of(f, key->bytes);
}

/* RC_STATE: there is nothing now. What else fails is noted. */
static int read_once(struct watch_fanotify *f)
{
	struct err err;
	int rc = fanotify_queue_read(&f->queue, &err);

	if (rc == RC_INVALID || rc == RC_IO)
		f->failed = err;
	else if (rc != RC_OK && rc != RC_STATE)
		f->lost = true;
	return rc;
}

/* Not what somebody adds as fast as it is read. */
void fanotify_read_all(struct watch_fanotify *f)
{
	const uint64_t end = f->queue.count + fanotify_queue_waiting(&f->queue);

	while (f->queue.count < end && read_once(f) == RC_OK)
		;
}

/* By the kernel. */
static enum fanotify_place_now place_now(struct watch_fanotify *f, const struct fanotify_fs *fs,
					 const struct tree_key *key, struct tree_key *parent,
					 char name[NAME_MAX + 1])
{
	const int fd = fanotify_place_open(fs, key);
	enum fanotify_place_now now;

	if (fd < 0) {
		f->lost = f->lost || (errno != ESTALE && errno != ENOENT);
		return FANOTIFY_PLACE_GONE;
	}
	now = fanotify_place_now(fs, fd, parent, name);
	(void)close(fd);
	return now;
}

/* By what has not been told yet. */
static bool place_by_report(const struct watch_fanotify *f, const struct tree_key *key,
			    struct tree_key *parent, char name[NAME_MAX + 1])
{
	struct fanotify_place place;

	if (!fanotify_queue_place(&f->queue, key, &place))
		return false;
	*parent = place.dir;
	(void)snprintf(name, NAME_MAX + 1, "%s", place.name);
	return true;
}

/* Its name, and who its parent is, when what was taken last happened. */
static enum fanotify_place_now place_then(struct watch_fanotify *f, const struct fanotify_fs *fs,
					  const struct tree_key *key, struct tree_key *parent,
					  char name[NAME_MAX + 1])
{
	struct pollfd moment = { .fd = f->queue.fd, .events = POLLIN };
	const uint64_t end_ns = clock_now_ns() + GIVE_UP_MS * CLOCK_NS_PER_MS;
	enum fanotify_place_now now = FANOTIFY_PLACE_BELOW;

	while (!place_by_report(f, key, parent, name)) {
		now = place_now(f, fs, key, parent, name);
		fanotify_read_all(f);
		if (place_by_report(f, key, parent, name))
			return FANOTIFY_PLACE_BELOW;
		if (now != FANOTIFY_PLACE_GONE || f->lost || f->failed.code != RC_OK || f->gave_up)
			return now;
		f->gave_up = clock_now_ns() >= end_ns;
		(void)poll(&moment, 1, 1);
	}
	return FANOTIFY_PLACE_BELOW;
}

static struct tree_dir *locate(struct watch_fanotify *f, const struct tree_key *key,
			       unsigned depth);

struct tree_dir *fanotify_put_outside(struct watch_fanotify *f, const struct tree_key *key)
{
	if (tree_count_outside(f->tree) >= OUTSIDE_MAX)
		tree_drop_outside(f->tree);
	return tree_put_outside(f->tree, key);
}

static struct tree_dir *find(struct watch_fanotify *f, const struct tree_key *key, unsigned depth)
{
	const struct fanotify_fs *fs = system_of(f, key->bytes);
	enum fanotify_place_now now = FANOTIFY_PLACE_TOP;
	struct tree_dir *parent;
	struct tree_key up;
	char name[NAME_MAX + 1];

	if (fs != NULL && depth > 0)
		now = place_then(f, fs, key, &up, name);
	parent = now == FANOTIFY_PLACE_BELOW ? locate(f, &up, depth - 1) : NULL;
	return parent != NULL && tree_is_inside(parent) ? tree_put(f->tree, key, parent, name) :
							  fanotify_put_outside(f, key);
}

/* NULL: no memory. */
static struct tree_dir *locate(struct watch_fanotify *f, const struct tree_key *key, unsigned depth)
{
	struct tree_dir *dir = tree_find(f->tree, key);

	return dir != NULL ? dir : find(f, key, depth);
}

struct tree_dir *fanotify_inside(struct watch_fanotify *f, const struct tree_key *key)
{
	struct tree_dir *dir = locate(f, key, TREE_DEPTH_MAX);

	f->lost = f->lost || dir == NULL;
	return dir != NULL && tree_is_inside(dir) ? dir : NULL;
}

/* ---- reading --------------------------------------------------------------------------------- */

/* What was told may have been of another place, since reports contradicted each other: everything there is is told of. */
static void look_again(struct watch_fanotify *f)
{
	const struct watch_root *root;

	do {
		fanotify_queue_forget(&f->queue);
	} while (read_once(f) == RC_OK);
	f->lost = false;
	told_forget(&f->told);
	buf_reset(&f->removed);
	tree_drop_all(f->tree); /* what was forgotten may have moved them */
	for (root = f->watch->roots; root != NULL; root = root->next) {
		if (root->way == WATCH_FANOTIFY && !f->watch->closing)
			watch_rescan(f->watch, root, 0, NULL, NULL, NULL);
	}
}

/* The names are copies: what is read meanwhile may move the reports. */
static bool tell_next(struct watch_fanotify *f)
{
	char name[NAME_MAX + 1], from[NAME_MAX + 1];
	struct fanotify_event event;

	if (!fanotify_queue_next(&f->queue, &event))
		return false;
	if (event.at.there) {
		(void)snprintf(name, sizeof(name), "%s", event.at.name);
		event.at.name = name;
	}
	if (event.from.there) {
		(void)snprintf(from, sizeof(from), "%s", event.from.name);
		event.from.name = from;
	}
	f->watch->target = event.has_target ? &event.target : NULL;
	f->watch->pid = event.pid;
	fanotify_tell(f, &event);
	f->watch->target = NULL;
	f->watch->pid = 0;
	return true;
}

/* True: there may be more. */
static bool tell_many(struct watch_fanotify *f)
{
	unsigned told = 0;
	int rc = RC_OK;

	for (; told < TURN_EVENTS && !f->watch->closing && f->failed.code == RC_OK; told++) {
		if (f->lost)
			look_again(f);
		if (tell_next(f))
			continue;
		rc = read_once(f);
		if (rc == RC_STATE && !f->lost)
			rc = fanotify_settle(f);
		if (rc != RC_OK)
			break;
	}
	if (f->watch->closing)
		return false;
	if (f->failed.code != RC_OK) {
		(void)uv_poll_stop(&f->poll);
		watch_failed(f->watch, &f->failed);
		return false;
	}
	if (rc != RC_STATE || f->lost)
		return true;
	f->gave_up = false;
	f->drained_ns = watch_now_ns();
	watch_idle(f->watch);
	return false;
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
	(void)status;
	(void)events;
	(void)tell_many(poll->data);
}

void watch_fanotify_read_all(struct watch_fanotify *f)
{
	const uint64_t end = f->queue.count + fanotify_queue_waiting(&f->queue);

	while (f->failed.code == RC_OK && f->queue.taken < end && tell_many(f))
		;
}

int watch_fanotify_open_target(const struct watch_fanotify *f, const struct tree_key *key)
{
	const struct fanotify_fs *fs = system_of(f, key->bytes);

	return fs != NULL ? fanotify_place_open(fs, key) : -1;
}

/* ---- the file systems ------------------------------------------------------------------------ */

static int explain(struct err *err, int errnum, const char *what, const char *path)
{
	const bool cannot = errnum == EPERM || errnum == ENOSYS || errnum == EINVAL ||
			    errnum == EOPNOTSUPP || errnum == EXDEV || errnum == ENODEV;

	(void)err_system(err, errnum, "%s of %.200s", what, path);
	if (cannot)
		err->code = RC_UNSUPPORTED;
	return (int)err->code;
}

int watch_fanotify_open(struct watch_fanotify **out, struct watch *watch, struct err *err)
{
	const int fd = (int)syscall(SYS_fanotify_init,
				    FAN_CLASS_NOTIF | FAN_REPORT_DFID_NAME_TARGET | FAN_NONBLOCK |
					    FAN_CLOEXEC | FAN_UNLIMITED_QUEUE | FAN_UNLIMITED_MARKS,
				    O_CLOEXEC);
	struct watch_fanotify *f;

	if (fd < 0)
		return explain(err, errno, "fanotify", "this kernel");
	f = mem_zalloc(1, sizeof(*f));
	if (f != NULL)
		f->tree = tree_open(NULL, NULL);
	if (f == NULL || f->tree == NULL || uv_poll_init(watch->loop, &f->poll, fd) != 0) {
		if (f != NULL)
			tree_close(f->tree);
		mem_free(f);
		(void)close(fd);
		return err_nomem(err, "fanotify");
	}
	f->watch = watch;
	f->pid = (int32_t)getpid();
	f->drained_ns = watch_now_ns();
	fanotify_queue_init(&f->queue, fd);
	f->poll.data = f;
	watch->open++;
	(void)uv_poll_start(&f->poll, UV_READABLE, on_readable);
	*out = f;
	return RC_OK;
}

static int mark(struct watch_fanotify *f, struct watch_root *root, const uint8_t *fsid,
		struct err *err)
{
	struct fanotify_fs *fs = system_of(f, fsid);

	if (fs != NULL) {
		fs->roots++;
		return RC_OK;
	}
	fs = mem_zalloc(1, sizeof(*fs));
	if (fs == NULL)
		return err_nomem(err, "a file system");
	memcpy(fs->fsid, fsid, sizeof(fs->fsid));
	fs->roots = 1;
	fs->fd = fcntl(root->fd, F_DUPFD_CLOEXEC, 0);
	if (fs->fd < 0 ||
	    syscall(SYS_fanotify_mark, f->queue.fd, FAN_MARK_ADD | FAN_MARK_FILESYSTEM,
		    (uint64_t)FANOTIFY_MASK, root->fd, NULL) != 0) {
		(void)explain(err, errno, "fanotify's mark on the file system", root->path);
		if (fs->fd >= 0)
			(void)close(fs->fd);
		mem_free(fs);
		return (int)err->code;
	}
	fs->next = f->systems;
	f->systems = fs;
	return RC_OK;
}

static void unmark(struct watch_fanotify *f, const uint8_t *fsid)
{
	struct fanotify_fs **at = &f->systems, *fs;

	while (memcmp((*at)->fsid, fsid, sizeof((*at)->fsid)) != 0)
		at = &(*at)->next;
	fs = *at;
	if (--fs->roots > 0)
		return;
	*at = fs->next;
	(void)syscall(SYS_fanotify_mark, f->queue.fd, FAN_MARK_REMOVE | FAN_MARK_FILESYSTEM,
		      (uint64_t)FANOTIFY_MASK, fs->fd, NULL);
	(void)close(fs->fd);
	mem_free(fs);
}

static int key_of(struct tree_key *key, const struct watch_root *root, struct err *err)
{
	uint8_t fsid[8];
	struct statfs fs;

	if (fstatfs(root->fd, &fs) != 0)
		return err_system(err, errno, "%.200s", root->path);
	memcpy(fsid, &fs.f_fsid, sizeof(fsid));
	return fanotify_place_key(key, fsid, root->fd) ?
		       RC_OK :
		       explain(err, errno, "the handle", root->path);
}

int watch_fanotify_add(struct watch_fanotify *f, struct watch_root *root, struct err *err)
{
	struct tree_key key, again;
	int rc = key_of(&key, root, err);
	int fd;

	if (rc != RC_OK)
		return rc;
	rc = mark(f, root, key.bytes, err);
	if (rc != RC_OK)
		return rc;
	/* What cannot be opened by its handle cannot be found. */
	tree_drop_outside(f->tree);
	fd = fanotify_place_open(system_of(f, key.bytes), &key);
	if (fd < 0 || !fanotify_place_key(&again, key.bytes, fd) ||
	    tree_add_root(f->tree, &key, root->root) == NULL) {
		rc = explain(err, fd < 0 ? errno : ENOMEM, "opening the handle", root->path);
		unmark(f, key.bytes);
	}
	if (fd >= 0)
		(void)close(fd);
	return rc;
}

void watch_fanotify_remove(struct watch_fanotify *f, const struct watch_root *root)
{
	struct tree_dir *dir;
	struct tree_key key;
	struct err err;

	if (key_of(&key, root, &err) != RC_OK)
		return;
	dir = tree_find(f->tree, &key);
	if (dir != NULL)
		tree_drop(f->tree, dir);
	unmark(f, key.bytes);
}

static void on_closed(uv_handle_t *handle)
{
	struct watch_fanotify *f = handle->data;
	struct watch *watch = f->watch;

	(void)close(f->queue.fd);
	fanotify_queue_free(&f->queue);
	told_free(&f->told);
	buf_free(&f->removed);
	tree_close(f->tree);
	mem_free(f);
	watch_handle_closed(watch);
}

void watch_fanotify_close(struct watch_fanotify *f)
{
	(void)uv_poll_stop(&f->poll);
	uv_close((uv_handle_t *)&f->poll, on_closed);
}
