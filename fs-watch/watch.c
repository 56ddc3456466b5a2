/*
 * Theory of operation. Each tree is watched by fanotify if it can be, or else by inotify; both tell through here. A tree whose events were
 * lost is scanned: who changes a file cannot keep its change time (ctime) from being set, so all that was changed since is found by it,
 * without a list of what was there before. What was deleted is not there to be found, but its directory is.
 */
#include "fs-watch/watch_internal.h"

#include "appliance/base/clock.h"
#include "appliance/base/files.h"
#include "appliance/base/mem.h"
#include "fs-watch/scan.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PATH_LIMIT ((size_t)1 << 20)
/* Change times are those of the last tick, and more events may have been lost than the last one that was read tells of. */
#define RESCAN_SLACK_NS (100 * CLOCK_NS_PER_MS)

uint64_t watch_now_ns(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * CLOCK_NS_PER_S + (uint64_t)ts.tv_nsec;
}

/* ---- telling --------------------------------------------------------------------------------- */

static void tell(struct watch *watch, enum watch_kind kind, struct watch_flags flags, void *root,
		 const char *path, const char *from)
{
	const struct watch_event event = {
		.kind = kind,
		.is_dir = flags.is_dir,
		.coalesced = flags.coalesced,
		.exchanged = flags.exchanged,
		.scanned = flags.scanned,
		.time_ns = watch_now_ns(),
		.root = root,
		.path = path,
		.from = from,
		.pid = watch->pid,
		.target = watch->target,
	};

	if (!watch->closing)
		watch->ops->on_event(watch->owner, &event);
}

void watch_tell_path(struct watch *watch, enum watch_kind kind, struct watch_flags flags,
		     void *root, const char *path)
{
	tell(watch, kind, flags, root, path, NULL);
}

static bool set_path(struct buf *buf, const struct tree_dir *dir, const char *name)
{
	buf_reset(buf);
	return tree_path(dir, name, buf);
}

void watch_tell(struct watch *watch, enum watch_kind kind, struct watch_flags flags,
		const struct tree_dir *dir, const char *name, const struct tree_dir *from_dir,
		const char *from_name)
{
	void *root = tree_root_of(dir);

	if (!set_path(&watch->path, dir, name) ||
	    (from_dir != NULL && !set_path(&watch->from, from_dir, from_name))) {
		tell(watch, WATCH_LOST, (struct watch_flags){ .is_dir = true }, root, "", NULL);
		return;
	}
	tell(watch, kind, flags, root, (const char *)watch->path.data,
	     from_dir != NULL ? (const char *)watch->from.data : NULL);
}

/* ---- what was lost --------------------------------------------------------------------------- */

struct rescan {
	struct watch *watch;
	void *root;
	uint64_t since_ns;
	bool (*entry)(void *owner, struct scan_entry *entry);
	void *owner;
};

static uint64_t changed_ns(const struct stat *st)
{
	return (uint64_t)st->st_ctim.tv_sec * CLOCK_NS_PER_S + (uint64_t)st->st_ctim.tv_nsec;
}

static bool on_rescanned(void *owner, struct scan_entry *entry)
{
	const struct rescan *rescan = owner;
	const bool enter = rescan->entry == NULL || rescan->entry(rescan->owner, entry);

	if (changed_ns(&entry->st) >= rescan->since_ns)
		tell(rescan->watch, WATCH_FOUND,
		     (struct watch_flags){ .is_dir = S_ISDIR(entry->st.st_mode), .scanned = true },
		     rescan->root, entry->path, NULL);
	return enter;
}

void watch_rescan(struct watch *watch, const struct watch_root *root, uint64_t since_ns, void *tag,
		  bool (*entry)(void *owner, struct scan_entry *entry), void *owner)
{
	const struct watch_flags flags = { .is_dir = true, .scanned = true };
	struct rescan rescan = { .watch = watch,
				 .root = root->root,
				 .since_ns = since_ns > RESCAN_SLACK_NS ?
						     since_ns - RESCAN_SLACK_NS :
						     0,
				 .entry = entry,
				 .owner = owner };
	struct err err;
	struct stat st;

	tell(watch, WATCH_LOST, flags, root->root, "", NULL);
	if (fstat(root->fd, &st) == 0 && changed_ns(&st) >= rescan.since_ns)
		tell(watch, WATCH_FOUND, flags, root->root, "", NULL);
	if (scan(root->fd, "", tag, on_rescanned, &rescan, &err) != RC_OK) {
		(void)err_prefix(&err, "%.200s: ", root->path);
		watch_failed(watch, &err);
	}
}

void watch_failed(struct watch *watch, const struct err *err)
{
	if (!watch->closing)
		watch->ops->on_failed(watch->owner, err);
}

void watch_idle(struct watch *watch)
{
	if (!watch->closing && watch->ops->on_idle != NULL)
		watch->ops->on_idle(watch->owner);
}

/* ---- the trees ------------------------------------------------------------------------------- */

int watch_open(struct watch **out, uv_loop_t *loop, enum watch_way way, const struct watch_ops *ops,
	       void *owner, struct err *err)
{
	struct watch *watch = mem_zalloc(1, sizeof(*watch));
	int rc = RC_OK;

	if (watch == NULL)
		return err_nomem(err, "a watch");
	*watch = (struct watch){ .loop = loop,
				 .ops = ops,
				 .owner = owner,
				 .way = way,
				 .path.limit = PATH_LIMIT,
				 .from.limit = PATH_LIMIT };
	if (way == WATCH_FANOTIFY)
		rc = watch_fanotify_open(&watch->fanotify, watch, err);
	if (way == WATCH_INOTIFY)
		rc = watch_inotify_open(&watch->inotify, watch, err);
	if (rc != RC_OK)
		mem_free(watch);
	else
		*out = watch;
	return rc;
}

static int check_apart(const struct watch *watch, const char *path, struct err *err)
{
	for (const struct watch_root *at = watch->roots; at != NULL; at = at->next) {
		if (files_contains(at->path, path) || files_contains(path, at->path))
			return err_set(err, RC_INVALID, "%.200s: %.200s is watched already", path,
				       at->path);
	}
	return RC_OK;
}

static void free_root(struct watch_root *root)
{
	if (root->fd >= 0)
		(void)close(root->fd);
	mem_free(root->path);
	mem_free(root);
}

static int find_root(struct watch_root **out, const struct watch *watch, const char *dir,
		     struct err *err)
{
	struct watch_root *root = mem_zalloc(1, sizeof(*root));
	char path[PATH_MAX];
	int rc;

	if (root == NULL)
		return err_nomem(err, "a tree");
	root->fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (root->fd < 0 || realpath(dir, path) == NULL)
		rc = err_system(err, errno, "%.200s", dir);
	else
		rc = check_apart(watch, path, err);
	if (rc == RC_OK) {
		root->path = mem_strdup(path);
		rc = root->path != NULL ? RC_OK : err_nomem(err, "a path");
	}
	if (rc == RC_OK)
		*out = root;
	else
		free_root(root);
	return rc;
}

static int add_by_fanotify(struct watch *watch, struct watch_root *root, struct err *err)
{
	int rc =
		watch->fanotify != NULL ? RC_OK : watch_fanotify_open(&watch->fanotify, watch, err);

	root->way = WATCH_FANOTIFY;
	return rc == RC_OK ? watch_fanotify_add(watch->fanotify, root, err) : rc;
}

static int add_by_inotify(struct watch *watch, struct watch_root *root, struct err *err)
{
	int rc = watch->inotify != NULL ? RC_OK : watch_inotify_open(&watch->inotify, watch, err);

	root->way = WATCH_INOTIFY;
	return rc == RC_OK ? watch_inotify_add(watch->inotify, root, err) : rc;
}

int watch_add(struct watch *watch, const char *dir, void *tag, struct err *err)
{
	struct watch_root *root = NULL;
	int rc = find_root(&root, watch, dir, err);

	if (root == NULL)
		return rc;
	root->root = tag;
	rc = watch->way == WATCH_INOTIFY ? RC_UNSUPPORTED : add_by_fanotify(watch, root, err);
	if (rc == RC_UNSUPPORTED && watch->way != WATCH_FANOTIFY)
		rc = add_by_inotify(watch, root, err);
	if (rc != RC_OK) {
		free_root(root);
		return rc;
	}
	root->next = watch->roots;
	watch->roots = root;
	return RC_OK;
}

static void remove_root(struct watch *watch, struct watch_root **at)
{
	struct watch_root *root = *at;

	*at = root->next;
	if (root->way == WATCH_FANOTIFY)
		watch_fanotify_remove(watch->fanotify, root);
	else
		watch_inotify_remove(watch->inotify, root);
	free_root(root);
}

void watch_remove(struct watch *watch, const void *tag)
{
	for (struct watch_root **at = &watch->roots; *at != NULL; at = &(*at)->next) {
		if ((*at)->root != tag)
			continue;
		remove_root(watch, at);
		return;
	}
}

const struct watch_root *watch_root_of(const struct watch *watch, const void *tag)
{
	const struct watch_root *root = watch->roots;

	while (root != NULL && root->root != tag)
		root = root->next;
	return root;
}

const char *watch_way_of(const struct watch *watch, const void *tag)
{
	const struct watch_root *root = watch_root_of(watch, tag);

	return root == NULL ? NULL : root->way == WATCH_FANOTIFY ? "fanotify" : "inotify";
}

void watch_read_all(struct watch *watch)
{
	if (watch->fanotify != NULL)
		watch_fanotify_read_all(watch->fanotify);
	if (watch->inotify != NULL)
		watch_inotify_read_all(watch->inotify);
}

int watch_open_target(const struct watch *watch, const struct watch_event *event)
{
	return event->target != NULL && watch->fanotify != NULL ?
		       watch_fanotify_open_target(watch->fanotify, event->target) :
		       -1;
}

static void free_if_closed(struct watch *watch)
{
	void (*on_closed)(void *owner) = watch->on_closed;
	void *owner = watch->closed_owner;

	if (!watch->closing || watch->open > 0)
		return;
	buf_free(&watch->path);
	buf_free(&watch->from);
	mem_free(watch);
	if (on_closed != NULL)
		on_closed(owner);
}

void watch_handle_closed(struct watch *watch)
{
	watch->open--;
	free_if_closed(watch);
}

void watch_close(struct watch *watch, void (*on_closed)(void *owner), void *owner)
{
	if (watch == NULL)
		return;
	watch->closing = true;
	watch->on_closed = on_closed;
	watch->closed_owner = owner;
	while (watch->roots != NULL)
		remove_root(watch, &watch->roots);
	if (watch->fanotify != NULL)
		watch_fanotify_close(watch->fanotify);
	if (watch->inotify != NULL)
		watch_inotify_close(watch->inotify);
	free_if_closed(watch);
}
