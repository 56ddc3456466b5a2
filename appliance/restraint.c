/*
 * Theory of operation
 *
 * One round is query-status, stop, query-status, sent together: the first answer tells whether it
 * ran, and so whose pause this is; the second whether it stands now. Rounds go on until it does,
 * after a wait that doubles, and begin anew with every RESUME. The run states in which a checkpoint
 * holds a guest count as running: QEMU sets it running after them. For the same reason `cont` is only
 * said to one that is seen to be paused: in a checkpoint it would run while its memory is read. At the end
 * of a first copy QEMU refuses it for a moment: it is told again until it runs.
 *
 * The guardian is told after everything that changes one of the two things that it has to know: until when
 * the instance may run, and whether it stands because of us. So it knows them also if this process ends
 * right after that. Its own `stop` comes with a question like the first of a round, whose answer arrives here.
 */
#include "appliance/restraint.h"

#include "appliance/base/clock.h"
#include "appliance/base/log.h"
#include "appliance/base/mem.h"
#include "appliance/base/words.h"
#include "replica/guardian_mark.h"
#include "replica/leash.h"

#include <string.h>

#define AGAIN_MS_MIN 2 /* about what a checkpoint takes */
#define AGAIN_MS_MAX 256

struct restraint {
	const char *part, *instance;
	const struct restraint_ops *ops;
	void *owner;
	struct qmp *qmp;
	struct guardian *guardian; /* NULL: no leash */
	unsigned leash;
	bool leashed, leaves;
	bool leash_failed; /* and was said to */
	uint64_t until_ns; /* while it may run; */
	uint64_t ended_ns; /* since then it may not */
	uv_timer_t again;
	unsigned open;	  /* commands without a reply, of any connection */
	unsigned answers; /* owed to the round that goes on */
	unsigned life;	  /* of `qmp`, for replies of an earlier one */
	uint64_t wait_ms;
	enum restraint_order order;
	bool ours; /* it would run but for us */
	bool kept; /* it was to be kept, and has not been seen to stand since: its operator resumes it */
	bool stands; /* seen, since the order came or it last went on */
	bool anew;   /* it went on during a round */
	bool failed; /* and was said to */
	bool closing, timer_closed;
};

/* What a reply is for. */
enum kind { BEFORE, STOP, AFTER, LOOK, CONT };
struct question {
	struct restraint *restraint;
	unsigned life;
	enum kind kind;
};

static void begin_round(struct restraint *r);
static void try_again(struct restraint *r);

int restraint_open(struct restraint **out, uv_loop_t *loop, const char *part,
		   struct guardian *guardian, const char *instance, const struct restraint_ops *ops,
		   void *owner, struct err *err)
{
	struct restraint *r = mem_zalloc(1, sizeof(*r));

	if (r == NULL)
		return err_nomem(err, "a restraint");
	r->part = part;
	r->guardian = guardian;
	r->instance = instance;
	r->until_ns = LEASH_FREE;
	r->ops = ops;
	r->owner = owner;
	(void)uv_timer_init(loop, &r->again); /* cannot fail */
	r->again.data = r;
	*out = r;
	return RC_OK;
}

static void free_if_idle(struct restraint *r)
{
	if (r->closing && r->timer_closed && r->open == 0)
		mem_free(r);
}

static bool must_stand(const struct restraint *r)
{
	return r->order != RESTRAINT_RUN && !r->closing && r->qmp != NULL;
}

/* ---- the leash ----------------------------------------------------------------------------- */

/* Whether it is to run when it may, and does not now. */
static bool is_owed(const struct restraint *r)
{
	return r->ours && r->order != RESTRAINT_KEEP;
}

/* It was found running, or on its way there: out of COLO, which is no reason for one that was kept. */
static void owe(struct restraint *r)
{
	r->ours = !r->kept;
}

static void take_leash(struct restraint *r)
{
	struct err err;

	if (r->guardian == NULL || r->leashed || r->closing || r->qmp == NULL)
		return;
	r->leashed = guardian_leash(r->guardian, r->instance, qmp_fd(r->qmp), is_owed(r), &r->leash,
				    &err) == RC_OK;
	if (!r->leashed && !r->leash_failed)
		log_error(r->part, "nobody would pause the instance in place of this agent: %s",
			  err.text);
	r->leash_failed = !r->leashed;
}

/* What the guardian has to know, whatever of it has changed. */
static void tell_guardian(struct restraint *r)
{
	uint64_t until_ns = r->ended_ns;

	take_leash(r);
	if (!r->leashed)
		return;
	if (r->order == RESTRAINT_RUN)
		until_ns = r->until_ns;
	else if (restraint_stands(r))
		until_ns = LEASH_STANDS;
	guardian_leash_until(r->guardian, r->leash, until_ns, is_owed(r));
}

static void let_off_leash(struct restraint *r)
{
	const bool leave = is_owed(r) || (r->leaves && r->order != RESTRAINT_KEEP);

	if (r->leashed)
		guardian_unleash(r->guardian, r->leash, leave);
	r->leashed = false;
}

bool restraint_is_safe(const struct restraint *r)
{
	return r->guardian == NULL || r->leashed || r->qmp == NULL;
}

void restraint_until(struct restraint *r, uint64_t until_ns)
{
	if (until_ns == 0)
		return; /* the order follows */
	r->until_ns = until_ns;
	tell_guardian(r);
}

void restraint_leave(struct restraint *r)
{
	r->leaves = true;
}

/* ---- QMP ----------------------------------------------------------------------------------- */

static void on_reply(void *owner, const cJSON *reply, const struct err *err);

static bool ask(struct restraint *r, const char *command, enum kind kind)
{
	struct question *question = mem_zalloc(1, sizeof(*question));
	struct err err = { 0 };

	if (question == NULL)
		return false;
	*question = (struct question){ .restraint = r, .life = r->life, .kind = kind };
	if (qmp_execute(r->qmp, command, NULL, on_reply, question, &err) != RC_OK) {
		mem_free(question);
		return false;
	}
	r->open++;
	return true;
}

static void set_running(struct restraint *r)
{
	if (!r->ours || r->answers > 0)
		return; /* at the round's end */
	if (ask(r, "query-status", LOOK))
		r->answers = 1;
	else
		try_again(r);
}

static void let_free(struct restraint *r)
{
	r->ours = false;
	tell_guardian(r);
	if (r->order == RESTRAINT_RUN)
		r->ops->on_free(r->owner);
}

static void on_look(struct restraint *r, const char *status)
{
	if (r->order != RESTRAINT_RUN) {
		begin_round(r);
	} else if (*status != '\0' && strcmp(status, "paused") != 0) {
		let_free(r);
	} else if (*status == '\0' || !ask(r, "cont", CONT)) {
		try_again(r);
	}
}

static void on_again(uv_timer_t *timer)
{
	struct restraint *r = timer->data;

	if (must_stand(r) && r->answers == 0)
		begin_round(r);
	else if (!r->closing && r->qmp != NULL)
		set_running(r);
}

static void try_again(struct restraint *r)
{
	(void)uv_timer_start(&r->again, on_again, r->wait_ms, 0);
	r->wait_ms = r->wait_ms < AGAIN_MS_MAX ? r->wait_ms * 2 : AGAIN_MS_MAX;
}

static void begin_round(struct restraint *r)
{
	static const struct {
		const char *command;
		enum kind kind;
	} round[] = { { "query-status", BEFORE }, { "stop", STOP }, { "query-status", AFTER } };
	size_t i;

	r->anew = false;
	for (i = 0; i < sizeof(round) / sizeof(round[0]); i++)
		r->answers += ask(r, round[i].command, round[i].kind);
	if (r->answers == 0)
		try_again(r);
}

/* QEMU's word for a guest that runs, or is set running when what holds it is over. */
static bool runs(const char *status)
{
	static const char *const running[] = { "running", "suspended", "colo", "finish-migrate",
					       "save-vm" };

	return WORDS_ONE_OF(status, running);
}

/* "" if there is no answer. */
static const char *status_of(const cJSON *reply)
{
	const char *status =
		cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(reply, "status"));

	return status != NULL ? status : "";
}

static void now_stands(struct restraint *r)
{
	if (!r->stands && r->order == RESTRAINT_KEEP)
		log_warn(r->part, "the superseded instance is paused; its state is kept");
	else if (!r->stands && r->ours)
		log_warn(r->part, "the instance is paused until it may answer");
	r->stands = true;
	r->failed = r->kept = false;
	r->wait_ms = AGAIN_MS_MIN;
	tell_guardian(r);
	r->ops->on_stands(r->owner);
}

static void end_round(struct restraint *r, bool stands)
{
	if (r->order == RESTRAINT_RUN) {
		set_running(r);
	} else if (stands && !r->anew) {
		now_stands(r);
	} else {
		if (!r->failed && r->wait_ms >= AGAIN_MS_MAX)
			log_error(r->part,
				  "the instance may not run, and QEMU does not pause it: it "
				  "is told again and again");
		r->failed = r->failed || r->wait_ms >= AGAIN_MS_MAX;
		try_again(r);
	}
}

static void on_cont(struct restraint *r, const struct err *err)
{
	if (err != NULL && !r->failed)
		log_warn(r->part, "the instance may run again: cont: %s; it is told again",
			 err->text);
	r->failed = err != NULL;
	if (r->order != RESTRAINT_RUN)
		return;
	if (err != NULL)
		try_again(r);
	else
		let_free(r);
}

static void on_reply(void *owner, const cJSON *reply, const struct err *err)
{
	const struct question question = *(struct question *)owner;
	struct restraint *r = question.restraint;

	mem_free(owner);
	r->open--;
	if (r->closing || question.life != r->life) {
		free_if_idle(r);
		return;
	}
	if (question.kind == CONT) {
		on_cont(r, err);
		return;
	}
	r->answers--;
	if (question.kind == BEFORE && runs(status_of(reply))) {
		owe(r);
		tell_guardian(r);
	}
	if (question.kind == LOOK)
		on_look(r, status_of(reply));
	else if (r->answers == 0)
		end_round(r, question.kind == AFTER && *status_of(reply) != '\0' &&
				     !runs(status_of(reply)));
}

/* ---- orders -------------------------------------------------------------------------------- */

static void start(struct restraint *r)
{
	r->stands = false;
	r->wait_ms = AGAIN_MS_MIN;
	r->ended_ns = clock_now_ns();
	tell_guardian(r);
	if (must_stand(r) && r->answers == 0)
		begin_round(r);
}

void restraint_attach(struct restraint *r, struct qmp *qmp)
{
	let_off_leash(r);
	r->qmp = qmp;
	r->life++;
	r->answers = 0;
	r->ours = r->failed = r->kept = false;
	(void)uv_timer_stop(&r->again);
	/* One that is on no leash is let go on by who has configured that: he sets it running. */
	if (qmp != NULL && r->guardian != NULL && r->order != RESTRAINT_KEEP &&
	    guardian_mark_is_stopped(qmp_peer_pid(qmp))) {
		log_info(r->part,
			 "the instance stands because it had no lease: it runs when it may");
		r->ours = true;
	}
	start(r);
	if (r->ours && r->order == RESTRAINT_RUN)
		set_running(r);
}

void restraint_set(struct restraint *r, enum restraint_order order)
{
	const enum restraint_order before = r->order;

	r->order = order;
	if (order == before)
		return;
	if (before == RESTRAINT_KEEP) {
		r->ours = false;
		r->kept = !r->stands;
	}
	if (order == RESTRAINT_RUN) {
		(void)uv_timer_stop(&r->again);
		tell_guardian(r);
		if (r->qmp != NULL)
			set_running(r);
	} else {
		start(r);
	}
}

static void on_guardian(struct restraint *r, const char *status)
{
	if (!runs(status) || r->closing)
		return;
	if (!r->ours && !r->kept)
		log_warn(
			r->part,
			"the guardian has paused the instance: its lease was over, and this agent late");
	owe(r);
	tell_guardian(r);
	if (r->order == RESTRAINT_RUN && r->qmp != NULL)
		set_running(r);
}

void restraint_event(struct restraint *r, const char *name, const cJSON *data)
{
	if (strcmp(name, QMP_GUARDIAN_EVENT) == 0)
		on_guardian(r, status_of(data));
	if (strcmp(name, "RESUME") != 0)
		return;
	if (!must_stand(r)) {
		r->kept = false;
		return;
	}
	if (r->stands)
		log_warn(r->part,
			 "the instance may not run, and was set running: it is paused again");
	r->anew = true;
	owe(r); /* the round's `stop` may be what the next round finds */
	r->ended_ns = clock_now_ns();
	tell_guardian(r);
	if (r->answers == 0)
		start(r);
}

bool restraint_stands(const struct restraint *r)
{
	return must_stand(r) && r->stands && !r->anew;
}

bool restraint_is_stopping(const struct restraint *r)
{
	return must_stand(r) && !restraint_stands(r);
}

bool restraint_has_stopped(const struct restraint *r)
{
	return r->ours;
}

static void on_timer_closed(uv_handle_t *handle)
{
	struct restraint *r = handle->data;

	r->timer_closed = true;
	free_if_idle(r);
}

void restraint_close(struct restraint *r)
{
	let_off_leash(r);
	r->closing = true;
	uv_close((uv_handle_t *)&r->again, on_timer_closed);
}
