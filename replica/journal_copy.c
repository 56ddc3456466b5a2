/*
 * Theory of operation. A copy is repaired to what the journal is at one moment, from which on the steps that
 * come wait for it; if too many do, it is let go of, and repaired again from what it has reached: that takes less
 * time, so it ends when copying is faster than what is written. Another good copy has to have done all that was
 * given before that moment; then its files have all bytes of it.
 *
 * What the journal is was decided at the opening, from the copies that were seen then. One that comes later may hold more, which
 * was acknowledged: nothing of it gives way before a quorum has begun that opening's first segment, for only with a quorum has
 * all been seen that was.
 */
#include "replica/journal_copies_internal.h"

#include "appliance/base/clock.h"
#include "appliance/base/files.h"
#include "appliance/base/log.h"
#include "appliance/base/mem.h"
#include "replica/journal_repair.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define RETRY_DOUBLINGS 6
#define IDLE_NS CLOCK_NS_PER_S

/* ---- steps ------------------------------------------------------------------------------------ */

int copies_do(const struct journal_copies *c, struct journal_dir *dir, const struct step *step,
	      struct err *err)
{
	const struct journal_segment segment = { c->journal, step->sequence, step->opening };
	uint8_t head[JOURNAL_SEGMENT_HEAD];

	switch (step->kind) {
	case STEP_BEGIN:
		journal_put_segment(head, &segment);
		return journal_dir_begin(dir, step->sequence, head, err);
	case STEP_WRITE:
		return journal_dir_write(dir, step->data.data, step->data.len, err);
	case STEP_SYNC:
		return journal_dir_sync(dir, err);
	case STEP_REMOVE:
		return journal_dir_remove(dir, step->sequence, err);
	case STEP_NAMES:
		return journal_dir_sync_names(dir, err);
	}
	return RC_OK;
}

void copies_unref(struct journal_copies *c, struct step *step)
{
	if (--step->refs > 0)
		return;
	if (c->last == step)
		c->last = NULL;
	buf_free(&step->data);
	mem_free(step);
}

void copies_detach(struct copy *copy)
{
	copy->attached = false;
	copy->until = copy->owner->ticket;
	copy->lag = 0;
	copy->full = copy->granted = false;
}

/* The next that it is to do; the list may go on with what it is not given. */
static struct step *following(const struct copy *copy, const struct step *step)
{
	return !copy->attached && step->ticket == copy->until ? NULL : step->next;
}

/* The first step that waits is done, or not wanted. */
static void pass(struct copy *copy)
{
	struct step *step = copy->next;

	copy->done = step->ticket;
	copy->next = following(copy, step);
	if (copy->attached)
		copy->lag -= step->data.len;
	copies_unref(copy->owner, step);
}

/* ---- states ----------------------------------------------------------------------------------- */

static const char *print_good(const struct journal_copies *c, char out[40])
{
	(void)snprintf(out, 40, "%u of %u copies are good", copies_good(c), c->place.count);
	return out;
}

static void set_readable(struct copy *copy, int fd)
{
	if (copy->readable >= 0)
		(void)close(copy->readable);
	copy->readable = fd;
}

static void fail(struct copy *copy, const struct err *why)
{
	struct journal_copies *c = copy->owner;
	char text[ERR_TEXT_MAX], good[40];

	copies_detach(copy);
	copy->suspect = copy->writing != 0 ? copy->writing : copy->suspect;
	copy->writing = 0;
	copy->state = JOURNAL_COPY_FAILED;
	copy->seen = false; /* who knows what is there when it comes back */
	copy->why = *why;
	copy->retry_ns = clock_now_ns() + (c->place.retry_ms << copy->failures) * CLOCK_NS_PER_MS;
	copy->failures += copy->failures < RETRY_DOUBLINGS;
	(void)snprintf(text, sizeof(text), "a copy of the journal is lost: %.300s; %s", why->text,
		       print_good(c, good));
	if (!c->stop)
		repeat_log(&copy->said, LOG_LEVEL_ERROR, "journal", text);
	uv_cond_broadcast(&c->changed);
}

/* One reason whole, which names its directory, and of the others that have one the directories. Who has none waits for others. */
int copies_below(const struct journal_copies *c, struct err *err)
{
	char others[ERR_TEXT_MAX] = "", name[FILES_CLIP + 1];
	const struct copy *first = NULL;
	size_t used = 0;
	unsigned i;

	for (i = 0; i < c->place.count; i++) {
		const struct copy *copy = &c->copy[i];

		if (copy->state == JOURNAL_COPY_GOOD || copy->why.code == RC_OK)
			continue;
		files_clip(name, copy->dir.path);
		if (first == NULL)
			first = copy;
		else if (used < sizeof(others))
			used += (size_t)snprintf(others + used, sizeof(others) - used, "; %s",
						 name);
	}
	return err_set(
		err, RC_IO,
		"the journal is below its quorum: %u of %u copies are good, %u have to be: %s%s",
		copies_good(c), c->place.count, c->place.quorum,
		first != NULL ? first->why.text : "", others);
}

/* ---- following -------------------------------------------------------------------------------- */

/* What is written says whether the directory is there; where nothing is, it is looked for. */
static void idle(struct copy *copy)
{
	struct journal_copies *c = copy->owner;
	struct err err;
	int rc;

	if (uv_cond_timedwait(&c->changed, &c->mutex, IDLE_NS) == 0 || copy->next != NULL ||
	    copy->dir.segment < 0 || c->stop)
		return;
	copy->since_ns = clock_now_ns();
	uv_mutex_unlock(&c->mutex);
	rc = journal_dir_look(&copy->dir, &err);
	uv_mutex_lock(&c->mutex);
	copy->since_ns = 0;
	if (rc != RC_OK)
		fail(copy, &err);
}

static void follow(struct copy *copy)
{
	struct journal_copies *c = copy->owner;
	struct err err = { 0 };
	const struct step *step = copy->next;
	int rc;

	if (step == NULL) {
		idle(copy);
		return;
	}
	copy->since_ns = clock_now_ns();
	uv_mutex_unlock(&c->mutex);
	rc = copies_do(c, &copy->dir, step, &err);
	uv_mutex_lock(&c->mutex);
	copy->since_ns = 0;
	if (rc == RC_OK && step->kind == STEP_BEGIN)
		copy->writing = step->sequence;
	if (rc == RC_OK)
		pass(copy);
	else
		fail(copy, &err);
	uv_cond_broadcast(&c->changed);
}

/* Of a segment that waits to be removed, behind that one; 0: there is none. */
static uint64_t next_to_remove(struct copy *copy, uint64_t behind)
{
	const struct step *step;
	uint64_t sequence = 0;

	uv_mutex_lock(&copy->owner->mutex);
	for (step = copy->next; step != NULL && sequence == 0; step = following(copy, step)) {
		if (step->kind == STEP_REMOVE && step->sequence > behind)
			sequence = step->sequence;
	}
	uv_mutex_unlock(&copy->owner->mutex);
	return sequence;
}

/* What waits to be removed is removed at once. */
static void remove_early(struct copy *copy)
{
	uint64_t sequence = 0;
	struct err err;

	while ((sequence = next_to_remove(copy, sequence)) != 0)
		(void)journal_dir_remove(&copy->dir, sequence, &err);
	(void)journal_dir_sync_names(&copy->dir, &err);
}

/* The caller is asked, at its next call. */
static bool make_room(void *owner)
{
	struct copy *copy = owner;
	struct journal_copies *c = copy->owner;
	bool made;

	uv_mutex_lock(&c->mutex);
	copy->granted = false;
	copy->full = copy->state == JOURNAL_COPY_GOOD && copy->attached && !c->stop;
	uv_cond_broadcast(&c->changed);
	while (copy->full && !c->stop)
		uv_cond_wait(&c->changed, &c->mutex);
	made = copy->granted && copy->attached;
	copy->full = copy->granted = false;
	uv_mutex_unlock(&c->mutex);
	if (made)
		remove_early(copy);
	return made;
}

/* ---- repairing -------------------------------------------------------------------------------- */

static bool goes_on(void *owner, uint64_t bytes)
{
	struct copy *copy = owner;
	bool stop;

	(void)bytes;
	uv_mutex_lock(&copy->owner->mutex);
	stop = copy->owner->stop;
	uv_mutex_unlock(&copy->owner->mutex);
	return !stop;
}

int copies_lend(const struct copy *copy, struct journal_dirs *others, struct err *err)
{
	const struct journal_copies *c = copy->owner;
	int rc = RC_OK;
	unsigned i;

	others->count = c->place.count;
	for (i = 0; i < others->count; i++) {
		others->fd[i] = -1;
		if (i == copy->index || c->copy[i].readable < 0 ||
		    c->copy[i].state == JOURNAL_COPY_FAILED)
			continue;
		errno = EMFILE;
		others->fd[i] = fault_here(FAULT_OPEN) ?
					-1 :
					fcntl(c->copy[i].readable, F_DUPFD_CLOEXEC, 0);
		if (others->fd[i] < 0)
			rc = err_system(err, errno, "looking into %.200s", c->copy[i].dir.path);
	}
	return rc;
}

void copies_give_back(struct journal_dirs *others)
{
	unsigned i;

	for (i = 0; i < others->count; i++) {
		if (others->fd[i] >= 0)
			(void)close(others->fd[i]);
	}
}

/* Another copy has all that was given before that ticket; false: none will. */
static bool wait_for_source(const struct copy *copy, uint64_t ticket)
{
	struct journal_copies *c = copy->owner;
	bool there = ticket == 0, hope = true;
	unsigned i;

	while (!there && hope && !c->stop) {
		hope = false;
		for (i = 0; i < c->place.count; i++) {
			if (i == copy->index || c->copy[i].state != JOURNAL_COPY_GOOD)
				continue;
			hope = true;
			there = there || c->copy[i].done >= ticket;
		}
		if (!there && hope)
			uv_cond_wait(&c->changed, &c->mutex);
	}
	return there;
}

static int open_dir(struct copy *copy, struct err *err)
{
	uint64_t journal = 0;
	int rc;

	if (copy->dir.fd >= 0 && copy->failures == 0)
		return RC_OK;
	journal_dir_close(&copy->dir);
	rc = journal_dir_open(&copy->dir, err);
	if (rc == RC_OK && journal_number_of(copy->dir.fd, &journal, err) != RC_OK)
		return err_prefix(err, "%s: ", copy->dir.path);
	if (rc == RC_OK && journal != 0 && journal != copy->owner->journal)
		rc = err_set(err, RC_REFUSED,
			     "%s: holds another journal; move that away, or name another directory",
			     copy->dir.path);
	return rc;
}

/* What the journal is now; what comes waits. */
static int make_plan(struct copy *copy, struct journal_plan *plan, struct journal_file **out,
		     struct err *err)
{
	const struct journal_copies *c = copy->owner;
	struct journal_file *files = mem_zalloc(c->nfiles, sizeof(*files));

	*out = files;
	if (files == NULL)
		return err_nomem(err, "a journal's segments");
	memcpy(files, c->files, c->nfiles * sizeof(*files));
	*plan = (struct journal_plan){ .journal = c->journal,
				       .files = files,
				       .count = c->nfiles,
				       .next = c->ticket == 0 ? c->next : 0,
				       .suspect = copy->suspect,
				       .complete = c->complete,
				       .first = &c->first };
	copy->attached = true;
	copy->done = c->ticket;
	return RC_OK;
}

static void let_go_of_steps(struct copy *copy)
{
	while (copy->next != NULL)
		pass(copy);
}

static int repair_it(struct copy *copy, uint64_t ticket, const struct journal_plan *plan,
		     unsigned *copied, struct err *err)
{
	struct journal_copies *c = copy->owner;
	const struct journal_verify how = { plan->journal, goes_on, copy };
	struct journal_dirs others;
	int rc;

	if (!wait_for_source(copy, ticket))
		return err_set(err, RC_STATE, "%s: there is no good copy to repair it from",
			       copy->dir.path);
	rc = copies_lend(copy, &others, err);
	uv_mutex_unlock(&c->mutex);
	if (rc == RC_OK)
		rc = journal_repair(plan, &copy->dir, &others, &how, copied, err);
	uv_mutex_lock(&c->mutex);
	copies_give_back(&others);
	return rc;
}

static void repaired(struct copy *copy, const struct journal_plan *plan, unsigned copied)
{
	struct journal_copies *c = copy->owner;
	char good[40];

	copy->owner->repaired += copied;
	copy->suspect = 0;
	if (!copy->attached)
		return; /* too much has come meanwhile: once more */
	copy->writing = plan->count > 0 ? plan->files[plan->count - 1].sequence : 0;
	copy->state = JOURNAL_COPY_GOOD;
	if (copy->failures > 0 || copied > 0)
		log_info("journal", "%s: this copy is good again: %u segments were copied; %s",
			 copy->dir.path, copied, print_good(c, good));
	copy->failures = 0;
	copy->said = (struct repeat){ 0 };
	copy->why = (struct err){ 0 };
	uv_cond_broadcast(&c->changed);
}

static void repair(struct copy *copy)
{
	struct journal_copies *c = copy->owner;
	struct journal_plan plan = { 0 };
	struct journal_file *files = NULL;
	unsigned copied = 0;
	struct err err;
	int rc;

	let_go_of_steps(copy);
	uv_mutex_unlock(&c->mutex);
	rc = open_dir(copy, &err);
	if (rc == RC_OK &&
	    copy->dir.segment >= 0) /* nobody may come to the sync that it waited for */
		rc = journal_dir_sync(&copy->dir, &err);
	uv_mutex_lock(&c->mutex);
	set_readable(copy, rc == RC_OK ? fcntl(copy->dir.fd, F_DUPFD_CLOEXEC, 0) : -1);
	if (rc == RC_OK && c->stop)
		return;
	if (rc == RC_OK)
		rc = make_plan(copy, &plan, &files, &err);
	if (rc == RC_OK)
		rc = repair_it(copy, copy->done, &plan, &copied, &err);
	if (rc == RC_OK)
		repaired(copy, &plan, copied);
	else
		fail(copy, &err);
	mem_free(files);
}

/* Until it is to be tried again. */
static void rest(struct copy *copy)
{
	struct journal_copies *c = copy->owner;
	const uint64_t now = clock_now_ns();

	let_go_of_steps(copy);
	if (now < copy->retry_ns)
		(void)uv_cond_timedwait(&c->changed, &c->mutex, copy->retry_ns - now);
	else
		copy->state = JOURNAL_COPY_REPAIRING;
}

static bool is_over(const struct copy *copy)
{
	return copy->owner->stop &&
	       (copy->state != JOURNAL_COPY_GOOD || copy->next == NULL || copy->owner->abandoned);
}

void copies_run(void *arg)
{
	struct copy *copy = arg;
	struct journal_copies *c = copy->owner;

	fault_place(copy->index + 1);
	copy->dir.make_room = make_room;
	copy->dir.owner = copy;
	uv_mutex_lock(&c->mutex);
	while (!is_over(copy)) {
		if (copy->state == JOURNAL_COPY_GOOD)
			follow(copy);
		else if (copy->state == JOURNAL_COPY_REPAIRING && !copy->seen && !c->begun)
			uv_cond_wait(&c->changed, &c->mutex);
		else if (copy->state == JOURNAL_COPY_REPAIRING)
			repair(copy);
		else
			rest(copy);
	}
	if (copy->attached)
		copies_detach(copy);
	let_go_of_steps(copy);
	set_readable(copy, -1);
	uv_mutex_unlock(&c->mutex);
	journal_dir_close(&copy->dir);
	uv_mutex_lock(&c->mutex);
	copies_leave(c);
}
