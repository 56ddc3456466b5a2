/*
 * A seat is made and taken down in the loop, but for what the file systems of its disks may hold up for as long as they like: the
 * opening of their images, their closing, and the look for what is wrong with them. That is done by one thread of the seat's, one thing at a
 * time (`working`), and nothing else becomes of the seat before it is done.
 */
#include "appliance/seat.h"

#include "appliance/base/log.h"
#include "appliance/base/mem.h"
#include "appliance/seat_disks.h"
#include "appliance/seat_journal.h"
#include "appliance/seat_internal.h"
#include "appliance/seat_kept.h"
#include "replica/hypervisor.h"
#include "replica/reservation.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void seat_answer(struct seat *seat, const char *error)
{
	/* With a layout: a first copy that was cut short. What came of it need not travel again. */
	const char *image = seat->image == NULL		      ? "empty" :
			    image_epoch(seat->image) > 0      ? "committed" :
			    image_was_reopened(seat->image)   ? "stale" :
			    image_layout(seat->image) != NULL ? "stale" :
								"empty";

	if (!seat->answer_owed)
		return;
	seat->answer_owed = false;
	seat->ops->on_reserved(seat->owner, error, image);
}

/* The next reservation, even an equal one, starts from nothing. */
void seat_refuse(struct seat *seat, const struct err *err)
{
	char text[ERR_TEXT_MAX];

	(void)snprintf(text, sizeof(text), "reservation: %.490s", err->text);
	repeat_log(&seat->refused, LOG_LEVEL_WARN, seat->part, text);
	mem_free(seat->wanted);
	seat->wanted = NULL;
	if (seat->receiver == NULL)
		seat->restoring = false;
	seat_answer(seat, err->text);
	seat->ops->on_unseated(seat->owner, err);
}

/* Making it ---------------------------------------------------------------------------------- */

void seat_work(struct seat *seat, void (*what)(struct workers_job *job),
	       void (*done)(struct workers_job *job))
{
	assert(!seat->working);
	seat->working = true;
	seat->job.owner = seat;
	workers_queue(seat->workers, &seat->job, what, done);
}

bool seat_worked(struct seat *seat)
{
	seat->working = seat->looking = false;
	if (seat->replacing || seat->closing)
		seat_take_down(seat);
	else if (seat->wanted != NULL)
		return true;
	return false;
}

static int make_receiver(struct seat *seat, struct err *err)
{
	const struct journaling_options journal = {
		.part = seat->part,
		.instance = seat->instance->name,
		.claim_dir = seat->dir,
		.place = seat->journal,
		.segment_bytes = JOURNAL_SEGMENT_BYTES,
		.backlog_bytes = (size_t)seat->instance->journal_backlog_mib << 20,
		.copy_bytes = seat_journal_copy_bytes(seat->instance),
		.copy_backlog = JOURNALING_COPY_BACKLOG,
		.retry_ms = JOURNALING_RETRY_MS,
		.history = { (uint64_t)seat->instance->history_mib << 20,
			     (uint64_t)seat->instance->history_minutes * 60000 },
		.durable = seat->instance->durability == CONFIG_DURABLE_JOURNAL,
		.restore = seat->restoring,
	};

	return receiver_create(&seat->receiver, seat->loop, seat->image,
			       seat_journal_wanted(seat->instance) ? &journal : NULL,
			       &seat->ops->receiver, seat->owner, err);
}

/* What is acknowledged now is not in a journal, or not yet: no claim of an earlier life may be left. */
static int drop_claim(const struct seat *seat, struct err *err)
{
	return seat->restoring ? RC_OK : journal_claim_drop(seat->dir, err);
}

static void add_disks(struct workers_job *job)
{
	struct seat *seat = job->owner;

	seat->why = (struct err){ 0 };
	(void)seat_disks_add(seat->image, seat->instance, &seat->reservation.spec, seat->run_dir,
			     &seat->why);
}

static void on_disks_added(struct workers_job *job)
{
	struct seat *seat = job->owner;
	int rc = (int)seat->why.code;

	if (!seat_worked(seat))
		return;
	if (rc == RC_OK)
		rc = make_receiver(seat, &seat->why);
	if (rc == RC_OK)
		rc = seat_start_hypervisor(seat, &seat->why);
	if (rc != RC_OK)
		seat_refuse(seat, &seat->why);
}

static void make(struct seat *seat)
{
	struct cmdline_spec *spec = &seat->reservation.spec;
	struct err err = { 0 };
	int rc;

	seat->apart = seat->restoring; /* else what is brought back is written to meanwhile */
	reservation_free(&seat->reservation);
	rc = reservation_from_json(&seat->reservation, (const uint8_t *)seat->wanted,
				   strlen(seat->wanted), &err);
	if (rc == RC_OK)
		rc = seat->ops->on_making(seat->owner, &seat->reservation, &err);
	if (rc == RC_OK)
		rc = seat_kept_write(seat->dir, seat->wanted, &err);
	if (rc == RC_OK)
		rc = drop_claim(seat, &err);
	if (rc == RC_OK)
		rc = image_create(&seat->image, seat->memory_dir, seat->dir, spec->backends,
				  spec->nbackends,
				  (size_t)seat->instance->standby_staging_mib << 20, &err);
	if (rc == RC_OK)
		seat_work(seat, add_disks, on_disks_added);
	else
		seat_refuse(seat, &err);
}

/* A QEMU that an earlier life left waiting has the image locked: it makes way first. */

static void on_cleared(void *owner, const struct err *result)
{
	struct seat *seat = owner;

	seat->predecessor = NULL;
	if (seat->closing) {
		seat_take_down(seat);
		return;
	}
	seat->replacing = false;
	if (result->code == RC_OK)
		make(seat);
	else
		seat_refuse(seat, result);
}

static void clear(struct seat *seat)
{
	char path[HYPERVISOR_PATH_MAX];
	struct err result = { 0 };
	int rc = hypervisor_qmp_path(path, seat->run_dir, &result);

	if (rc == RC_OK && access(path, F_OK) == 0)
		rc = predecessor_clear(&seat->predecessor, seat->loop, seat->part, path, on_cleared,
				       seat, &result);
	if (rc == RC_CLOSED) /* at most the name of a socket that died with its QEMU */
		result = (struct err){ 0 };
	if (seat->predecessor == NULL)
		on_cleared(seat, &result);
}

/* Taking it down: receiver and QEMU side by side, then the image, then what comes next. ------ */

static void on_receiver_closed(void *owner)
{
	struct seat *seat = owner;

	seat->receiver = NULL;
	seat->receiver_closing = false;
	seat_take_down(seat);
}

static void on_restart_closed(uv_handle_t *handle)
{
	struct seat *seat = handle->data;
	void (*on_closed)(void *) = seat->on_closed;
	void *owner = seat->owner;

	reservation_free(&seat->reservation);
	workers_close(seat->workers);
	mem_free(seat->wanted);
	mem_free(seat);
	on_closed(owner);
}

static void destroy_image(struct workers_job *job)
{
	image_destroy(((struct seat *)job->owner)->former, true);
}

static void on_image_destroyed(struct workers_job *job)
{
	struct seat *seat = job->owner;

	seat->former = NULL;
	seat->working = false;
	seat_take_down(seat);
}

void seat_take_down(struct seat *seat)
{
	seat_end_hypervisor(seat);
	if (seat->working && seat->looking)
		image_give_up(seat->image);
	if (seat->working)
		return; /* seat_worked() goes on */
	if (seat->image != NULL)
		image_give_up(seat->image);
	if (seat->receiver != NULL && !seat->receiver_closing) {
		seat->receiver_closing = true;
		receiver_close(seat->receiver, on_receiver_closed, seat);
		return; /* on_receiver_closed() goes on, or has done so already */
	}
	if (seat->predecessor != NULL && seat->closing)
		predecessor_cancel(seat->predecessor);
	if (seat->receiver != NULL || seat->hypervisor != NULL || seat->predecessor != NULL)
		return; /* on_cleared() makes the newest that is wanted */
	if (seat->image != NULL) {
		seat->former = seat->image;
		seat->image = NULL;
		seat_work(seat, destroy_image, on_image_destroyed);
		return;
	}
	if (seat->closing) {
		if (!uv_is_closing((uv_handle_t *)&seat->restart))
			uv_close((uv_handle_t *)&seat->restart, on_restart_closed);
		return;
	}
	clear(seat);
}

void seat_restore(struct seat *seat)
{
	struct buf kept = { .limit = RESERVATION_JSON_MAX };
	struct err err;

	if (!seat_journal_wanted(seat->instance) ||
	    (seat->instance->durability != CONFIG_DURABLE_JOURNAL &&
	     !seat_journal_exists(&seat->journal)) ||
	    seat_kept_read(&kept, seat->dir, &err) != RC_OK) {
		buf_free(&kept);
		return;
	}
	mem_free(seat->wanted);
	seat->wanted = mem_strndup((const char *)kept.data, kept.len);
	buf_free(&kept);
	if (seat->wanted == NULL)
		return;
	(void)uv_timer_stop(&seat->restart);
	seat->restoring = seat->replacing = true;
	seat_take_down(seat);
}

bool seat_is_restoring(const struct seat *seat)
{
	return seat->restoring;
}

void seat_restored(struct seat *seat)
{
	seat->restoring = false;
}

int seat_reserve(struct seat *seat, const uint8_t *json, size_t len, struct err *err)
{
	char *wanted = mem_strndup((const char *)json, len);

	if (wanted == NULL)
		return err_nomem(err, "a reservation");
	seat->answer_owed = true;
	if (seat->wanted != NULL && strcmp(seat->wanted, wanted) == 0) {
		mem_free(wanted);
		if (seat->warm)
			seat_answer(seat, NULL);
		return RC_OK; /* else: on_ready or on_failed answers */
	}
	mem_free(seat->wanted);
	seat->wanted = wanted;
	seat->replacing = true;
	if (seat->image != NULL)
		seat->ops->on_forgotten(seat->owner);
	(void)uv_timer_stop(&seat->restart);
	seat_take_down(seat);
	return RC_OK;
}

/* Life --------------------------------------------------------------------------------------- */

int seat_create(struct seat **out, uv_loop_t *loop, const struct config *config,
		const struct config_instance *instance, const char *dir, const char *run_dir,
		const char *memory_dir, const struct seat_ops *ops, void *owner, struct err *err)
{
	struct seat *seat = mem_zalloc(1, sizeof(*seat));
	int rc;

	if (seat == NULL)
		return err_nomem(err, "a replica's seat");
	rc = workers_open(&seat->workers, loop, 1, err);
	if (rc != RC_OK) {
		mem_free(seat);
		return rc;
	}
	seat->loop = loop;
	seat->config = config;
	seat->instance = instance;
	(void)snprintf(seat->part, sizeof(seat->part), "replica %s", instance->name);
	seat->dir = dir;
	seat->run_dir = run_dir;
	seat->memory_dir = memory_dir;
	(void)snprintf(seat->journal_dir, sizeof(seat->journal_dir), "%s%s",
		       instance->journal_dir != NULL ? instance->journal_dir : dir,
		       instance->journal_dir != NULL ? "" : "/journal");
	seat_journal_place_of(&seat->journal, instance, seat->journal_dir);
	seat->ops = ops;
	seat->owner = owner;
	(void)uv_timer_init(loop, &seat->restart);
	seat->restart.data = seat;
	*out = seat;
	return RC_OK;
}

struct image *seat_image(const struct seat *seat)
{
	/* Not after a refusal either: the files may be the memory of a replica that runs. */
	if (seat->wanted == NULL || seat->replacing || seat->closing || seat->restoring ||
	    seat->receiver == NULL)
		return NULL;
	return seat->image;
}

struct receiver *seat_receiver(const struct seat *seat)
{
	return seat_image(seat) == NULL ? NULL : seat->receiver;
}

uint64_t seat_epoch(const struct seat *seat)
{
	return seat->image != NULL && !seat->restoring ? image_epoch(seat->image) : 0;
}

bool seat_journal(const struct seat *seat, struct journaling_status *status)
{
	const struct journaling *journal =
		seat->receiver != NULL ? receiver_journal(seat->receiver) : NULL;

	if (journal != NULL)
		journaling_status(journal, status);
	return journal != NULL;
}

struct journaling *seat_journaling(const struct seat *seat)
{
	return seat->receiver != NULL && !seat->receiver_closing ?
		       receiver_journal(seat->receiver) :
		       NULL;
}

const struct journal_place *seat_journal_place(const struct seat *seat)
{
	return &seat->journal;
}

bool seat_is_warm(const struct seat *seat)
{
	return seat->warm;
}

bool seat_is_silent(const struct seat *seat)
{
	return seat->warm && hypervisor_is_silent(seat->hypervisor);
}

const char *seat_hypervisor(const struct seat *seat)
{
	return seat->hypervisor != NULL ? hypervisor_state(seat->hypervisor) : "";
}

void seat_close(struct seat *seat, void (*on_closed)(void *owner))
{
	if (seat->closing)
		return;
	seat->closing = true;
	seat->on_closed = on_closed;
	seat_take_down(seat);
}
