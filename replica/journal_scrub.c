/*
 * Theory of operation. Segment by segment, from the oldest one on, all closed ones of all good copies are read and
 * checked, for ever: in small pieces, at a rate that a disk hardly notices, by a thread with the least of priorities. What is
 * lost, rotten or cannot be read is copied from other copies, each record from one in which it is good. Where there is none, it is told; and
 * journaling.c begins another copy of the image if a recovery would need it. So it is if it cannot be written, but that is another
 * matter: what is told is the disk to see to.
 *
 * Only the list of segments is shared with who writes, under the mutex. A segment that is trimmed while it is looked at is
 * none that is lost.
 */
#include "replica/journal_copies_internal.h"

#include "appliance/base/clock.h"
#include "appliance/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BYTES_PER_S ((uint64_t)8 << 20) /* 28 GiB in an hour */
#define NICE 19
#define IOPRIO_OF_THREAD 1 /* linux/ioprio.h */
#define IOPRIO_IDLE (3 << 13)

/* Until then, or until it is not wanted any more (false). The mutex is held. */
static bool wait_until(struct journal_copies *c, uint64_t end)
{
	uint64_t now = clock_now_ns();

	while (!c->stop && now < end) {
		(void)uv_cond_timedwait(&c->ends, &c->mutex, end - now);
		now = clock_now_ns();
	}
	return !c->stop;
}

static bool pace(void *owner, uint64_t bytes)
{
	struct journal_copies *c = owner;
	bool goes_on;

	uv_mutex_lock(&c->mutex);
	c->scrub.done += bytes;
	goes_on = wait_until(c, clock_now_ns() + bytes * CLOCK_NS_PER_S / BYTES_PER_S);
	uv_mutex_unlock(&c->mutex);
	return goes_on;
}

/* The first closed one behind that number, and what follows it; false: there is none. */
static bool next_file(const struct journal_copies *c, uint64_t behind, struct journal_file *file,
		      uint64_t *next)
{
	size_t i = 0;

	while (i + 1 < c->nfiles && c->files[i].sequence <= behind)
		i++;
	if (i + 1 >= c->nfiles)
		return false;
	*file = c->files[i];
	*next = c->files[i + 1].sequence;
	return true;
}

static bool is_there(const struct journal_copies *c, const struct journal_file *file)
{
	size_t i = 0;

	while (i < c->nfiles && c->files[i].sequence != file->sequence)
		i++;
	return i < c->nfiles && c->files[i].opening == file->opening;
}

/* What came of it: copied; not to be written here, or not to be looked for; in none that is there; not wanted any more. */
enum mending { MENDED, FAILED, NOWHERE, ENDED };

static enum mending copy_it(struct journal_copies *c, const struct journal_dirs *from, int dir,
			    const struct journal_file *file, struct err *why)
{
	const struct journal_verify how = { c->journal, pace, c };
	bool wrote;
	int rc = journal_copy_segment(&how, from, dir, file, JOURNAL_REPLACED, &wrote, why);

	if (rc == RC_OK && fdatasync(dir) == 0)
		return MENDED;
	if (rc == RC_OK)
		(void)err_system(why, errno, "fdatasync of the directory");
	if (rc == RC_CANCELLED)
		return ENDED;
	return rc == RC_OK || rc == RC_NOMEM || wrote ? FAILED : NOWHERE;
}

/* From other copies, and what is good of its own. The mutex is held, and let go of meanwhile. */
static enum mending mend(struct copy *copy, int dir, const struct journal_file *file,
			 struct err *why)
{
	struct journal_copies *c = copy->owner;
	struct journal_dirs others, from;
	enum mending mending = FAILED;
	const int rc = copies_lend(copy, &others, why);

	uv_mutex_unlock(&c->mutex);
	if (rc == RC_OK && c->place.count > 1) {
		from = others;
		from.fd[copy->index] = dir;
		mending = copy_it(c, &from, dir, file, why);
	} else if (rc == RC_OK) {
		mending = NOWHERE;
	}
	uv_mutex_lock(&c->mutex);
	copies_give_back(&others);
	return mending;
}

static void on_mended(struct copy *copy, int dir, const struct journal_file *file,
		      const struct err *bad)
{
	struct journal_copies *c = copy->owner;
	char name[JOURNAL_NAME_BYTES];

	c->scrub.mended++;
	log_warn("journal", "%s: %.300s: it was copied from another copy", copy->dir.path,
		 bad->text);
	journal_segment_name(name, file->sequence);
	if (!is_there(c, file)) /* it was trimmed meanwhile */
		(void)unlinkat(dir, name, 0);
}

/* Others may have it whole. */
static void on_unmended(struct copy *copy, const struct err *bad, const struct err *why)
{
	struct journal_copies *c = copy->owner;
	char text[ERR_TEXT_MAX];

	(void)snprintf(text, sizeof(text),
		       "%.120s: %.150s: it cannot be copied from another copy: %.150s; make room, "
		       "or replace that disk",
		       copy->dir.path, bad->text, why->text);
	if (strcmp(text, c->scrub.unmended) != 0)
		log_error("journal", "%s", text);
	memcpy(c->scrub.unmended, text, sizeof(text));
	c->scrub.failed = true;
}

static void on_rotten(struct copy *copy, const struct journal_file *file, const struct err *bad)
{
	struct journal_copies *c = copy->owner;

	if (c->scrub.rotten != file->sequence)
		log_error("journal", "%s: %.300s: no copy that is there has it whole",
			  copy->dir.path, bad->text);
	c->scrub.rotten = file->sequence;
	c->scrub.seen = true;
	(void)snprintf(c->scrub.why, sizeof(c->scrub.why), "%.120s: %.300s", copy->dir.path,
		       bad->text);
}

static void on_bad(struct copy *copy, int dir, const struct journal_file *file,
		   const struct err *bad)
{
	struct journal_copies *c = copy->owner;
	struct err why;
	const enum mending mending = mend(copy, dir, file, &why);

	if (mending == MENDED)
		on_mended(copy, dir, file, bad);
	else if (mending == ENDED || c->stop || !is_there(c, file) ||
		 copy->state != JOURNAL_COPY_GOOD) /* then it is repaired, or that is told */
		return;
	else if (mending == FAILED)
		on_unmended(copy, bad, &why);
	else
		on_rotten(copy, file, bad);
}

/* The mutex is held, and let go of meanwhile. */
static void check(struct copy *copy, const struct journal_file *file, uint64_t next)
{
	struct journal_copies *c = copy->owner;
	const struct journal_verify how = { c->journal, pace, c };
	struct err why;
	int dir, rc;

	if (copy->state != JOURNAL_COPY_GOOD || copy->readable < 0)
		return;
	dir = fcntl(copy->readable, F_DUPFD_CLOEXEC, 0);
	if (dir < 0)
		return;
	uv_mutex_unlock(&c->mutex);
	rc = journal_verify(&how, dir, file, next, &why);
	uv_mutex_lock(&c->mutex);
	if ((rc == RC_INVALID || rc == RC_IO) && !c->stop && is_there(c, file) &&
	    copy->state == JOURNAL_COPY_GOOD)
		on_bad(copy, dir, file, &why);
	(void)close(dir);
}

static void scrub_all(struct journal_copies *c)
{
	struct journal_file file = { 0 };
	uint64_t next;
	unsigned i;

	c->scrub.seen = c->scrub.failed = false;
	c->scrub.done = 0;
	while (!c->stop && next_file(c, file.sequence, &file, &next)) {
		for (i = 0; i < c->place.count && !c->stop; i++)
			check(&c->copy[i], &file, next);
	}
	if (c->stop)
		return;
	c->scrub.rounds++;
	if (!c->scrub.seen)
		c->scrub.rotten = 0;
	if (!c->scrub.failed)
		c->scrub.unmended[0] = '\0';
}

void copies_scrub(void *arg)
{
	struct journal_copies *c = arg;

	(void)setpriority(PRIO_PROCESS, 0, NICE); /* of this thread, in Linux */
	(void)syscall(SYS_ioprio_set, IOPRIO_OF_THREAD, 0, IOPRIO_IDLE);
	uv_mutex_lock(&c->mutex);
	while (wait_until(c, clock_now_ns() + c->place.scrub_ms * CLOCK_NS_PER_MS))
		scrub_all(c);
	copies_leave(c);
}
