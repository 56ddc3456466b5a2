/*
 * Who serves. A takeover, from the decision on:
 *
 *   decision ─┬─► the new term goes to the disk (term_store.h, a worker thread) ─┐
 *             ├─► the replica's disks are looked for (clone_disks.c) ────────────────────────┤
 *             ├─► the receiver puts into the image what has come whole ──────────┼─► activation
 *             └─► (a warm QEMU is there, or will be) ────────────────────────────┘
 *
 * A decision that was ordered while the primary is heard waits for its instance to stand (YIELD), or for
 * that to be hopeless: failover.h.
 *
 * The order matters for the first: a replica whose term is not on the disk is not brought to life.
 * If the term cannot be kept, the takeover fails, the operator is told why and may try again.
 *
 * The journal is not waited for. An epoch that it does not hold yet is served from, but does not count before it is durable or the
 * replica runs: only then its frames leave. From then on the term on the disk says that the journal is not the newest; until then
 * that may come to nothing, and the claim (journal_claim.h) is believed again.
 *
 * At the start the disk tells whether an earlier life of this process took over. Then its replica
 * may still run, as it is meant to: it is looked for (survivor.h) and, if it is there, watched from
 * now on. If it is not, what it knew is gone, and only the operator can say how to go on. If it waits, as a QEMU that nothing has
 * run in, the takeover was cut short: then the epoch may be in the journal, and the operator may order it again. What else
 * an earlier life knew is in aftermath.h.
 */
#include "appliance/clone_internal.h"

#include "appliance/base/clock.h"
#include "appliance/base/log.h"
#include "replica/hypervisor.h"
#include "replica/image_room.h"

#include <stdio.h>
#include <string.h>

#define LOOK_NS (3 * CLOCK_NS_PER_S) /* the state directory is looked at, or written to again */

/* The term on the disk ----------------------------------------------------------------------- */

static void keep(struct clone *c, const struct term_record *record)
{
	c->record = *record;
	term_store_keep(c->store, record);
}

void clone_keep(struct clone *c)
{
	const struct term_record record =
		aftermath_record(&c->record, &c->failover, c->origin, false);

	keep(c, &record);
}

/* After each decision. */
static void keep_up(struct clone *c, bool released)
{
	const struct term_record record =
		aftermath_record(&c->record, &c->failover, c->origin, released);

	if (aftermath_differs(&c->record, &record))
		keep(c, &record);
}

void clone_keep_again(struct clone *c)
{
	const uint64_t now_ns = clock_now_ns();

	if (now_ns < c->store_look_ns)
		return;
	c->store_look_ns = now_ns + LOOK_NS;
	if (c->store_broken)
		clone_keep(c);
	else
		term_store_try(c->store);
}

static void on_kept(void *owner, const struct term_record *record, const struct err *result)
{
	struct clone *c = owner;
	bool of_takeover = c->failover.state == FAILOVER_TAKING_OVER && record != NULL &&
			   record->kind == TERM_TOOK_OVER && record->term == c->failover.term;
	struct err err = *result;

	if (c->store_broken && result->code == RC_OK) {
		log_info(c->part, "the term can be kept again");
		c->unkept = (struct repeat){ 0 };
	}
	c->store_broken = result->code != RC_OK;
	if (c->store_broken) {
		(void)err_prefix(
			&err,
			"the term cannot be kept, and until it can no takeover is possible: ");
		(void)snprintf(c->store_error, sizeof(c->store_error), "%s", err.text);
		repeat_log(&c->unkept, LOG_LEVEL_ERROR, c->part, err.text);
		if (of_takeover)
			clone_on_activation_failed(c, false, result);
	} else if (of_takeover) {
		c->kept = true;
		c->kept_ns = clock_now_ns() - c->failover.decided_ns;
		clone_activate(c);
	}
}

/* The decision ------------------------------------------------------------------------------- */

static void on_drained(void *owner)
{
	struct clone *c = owner;

	c->drained = true;
	c->draining = false; /* on_quiet() will not come: the receiver tells the last who asked */
	clone_activate(c);
}

/* No more epochs: the one being committed is finished, then the replica is brought to life. */
static void begin_takeover(struct clone *c)
{
	c->drained = c->kept = false;
	clone_disks_look(c);
	if (c->gateway != NULL)
		gateway_turn(c->gateway);
	if (seat_receiver(c->seat) != NULL)
		receiver_drop(seat_receiver(c->seat), true, on_drained);
	else
		on_drained(c);
}

/* What the primary sent while we claimed was not taken: a new connection begins anew. */
static void resume(struct clone *c, const char *why)
{
	if (c->link_up)
		link_drop(c->link, WIRE_REASON_SESSION, why);
}

void clone_say(struct clone *c, const char *text)
{
	char past[AFTERMATH_TEXT_MAX] = "";

	if (aftermath_stands(&c->record, &c->failover))
		aftermath_text(&c->record, past);
	(void)snprintf(c->reason, sizeof(c->reason), "%.*s%s%s",
		       (int)(sizeof(c->reason) - sizeof("; ") - strlen(past)), text,
		       *past != '\0' ? "; " : "", past);
}

/* What goes with the state, whatever led to it. */
static void follow(struct clone *c)
{
	if (c->gateway != NULL && c->failover.state == FAILOVER_LOST)
		gateway_turn(c->gateway);
	if (c->failover.state == FAILOVER_SUSPECT)
		clone_disks_hurry(c);
	virtual_addresses_permit(c->addresses, c->failover.state == FAILOVER_SERVING);
}

/* Claims that fail are repeated every second, for ever, and each is two decisions. */
static void log_decision(struct clone *c, const struct failover_update *update)
{
	const enum failover_state state = c->failover.state;
	const enum log_level level =
		(update->changed && state >= FAILOVER_SUSPECT) || state == FAILOVER_TAKING_OVER ?
			LOG_LEVEL_WARN :
			LOG_LEVEL_INFO;
	char text[ERR_TEXT_MAX];

	(void)snprintf(text, sizeof(text), "%s: %.450s", failover_state_name(state),
		       update->reason);
	if (state == FAILOVER_CLAIMING || state == FAILOVER_UNATTENDED) {
		repeat_log(&c->claims[state == FAILOVER_CLAIMING], level, c->part, text);
		return;
	}
	if (state != FAILOVER_SUSPECT)
		memset(c->claims, 0, sizeof(c->claims));
	log_write(level, c->part, "%s", text);
}

/* Why a takeover would come to nothing, as far as is known. */
static const char *unable(const struct clone *c)
{
	if (c->store_broken)
		return c->store_error;
	if (*c->disks.problem != '\0')
		return c->disks.problem;
	return *c->unseated != '\0' && !seat_is_warm(c->seat) ? c->unseated : NULL;
}

void clone_decide_event(struct clone *c, struct failover_event event,
			struct failover_update *update)
{
	bool claiming = c->failover.state == FAILOVER_CLAIMING;

	if (event.now_ns == 0)
		event.now_ns = clock_now_ns();
	event.linked = c->link_up && c->terms;
	event.unable = unable(c);
	event.granted_ns = c->link != NULL ? link_granted_ns(c->link) : 0;
	failover_step(&c->failover, &event, update);
	c->outdated_ns = !c->failover.outdated ? 0 :
			 c->outdated_ns != 0   ? c->outdated_ns :
						 event.now_ns;
	keep_up(c, event.type == FAILOVER_RELEASE && !update->refused);
	if (update->changed)
		follow(c);
	if (*update->reason != '\0') {
		if (!update->aside)
			clone_say(c, update->reason);
		log_decision(c, update);
	}
	if (c->link != NULL && update->changed)
		link_set_lease(c->link, failover_lease_ns(&c->failover), c->failover.term);
	if (update->yield) /* what was granted before, also by datagram, is worth nothing after that */
		(void)clone_tell(c, WIRE_YIELD, 0, NULL, 0);
	if (update->claim) {
		c->doubting = false; /* a look that is under way becomes a claim */
		claimant_claim(c->claimant, c->failover.term, false, update->by_operator);
	}
	if (update->changed)
		clone_back_follow(c, update->reason);
	if (update->activate)
		begin_takeover(c);
	else if (claiming && update->changed)
		resume(c, "the takeover is not to be");
}

void clone_decide(struct clone *c, enum failover_event_type type, uint64_t epoch)
{
	struct failover_update update;

	clone_decide_event(c, (struct failover_event){ .type = type, .epoch = epoch }, &update);
}

void clone_on_answer(void *owner, enum claimant_answer answer, uint64_t term)
{
	struct failover_update update;
	struct clone *c = owner;

	if (c->doubting) {
		c->doubting = false;
		clone_doubt_answer(c, answer);
		return;
	}
	clone_decide_event(c,
			   (struct failover_event){
				   .type = answer == CLAIMANT_WON  ? FAILOVER_WON :
					   answer == CLAIMANT_LOST ? FAILOVER_BEATEN :
								     FAILOVER_UNANSWERED,
				   .term = term,
			   },
			   &update);
}

static int command(struct clone *c, enum failover_event_type type, struct err *err)
{
	struct failover_update update;

	clone_decide_event(c, (struct failover_event){ .type = type }, &update);
	return update.refused ?
		       err_set(err, RC_REFUSED, "%s: %s", c->instance->name, update.reason) :
		       RC_OK;
}

int clone_takeover(struct clone *c, struct err *err)
{
	if (failover_refusal(&c->failover) == NULL && clone_disks_check(c, err) != RC_OK)
		return RC_STATE;
	return command(c, FAILOVER_OPERATOR, err);
}

/* For another site's instance, which waits: there is nothing to take over any more. */
static bool give_up(struct clone *c)
{
	if (*c->rival == '\0' || c->link != NULL || c->draining ||
	    (c->failover.state != FAILOVER_UNATTENDED && c->failover.state != FAILOVER_ENDED))
		return false;
	*c->rival = '\0';
	if (seat_image(c->seat) != NULL)
		image_forget(seat_image(c->seat));
	clone_on_forgotten(c);
	keep_up(c, true);
	seat_vacate(c->seat);
	clone_say(c, "released by the operator: any site's primary may protect the instance");
	return true;
}

int clone_release(struct clone *c, struct err *err)
{
	const bool tried = c->failover.state == FAILOVER_EMPTY && *c->trouble != '\0';
	int rc;

	if (clone_doubt_release(c) || give_up(c))
		return RC_OK;
	if (tried || aftermath_stands(&c->record, &c->failover)) {
		*c->trouble = '\0';
		keep_up(c, true);
		clone_say(c, "released by the operator: the instance need not be protected here");
		return RC_OK;
	}
	rc = command(c, FAILOVER_RELEASE, err);
	if (rc != RC_OK)
		return rc;
	if (c->gateway != NULL) {
		gateway_committed(c->gateway, 0);
		gateway_turn_back(c->gateway);
	}
	c->session = c->activate_ns = c->resumed_epoch = 0;
	hashes_end(&c->hashes);
	seat_vacate(c->seat);
	resume(c, "released by the operator"); /* what this connection was told is true no more */
	return RC_OK;
}

/* Activation --------------------------------------------------------------------------------- */

/* Goes ahead when everything it needs is there. */
void clone_activate(struct clone *c)
{
	struct err err = { 0 };

	if (c->failover.state != FAILOVER_TAKING_OVER || !c->drained || !c->kept ||
	    !c->disks.looked || !seat_is_warm(c->seat))
		return;
	if (clone_disks_check(c, &err) != RC_OK) {
		clone_on_activation_failed(c, false, &err);
		return;
	}
	if (!clone_back_is_through(c))
		return;
	c->resumed_epoch = seat_epoch(c->seat);
	if (seat_activate(c->seat, &err) != RC_OK)
		clone_on_activation_failed(c, false, &err);
}

void clone_on_warm(void *owner)
{
	struct clone *c = owner;

	c->unseated[0] = '\0';
	clone_activate(c);
}

void clone_on_running(void *owner, uint64_t took_ns)
{
	struct clone *c = owner;

	if (c->failover.state != FAILOVER_TAKING_OVER) {
		seat_vacate(c->seat); /* it was given up meanwhile */
		return;
	}
	c->activate_ns = clock_now_ns() - c->failover.decided_ns;
	if (c->gateway != NULL && !c->back.given_up)
		gateway_committed(c->gateway, c->resumed_epoch);
	if (c->gateway != NULL)
		gateway_serve(c->gateway);
	log_warn(c->part,
		 "the instance runs here: epoch %llu, %.1f ms after the decision (term on the disk "
		 "after %.1f ms, QEMU %.1f ms)",
		 (unsigned long long)c->resumed_epoch, clock_ms(c->activate_ns),
		 clock_ms(c->kept_ns), clock_ms(took_ns));
	clone_decide(c, FAILOVER_ACTIVATED, 0);
	clone_tell_superseded(c);
}

/* Behind the gateway nobody sees a replica before it serves; a QEMU that ended here has ended. */
void clone_on_activation_failed(void *owner, bool spoiled, const struct err *err)
{
	struct clone *c = owner;
	const bool seen = spoiled && c->gateway == NULL;
	struct failover_event event = { .type = seen ? FAILOVER_ACTIVATION_FAILED :
						       FAILOVER_NOT_ACTIVATED };
	struct failover_update update;
	char text[ERR_TEXT_MAX];

	if (c->failover.state != FAILOVER_TAKING_OVER || clone_back_defers(c, err))
		return;
	log_error(c->part, "activation: %s", err->text);
	if (c->gateway != NULL)
		gateway_turn_back(c->gateway);
	if (spoiled)
		c->session = 0; /* a primary must not add to what is in the image now */
	if (spoiled && seat_receiver(c->seat) != NULL)
		receiver_forget(seat_receiver(c->seat));
	if (seen)
		seat_vacate(c->seat); /* a QEMU that waits would say that none has run */
	/* What cannot be tried again, as only the second of them knows. */
	if (spoiled && !seen && !clone_back_is_owed(c)) {
		failover_step(&c->failover, &event, &update);
		event.type = FAILOVER_FORGOTTEN;
	}
	clone_decide_event(c, event, &update);
	(void)snprintf(text, sizeof(text), "%.250s: %.250s", update.reason, err->text);
	clone_say(c, text);
	/* What it sent meanwhile was not taken; and if clients were answered here, it is on its own. */
	if (c->link_up)
		link_drop(c->link, seen ? WIRE_REASON_BUSY : WIRE_REASON_SESSION,
			  CLONE_FAILED_TEXT);
	else if (!seen)
		clone_drain(c);
}

void clone_on_unseated(void *owner, const struct err *err)
{
	struct clone *c = owner;

	(void)snprintf(c->unseated, sizeof(c->unseated),
		       "no warm QEMU, so there can be no takeover: %.440s", err->text);
	clone_on_activation_failed(c, false, err);
}

/* What follows for the operator comes first, then why, as far as that is known. */
static void gone(struct clone *c, const char *why)
{
	struct failover_update update;
	char text[ERR_TEXT_MAX];

	clone_decide_event(c, (struct failover_event){ .type = FAILOVER_GONE }, &update);
	if (*update.reason == '\0' || *why == '\0')
		return;
	(void)snprintf(text, sizeof(text), "%.250s; %.250s", update.reason, why);
	clone_say(c, text);
}

void clone_on_ended(void *owner, const struct err *err)
{
	struct clone *c = owner;

	log_error(c->part, "the replica has ended: %s", err->text);
	gone(c, err->text);
}

/* The replica of an earlier life ------------------------------------------------------------- */

static void on_survivor_closed(void *owner)
{
	struct clone *c = owner;

	c->survivor = NULL;
	if (c->on_part_closed != NULL)
		c->on_part_closed(c);
	else if (aftermath_stands(&c->record, &c->failover))
		seat_restore(c->seat); /* what it was to be brought to life from */
}

/* Its network cards are where its reservation had them. */
static void reconnect_clients(struct clone *c)
{
	struct reservation reservation;
	struct err err = { 0 };
	int rc;

	if (c->gateway == NULL)
		return;
	rc = seat_recall(c->dir, &reservation, &err);
	if (rc == RC_OK)
		rc = gateway_seat(c->gateway, &reservation, c->run_dir, &err);
	reservation_free(&reservation);
	if (rc == RC_OK)
		gateway_serve(c->gateway);
	else
		log_error(c->part, "clients do not reach the replica: %s", err.text);
}

/* It may never have run: that, only the QEMU could have told. */
static void say_not_found(struct clone *c)
{
	char text[FAILOVER_REASON_MAX];

	(void)snprintf(
		text, sizeof(text),
		"it took over from epoch %llu with term %llu, and there is no QEMU any more: if one ran, the "
		"newest state of the instance was here. What the primary has is older; to go on with that, "
		"`understudy release` here and there",
		(unsigned long long)c->failover.epoch, (unsigned long long)c->failover.term);
	clone_say(c, text);
}

static void on_found(void *owner, enum survivor_kind kind)
{
	struct clone *c = owner;

	c->silent = kind == SURVIVOR_SILENT;
	if (kind == SURVIVOR_RUNS || kind == SURVIVOR_SILENT) {
		log_warn(c->part, "the replica is process %d, %s", (int)survivor_pid(c->survivor),
			 survivor_state(c->survivor));
		clone_decide(c, FAILOVER_FOUND, 0);
		reconnect_clients(c);
		return;
	}
	clone_decide(c,
		     kind == SURVIVOR_WAITS && c->failover.state == FAILOVER_RETURNING ?
			     FAILOVER_UNUSED :
			     FAILOVER_GONE,
		     0);
	if (kind == SURVIVOR_NONE)
		say_not_found(c);
	survivor_close(c->survivor, on_survivor_closed);
}

static void on_survivor_ended(void *owner)
{
	struct err room = { 0 }; /* how it ended, only its parent is told */
	struct clone *c = owner;

	c->silent = false;
	(void)image_room_look(c->memory_dir, &room);
	gone(c, room.text);
	survivor_close(c->survivor, on_survivor_closed);
}

static const struct survivor_ops survivor_callbacks = { on_found, on_survivor_ended };

void clone_seek(struct clone *c)
{
	char path[HYPERVISOR_PATH_MAX];
	struct err err;
	int rc;

	if (c->failover.state != FAILOVER_RETURNING || c->survivor != NULL || c->stopping)
		return;
	rc = hypervisor_qmp_path(path, c->run_dir, &err);
	if (rc == RC_OK)
		rc = survivor_seek(&c->survivor, c->loop, c->part, path, &survivor_callbacks, c,
				   &err);
	if (rc != RC_OK)
		(void)snprintf(c->reason, sizeof(c->reason), "%s", err.text);
}

int clone_takeover_open(struct clone *c, uv_loop_t *loop, struct err *err)
{
	const struct term_record *record = &c->record;
	char text[FAILOVER_REASON_MAX] =
		"this process began anew, and what a takeover needs beside the memory's pages ended with the "
		"former one";
	int rc;

	c->loop = loop;
	rc = term_store_open(&c->store, loop, c->dir, &c->record, on_kept, c, err);
	if (rc != RC_OK)
		return rc;
	(void)snprintf(c->origin, sizeof(c->origin), "%s", record->site);
	failover_restore(&c->failover, record->term,
			 record->kind == TERM_TOOK_OVER ? record->epoch : 0);
	if (record->kind == TERM_STANDS_BY)
		return RC_OK;
	if (record->kind == TERM_TOOK_OVER)
		(void)snprintf(
			text, sizeof(text),
			"it took over from epoch %llu with term %llu; looking for the replica",
			(unsigned long long)record->epoch, (unsigned long long)record->term);
	clone_say(c, text);
	log_warn(c->part, "%s: %s", failover_state_name(c->failover.state), c->reason);
	return RC_OK;
}

void clone_takeover_close(struct clone *c, void (*on_part_closed)(void *owner))
{
	c->on_part_closed = on_part_closed;
	term_store_close(c->store, on_part_closed, c);
	if (c->survivor != NULL)
		survivor_close(c->survivor, on_survivor_closed);
	else
		on_part_closed(c);
}
