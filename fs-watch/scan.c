/*
 * Theory of operation. A stack of open directories, deepest last: none is opened by a path, so a depth past PATH_MAX, or a directory that
 * is renamed meanwhile, does not matter. It holds a descriptor for each level; past DEPTH_MAX it gives up.
 */
#include "fs-watch/scan.h"

#include "appliance/base/buf.h"
#include "appliance/base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define DEPTH_MAX 512 /* descriptors: half of what a process may usually have */
#define PATH_LIMIT ((size_t)DEPTH_MAX * 256)

struct level {
	DIR *stream;
	size_t path_len;
	void *tag;
};

struct state {
	struct level levels[DEPTH_MAX];
	unsigned depth;
	struct buf path;
	dev_t device;
	bool (*entry)(void *owner, struct scan_entry *entry);
	void *owner;
};

/* `fd` is taken, whatever happens. */
static int push(struct state *state, int fd, void *tag, struct err *err)
{
	DIR *stream;

	if (state->depth == DEPTH_MAX) {
		(void)close(fd);
		return err_set(err, RC_LIMIT, "%.200s: more than %d directories deep",
			       (const char *)state->path.data, DEPTH_MAX);
	}
	stream = fdopendir(fd);
	if (stream == NULL) {
		(void)close(fd);
		return err_system(err, errno, "%.200s", (const char *)state->path.data);
	}
	state->levels[state->depth++] =
		(struct level){ .stream = stream, .path_len = state->path.len, .tag = tag };
	return RC_OK;
}

/* A NUL that is not counted follows the path. */
static bool set_path(struct state *state, const struct level *level, const char *name)
{
	state->path.len = level->path_len;
	if (state->path.len > 0)
		(void)buf_append_u8(&state->path, '/');
	(void)buf_append(&state->path, name, strlen(name) + 1);
	if (state->path.failed)
		return false;
	state->path.len--;
	return true;
}

/* RC_OK also of what has gone meanwhile. */
static int visit(struct state *state, const struct level *level, const char *name, struct err *err)
{
	struct scan_entry entry = {
		.dir_fd = dirfd(level->stream), .name = name, .fd = -1, .dir_tag = level->tag
	};
	bool enter;
	int fd;

	if (!set_path(state, level, name))
		return err_nomem(err, "a path");
	if (fstatat(entry.dir_fd, name, &entry.st, AT_SYMLINK_NOFOLLOW) != 0)
		return RC_OK;
	if (S_ISDIR(entry.st.st_mode)) {
		entry.fd =
			openat(entry.dir_fd, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (entry.fd < 0)
			return errno == ENOENT || errno == ENOTDIR ?
				       RC_OK :
				       err_system(err, errno, "%.200s",
						  (const char *)state->path.data);
	}
	entry.path = (const char *)state->path.data;
	enter = state->entry(state->owner, &entry);
	if (entry.fd < 0)
		return RC_OK;
	fd = enter && entry.st.st_dev == state->device ?
		     openat(entry.fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC) :
		     -1;
	(void)close(entry.fd);
	if (!enter || entry.st.st_dev != state->device || (fd < 0 && errno == ENOENT))
		return RC_OK;
	return fd < 0 ? err_system(err, errno, "%.200s", entry.path) :
			push(state, fd, entry.tag, err);
}

static int go_through(struct state *state, struct err *err)
{
	const struct dirent *found;
	struct level *level;
	int rc = RC_OK;

	while (state->depth > 0 && rc == RC_OK) {
		level = &state->levels[state->depth - 1];
		errno = 0;
		found = readdir(level->stream);
		if (found == NULL) {
			(void)closedir(level->stream);
			state->depth--;
		} else if (strcmp(found->d_name, ".") != 0 && strcmp(found->d_name, "..") != 0) {
			rc = visit(state, level, found->d_name, err);
		}
	}
	return rc;
}

int scan(int fd, const char *prefix, void *tag,
	 bool (*entry)(void *owner, struct scan_entry *entry), void *owner, struct err *err)
{
	struct state *state = mem_zalloc(1, sizeof(*state));
	struct stat st;
	int own, rc;

	if (state == NULL)
		return err_nomem(err, "a look at a tree");
	state->path.limit = PATH_LIMIT;
	state->entry = entry;
	state->owner = owner;
	own = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (own < 0 || fstat(own, &st) != 0 ||
	    !buf_append(&state->path, prefix, strlen(prefix) + 1)) {
		rc = err_system(err, errno, "%.200s", prefix);
		if (own >= 0)
			(void)close(own);
	} else {
		state->path.len--;
		state->device = st.st_dev;
		rc = push(state, own, tag, err);
	}
	if (rc == RC_OK)
		rc = go_through(state, err);
	while (state->depth > 0)
		(void)closedir(state->levels[--state->depth].stream);
	buf_free(&state->path);
	mem_free(state);
	return rc;
}
