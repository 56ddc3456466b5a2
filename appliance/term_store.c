#include "appliance/term_store.h"

#include "appliance/base/files.h"
#include "appliance/base/mem.h"
#include "replica/cmdline.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_NAME CMDLINE_TERM_NAME

struct term_store {
	uv_loop_t *loop;
	char *dir;
	int dir_fd; /* of what `dir` was at the start: its number is nobody else's while this is open */
	void (*on_kept)(void *owner, const struct term_record *record, const struct err *result);
	void *owner;
	/* The worker's while `busy`. */
	uv_work_t work;
	struct term_record writing;
	struct err result;
	bool looking; /* only, and not writing */
	bool busy;
	struct term_record next;
	bool waiting; /* `next` is to be written */
	bool closing;
	void (*on_closed)(void *owner);
	void *close_owner;
};

static void write_next(struct term_store *store);

/* Reading ------------------------------------------------------------------------------------ */

static int write_record(const char *dir, const struct term_record *record, struct err *err)
{
	uint8_t bytes[TERM_RECORD_BYTES];

	term_record_encode(record, bytes);
	return files_replace(dir, FILE_NAME, bytes, sizeof(bytes), err);
}

/* A link would have us write where it points: that is nobody's wish. What is not there is no error. */
static int check_dir(const char *dir, struct err *err)
{
	struct stat st;

	if (lstat(dir, &st) != 0)
		return errno == ENOENT ? RC_OK : err_system(err, errno, "%s", dir);
	if (!S_ISDIR(st.st_mode))
		return err_set(err, RC_REFUSED, "%.300s: is %s, and a directory of ours is needed",
			       dir, S_ISLNK(st.st_mode) ? "a symbolic link" : "no directory");
	return files_check_own_dir(dir, &st, err);
}

/* *there false, with RC_OK: there is none. */
static int read_record(const char *dir, struct term_record *record, bool *there, struct err *err)
{
	struct buf text = { .limit = TERM_RECORD_BYTES };
	struct err why;
	struct stat st;
	char path[512];
	int rc;

	rc = check_dir(dir, err);
	if (rc != RC_OK)
		return rc;
	(void)snprintf(path, sizeof(path), "%s/%s", dir, FILE_NAME);
	*there = lstat(path, &st) == 0 || errno != ENOENT;
	if (!*there)
		return RC_OK;
	rc = files_read(&text, AT_FDCWD, path, FILES_NO_LINK, &why);
	if (rc == RC_OK) {
		rc = term_record_decode(record, text.data, text.len, &why);
		if (rc != RC_OK)
			(void)err_prefix(&why, "%.300s: ", path);
	}
	buf_free(&text);
	if (rc == RC_OK)
		return RC_OK;
	return err_set(
		err, (enum rc)rc,
		"%.350s; it tells whether this standby took the instance over: restore it, or "
		"remove it if no replica has run here since",
		why.text);
}

/* On the disk before a primary hears it. */
static int draw_identity(uint64_t *identity, struct err *err)
{
	do {
		if (uv_random(NULL, NULL, identity, sizeof(*identity), 0, NULL) != 0)
			return err_set(err, RC_IO, "no random number for the term's record");
	} while (*identity == 0);
	return RC_OK;
}

static int read_or_make(const char *dir, struct term_record *record, struct err *err)
{
	bool there;
	int rc = read_record(dir, record, &there, err);

	if (rc != RC_OK || (there && record->identity != 0))
		return rc;
	if (!there)
		*record = (struct term_record){ .term = 1, .kind = TERM_STANDS_BY };
	rc = draw_identity(&record->identity, err);
	return rc == RC_OK ? write_record(dir, record, err) : rc;
}

int term_store_look(const char *dir, struct err *err)
{
	struct term_record record;
	struct stat st;
	bool there, full;
	int rc;

	if (lstat(dir, &st) != 0 && errno == ENOENT)
		return RC_OK; /* its place is the caller's to look at */
	rc = read_record(dir, &record, &there, err);
	return rc == RC_OK && !there ? files_try(dir, true, &full, err) : rc;
}

/* Writing ------------------------------------------------------------------------------------ */

/* A file system whose disk is gone knows its directories for long, but opens no file. */
static int check_alive(const struct term_store *store, struct err *err)
{
	const int fd =
		openat(store->dir_fd, FILE_NAME, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0 && errno != ENOENT)
		return err_system(err, errno, "%.300s/%s", store->dir, FILE_NAME);
	if (fd >= 0)
		(void)close(fd);
	return RC_OK;
}

/*
 * That a record would be found again where this process found its first. Who put another directory
 * there may have given it to another standby, too: the state directory's lock is in the old one.
 */
static int check_place(const struct term_store *store, struct err *err)
{
	struct stat was, is;

	if (lstat(store->dir, &is) != 0)
		return err_system(err, errno, "%s", store->dir);
	if (fstat(store->dir_fd, &was) != 0)
		return err_system(err, errno, "%s", store->dir);
	if (was.st_dev != is.st_dev || was.st_ino != is.st_ino)
		return err_set(err, RC_STATE,
			       "%.300s: is not the directory that this standby began with; put "
			       "that back, or start the standby anew",
			       store->dir);
	if (access(store->dir, W_OK | X_OK) != 0) /* a file system that is read-only, too */
		return err_system(err, errno, "%s", store->dir);
	return check_alive(store, err);
}

static void on_work(uv_work_t *work)
{
	struct term_store *store = work->data;

	store->result.code = RC_OK;
	if (check_place(store, &store->result) == RC_OK && !store->looking)
		(void)write_record(store->dir, &store->writing, &store->result);
}

static void free_store(struct term_store *store)
{
	void (*on_closed)(void *) = store->on_closed;
	void *owner = store->close_owner;

	(void)close(store->dir_fd);
	mem_free(store->dir);
	mem_free(store);
	if (on_closed != NULL)
		on_closed(owner);
}

static void on_written(uv_work_t *work, int status)
{
	struct term_store *store = work->data;
	const struct term_record written = store->writing;
	const struct err result = store->result;
	const bool closing = store->closing, looked = store->looking;

	(void)status; /* never cancelled */
	store->busy = false;
	if (store->waiting)
		write_next(store);
	else if (store->closing)
		free_store(store);
	if (!closing && (!looked || result.code != RC_OK))
		store->on_kept(store->owner, looked ? NULL : &written, &result);
}

static void work(struct term_store *store, bool looking)
{
	store->busy = true;
	store->looking = looking;
	store->work.data = store;
	(void)uv_queue_work(store->loop, &store->work, on_work, on_written);
}

static void write_next(struct term_store *store)
{
	store->waiting = false;
	store->writing = store->next;
	work(store, false);
}

void term_store_keep(struct term_store *store, const struct term_record *record)
{
	store->next = *record;
	store->waiting = true;
	if (!store->busy && !store->closing)
		write_next(store);
}

void term_store_try(struct term_store *store)
{
	if (!store->busy && !store->closing)
		work(store, true);
}

/* Life --------------------------------------------------------------------------------------- */

int term_store_open(struct term_store **out, uv_loop_t *loop, const char *dir,
		    struct term_record *record,
		    void (*on_kept)(void *owner, const struct term_record *record,
				    const struct err *result),
		    void *owner, struct err *err)
{
	struct term_store *store;
	int rc = read_or_make(dir, record, err);

	if (rc != RC_OK)
		return rc;
	store = mem_zalloc(1, sizeof(*store));
	if (store == NULL)
		return err_nomem(err, "the term");
	store->dir = mem_strdup(dir);
	if (store->dir == NULL) {
		mem_free(store);
		return err_nomem(err, "the term");
	}
	store->dir_fd = open(dir, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (store->dir_fd < 0) {
		rc = err_system(err, errno, "%s", dir);
		mem_free(store->dir);
		mem_free(store);
		return rc;
	}
	store->loop = loop;
	store->on_kept = on_kept;
	store->owner = owner;
	*out = store;
	return RC_OK;
}

void term_store_close(struct term_store *store, void (*on_closed)(void *owner), void *owner)
{
	if (store->closing)
		return;
	store->closing = true;
	store->on_closed = on_closed;
	store->close_owner = owner;
	if (!store->busy)
		free_store(store);
}
