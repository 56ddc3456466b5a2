/*
 * The seat of a replica: what a reservation makes on the standby. A memory image, the receiver that
 * fills it, and a warm QEMU that has it mapped.
 *
 * A new reservation, different from the present one, takes the old seat down and makes another; an
 * equal one is answered from what is there. A warm QEMU that ends is started again on the same
 * image (QEMU does not write to it before activation). The loop does not wait for the file systems of its disks.
 */
#ifndef APPLIANCE_SEAT_H
#define APPLIANCE_SEAT_H

#include "appliance/config.h"
#include "replica/receiver.h"
#include "replica/reservation.h"

#include <uv.h>

struct seat;

struct seat_ops {
	/* A reservation is about to be made: its other parts. An error refuses it. */
	int (*on_making)(void *owner, const struct reservation *reservation, struct err *err);
	/* The reservation stands (error NULL), or cannot be had and why, in QEMU's words. `image`:
	 * "committed", "stale" (worth a resync) or "empty". */
	void (*on_reserved)(void *owner, const char *error, const char *image);
	/* The image was replaced: what was committed is gone. */
	void (*on_forgotten)(void *owner);
	/* There is no warm QEMU, and it may be long until there is one. */
	void (*on_unseated)(void *owner, const struct err *err);
	/* A warm QEMU waits: seat_activate() is possible. */
	void (*on_warm)(void *owner);
	/*
	 * After seat_activate(): it runs, took_ns by QEMU alone; or not, and its process has ended.
	 * `spoiled`: it may have run for a moment, and the image, which may have changed, holds no epoch
	 * any more; else another warm QEMU is started, and on_warm follows.
	 */
	void (*on_running)(void *owner, uint64_t took_ns);
	void (*on_activation_failed)(void *owner, bool spoiled, const struct err *err);
	/* A replica that ran has ended. */
	void (*on_ended)(void *owner, const struct err *err);
	/* As receiver_ops. */
	struct receiver_ops receiver;
};

/* `dir` is this process's own, `run_dir` its QEMU's, `memory_dir` keeps the image's files; all exist. */
int seat_create(struct seat **seat, uv_loop_t *loop, const struct config *config,
		const struct config_instance *instance, const char *dir, const char *run_dir,
		const char *memory_dir, const struct seat_ops *ops, void *owner, struct err *err);

/*
 * The reservation of an earlier life of this process, whose replica may still run:
 * reservation_free() also after a failure.
 */
int seat_recall(const char *dir, struct reservation *reservation, struct err *err);

/*
 * Makes the seat of an earlier life again, and has what its journal holds read into the image: the
 * receiver's on_restored follows, at which seat_restored() is to be called. Until then there is no
 * seat_image(). Unless there is nothing to be read. Before the first reservation; and again, instead of what the journal has brought back.
 */
void seat_restore(struct seat *seat);
bool seat_is_restoring(const struct seat *seat);
void seat_restored(struct seat *seat);
/* False: there is no journal. */
bool seat_journal(const struct seat *seat, struct journaling_status *status);
/* For what of the past is in it; NULL: there is none now. */
struct journaling *seat_journaling(const struct seat *seat);
/* Where it and its copies are. */
const struct journal_place *seat_journal_place(const struct seat *seat);

/* What the primary asks for (JSON); on_reserved follows. */
int seat_reserve(struct seat *seat, const uint8_t *json, size_t len, struct err *err);

/*
 * The instance's layout is known: can the warm QEMU take it? If not, on_reserved follows with the
 * reason, as for a reservation that cannot be had.
 */
void seat_check_layout(struct seat *seat, const struct layout *layout);

/* NULL without a reservation or while it is being replaced; both or none. */
struct image *seat_image(const struct seat *seat);
struct receiver *seat_receiver(const struct seat *seat);
/* Epoch that the image holds, 0: none. */
uint64_t seat_epoch(const struct seat *seat);
bool seat_is_warm(const struct seat *seat);
bool seat_is_silent(const struct seat *seat);	      /* warm, but QEMU does not answer */
const char *seat_hypervisor(const struct seat *seat); /* its state, "" without one */

/*
 * Brings the committed epoch to life. The receiver must be idle and the seat warm. After an error
 * nothing has run.
 */
int seat_activate(struct seat *seat, struct err *err);

/*
 * Lets go of the replica that served and has ended, or could not be activated: the image counts as
 * stale, and the next reservation starts from that.
 */
void seat_vacate(struct seat *seat);

/* Ends QEMU unless it serves, keeps the image's files; frees, then calls on_closed. */
void seat_close(struct seat *seat, void (*on_closed)(void *owner));

#endif
