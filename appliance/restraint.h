/*
 * Keeps an instance standing while it may not run: pauses it by QMP, sees that it is paused, and
 * pauses it again whenever it is found running. One `stop` is not enough: inside a checkpoint QEMU
 * takes it and sets the guest running all the same, and whoever may use a monitor may say `cont`.
 *
 * What it has paused it sets running again when it may run. What stood before, stopped by an
 * operator or by its own end, stays as it was; so does what it found paused in a QEMU that was new
 * to it, and what it was told to keep.
 *
 * An instance may be on a leash: then the guardian pauses it when its lease is over, should this one
 * not do that in time. What a guardian has paused, be it an earlier agent's, or an earlier agent itself, is
 * then as if this one had (guardian_mark.h).
 */
#ifndef APPLIANCE_RESTRAINT_H
#define APPLIANCE_RESTRAINT_H

#include "appliance/base/err.h"
#include "replica/guardian.h"
#include "replica/qmp.h"

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

struct restraint;

enum restraint_order {
	RESTRAINT_RUN,	 /* it may run */
	RESTRAINT_STAND, /* it may not, for now */
	RESTRAINT_KEEP	 /* nor afterwards, before its operator says so */
};

/* Never from inside a call. */
struct restraint_ops {
	void (*on_free)(void *owner);	/* what it had paused runs again */
	void (*on_stands)(void *owner); /* it was seen to stand: restraint_stands() */
};

/*
 * `part` is for the log, and the caller's, as `instance`, its name. `guardian` has the leash; NULL: it is
 * on none.
 */
int restraint_open(struct restraint **restraint, uv_loop_t *loop, const char *part,
		   struct guardian *guardian, const char *instance, const struct restraint_ops *ops,
		   void *owner, struct err *err);

/*
 * A QEMU that answers, new or again; NULL: it is gone, or does not. Nothing of an earlier one holds, but
 * the same one is known again.
 */
void restraint_attach(struct restraint *restraint, struct qmp *qmp);
void restraint_set(struct restraint *restraint, enum restraint_order order);
/* Until when an instance that may run may do so, by leash.h: at every lease. */
void restraint_until(struct restraint *restraint, uint64_t until_ns);
/* From now on what lets go of the QEMU leaves the instance on its leash: no agent will see to it. */
void restraint_leave(struct restraint *restraint);
/* Every event of that QMP connection: its name, and its data. */
void restraint_event(struct restraint *restraint, const char *name, const cJSON *data);
/* It is on a leash, or needs none now. */
bool restraint_is_safe(const struct restraint *restraint);

/* It may not run, was seen to stand since, and nobody was seen to set it running. */
bool restraint_stands(const struct restraint *restraint);
/* It may not run, and QEMU was not seen to have paused it yet. */
bool restraint_is_stopping(const struct restraint *restraint);
/* It stands, or is about to, because of this alone. */
bool restraint_has_stopped(const struct restraint *restraint);

/* What was paused stays so. Frees when nothing is open any more; no callback. */
void restraint_close(struct restraint *restraint);

#endif
