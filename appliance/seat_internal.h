/*
 * What the parts of a seat share: seat.c (making it and taking it down) and seat_hypervisor.c (its QEMU). Private to them.
 */
#ifndef APPLIANCE_SEAT_INTERNAL_H
#define APPLIANCE_SEAT_INTERNAL_H

#include "appliance/base/repeat.h"
#include "appliance/base/workers.h"
#include "appliance/seat.h"
#include "appliance/seat_journal.h"
#include "replica/hypervisor.h"
#include "replica/predecessor.h"

struct seat {
	uv_loop_t *loop;
	const struct config *config;
	const struct config_instance *instance;
	char part[80];
	const char *dir, *run_dir, *memory_dir;
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
	struct workers *workers; /* one thread */
	struct workers_job job;
	bool working;
	bool apart; /* the image's disks were looked at, or are not to be: they are stores of their own */
	bool looking;	      /* that is what is worked at */
	struct image *former; /* what it destroys */
	struct err why;	      /* its result */
	bool closing;
	void (*on_closed)(void *owner);
};

/* Of a reservation, if an answer to it is owed. `error` NULL: it stands. */
void seat_answer(struct seat *seat, const char *error);
/* It cannot be had: the next one, even an equal one, starts from nothing. */
void seat_refuse(struct seat *seat, const struct err *err);
/* Receiver and QEMU, then the image; then what is wanted is made, or the seat is closed. */
void seat_take_down(struct seat *seat);

/* `what` in the seat's thread, while it does nothing else; then `done` from the loop, which begins with seat_worked(). */
void seat_work(struct seat *seat, void (*what)(struct workers_job *job),
	       void (*done)(struct workers_job *job));
/* False: something else has been wanted of the seat meanwhile, and is done. */
bool seat_worked(struct seat *seat);

int seat_start_hypervisor(struct seat *seat, struct err *err);
void seat_end_hypervisor(struct seat *seat);

#endif
