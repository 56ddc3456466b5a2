/*
 * Whether QEMU would find the files of the replica's disks where they are written to: each second, so that it is told in time; at once
 * when the primary falls silent or its connection ends, so that nobody decides for a replica that could not run; and once more for a
 * takeover, which fails otherwise. A worker asks: a file system may take its time, or for ever. That is told, too,
 * and a takeover waits until it answers, as QEMU would.
 */
#include "appliance/clone_internal.h"

#include "appliance/base/clock.h"
#include "appliance/base/log.h"

#include <stdio.h>

#define LOOK_NS CLOCK_NS_PER_S
#define SILENT_NS \
	(5 * CLOCK_NS_PER_S) /* a file system that is slower is not there for a takeover */

static void begin(struct clone *c);

static void work(struct workers_job *job)
{
	struct clone_disks *disks = job->owner;

	disks->err = (struct err){ 0 };
	for (size_t i = 0; i < disks->count; i++) {
		if (disk_place_look(&disks->places[i], &disks->err) != RC_OK)
			return;
	}
}

static void say(struct clone *c, const struct err *err)
{
	struct clone_disks *disks = &c->disks;

	if (err->code != RC_OK) {
		repeat_log(&disks->repeat, LOG_LEVEL_ERROR, c->part, err->text);
		(void)snprintf(disks->problem, sizeof(disks->problem), "%s", err->text);
	} else if (*disks->problem != '\0') {
		log_info(c->part, "the replica's disks are where they should be again");
		disks->problem[0] = '\0';
		disks->repeat = (struct repeat){ 0 };
	}
}

static void worked(struct workers_job *job)
{
	struct clone_disks *disks = job->owner;
	struct clone *c = disks->clone;
	const struct err err = disks->err;

	disks->busy = false;
	if (disks->on_closed != NULL) {
		disks->on_closed(c);
		return;
	}
	say(c, &err);
	if (!disks->again) {
		disks->looked = true;
		clone_activate(c);
	} else {
		begin(c);
	}
}

static void begin(struct clone *c)
{
	struct clone_disks *disks = &c->disks;
	const struct image *image = seat_image(c->seat);

	disks->clone = c;
	disks->count = image != NULL ? image_disk_places(image, disks->places) : 0;
	disks->busy = true;
	disks->again = false;
	disks->hurried = false;
	disks->began_ns = clock_now_ns();
	disks->job.owner = disks;
	workers_queue(c->workers, &disks->job, work, worked);
}

void clone_disks_tick(struct clone *c)
{
	const uint64_t now_ns = clock_now_ns();
	struct err err;

	if (!c->disks.busy && (c->disks.hurried || now_ns >= c->disks.began_ns + LOOK_NS))
		begin(c);
	if (!c->disks.busy || now_ns < c->disks.began_ns + SILENT_NS)
		return;
	(void)err_set(&err, RC_STATE, "the file system of the replica's disks does not answer");
	say(c, &err);
}

void clone_disks_hurry(struct clone *c)
{
	c->disks.hurried = true;
}

void clone_disks_look(struct clone *c)
{
	c->disks.looked = false;
	if (c->disks.busy)
		c->disks.again = true;
	else
		begin(c);
}

int clone_disks_check(const struct clone *c, struct err *err)
{
	return *c->disks.problem == '\0' ?
		       RC_OK :
		       err_set(err, RC_STATE, "%s: %.400s", c->instance->name, c->disks.problem);
}

void clone_disks_close(struct clone *c, void (*on_disks_closed)(void *owner))
{
	if (c->disks.busy)
		c->disks.on_closed = on_disks_closed;
	else
		on_disks_closed(c);
}
