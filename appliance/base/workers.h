/*
 * Threads of one owner, for work that a disk or another machine may hold for as long as that likes. libuv has four of its own
 * for everybody, and who waits in all of them holds up everybody else: so these have only work that ends by itself.
 */
#ifndef APPLIANCE_BASE_WORKERS_H
#define APPLIANCE_BASE_WORKERS_H

#include "appliance/base/err.h"

#include <uv.h>

#define WORKERS_MAX 4

struct workers;

struct workers_job {
	void *owner; /* the caller's to set */
	/* private */
	void (*work)(struct workers_job *job), (*done)(struct workers_job *job);
	struct workers_job *next;
};

/* All functions are the loop thread's. `count` threads: so many jobs at once, 1 to WORKERS_MAX. */
int workers_open(struct workers **workers, uv_loop_t *loop, unsigned count, struct err *err);

/* `work` in one of the threads, then `done` from the loop, where the job may be freed. It keeps the loop running. */
void workers_queue(struct workers *workers, struct workers_job *job,
		   void (*work)(struct workers_job *job), void (*done)(struct workers_job *job));

/* No job is under way; it may be called by `done` of the last one. The loop has a handle to close afterwards. NULL is fine. */
void workers_close(struct workers *workers);

#endif
