/*
 *   begin -> [stop -> cables out] -> released -> [stop, query-status -> cables back] -> done
 *
 * What is in brackets is for an instance that is to stand. Its cables stay out where it cannot be
 * seen to be paused. A QEMU that does not answer is waited for, as colo_release.c does.
 *
 * A guest that stands is set running by QEMU's migration thread, some time after the migration's status
 * says that it is over, and "paused" until then is what it was before. So RESUME is waited for.
 *
 * One that may run after all is told to (`cont`) if it stands: QEMU sets it running only if the
 * migration had stopped it, and in a first copy that was us.
 */
#include "replica/let_go.h"

#include "appliance/base/log.h"
#include "appliance/base/mem.h"
#include "appliance/base/words.h"
#include "replica/nic_links.h"

#include <stdio.h>
#include <string.h>

#define RESUME_MS \
	1000 /* many times what a thread needs to get the lock that the main loop has let go of */

struct let_go {
	struct qmp *qmp;
	const char *part;
	const struct let_go_ops *ops;
	void *owner;
	struct colo_release *release;
	struct nic_links *links;
	unsigned open;		/* commands without a reply */
	bool releasing, pulled; /* pulled: it was stopped, and cables are out, or may be */
	bool silent;		/* QEMU; which is waited for */
	bool colo;		/* QEMU was in COLO, and sets the instance running when it leaves */
	bool resumed, waiting;	/* it has, since it was told to leave; that is waited for */
	uv_timer_t timer;
	struct colo_release_end end;
	struct err err;
	char why[256], status[32];
	bool closing;
	unsigned parts; /* not closed yet */
	void (*on_closed)(void *owner);
};

int let_go_create(struct let_go **out, uv_loop_t *loop, struct qmp *qmp, const char *part,
		  const struct let_go_ops *ops, void *owner, struct err *err)
{
	struct let_go *g = mem_zalloc(1, sizeof(*g));
	int rc;

	if (g == NULL)
		return err_nomem(err, "letting an instance go");
	g->qmp = qmp;
	g->part = part;
	g->ops = ops;
	g->owner = owner;
	rc = nic_links_create(&g->links, qmp, part, g, err);
	if (rc == RC_OK)
		rc = colo_release_create(&g->release, loop, qmp, part, g, err);
	if (rc != RC_OK) {
		if (g->links != NULL)
			nic_links_close(g->links, NULL);
		mem_free(g);
		return rc;
	}
	(void)uv_timer_init(loop, &g->timer); /* cannot fail */
	g->timer.data = g;
	*out = g;
	return RC_OK;
}

void let_go_ready(struct let_go *g)
{
	g->colo = true;
	colo_release_ready(g->release);
}

const char *let_go_waits(const struct let_go *g)
{
	if (g->releasing)
		return colo_release_waits(g->release);
	return g->silent ?
		       "QEMU does not answer: the instance is to stand, and is cut off until it does" :
		       NULL;
}

static void free_if_idle(struct let_go *g)
{
	void (*on_closed)(void *owner) = g->on_closed;
	void *owner = g->owner;

	if (!g->closing || g->parts > 0 || g->open > 0)
		return;
	mem_free(g);
	if (on_closed != NULL)
		on_closed(owner);
}

/* Every reply comes through here first; false: nobody wants it any more. */
static bool reply_wanted(struct let_go *g, const struct err *err)
{
	g->open--;
	g->silent = err != NULL && err->code == RC_TIMEOUT;
	if (!g->closing)
		return true;
	free_if_idle(g);
	return false;
}

static int execute(struct let_go *g, const char *command, qmp_reply_cb cb, struct err *err)
{
	int rc = qmp_execute(g->qmp, command, NULL, cb, g, err);

	if (rc == RC_OK)
		g->open++;
	return rc;
}

/* Of QEMU's connection there is none any more: nothing can be done, and the release says so. */
static bool is_gone(const struct err *err)
{
	return err->code == RC_CLOSED || err->code == RC_STATE || err->code == RC_CANCELLED;
}

/* ---- after ---------------------------------------------------------------------------------- */

static void end(struct let_go *g)
{
	g->ops->done(g->owner, &g->end);
}

static void on_put_back(void *owner, const struct err *err)
{
	(void)err; /* it is in the log */
	end(owner);
}

static void put_back(struct let_go *g)
{
	if (g->pulled)
		nic_links_up(g->links, on_put_back);
	else
		end(g);
}

static void not_stopped(struct let_go *g, const char *why)
{
	log_error(g->part, "the instance is to stand: %s%s", why,
		  g->pulled ? "; its network cards stay cut off" : "");
	*g->status = '\0';
	end(g);
}

static void look(struct let_go *g);

static void on_state(void *owner, const cJSON *reply, const struct err *err)
{
	static const char *const going[] = { "running", "suspended", "" };
	const char *status =
		cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(reply, "status"));
	struct let_go *g = owner;

	if (!reply_wanted(g, err))
		return;
	if (g->silent) {
		look(g);
		return;
	}
	if (err != NULL) {
		not_stopped(g, err->text);
		return;
	}
	(void)snprintf(g->status, sizeof(g->status), "%s", status != NULL ? status : "");
	/* A guest that has powered off, or met an I/O error, stands as well. */
	if (!WORDS_ONE_OF(g->status, going) || !g->ops->stands(g->owner))
		put_back(g);
	else
		not_stopped(g, "QEMU did not pause it");
}

static void look(struct let_go *g)
{
	struct err why;

	if (execute(g, "query-status", on_state, &why) != RC_OK)
		not_stopped(g, why.text);
}

/* To stop again, or to go on. */
static void on_told(void *owner, const cJSON *reply, const struct err *err)
{
	struct let_go *g = owner;

	(void)reply;
	if (!reply_wanted(g, err))
		return;
	if (err == NULL || g->silent)
		look(g);
	else
		not_stopped(g, err->text);
}

static bool is_left_standing(const struct let_go *g)
{
	return g->pulled && strcmp(g->status, "paused") == 0;
}

static void settle(struct let_go *g)
{
	const bool stands = g->ops->stands(g->owner);
	struct err why;

	if (!stands && !is_left_standing(g))
		put_back(g);
	else if (execute(g, stands ? "stop" : "cont", on_told, &why) != RC_OK)
		not_stopped(g, why.text);
}

static void on_timer(uv_timer_t *timer)
{
	struct let_go *g = timer->data;

	g->waiting = false;
	settle(g);
}

/* True: it leaves COLO. */
static bool is_out(struct let_go *g)
{
	if (!g->releasing && !g->waiting)
		return false;
	g->resumed = true;
	if (g->waiting) {
		g->waiting = false;
		(void)uv_timer_stop(&g->timer);
		(void)snprintf(g->status, sizeof(g->status), "running");
		settle(g);
	}
	return true;
}

bool let_go_event(struct let_go *g, const char *name)
{
	if (strcmp(name, "COLO_EXIT") == 0)
		let_go_ready(g);
	/* Leaving COLO stops no instance that stands. */
	return strcmp(name, "STOP") == 0 || (strcmp(name, "RESUME") == 0 && !is_out(g));
}

static void on_released(void *owner, const struct colo_release_end *result)
{
	struct let_go *g = owner;

	g->releasing = false;
	g->end = *result;
	if (result->err != NULL) {
		g->err = *result->err;
		g->end.err = &g->err;
	}
	if (result->why != NULL) {
		(void)snprintf(g->why, sizeof(g->why), "%s", result->why);
		g->end.why = g->why;
	}
	(void)snprintf(g->status, sizeof(g->status), "%s", result->status);
	g->end.status = g->status;
	if (result->err != NULL && is_gone(result->err)) {
		end(g);
		return;
	}
	g->waiting = g->colo && !g->resumed && strcmp(g->status, "paused") == 0;
	if (g->waiting)
		(void)uv_timer_start(&g->timer, on_timer, RESUME_MS, 0);
	else
		settle(g);
}

/* ---- before --------------------------------------------------------------------------------- */

static void release(struct let_go *g)
{
	g->releasing = true;
	colo_release_begin(g->release, on_released);
}

static void on_pulled(void *owner, const struct err *err)
{
	struct let_go *g = owner;

	if (err != NULL && !is_gone(err))
		log_error(g->part,
			  "%s: the instance is to stand, and may be heard while it is let go",
			  err->text);
	release(g);
}

/* Of `stop`; then of a question, while QEMU is silent. After the release it is looked at whether it stands. */
static void on_stopped(void *owner, const cJSON *reply, const struct err *err)
{
	struct let_go *g = owner;
	struct err why;

	(void)reply;
	if (reply_wanted(g, err) &&
	    (!g->silent || execute(g, "query-status", on_stopped, &why) != RC_OK))
		nic_links_down(g->links, on_pulled);
}

void let_go_begin(struct let_go *g)
{
	struct err err;

	g->pulled = g->ops->stands(g->owner) && execute(g, "stop", on_stopped, &err) == RC_OK;
	if (!g->pulled)
		release(g);
}

/* ---- end ------------------------------------------------------------------------------------ */

static void on_part_closed(void *owner)
{
	struct let_go *g = owner;

	g->parts--;
	free_if_idle(g);
}

static void on_timer_closed(uv_handle_t *handle)
{
	on_part_closed(handle->data);
}

void let_go_close(struct let_go *g, void (*on_closed)(void *owner))
{
	g->closing = true;
	g->on_closed = on_closed;
	g->parts = 4; /* and this call */
	uv_close((uv_handle_t *)&g->timer, on_timer_closed);
	colo_release_close(g->release, on_part_closed);
	nic_links_close(g->links, on_part_closed);
	on_part_closed(g);
}
