#include "replica/journal_copies_internal.h"

#include "appliance/base/clock.h"
#include "appliance/base/log.h"
#include "appliance/base/mem.h"
#include "replica/journal_repair.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define CLOSE_NS (2 * CLOCK_NS_PER_S) /* for what waits to be written at the end */
#define LOOK_NS (CLOCK_NS_PER_S / 10) /* how often is looked whether the journal is still wanted */
#define WAIT_NS CLOCK_NS_PER_S	      /* how often who waits is told */
#define END_NS (3 * CLOCK_NS_PER_S)   /* for what is waited for when it is not */

unsigned copies_good(const struct journal_copies *c)
{
	unsigned good = 0, i;

	for (i = 0; i < c->place.count; i++)
		good += c->copy[i].state == JOURNAL_COPY_GOOD;
	return good;
}

static bool is_alone(const struct journal_copies *c)
{
	return c->place.count == 1;
}

/* ---- life ------------------------------------------------------------------------------------- */

static void destroy(struct journal_copies *c)
{
	uv_cond_destroy(&c->ends);
	uv_cond_destroy(&c->changed);
	uv_mutex_destroy(&c->mutex);
	mem_free(c->files);
	mem_free(c);
}

void copies_leave(struct journal_copies *c)
{
	const bool last = --c->users == 0;

	uv_cond_broadcast(&c->changed);
	uv_mutex_unlock(&c->mutex);
	if (last)
		destroy(c);
}

static int init(struct journal_copies *c, const struct journal_place *place, struct err *err)
{
	unsigned i;
	int rc = RC_OK;

	c->place = *place;
	c->users = 1;
	for (i = 0; i < place->count; i++) {
		c->copy[i] = (struct copy){ .owner = c, .index = i, .readable = -1 };
		if (rc == RC_OK)
			rc = journal_dir_init(&c->copy[i].dir, place->dirs[i], err);
	}
	return rc;
}

int journal_copies_open(struct journal_copies **out, const struct journal_place *place,
			struct err *err)
{
	struct journal_copies *c = mem_zalloc(1, sizeof(*c));
	unsigned i, there = 0;
	int rc;

	if (c == NULL)
		return err_nomem(err, "a journal");
	rc = init(c, place, err);
	if (rc == RC_OK && (uv_mutex_init(&c->mutex) != 0 || uv_cond_init(&c->changed) != 0 ||
			    uv_cond_init(&c->ends) != 0))
		rc = err_nomem(err, "a journal"); /* Linux never refuses them */
	if (rc != RC_OK) {
		mem_free(c);
		return rc;
	}
	for (i = 0; i < place->count; i++) {
		rc = journal_dir_open(&c->copy[i].dir, &c->copy[i].why);
		there += rc == RC_OK;
	}
	if (there > 0) {
		*out = c;
		return RC_OK;
	}
	*err = c->copy[0].why;
	journal_copies_close(c);
	return (int)err->code;
}

void journal_copies_close(struct journal_copies *c)
{
	uint64_t end;
	unsigned i;

	if (c == NULL)
		return;
	uv_mutex_lock(&c->mutex);
	c->stop = true;
	uv_cond_broadcast(&c->changed);
	uv_cond_broadcast(&c->ends);
	for (end = clock_now_ns() + CLOSE_NS; c->users > 1 && clock_now_ns() < end;)
		(void)uv_cond_timedwait(&c->changed, &c->mutex, CLOSE_NS);
	c->abandoned = true;
	for (i = 0; i < c->place.count; i++) {
		if (c->copy[i].threaded)
			continue;
		journal_dir_close(&c->copy[i].dir);
		if (c->copy[i].readable >= 0)
			(void)close(c->copy[i].readable);
		c->copy[i].readable = -1;
	}
	copies_leave(c);
}

void journal_copies_set_room(struct journal_copies *c, bool (*make_room)(void *owner), void *owner)
{
	c->make_room = make_room;
	c->room_owner = owner;
	if (!is_alone(c))
		return;
	c->copy[0].dir.make_room = make_room;
	c->copy[0].dir.owner = owner;
}

/* ---- opening ---------------------------------------------------------------------------------- */

static int differ(const struct journal_copies *c, const uint64_t *numbers, uint64_t number,
		  struct err *err)
{
	unsigned one = 0, other = 0;

	while (numbers[one] != number)
		one++;
	while (numbers[other] == 0 || numbers[other] == number)
		other++;
	return err_set(
		err, RC_REFUSED,
		"%.180s and %.180s hold different journals; move the one away that is not this "
		"instance's",
		c->copy[one].dir.path, c->copy[other].dir.path);
}

static bool is_being_repaired(const struct copy *copy)
{
	return faccessat(copy->dir.fd, JOURNAL_REPAIRING, F_OK, 0) == 0;
}

/* A directory that holds segments of several journals is none of ours, whatever they are. */
static void set_mixed_aside(struct journal_copies *c, struct journal_dirs *dirs)
{
	uint64_t number;
	unsigned i;

	for (i = 0; i < c->place.count; i++) {
		struct copy *copy = &c->copy[i];

		if (copy->dir.fd < 0 ||
		    journal_number_of(copy->dir.fd, &number, &copy->why) != RC_REFUSED)
			continue;
		(void)err_prefix(&copy->why, "%s: ", copy->dir.path);
		copy->foreign = true;
		dirs->fd[i] = -1;
	}
}

/* No opening that the claim may be of needed fewer than these, or had more to choose from. */
static unsigned count_holders(const struct journal_copies *c, uint64_t number, unsigned present)
{
	const struct journal_reached *reached = &c->place.reached;
	const bool told = reached->journal == number && reached->quorum > 0;
	const unsigned copies =
		told && reached->copies > c->place.count ? reached->copies : c->place.count;
	const unsigned quorum =
		told && reached->quorum < c->place.quorum ? reached->quorum : c->place.quorum;

	return present + quorum > copies ? present + quorum - copies : 0;
}

int journal_copies_look(struct journal_copies *c, struct journal_dirs *dirs, uint64_t *number,
			unsigned *there, struct err *err)
{
	uint64_t numbers[JOURNAL_COPIES_MAX] = { 0 };
	unsigned i;
	int rc;

	dirs->count = c->place.count;
	dirs->journal = c->place.reached.journal;
	dirs->holders = 0;
	*there = 0;
	for (i = 0; i < c->place.count; i++)
		dirs->fd[i] = c->copy[i].dir.fd;
	*number = 0;
	if (is_alone(c)) { /* then it is whatever it is */
		rc = journal_number_of(dirs->fd[0], number, err);
		*there = *number != 0 && !is_being_repaired(&c->copy[0]);
		return rc;
	}
	set_mixed_aside(c, dirs);
	if (!journal_list_elect(dirs, numbers, number))
		return differ(c, numbers, *number, err);
	for (i = 0; i < c->place.count; i++) {
		struct copy *copy = &c->copy[i];

		if (!copy->foreign && numbers[i] != 0 && numbers[i] != *number)
			(void)err_set(&copy->why, RC_REFUSED,
				      "%s: holds another journal; move that away, or name another "
				      "directory",
				      copy->dir.path);
		copy->foreign = copy->foreign || (numbers[i] != 0 && numbers[i] != *number);
		dirs->fd[i] = copy->foreign ? -1 : copy->dir.fd;
		if (dirs->fd[i] >= 0 && numbers[i] != 0 && !is_being_repaired(copy))
			*there |= 1U << i;
	}
	c->complete = *number == 0 || *there == (1U << c->place.count) - 1;
	dirs->holders = count_holders(c, *number, (unsigned)__builtin_popcount(*there));
	return RC_OK;
}

static int start_thread(struct journal_copies *c, void (*run)(void *), void *arg, struct err *err)
{
	uv_thread_t thread;

	if (uv_thread_create(&thread, run, arg) != 0)
		return err_nomem(err, "a thread of the journal");
	(void)pthread_detach(thread);
	c->users++;
	return RC_OK;
}

static int start_scrub(struct journal_copies *c, struct err *err)
{
	return c->place.scrub_ms > 0 ? start_thread(c, copies_scrub, c, err) : RC_OK;
}

/* The only one: by the caller's thread. */
static int join_alone(struct journal_copies *c, struct err *err)
{
	const struct journal_plan plan = { .journal = c->journal,
					   .files = c->files,
					   .count = c->nfiles,
					   .next = c->next,
					   .alone = true };
	const struct journal_verify how = { .journal = c->journal };
	const struct journal_dirs none = { .count = 0 };
	unsigned copied;
	int rc = journal_repair(&plan, &c->copy[0].dir, &none, &how, &copied, err);

	c->copy[0].state = rc == RC_OK ? JOURNAL_COPY_GOOD : JOURNAL_COPY_FAILED;
	c->copy[0].readable = fcntl(c->copy[0].dir.fd, F_DUPFD_CLOEXEC, 0);
	return rc == RC_OK ? start_scrub(c, err) : rc;
}

static int start_threads(struct journal_copies *c, struct err *err)
{
	unsigned i;
	int rc = start_scrub(c, err);

	for (i = 0; i < c->place.count; i++) {
		struct copy *copy = &c->copy[i];

		copy->state = copy->dir.fd >= 0 && !copy->foreign ? JOURNAL_COPY_REPAIRING :
								    JOURNAL_COPY_FAILED;
		if (copy->foreign)
			journal_dir_close(&copy->dir);
		copy->seen = copy->state == JOURNAL_COPY_REPAIRING;
		copy->failures = copy->state == JOURNAL_COPY_FAILED;
		copy->retry_ns = clock_now_ns() + c->place.retry_ms * CLOCK_NS_PER_MS;
		copy->readable = copy->dir.fd >= 0 ? fcntl(copy->dir.fd, F_DUPFD_CLOEXEC, 0) : -1;
	}
	for (i = 0; rc == RC_OK && i < c->place.count; i++) {
		rc = start_thread(c, copies_run, &c->copy[i], err);
		c->copy[i].threaded = rc == RC_OK;
	}
	return rc;
}

static bool has_to_go(const struct journal_copies *c, uint64_t deadline)
{
	unsigned hope = 0, i;

	for (i = 0; i < c->place.count; i++)
		hope += c->copy[i].state != JOURNAL_COPY_FAILED && c->copy[i].seen;
	return hope < c->place.quorum || (!c->place.patient && clock_now_ns() > deadline) ||
	       (c->place.stop != NULL && atomic_load(c->place.stop));
}

int journal_copies_join(struct journal_copies *c, uint64_t journal,
			const struct journal_file *files, size_t count, uint64_t next,
			struct err *err)
{
	const uint64_t deadline = clock_now_ns() + JOURNAL_JOIN_MS * CLOCK_NS_PER_MS;
	int rc;

	c->journal = journal;
	c->next = next;
	c->files = mem_zalloc(count + 1, sizeof(*files));
	if (c->files == NULL)
		return err_nomem(err, "a journal's segments");
	if (count > 0)
		memcpy(c->files, files, count * sizeof(*files));
	c->nfiles = count;
	atomic_store(&c->first, count > 0 ? files[0].sequence : next);
	if (is_alone(c))
		return join_alone(c, err);
	uv_mutex_lock(&c->mutex);
	rc = start_threads(c, err);
	while (rc == RC_OK && copies_good(c) < c->place.quorum) {
		if (has_to_go(c, deadline))
			rc = copies_below(c, err);
		else
			(void)uv_cond_timedwait(&c->changed, &c->mutex, LOOK_NS);
	}
	uv_mutex_unlock(&c->mutex);
	return rc;
}

/* ---- steps ------------------------------------------------------------------------------------ */

void copies_serve(struct journal_copies *c)
{
	bool made;
	unsigned i;

	for (i = 0; i < c->place.count && !c->serving; i++) {
		if (!c->copy[i].full)
			continue;
		c->serving = true;
		uv_mutex_unlock(&c->mutex);
		made = c->make_room != NULL && c->make_room(c->room_owner);
		uv_mutex_lock(&c->mutex);
		c->serving = false;
		c->copy[i].granted = made;
		c->copy[i].full = false;
		uv_cond_broadcast(&c->changed);
	}
}

static struct copy *find_slow(struct journal_copies *c, size_t len)
{
	unsigned i;

	for (i = 0; i < c->place.count; i++) {
		if (c->copy[i].attached && c->copy[i].lag > 0 &&
		    c->copy[i].lag + len > JOURNAL_LAG_BYTES)
			return &c->copy[i];
	}
	return NULL;
}

/* A disk that does not answer may never; who ends waits for it a while, and what it has not got is lost as by a power cut. */
static bool waits_on(struct journal_copies *c, uint64_t *deadline)
{
	const uint64_t now = clock_now_ns();

	if (c->place.stop == NULL || !atomic_load(c->place.stop))
		*deadline = UINT64_MAX;
	else if (*deadline == UINT64_MAX)
		*deadline = now + END_NS;
	if (now > *deadline)
		return false;
	(void)uv_cond_timedwait(&c->changed, &c->mutex, LOOK_NS);
	if (c->place.on_wait != NULL && now - c->waited_ns >= WAIT_NS) {
		c->waited_ns = now;
		uv_mutex_unlock(&c->mutex);
		c->place.on_wait(c->place.owner);
		uv_mutex_lock(&c->mutex);
	}
	return true;
}

/* Those that have not done what is waited for are given up, which leaves no quorum. */
static void leave_hung(struct journal_copies *c, uint64_t ticket)
{
	unsigned i;

	for (i = 0; i < c->place.count; i++) {
		struct copy *copy = &c->copy[i];

		if (copy->state != JOURNAL_COPY_GOOD || copy->done >= ticket)
			continue;
		copies_detach(copy);
		copy->state = JOURNAL_COPY_REPAIRING;
		(void)err_set(&copy->why, RC_TIMEOUT, "%.200s: this disk does not answer",
			      copy->dir.path);
		log_error("journal", "%s; what was to be written there is lost", copy->why.text);
	}
}

/* Those that the quorum can do without are dropped. */
static void wait_for_slow(struct journal_copies *c, size_t len)
{
	uint64_t deadline = UINT64_MAX;
	struct copy *slow;

	while ((slow = find_slow(c, len)) != NULL) {
		copies_serve(c);
		if (slow->state == JOURNAL_COPY_GOOD && copies_good(c) <= c->place.quorum &&
		    waits_on(c, &deadline))
			continue;
		copies_detach(slow);
		if (slow->state == JOURNAL_COPY_GOOD)
			(void)err_set(&slow->why, RC_TIMEOUT, "%s: it is too slow, and fell behind",
				      slow->dir.path);
		if (slow->state == JOURNAL_COPY_GOOD)
			slow->state = JOURNAL_COPY_REPAIRING;
	}
}

static void append(struct journal_copies *c, struct step *step)
{
	unsigned i;

	step->ticket = ++c->ticket;
	if (c->last != NULL)
		c->last->next = step;
	c->last = step;
	step->refs = 1; /* ours, for now */
	for (i = 0; i < c->place.count; i++) {
		struct copy *copy = &c->copy[i];

		if (!copy->attached)
			continue;
		step->refs++;
		copy->lag += step->data.len;
		if (copy->next == NULL)
			copy->next = step;
	}
	copies_unref(c, step);
	uv_cond_broadcast(&c->changed);
}

static int await(struct journal_copies *c, struct err *err)
{
	const uint64_t ticket = c->ticket;
	uint64_t deadline = UINT64_MAX;
	unsigned done, i;

	for (;;) {
		copies_serve(c);
		for (done = 0, i = 0; i < c->place.count; i++)
			done += c->copy[i].state == JOURNAL_COPY_GOOD && c->copy[i].done >= ticket;
		if (done >= c->place.quorum)
			return RC_OK;
		if (copies_good(c) < c->place.quorum)
			return copies_below(c, err);
		if (!waits_on(c, &deadline))
			leave_hung(c, ticket);
	}
}

/* What the files are changes with the step that makes them so. */
static void note(struct journal_copies *c, const struct step *step)
{
	if (step->kind == STEP_BEGIN)
		c->files[c->nfiles++] = (struct journal_file){ step->sequence, step->opening,
							       JOURNAL_SEGMENT_HEAD };
	else if (step->kind == STEP_WRITE)
		c->files[c->nfiles - 1].bytes += step->data.len;
	if (step->kind != STEP_REMOVE)
		return;
	memmove(c->files, c->files + 1, --c->nfiles * sizeof(*c->files));
	atomic_store(&c->first, c->files[0].sequence);
}

/* `step->data` is taken, also after an error. */
static int give(struct journal_copies *c, const struct step *what, bool waits, struct err *err)
{
	struct step *step = mem_alloc(sizeof(*step));
	struct buf data = what->data;
	int rc = RC_OK;

	if (step == NULL) {
		buf_free(&data);
		return err_nomem(err, "a step of the journal");
	}
	*step = *what;
	uv_mutex_lock(&c->mutex);
	wait_for_slow(c, step->data.len);
	note(c, step);
	append(c, step);
	if (waits)
		rc = await(c, err);
	else if (copies_good(c) < c->place.quorum)
		rc = copies_below(c, err);
	uv_mutex_unlock(&c->mutex);
	return rc;
}

static int do_step(struct journal_copies *c, const struct step *step, bool waits, struct err *err)
{
	int rc;

	if (!is_alone(c))
		return give(c, step, waits, err);
	rc = copies_do(c, &c->copy[0].dir, step, err);
	if (rc != RC_OK)
		return rc;
	uv_mutex_lock(&c->mutex);
	note(c, step);
	uv_mutex_unlock(&c->mutex);
	return RC_OK;
}

int journal_copies_begin(struct journal_copies *c, uint64_t sequence, uint64_t opening,
			 struct err *err)
{
	const struct step step = { .kind = STEP_BEGIN, .sequence = sequence, .opening = opening };
	struct journal_file *grown;
	int rc;

	uv_mutex_lock(&c->mutex);
	grown = mem_realloc(c->files, (c->nfiles + 1) * sizeof(*grown));
	c->files = grown != NULL ? grown : c->files;
	uv_mutex_unlock(&c->mutex);
	if (grown == NULL)
		return err_nomem(err, "a journal's segments");
	rc = do_step(c, &step, true, err);
	uv_mutex_lock(&c->mutex);
	c->begun = c->begun || rc == RC_OK;
	uv_cond_broadcast(&c->changed);
	uv_mutex_unlock(&c->mutex);
	return rc;
}

int journal_copies_write(struct journal_copies *c, struct buf *data, struct err *err)
{
	const struct step step = { .kind = STEP_WRITE, .data = *data };
	int rc = data->len > 0 ? do_step(c, &step, false, err) : RC_OK;

	if (data->len > 0 && !is_alone(c))
		*data = (struct buf){ .limit = data->limit };
	else
		buf_reset(data);
	return rc;
}

int journal_copies_sync(struct journal_copies *c, struct err *err)
{
	return do_step(c, &(struct step){ .kind = STEP_SYNC }, true, err);
}

int journal_copies_remove(struct journal_copies *c, size_t count, struct err *err)
{
	const bool any = count > 0;
	int rc = RC_OK;

	/* From the oldest on: what is left is whole at every moment. */
	for (; rc == RC_OK && count > 0; count--)
		rc = do_step(
			c, &(struct step){ .kind = STEP_REMOVE, .sequence = c->files[0].sequence },
			false, err);
	/* Only then is there room, with some file systems. */
	return rc == RC_OK && any ? do_step(c, &(struct step){ .kind = STEP_NAMES }, false, err) :
				    rc;
}
