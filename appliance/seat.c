#include "appliance/seat.h"

#include "appliance/base/files.h"
#include "appliance/base/log.h"
#include "appliance/base/mem.h"
#include "appliance/base/repeat.h"
#include "appliance/seat_disks.h"
#include "appliance/seat_journal.h"
#include "replica/activation.h"
#include "replica/hypervisor.h"
#include "replica/predecessor.h"
#include "replica/reservation.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define RECALLED "reservation.json"
#define RESTART_MS 1000 /* a warm QEMU that ended is started again after this */

struct seat {
	uv_loop_t *loop;
	const struct config *config;
	const struct config_instance *instance;
	char part[80];
	const char *dir, *memory_dir;
	char journal_dir[512];
	struct journal_place journal;
	const struct seat_ops *ops;
	void *owner;
	char *wanted; /* the reservation's JSON as it came */
	struct reservation reservation;
	bool answer_owed;
	struct repeat refused;		 /* reservations, since one stood */
	struct predecessor *predecessor; /* whoever an earlier life left here is being ended */
	struct image *image;
	struct receiver *receiver;
	struct hypervisor *hypervisor;
	bool warm, activating, serving;
	bool restoring; /* the journal is being read into the image */
	bool replacing; /* the old seat is being taken down */
	bool receiver_closing, hypervisor_closing;
	uv_timer_t restart;
	bool closing;
	void (*on_closed)(void *owner);
};

static const struct hypervisor_ops hypervisor_callbacks;

static void answer(struct seat *seat, const char *error)
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
static void refuse(struct seat *seat, const struct err *err)
{
	char text[ERR_TEXT_MAX];

	(void)snprintf(text, sizeof(text), "reservation: %.490s", err->text);
	repeat_log(&seat->refused, LOG_LEVEL_WARN, seat->part, text);
	mem_free(seat->wanted);
	seat->wanted = NULL;
	if (seat->receiver == NULL)
		seat->restoring = false;
	answer(seat, err->text);
	seat->ops->on_unseated(seat->owner, err);
}

/* Making it ---------------------------------------------------------------------------------- */

static int read_kept(struct buf *json, const char *dir, struct err *err)
{
	char path[512];

	(void)snprintf(path, sizeof(path), "%s/" RECALLED, dir);
	return files_read(json, AT_FDCWD, path, FILES_NO_LINK, err);
}

static int start_hypervisor(struct seat *seat, struct err *err)
{
	const struct hypervisor_options options = {
		.name = seat->instance->name,
		.program = seat->config->hypervisor,
		.firmware = seat->config->firmware,
		.accel = seat->config->accel,
		.run_dir = seat->dir,
		.lock = image_lock(seat->image),
	};

	return hypervisor_start(&seat->hypervisor, seat->loop, &options, &seat->reservation.spec,
				&hypervisor_callbacks, seat, err);
}

/* What is there already needs no room. */
static int keep_wanted(const struct seat *seat, struct err *err)
{
	struct buf kept = { .limit = RESERVATION_JSON_MAX };
	const size_t len = strlen(seat->wanted);
	const bool same = read_kept(&kept, seat->dir, err) == RC_OK && kept.len == len &&
			  memcmp(kept.data, seat->wanted, len) == 0;

	buf_free(&kept);
	return same ? RC_OK : files_replace(seat->dir, RECALLED, seat->wanted, len, err);
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

static void make(struct seat *seat)
{
	struct cmdline_spec *spec = &seat->reservation.spec;
	struct err err = { 0 };
	int rc;

	reservation_free(&seat->reservation);
	rc = reservation_from_json(&seat->reservation, (const uint8_t *)seat->wanted,
				   strlen(seat->wanted), &err);
	if (rc == RC_OK)
		rc = seat->ops->on_making(seat->owner, &seat->reservation, &err);
	if (rc == RC_OK)
		rc = keep_wanted(seat, &err);
	if (rc == RC_OK)
		rc = drop_claim(seat, &err);
	if (rc == RC_OK)
		rc = image_create(&seat->image, seat->memory_dir, seat->dir, spec->backends,
				  spec->nbackends,
				  (size_t)seat->instance->standby_staging_mib << 20, &err);
	if (rc == RC_OK)
		rc = seat_disks_add(seat->image, seat->instance, spec, seat->dir, &err);
	if (rc == RC_OK)
		rc = make_receiver(seat, &err);
	if (rc == RC_OK)
		rc = start_hypervisor(seat, &err);
	if (rc != RC_OK)
		refuse(seat, &err);
}

/* A QEMU that an earlier life left waiting has the image locked: it makes way first. */

static void take_down(struct seat *seat);

static void on_cleared(void *owner, const struct err *result)
{
	struct seat *seat = owner;

	seat->predecessor = NULL;
	if (seat->closing) {
		take_down(seat);
		return;
	}
	seat->replacing = false;
	if (result->code == RC_OK)
		make(seat);
	else
		refuse(seat, result);
}

static void clear(struct seat *seat)
{
	char path[HYPERVISOR_PATH_MAX];
	struct err result = { 0 };
	int rc = hypervisor_qmp_path(path, seat->dir, &result);

	if (rc == RC_OK && access(path, F_OK) == 0)
		rc = predecessor_clear(&seat->predecessor, seat->loop, seat->part, path, on_cleared,
				       seat, &result);
	if (rc == RC_CLOSED) /* at most the name of a socket that died with its QEMU */
		result = (struct err){ 0 };
	if (seat->predecessor == NULL)
		on_cleared(seat, &result);
}

/* Taking it down: receiver and QEMU side by side, then the image, then what comes next. ------ */

static void on_restart(uv_timer_t *timer);

static void on_receiver_closed(void *owner)
{
	struct seat *seat = owner;

	seat->receiver = NULL;
	seat->receiver_closing = false;
	take_down(seat);
}

static void on_hypervisor_closed(void *owner)
{
	struct seat *seat = owner;

	seat->hypervisor = NULL;
	seat->hypervisor_closing = false;
	if (seat->replacing || seat->closing)
		take_down(seat);
	else if (!seat->serving && seat->wanted != NULL)
		(void)uv_timer_start(&seat->restart, on_restart, RESTART_MS, 0);
}

static void end_hypervisor(struct seat *seat)
{
	seat->warm = false;
	if (seat->hypervisor == NULL || seat->hypervisor_closing)
		return;
	seat->hypervisor_closing = true;
	hypervisor_close(seat->hypervisor, seat->serving, on_hypervisor_closed);
}

static void on_restart_closed(uv_handle_t *handle)
{
	struct seat *seat = handle->data;
	void (*on_closed)(void *) = seat->on_closed;
	void *owner = seat->owner;

	reservation_free(&seat->reservation);
	mem_free(seat->wanted);
	mem_free(seat);
	on_closed(owner);
}

static void take_down(struct seat *seat)
{
	end_hypervisor(seat);
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
		image_destroy(seat->image, true);
		seat->image = NULL;
	}
	if (seat->closing) {
		if (!uv_is_closing((uv_handle_t *)&seat->restart))
			uv_close((uv_handle_t *)&seat->restart, on_restart_closed);
		return;
	}
	clear(seat);
}

int seat_recall(const char *dir, struct reservation *reservation, struct err *err)
{
	struct buf json = { .limit = RESERVATION_JSON_MAX };
	int rc;

	*reservation = (struct reservation){ 0 };
	rc = read_kept(&json, dir, err);
	if (rc == RC_OK)
		rc = reservation_from_json(reservation, json.data, json.len, err);
	buf_free(&json);
	return rc;
}

bool seat_restore(struct seat *seat)
{
	struct buf kept = { .limit = RESERVATION_JSON_MAX };
	struct err err;

	if (!seat_journal_wanted(seat->instance) || !seat_journal_exists(&seat->journal) ||
	    read_kept(&kept, seat->dir, &err) != RC_OK) {
		buf_free(&kept);
		return false;
	}
	seat->wanted = mem_strndup((const char *)kept.data, kept.len);
	buf_free(&kept);
	if (seat->wanted == NULL)
		return false;
	seat->restoring = seat->replacing = true;
	take_down(seat);
	return seat->receiver != NULL || seat->replacing;
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
			answer(seat, NULL);
		return RC_OK; /* else: on_ready or on_failed answers */
	}
	mem_free(seat->wanted);
	seat->wanted = wanted;
	seat->replacing = true;
	if (seat->image != NULL)
		seat->ops->on_forgotten(seat->owner);
	(void)uv_timer_stop(&seat->restart);
	take_down(seat);
	return RC_OK;
}

/* The warm QEMU ------------------------------------------------------------------------------ */

/* Of a QEMU that could be started before: the image is good, so that is tried again for ever. */
static void restart_failed(struct seat *seat, const struct err *err)
{
	log_warn(seat->part, "no warm QEMU: %s", err->text);
	seat->ops->on_unseated(seat->owner, err);
	if (seat->hypervisor == NULL)
		(void)uv_timer_start(&seat->restart, on_restart, RESTART_MS, 0);
}

static void on_restart(uv_timer_t *timer)
{
	struct seat *seat = timer->data;
	struct err err = { 0 };

	if (seat->closing || seat->replacing || seat->hypervisor != NULL || seat->image == NULL)
		return;
	if (start_hypervisor(seat, &err) != RC_OK)
		restart_failed(seat, &err);
}

static void on_ready(void *owner)
{
	struct seat *seat = owner;

	seat->warm = true;
	seat->refused = (struct repeat){ 0 };
	image_held_by(seat->image, hypervisor_pid(seat->hypervisor));
	log_info(seat->part, "a warm QEMU (process %d) holds the replica",
		 (int)hypervisor_pid(seat->hypervisor));
	answer(seat, NULL);
	seat->ops->on_warm(seat->owner);
}

/* With a QEMU that ended. */
static bool lost_disks(struct seat *seat)
{
	if (seat->image == NULL || !seat_disks_are_lost(seat->image, seat->part))
		return false;
	if (!seat->activating)
		seat->ops->on_forgotten(seat->owner);
	return true;
}

static void on_failed(void *owner, const struct err *err)
{
	struct seat *seat = owner;
	struct err own;

	(void)lost_disks(seat);
	err = seat_disks_explain(seat->image, err, &own);
	if (seat->answer_owed)
		refuse(seat, err);
	else
		restart_failed(seat, err);
	end_hypervisor(seat);
}

static void on_running(void *owner, uint64_t took_ns)
{
	struct seat *seat = owner;

	seat->activating = false;
	seat->serving = true;
	seat->ops->on_running(seat->owner, took_ns);
}

static void on_qemu_exit(void *owner, const struct err *err)
{
	struct seat *seat = owner;
	bool was_activating = seat->activating, was_serving = seat->serving;
	bool spoiled = was_activating && hypervisor_may_have_run(seat->hypervisor);

	log_warn(seat->part, "the replica's QEMU: %s", err->text);
	if (!was_serving && lost_disks(seat))
		spoiled = was_activating;
	seat->activating = false;
	if (spoiled)
		image_forget(seat->image);
	if (was_activating)
		seat->ops->on_activation_failed(seat->owner, spoiled, err);
	else if (was_serving)
		seat->ops->on_ended(seat->owner, err);
	end_hypervisor(seat);
}

static void on_event(void *owner, const char *name, const cJSON *data)
{
	struct seat *seat = owner;

	(void)data;
	log_debug(seat->part, "QEMU: %s", name);
}

static const struct hypervisor_ops hypervisor_callbacks = {
	.on_ready = on_ready,
	.on_failed = on_failed,
	.on_running = on_running,
	.on_exit = on_qemu_exit,
	.on_event = on_event,
};

static void on_layout_checked(void *owner, const struct err *result)
{
	struct seat *seat = owner;

	if (result->code == RC_OK || seat->closing || seat->replacing || !seat->warm)
		return;
	if (result->code != RC_UNSUPPORTED) {
		log_warn(seat->part, "the layout could not be checked: %s", result->text);
		return;
	}
	seat->answer_owed = true;
	refuse(seat, result);
}

void seat_check_layout(struct seat *seat, const struct layout *layout)
{
	struct err err = { 0 };

	if (seat->warm && hypervisor_check_layout(seat->hypervisor, layout, on_layout_checked, seat,
						  &err) != RC_OK)
		on_layout_checked(seat, &err);
}

int seat_activate(struct seat *seat, struct err *err)
{
	const struct activation_block *blocks;
	size_t len, nblocks;
	int fd, rc;

	if (!seat->warm)
		return err_set(err, RC_STATE, "no warm QEMU");
	if (image_epoch(seat->image) == 0)
		return err_set(err, RC_STATE, "the image holds no epoch");
	blocks = hypervisor_blocks(seat->hypervisor, &nblocks);
	rc = activation_stream(seat->image, blocks, nblocks, &fd, &len, err);
	if (rc != RC_OK)
		return rc;
	seat->warm = false; /* used up, whatever comes of it */
	seat->activating = true;
	rc = hypervisor_activate(seat->hypervisor, fd, err);
	if (rc != RC_OK) {
		seat->activating = false;
		end_hypervisor(seat); /* and another one is started */
	}
	return rc;
}

void seat_vacate(struct seat *seat)
{
	mem_free(seat->wanted);
	seat->wanted = NULL;
	seat->serving = false;
	(void)uv_timer_stop(&seat->restart);
	end_hypervisor(seat);
}

/* Life --------------------------------------------------------------------------------------- */

int seat_create(struct seat **out, uv_loop_t *loop, const struct config *config,
		const struct config_instance *instance, const char *dir, const char *memory_dir,
		const struct seat_ops *ops, void *owner, struct err *err)
{
	struct seat *seat = mem_zalloc(1, sizeof(*seat));

	if (seat == NULL)
		return err_nomem(err, "a replica's seat");
	seat->loop = loop;
	seat->config = config;
	seat->instance = instance;
	(void)snprintf(seat->part, sizeof(seat->part), "replica %s", instance->name);
	seat->dir = dir;
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

const char *seat_journal_dir(const struct seat *seat)
{
	struct journaling_status status;

	return seat_journal(seat, &status) ? seat_journal_good(&seat->journal, status.health) :
					     seat->journal.dirs[0];
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
	take_down(seat);
}
