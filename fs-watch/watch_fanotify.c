/*
 * Theory of operation. One group for everything, with a mark on each file system that has a watched tree: the kernel tells of every change
 * in it, anywhere, by the handle of the directory and the name in it. A directory's place is asked of the kernel when it is needed first
 * (fanotify_place.h), and kept up to date by the events themselves from then on, in their order. What is outside is dropped.
 *
 * A directory may be gone before it is asked for. Its removal is an event, too, which comes later and says where it was: until then that
 * event waits, with all that follow, so that the order stays. Should nothing come (the kernel removes first, and tells then), they
 * are given up after GIVE_UP_MS, as lost.
 *
 * Changes of one name that were not read yet are one report for the kernel, with a bit for each: it is told in the order that is
 * possible. If a name was made and removed, whether it is there now decides.
 */
#include "fs-watch/watch_internal.h"

#include "appliance/base/clock.h"
#include "appliance/base/log.h"
#include "appliance/base/mem.h"
#include "fs-watch/fanotify_event.h"
#include "fs-watch/fanotify_place.h"
#include "fs-watch/scan.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fanotify.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#define READ_BYTES ((size_t)256 << 10)
#define READS_MAX 16	  /* in one turn of the loop */
#define OUTSIDE_MAX 16384 /* directories that are of no interest, remembered */
#define HELD_MAX 1000000  /* events that wait: some 200 MB */
#define GIVE_UP_MS 200
#define MASK                                                                                \
	(FAN_CREATE | FAN_MODIFY | FAN_CLOSE_WRITE | FAN_ATTRIB | FAN_DELETE | FAN_RENAME | \
	 FAN_ONDIR)

/* One that waits; it has its own copy of the names. */
struct held {
	struct held *next;
	struct fanotify_event event;
	char names[];
};

struct watch_fanotify {
	struct watch *watch;
	struct tree *tree;
	struct fanotify_fs *systems;
	int fd;
	int32_t pid;
	uv_poll_t poll;
	uv_timer_t timer;
	uint64_t drained_ns; /* since 1970: all before had been read */
	struct held *head, **tail;
	size_t nheld;
	uint8_t *data;
};

/* ---- where ----------------------------------------------------------------------------------- */

static struct fanotify_fs *system_of(const struct watch_fanotify *f, const uint8_t *fsid)
{
	struct fanotify_fs *fs = f->systems;

	while (fs != NULL && memcmp(fs->fsid, fsid, sizeof(fs->fsid)) != 0)
		fs = fs->next;
	return fs;
}

/* NULL: no memory. */
static struct tree_dir *locate(struct watch_fanotify *f, const struct tree_key *key)
{
	struct tree_dir *dir = tree_find(f->tree, key);
	const struct fanotify_fs *fs;

	if (dir != NULL)
		return dir;
	if (f->head == NULL && tree_count_outside(f->tree) >= OUTSIDE_MAX)
		tree_drop_aside(f->tree, TREE_OUTSIDE);
	fs = system_of(f, key->bytes);
	return fs != NULL ? fanotify_place_find(f->tree, fs, key) :
			    tree_put_aside(f->tree, key, TREE_OUTSIDE);
}

static enum tree_place place_of(struct watch_fanotify *f, const struct tree_key *key)
{
	const struct tree_dir *dir = locate(f, key);

	return dir != NULL ? tree_place_of(dir) : TREE_UNKNOWN;
}

static bool is_there(const struct tree_dir *dir, const struct watch *watch, const char *name)
{
	const struct watch_root *root = watch_root_of(watch, tree_root_of(dir));
	struct buf path = { 0 };
	struct stat st;
	bool there;

	there = root != NULL && tree_path(dir, name, &path) &&
		fstatat(root->fd, (const char *)path.data, &st, AT_SYMLINK_NOFOLLOW) == 0;
	buf_free(&path);
	return there;
}

/* ---- telling --------------------------------------------------------------------------------- */

struct moved_in {
	struct watch *watch;
	void *root;
};

static bool on_moved_in(void *owner, struct scan_entry *entry)
{
	const struct moved_in *moved = owner;

	watch_tell_path(moved->watch, WATCH_CREATE,
			(struct watch_flags){ .is_dir = S_ISDIR(entry->st.st_mode),
					      .scanned = true },
			moved->root, entry->path);
	return true;
}

/* Nobody has told of what is in a directory that came from outside. */
static void tell_contents(struct watch_fanotify *f, const struct tree_dir *dir, const char *name)
{
	struct moved_in moved = { .watch = f->watch, .root = tree_root_of(dir) };
	const struct watch_root *root = watch_root_of(f->watch, moved.root);
	struct buf path = { 0 };
	struct err err;
	int fd;

	if (root == NULL || !tree_path(dir, name, &path))
		return;
	fd = openat(root->fd, (const char *)path.data,
		    O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd >= 0) {
		if (scan(fd, (const char *)path.data, NULL, on_moved_in, &moved, &err) != RC_OK)
			log_warn("fs-watch", "%s", err.text);
		(void)close(fd);
	}
	buf_free(&path);
}

static void drop_target(struct watch_fanotify *f, const struct fanotify_event *event)
{
	struct tree_dir *target = event->has_target ? tree_find(f->tree, &event->target) : NULL;

	if (target != NULL && tree_place_of(target) != TREE_OUTSIDE)
		tree_drop(f->tree, target);
}

/* One that had the name was empty, and is gone. */
static void put_target(struct watch_fanotify *f, const struct fanotify_event *event,
		       struct tree_dir *dir)
{
	struct tree_dir *other = tree_child(f->tree, dir, event->at.name);

	if (!event->has_target)
		return;
	if (other != NULL && other != tree_find(f->tree, &event->target))
		tree_drop(f->tree, other);
	(void)tree_put(f->tree, &event->target, dir, event->at.name);
}

static void tell_rename(struct watch_fanotify *f, const struct fanotify_event *event)
{
	const struct watch_flags flags = { .is_dir = (event->mask & FAN_ONDIR) != 0 };
	struct tree_dir *from = locate(f, &event->from.dir), *to = locate(f, &event->at.dir);
	const bool was_in = from != NULL && tree_place_of(from) == TREE_INSIDE;
	const bool is_in = to != NULL && tree_place_of(to) == TREE_INSIDE;
	const bool same = was_in && is_in && tree_root_of(from) == tree_root_of(to);

	if (same)
		watch_tell(f->watch, WATCH_RENAME, flags, to, event->at.name, from,
			   event->from.name);
	else if (was_in)
		watch_tell(f->watch, WATCH_DELETE, flags, from, event->from.name, NULL, NULL);
	if (!same && is_in)
		watch_tell(f->watch, WATCH_CREATE, flags, to, event->at.name, NULL, NULL);
	if (!flags.is_dir)
		return;
	if (is_in) {
		if (!was_in) /* also those in it */
			tree_drop_aside(f->tree, TREE_OUTSIDE);
		to = locate(f, &event->at.dir);
		if (to != NULL)
			put_target(f, event, to);
		if (!same && to != NULL)
			tell_contents(f, to, event->at.name);
	} else if (was_in) {
		drop_target(f, event);
	}
}

static const struct {
	uint64_t bit;
	enum watch_kind kind;
} order[] = {
	{ FAN_CREATE, WATCH_CREATE },	 { FAN_MODIFY, WATCH_WRITE },
	{ FAN_ATTRIB, WATCH_ATTRIBUTE }, { FAN_CLOSE_WRITE, WATCH_CLOSE },
	{ FAN_DELETE, WATCH_DELETE },
};
#define ORDERS (sizeof(order) / sizeof(order[0]))

static void tell_changes(struct watch_fanotify *f, const struct fanotify_event *event,
			 struct tree_dir *dir)
{
	const uint64_t both = FAN_CREATE | FAN_DELETE,
		       bits = event->mask & MASK & ~(uint64_t)FAN_ONDIR;
	const struct watch_flags flags = { .is_dir = (event->mask & FAN_ONDIR) != 0,
					   .coalesced = (bits & (bits - 1)) != 0 };
	const char *name = event->at.name;
	/* Removed first, and made anew. */
	const bool anew = (bits & both) == both && is_there(dir, f->watch, name);

	if (anew)
		watch_tell(f->watch, WATCH_DELETE, flags, dir, name, NULL, NULL);
	if (flags.is_dir && (bits & FAN_CREATE) != 0)
		put_target(f, event, dir);
	for (size_t i = 0; i < ORDERS; i++) {
		if ((bits & order[i].bit) != 0 && !(anew && order[i].bit == FAN_DELETE))
			watch_tell(f->watch, order[i].kind, flags, dir, name, NULL, NULL);
	}
	if (flags.is_dir && (bits & FAN_DELETE) != 0 && !anew)
		drop_target(f, event);
}

static void tell(struct watch_fanotify *f, const struct fanotify_event *event)
{
	struct tree_dir *dir;

	if ((event->mask & FAN_RENAME) != 0) {
		tell_rename(f, event);
		return;
	}
	dir = locate(f, &event->at.dir);
	if (dir != NULL && tree_place_of(dir) == TREE_INSIDE)
		tell_changes(f, event, dir);
	else if ((event->mask & (FAN_DELETE | FAN_ONDIR)) == (FAN_DELETE | FAN_ONDIR))
		drop_target(f, event);
}

/* ---- waiting --------------------------------------------------------------------------------- */

/* A directory's own attributes are told of after its removal, too, when they say nothing any more. */
static bool is_known(struct watch_fanotify *f, const struct fanotify_event *event)
{
	return *event->at.name == '\0' ||
	       (place_of(f, &event->at.dir) != TREE_UNKNOWN &&
		(!event->from.there || place_of(f, &event->from.dir) != TREE_UNKNOWN));
}

static void forget_held(struct watch_fanotify *f)
{
	struct held *held;

	while ((held = f->head) != NULL) {
		f->head = held->next;
		mem_free(held);
	}
	f->tail = &f->head;
	f->nheld = 0;
}

/* Everything since all had been read last is told of by what it has left. */
static void lose(struct watch_fanotify *f)
{
	const struct watch_root *root;

	forget_held(f);
	tree_drop_aside(f->tree, TREE_UNKNOWN);
	tree_drop_aside(f->tree, TREE_OUTSIDE);
	for (root = f->watch->roots; root != NULL; root = root->next) {
		if (root->way == WATCH_FANOTIFY)
			watch_rescan(f->watch, root, f->drained_ns, NULL, NULL, NULL);
	}
}

static void hold(struct watch_fanotify *f, const struct fanotify_event *event)
{
	const size_t len = event->at.there ? strlen(event->at.name) + 1 : 0;
	const size_t from_len = event->from.there ? strlen(event->from.name) + 1 : 0;
	struct held *held = f->nheld < HELD_MAX ? mem_alloc(sizeof(*held) + len + from_len) : NULL;

	if (held == NULL) {
		lose(f);
		return;
	}
	held->next = NULL;
	held->event = *event;
	if (len > 0)
		held->event.at.name = memcpy(held->names, event->at.name, len);
	if (from_len > 0)
		held->event.from.name = memcpy(held->names + len, event->from.name, from_len);
	*f->tail = held;
	f->tail = &held->next;
	f->nheld++;
}

/* Where a directory was that was gone before anybody asked. */
static void learn(struct watch_fanotify *f, const struct fanotify_event *event)
{
	const struct tree_dir *target;
	struct tree_dir *dir;

	if ((event->mask & FAN_ONDIR) == 0 || !event->has_target || *event->at.name == '\0' ||
	    (event->mask & (FAN_DELETE | FAN_RENAME)) == 0)
		return;
	target = tree_find(f->tree, &event->target);
	if (target == NULL || tree_place_of(target) != TREE_UNKNOWN)
		return;
	dir = locate(f, event->from.there ? &event->from.dir : &event->at.dir);
	if (dir == NULL || tree_place_of(dir) == TREE_OUTSIDE)
		(void)tree_put_aside(f->tree, &event->target, TREE_OUTSIDE);
	else
		(void)tree_put(f->tree, &event->target, dir,
			       event->from.there ? event->from.name : event->at.name);
}

static void tell_held(struct watch_fanotify *f)
{
	struct held *held;

	while (f->head != NULL && is_known(f, &f->head->event)) {
		held = f->head;
		f->head = held->next;
		if (f->head == NULL)
			f->tail = &f->head;
		f->nheld--;
		tell(f, &held->event);
		mem_free(held);
	}
}

static void take(struct watch_fanotify *f, const struct fanotify_event *event)
{
	if ((event->mask & FAN_Q_OVERFLOW) != 0) {
		lose(f);
		return;
	}
	if (event->pid == f->pid || !event->at.there ||
	    ((event->mask & FAN_RENAME) != 0 && !event->from.there))
		return;
	learn(f, event);
	if (f->head == NULL && is_known(f, event)) {
		tell(f, event);
		return;
	}
	hold(f, event);
	tell_held(f);
}

static void on_timer(uv_timer_t *timer)
{
	struct watch_fanotify *f = timer->data;

	if (f->head != NULL)
		lose(f);
}

/* ---- reading --------------------------------------------------------------------------------- */

static void fail(struct watch_fanotify *f, const struct err *err)
{
	(void)uv_poll_stop(&f->poll);
	watch_failed(f->watch, err);
}

static int take_all(struct watch_fanotify *f, size_t len, struct err *err)
{
	struct fanotify_event event;
	size_t at = 0, used;
	int rc = RC_OK;

	while (at < len && rc == RC_OK && !f->watch->closing) {
		rc = fanotify_event_parse(&event, &used, f->data + at, len - at, err);
		if (rc == RC_OK)
			take(f, &event);
		at += used;
	}
	return rc;
}

static void drained(struct watch_fanotify *f)
{
	f->drained_ns = watch_now_ns();
	if (f->head == NULL)
		tree_drop_aside(f->tree, TREE_UNKNOWN);
	else if (!uv_is_active((uv_handle_t *)&f->timer))
		(void)uv_timer_start(&f->timer, on_timer, GIVE_UP_MS, 0);
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
	struct watch_fanotify *f = poll->data;
	struct err err = { 0 };
	ssize_t n = 0;

	(void)events;
	for (unsigned i = 0; i < READS_MAX && status == 0 && !f->watch->closing; i++) {
		n = read(f->fd, f->data, READ_BYTES);
		if (n <= 0)
			break;
		if (take_all(f, (size_t)n, &err) != RC_OK) {
			fail(f, &err);
			return;
		}
	}
	if (f->watch->closing)
		return;
	if (n < 0 && errno == EAGAIN) {
		drained(f);
	} else if (status != 0 || (n < 0 && errno != EINTR)) {
		(void)err_system(&err, status != 0 ? -status : errno, "fanotify");
		fail(f, &err);
	}
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
				    O_RDONLY | O_CLOEXEC | O_LARGEFILE);
	struct watch_fanotify *f;

	if (fd < 0)
		return explain(err, errno, "fanotify", "this kernel");
	f = mem_zalloc(1, sizeof(*f));
	if (f != NULL) {
		*f = (struct watch_fanotify){ .watch = watch, .fd = fd, .pid = (int32_t)getpid() };
		f->tail = &f->head;
		f->tree = tree_open(NULL, NULL);
		f->data = mem_alloc(READ_BYTES);
	}
	if (f == NULL || f->tree == NULL || f->data == NULL ||
	    uv_poll_init(watch->loop, &f->poll, fd) != 0) {
		if (f != NULL) {
			tree_close(f->tree);
			mem_free(f->data);
			mem_free(f);
		}
		(void)close(fd);
		return err_nomem(err, "fanotify");
	}
	(void)uv_timer_init(watch->loop, &f->timer);
	f->poll.data = f->timer.data = f;
	watch->open += 2;
	f->drained_ns = watch_now_ns();
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
	if (fs->fd < 0 || syscall(SYS_fanotify_mark, f->fd, FAN_MARK_ADD | FAN_MARK_FILESYSTEM,
				  (uint64_t)MASK, root->fd, NULL) != 0) {
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
	(void)syscall(SYS_fanotify_mark, f->fd, FAN_MARK_REMOVE | FAN_MARK_FILESYSTEM,
		      (uint64_t)MASK, fs->fd, NULL);
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
	tree_drop_aside(f->tree, TREE_OUTSIDE);
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

	if (handle == (uv_handle_t *)&f->timer) {
		uv_close((uv_handle_t *)&f->poll, on_closed);
	} else {
		(void)close(f->fd);
		forget_held(f);
		tree_close(f->tree);
		mem_free(f->data);
		mem_free(f);
	}
	watch_handle_closed(watch);
}

void watch_fanotify_close(struct watch_fanotify *f)
{
	(void)uv_poll_stop(&f->poll);
	uv_close((uv_handle_t *)&f->timer, on_closed);
}
