/*
 * Going live from an earlier epoch. It is read into an image of its own first, beside whatever goes on (rewound.h); then the takeover is
 * ordered as `understudy takeover` orders one (failover.h). When that has all else that it needs, the replica's image, which its QEMU, its
 * disks and the next life of this process know where to find, becomes the other one (image_take.h):
 *
 *   look   what differs is found, and gets room. What fails leaves the last epoch, and a takeover from that is possible
 *   copy   from its beginning the earlier epoch is the committed one: the journal is cut, what clients have sent is not repeated. If it
 *          fails, the next takeover does it again: the other image is kept for that
 *
 * Both are a worker's; until it is done nothing else becomes of the takeover.
 */
#include "appliance/clone_internal.h"

#include "appliance/base/log.h"

#include <stdio.h>

static void begin(struct clone *c, bool copying);

/* ---- the order ---------------------------------------------------------------------------------- */

int clone_back_check(const struct clone *c, struct err *err)
{
	const char *refusal = failover_refusal(&c->failover);

	if (refusal == NULL)
		return clone_disks_check(c, err);
	return err_set(err, RC_STATE,
		       "%s: to go live from an earlier epoch is a takeover, and %s%s",
		       c->instance->name, refusal,
		       c->failover.state == FAILOVER_SERVING ?
			       ": rewind without --serve, and take what is needed out of the "
			       "isolated copy" :
			       "");
}

void clone_back_on_ready(void *owner)
{
	struct clone *c = owner;
	const struct image *then = rewound_image(c->rewound), *now = seat_image(c->seat);
	struct failover_update update;
	struct err err = { 0 };

	c->back.why = err;
	if (now == NULL || image_layout(now) == NULL) {
		(void)err_set(&err, RC_STATE, "there is no replica here that could become it");
	} else if (!layout_equal(image_layout(now), image_layout(then))) {
		(void)err_set(&err, RC_REFUSED,
			      "the instance had other memory or disks then than it has now");
	} else {
		clone_decide_event(c,
				   (struct failover_event){ .type = FAILOVER_OPERATOR,
							    .epoch = image_epoch(then) },
				   &update);
		if (update.refused)
			(void)err_set(&err, RC_REFUSED, "%s", update.reason);
	}
	if (err.code != RC_OK)
		rewound_fail(c->rewound, &err);
}

/* ---- becoming it -------------------------------------------------------------------------------- */

/* Until the replica's image is what the other one has. */
bool clone_back_is_owed(const struct clone *c)
{
	const struct image *then = c->rewound != NULL ? rewound_image(c->rewound) : NULL;

	return c->back.given_up && then != NULL && seat_epoch(c->seat) != image_epoch(then);
}

static void work(struct workers_job *job)
{
	struct clone_back *back = job->owner;

	if (back->copying)
		(void)image_take_copy(back->take, &back->err);
	else
		(void)image_take_open(&back->take, back->image, back->from, &back->err);
}

/* The last epoch is given up. */
static void give_up(struct clone *c)
{
	struct journaling *journal = seat_journaling(c->seat);

	if (journal != NULL)
		journaling_cut(journal);
	if (seat_receiver(c->seat) != NULL)
		receiver_forget(seat_receiver(c->seat));
	clone_decide(c, FAILOVER_REWOUND, 0);
	c->session = 0; /* a primary must not add to what will be in the image */
	if (c->gateway != NULL)
		gateway_committed(c->gateway, 0);
	c->back.given_up = true;
}

static void worked(struct workers_job *job)
{
	struct clone_back *back = job->owner;
	struct clone *c = back->clone;
	struct err err = back->err;
	const bool looked = !back->copying && err.code == RC_OK;

	back->working = false;
	if (err.code != RC_OK)
		(void)err_prefix(&err, "making the replica what it was: ");
	else if (back->why.code != RC_OK)
		err = back->why;
	else if (looked)
		log_info(c->part, "%llu MiB differ from the replica's",
			 (unsigned long long)(image_take_pages(back->take) * LAYOUT_PAGE >> 20));
	if (err.code == RC_OK && looked) {
		give_up(c);
		begin(c, true);
		return;
	}
	image_take_close(back->take);
	back->take = NULL;
	if (err.code != RC_OK)
		clone_on_activation_failed(c, false, &err);
	else
		clone_activate(c);
}

static void begin(struct clone *c, bool copying)
{
	struct clone_back *back = &c->back;

	back->clone = c;
	back->image = seat_image(c->seat);
	back->from = rewound_image(c->rewound);
	back->err = back->why = (struct err){ 0 };
	back->copying = copying;
	back->working = true;
	back->job.owner = back;
	workers_queue(c->workers, &back->job, work, worked);
}

bool clone_back_is_through(struct clone *c)
{
	struct err err;

	if (c->failover.back_to == 0 && !clone_back_is_owed(c))
		return true;
	if (seat_image(c->seat) == NULL || c->rewound == NULL) {
		(void)err_set(&err, RC_STATE, "what it was ordered from is not there any more");
		clone_on_activation_failed(c, false, &err);
	} else if (!c->back.working) {
		begin(c, false);
	}
	return false;
}

bool clone_back_defers(struct clone *c, const struct err *err)
{
	c->back.why = *err;
	return c->back.working;
}

/* ---- its end ------------------------------------------------------------------------------------ */

/* It is not wanted any more: a takeover is through, came to nothing, or a later epoch is there. */
void clone_back_follow(struct clone *c, const char *reason)
{
	const enum failover_state state = c->failover.state;
	const bool waits = state == FAILOVER_UNATTENDED || state == FAILOVER_ENDED;
	struct rewound_status status;
	struct err why = { 0 };

	if (c->rewound == NULL || state == FAILOVER_CLAIMING || state == FAILOVER_TAKING_OVER ||
	    (waits && clone_back_is_owed(c)))
		return;
	rewound_status(c->rewound, &status);
	if (state == FAILOVER_SERVING && status.serve && (status.ready || *status.reason != '\0')) {
		c->back.given_up = false;
		clone_past_drop(c);
	}
	if (state == FAILOVER_SERVING || !status.ready)
		return;
	c->back.given_up = false;
	(void)err_set(&why, RC_STATE, "%.250s%s%.250s", reason,
		      c->back.why.code != RC_OK ? ": " : "",
		      c->back.why.code != RC_OK ? c->back.why.text : "");
	rewound_fail(c->rewound, &why);
}
