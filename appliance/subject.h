/*
 * The subject: the QEMU that is to be protected. Finds it by its QMP socket, examines it
 * (precheck.h), derives what a standby needs to run its replica (reservation.h), and watches for
 * its end; tries again for ever where a retry can help. It claims the QEMU first (claim.h), and has
 * it until QMP is closed: an instance that another agent protects is unfit. That holds for one whose
 * QMP socket another agent is connected to as well; it is waited for there. The guardian of an agent
 * that is gone, which keeps that socket and does nothing, is ended. An instance that they both left in
 * COLO is let go (leftover.h).
 */
#ifndef APPLIANCE_SUBJECT_H
#define APPLIANCE_SUBJECT_H

#include "appliance/config.h"
#include "net/etcd.h"
#include "replica/disk_find.h"
#include "replica/qmp.h"

#include <uv.h>

struct subject;

struct subject_ops {
	/*
	 * It answers, and is ours (claim.h): whether it can be protected is found out now. Until on_left:
	 * it is gone, or its connection is.
	 */
	void (*on_found)(void *owner, struct qmp *qmp);
	void (*on_left)(void *owner);
	/* Whether it stands because the owner has stopped it, who lets it run in time. */
	bool (*has_stopped)(void *owner);
	/* It can be protected; `reservation` is the JSON to send. Until on_unfit, on_gone or
	 * on_lost. */
	void (*on_fit)(void *owner, const char *reservation);
	/* It cannot, and why; examined again in a while. */
	void (*on_unfit)(void *owner, const struct err *err);
	void (*on_event)(void *owner, const char *name, const cJSON *data, uint64_t time_us);
	/* Its process ended; `orderly`: it had said so before (a guest's power-off, an operator's
	 * quit). */
	void (*on_gone)(void *owner, bool orderly);
	/* No QMP (any more, or yet); it is tried on and on. Told once per reason. */
	void (*on_lost)(void *owner, const struct err *err);
};

/* `etcd`: the site's witness, NULL: none. */
int subject_open(struct subject **subject, uv_loop_t *loop, const struct config_instance *instance,
		 const struct config *site, const struct etcd *etcd, const struct subject_ops *ops,
		 void *owner, struct err *err);

/* Its QMP connection; NULL unless fit. */
struct qmp *subject_qmp(const struct subject *subject);

/* Its disks that belong to the epochs, in the configuration's order, as QEMU told while it was examined. */
const struct disk_found *subject_disks(const struct subject *subject);

/* Not fit any more, until a new examination says otherwise; on_fit or on_unfit follows. */
void subject_reexamine(struct subject *subject);

/* QEMU has said that it shuts down: what ends now does so because of that. */
bool subject_shuts_down(const struct subject *subject);

/* What an agent and its guardian left in COLO is on its way out: that it runs for a moment says nothing. */
bool subject_is_leaving_colo(const struct subject *subject);

/* Somebody uses that connection: after it is lost it stays allocated, and is not made anew, until
 * subject_release(). */
void subject_hold(struct subject *subject);
void subject_release(struct subject *subject);

/* Idempotent; frees, then calls on_closed. */
void subject_close(struct subject *subject, void (*on_closed)(void *owner));

#endif
