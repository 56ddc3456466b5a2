/*
 * The warm QEMU of a seat. One that could be started is started again whenever it ends, until the seat is taken down.
 *
 * By the first one the image's disks are looked at, before the reservation stands: two of them may be one store (image_apart.h). Not of an
 * image that is being brought back: its disks are written to.
 */
#include "appliance/seat_internal.h"

#include "appliance/base/log.h"
#include "appliance/base/mem.h"
#include "appliance/seat_disks.h"
#include "replica/activation.h"
#include "replica/oom.h"

#define RESTART_MS 1000 /* after its end */

static const struct hypervisor_ops hypervisor_callbacks;
static void on_restart(uv_timer_t *timer);

int seat_start_hypervisor(struct seat *seat, struct err *err)
{
	const struct hypervisor_options options = {
		.name = seat->instance->name,
		.program = seat->config->hypervisor,
		.firmware = seat->config->firmware,
		.accel = seat->config->accel,
		.confine = seat->config->confine,
		.run_dir = seat->run_dir,
		.lock = image_lock(seat->image),
	};

	return hypervisor_start(&seat->hypervisor, seat->loop, &options, &seat->reservation.spec,
				&hypervisor_callbacks, seat, err);
}

static void on_hypervisor_closed(void *owner)
{
	struct seat *seat = owner;

	seat->hypervisor = NULL;
	seat->hypervisor_closing = false;
	if (seat->replacing || seat->closing)
		seat_take_down(seat);
	else if (!seat->serving && seat->wanted != NULL)
		(void)uv_timer_start(&seat->restart, on_restart, RESTART_MS, 0);
}

void seat_end_hypervisor(struct seat *seat)
{
	seat->warm = false;
	if (seat->hypervisor == NULL || seat->hypervisor_closing)
		return;
	seat->hypervisor_closing = true;
	hypervisor_close(seat->hypervisor, seat->serving, on_hypervisor_closed);
}

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

	if (seat->closing || seat->replacing || seat->working || seat->hypervisor != NULL ||
	    seat->image == NULL)
		return;
	if (seat_start_hypervisor(seat, &err) != RC_OK)
		restart_failed(seat, &err);
}

static void become_warm(struct seat *seat)
{
	seat->warm = true;
	oom_set(hypervisor_pid(seat->hypervisor), OOM_WAITING);
	seat->refused = (struct repeat){ 0 };
	image_held_by(seat->image, hypervisor_pid(seat->hypervisor));
	log_info(seat->part, "a warm QEMU (process %d) holds the replica",
		 (int)hypervisor_pid(seat->hypervisor));
	seat_answer(seat, NULL);
	seat->ops->on_warm(seat->owner);
}

static void look_at_disks(struct workers_job *job)
{
	struct seat *seat = job->owner;

	seat->why = (struct err){ 0 };
	(void)image_disks_apart(seat->image, &seat->why);
}

static void on_disks_looked_at(struct workers_job *job)
{
	struct seat *seat = job->owner;

	if (!seat_worked(seat))
		return;
	if (seat->why.code == RC_OK && (seat->hypervisor == NULL || seat->hypervisor_closing))
		(void)err_set(&seat->why, RC_STATE, "the replica's QEMU ended");
	seat->apart = seat->why.code == RC_OK;
	if (seat->apart) {
		become_warm(seat);
		return;
	}
	(void)uv_timer_stop(&seat->restart); /* it is made anew */
	seat_refuse(seat, &seat->why);
	seat_end_hypervisor(seat);
}

static void on_ready(void *owner)
{
	struct seat *seat = owner;

	if (seat->apart) {
		become_warm(seat);
		return;
	}
	seat->looking = true;
	seat_work(seat, look_at_disks, on_disks_looked_at);
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

static void explain(struct workers_job *job)
{
	struct seat *seat = job->owner;
	struct err own;

	seat->why = *seat_disks_explain(seat->image, seat->instance, &seat->why, &own);
}

static void on_explained(struct workers_job *job)
{
	struct seat *seat = job->owner;

	if (!seat_worked(seat))
		return;
	if (seat->answer_owed)
		seat_refuse(seat, &seat->why);
	else
		restart_failed(seat, &seat->why);
	seat_end_hypervisor(seat);
}

static void on_failed(void *owner, const struct err *err)
{
	struct seat *seat = owner;

	(void)lost_disks(seat);
	seat->why = *err;
	seat_work(seat, explain, on_explained);
}

static void on_running(void *owner, uint64_t took_ns)
{
	struct seat *seat = owner;

	seat->activating = false;
	seat->serving = true;
	oom_set(hypervisor_pid(seat->hypervisor), OOM_SERVING);
	seat->ops->on_running(seat->owner, took_ns);
}

static void on_qemu_exit(void *owner, const struct err *err)
{
	struct seat *seat = owner;
	bool was_activating = seat->activating, was_serving = seat->serving;
	bool spoiled = was_activating && hypervisor_may_have_run(seat->hypervisor);

	log_warn(seat->part, "the replica's QEMU: %s", err->text);
	if (seat->looking) /* nobody will be there to ask */
		image_give_up(seat->image);
	if (!was_serving && lost_disks(seat))
		spoiled = was_activating;
	seat->activating = false;
	if (spoiled)
		image_forget(seat->image);
	if (was_activating)
		seat->ops->on_activation_failed(seat->owner, spoiled, err);
	else if (was_serving)
		seat->ops->on_ended(seat->owner, err);
	seat_end_hypervisor(seat);
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
	seat_refuse(seat, result);
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
		seat_end_hypervisor(seat); /* and another one is started */
	}
	return rc;
}

void seat_vacate(struct seat *seat)
{
	mem_free(seat->wanted);
	seat->wanted = NULL;
	seat->serving = false;
	(void)uv_timer_stop(&seat->restart);
	seat_end_hypervisor(seat);
}
