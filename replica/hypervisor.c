/*
 * Theory of operation
 *
 *   STARTING -> CHECKING -> WARM -> ACTIVATING -> RUNNING
 *                                        |
 *                                      KILLED
 *       any of them -> ENDED (reported once; of ACTIVATING only KILLED)
 *
 * STARTING: the process is there, its socket is tried every few milliseconds. CHECKING: it waits for its memory, takes the capability, tells where its shared
 * blocks lie (the stream must repeat that, see activation.h), and exports its disks' targets, if there are some, to who fills
 * them. ACTIVATING: these exports end, the descriptor and the
 * command go out in one go, nothing waits for a reply; the RESUME event is the moment at which the
 * guest runs, QEMU sends it by itself and nothing is polled. If the stream ends in a machine that
 * was stopped, MIGRATION "completed" comes without RESUME, and `cont` makes it run, or says why not
 * (a disk's lock, for instance).
 *
 * An activation that fails is judged by what is certain, for the image may be the only copy there is.
 * QEMU writes RESUME to its QMP socket before it lets the guest's processors go (vm_start(), to which
 * `cont` comes as well; looked up in 10.0), and of the shared memory the stream brings nothing. So
 * QEMU is killed, its end is awaited, its QMP connection is read to the end, and only then is the
 * failure told: without a RESUME there, no instruction of the guest was executed, whatever QEMU had
 * taken of the commands, and another may be given the same image. If the connection broke off
 * otherwise, the guest may have run.
 *
 * One that waits is asked for its state now and then. If it does not answer (stopped, or stuck in slow
 * storage), that is told; it may come back, so it is left alone until it is needed.
 *
 * The stream is a memfd passed by descriptor, "fd:": 1.7 to 2.4 ms to RESUME with a 256 MiB and
 * with an 8 GiB guest where "exec:cat" took 6; pipes and sockets are no faster and need somebody to
 * write. QEMU 10 warns that a file behind "fd:" is deprecated in favour of "file:", which QEMU
 * before 8.2 does not have.
 */
#include "replica/hypervisor.h"

#include "appliance/base/clock.h"
#include "appliance/base/log.h"
#include "appliance/base/mem.h"
#include "replica/child.h"
#include "replica/hypervisor_check.h"
#include "replica/hypervisor_exports.h"
#include "replica/hypervisor_setup.h"
#include "replica/image_room.h"
#include "replica/qmp.h"
#include "replica/ram_blocks.h"

#include <assert.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define READY_MS 20000 /* from start to warm: 0.1 s, on a loaded host with a large guest seconds */
#define CONNECT_EVERY_MS 5
#define ACTIVATE_MS 10000 /* the stream is there whole; what is slow is opening the disks */
#define KILLED_MS 5000	  /* from SIGKILL to its end; held in the kernel, it does nothing either */
#define ASK_MS 2000	  /* between two questions to one that waits */
#define LOST_MS 500 /* from the loss of QMP to the process's end, which then is what is told */

enum state { STARTING, CHECKING, WARM, ACTIVATING, KILLED, RUNNING, ENDED, STATES };

static const char *const state_names[] = {
	[STARTING] = "starting",     [CHECKING] = "starting", [WARM] = "warm",
	[ACTIVATING] = "activating", [KILLED] = "activating", [RUNNING] = "running",
	[ENDED] = "ended",
};
static_assert(sizeof(state_names) / sizeof(state_names[0]) == STATES, "a name for every state");

struct hypervisor {
	uv_loop_t *loop;
	const struct hypervisor_ops *ops;
	void *owner;
	struct hypervisor_setup setup;
	enum state state;
	uv_timer_t tick;  /* the next try or question, or the wait for the process's end */
	uv_timer_t limit; /* of the present state */
	unsigned timers;  /* not closed yet */
	struct child *child;
	struct qmp *qmp;
	bool qmp_closing;
	struct hypervisor_check check;
	struct hypervisor_exports exports;
	bool asked, silent;  /* a question has no answer yet; none for longer than ASK_MS */
	uint64_t started_ns; /* of the activation; 0: none */
	struct err why;	     /* it failed */
	bool resumed;	     /* RESUME has come */
	bool child_ended, qmp_ended;
	bool heard_all; /* what it wrote to QMP until its end was read */
	bool closing, leave;
	void (*on_closed)(void *owner);
};

static void connect_qmp(struct hypervisor *hv);
static void close_next(struct hypervisor *hv);

/* The end, reported once --------------------------------------------------------------------- */

static void tell(struct hypervisor *hv, const struct err *why)
{
	bool was_ready = hv->state >= WARM;

	hv->state = ENDED;
	(void)uv_timer_stop(&hv->tick);
	(void)uv_timer_stop(&hv->limit);
	if (was_ready)
		hv->ops->on_exit(hv->owner, why);
	else
		hv->ops->on_failed(hv->owner, why);
}

static void tell_when_over(struct hypervisor *hv)
{
	if (hv->state == KILLED && hv->child_ended && hv->qmp_ended && !hv->closing)
		tell(hv, &hv->why);
}

/* It was killed long ago, and what it had written was read as it came. */
static void on_killed_limit(uv_timer_t *timer)
{
	struct hypervisor *hv = timer->data;

	hv->heard_all = hv->heard_all || !hv->qmp_ended;
	tell(hv, &hv->why);
}

static void report(struct hypervisor *hv, const struct err *why)
{
	if (hv->state == ENDED || hv->state == KILLED || hv->closing)
		return;
	if (hv->state != ACTIVATING) {
		tell(hv, why);
		return;
	}
	/* Whoever is told that it does not run may let somebody else: it must not run late. */
	hv->state = KILLED;
	hv->why = *why;
	child_kill(hv->child);
	(void)uv_timer_stop(&hv->tick);
	(void)uv_timer_start(&hv->limit, on_killed_limit, KILLED_MS, 0);
	tell_when_over(hv);
}

/* Something went wrong while QEMU lives on: the reason, and what QEMU said. */
static void report_with_words(struct hypervisor *hv, enum rc code, const char *reason)
{
	char words[CHILD_WORDS_MAX];
	struct err err;

	child_words(hv->child, words, sizeof(words));
	(void)err_set(&err, code, "%.200s%s%s", reason, *words != '\0' ? "; QEMU said: " : "",
		      words);
	report(hv, &err);
}

static void on_limit(uv_timer_t *timer)
{
	struct hypervisor *hv = timer->data;

	report_with_words(hv, RC_TIMEOUT,
			  hv->state == ACTIVATING ? "QEMU did not run the instance in time" :
						    "QEMU was not ready in time");
}

static void on_child_end(void *owner, const struct err *how)
{
	struct hypervisor *hv = owner;
	struct err why = *how;

	/* Of its shared memory the image's pages have storage, others come as the guest needs them. */
	if (child_signal(hv->child) == SIGBUS && *hv->setup.memory != '\0')
		(void)image_room_bus_error(hv->setup.memory, &why);
	hv->child_ended = true;
	report(hv, &why);
	tell_when_over(hv);
}

static void on_lost_limit(uv_timer_t *timer)
{
	report_with_words(timer->data, RC_CLOSED, "QEMU closed its QMP connection");
}

/* QMP ---------------------------------------------------------------------------------------- */

static void on_tick(uv_timer_t *timer)
{
	connect_qmp(timer->data);
}

static void on_qmp_closed(void *owner)
{
	struct hypervisor *hv = owner;

	hv->qmp = NULL;
	hv->qmp_closing = false;
	if (hv->closing)
		close_next(hv);
	else if (hv->state == STARTING)
		(void)uv_timer_start(&hv->tick, on_tick, CONNECT_EVERY_MS, 0);
}

static void end_qmp(struct hypervisor *hv)
{
	if (hv->qmp_closing)
		return;
	hv->qmp_closing = true;
	qmp_close(hv->qmp, on_qmp_closed);
}

/* A command that must succeed was refused. A lost connection is told by itself. */
static void refused(struct hypervisor *hv, const char *command, const struct err *why)
{
	char reason[ERR_TEXT_MAX];

	if (why->code == RC_CLOSED || why->code == RC_CANCELLED)
		return;
	(void)snprintf(reason, sizeof(reason), "%s: %.400s", command, why->text);
	report_with_words(hv, why->code, reason);
}

static void on_asked(void *owner, const cJSON *reply, const struct err *err)
{
	struct hypervisor *hv = owner;

	hv->asked = false;
	hv->silent = reply == NULL && err->code == RC_TIMEOUT;
}

static void on_ask(uv_timer_t *timer)
{
	struct hypervisor *hv = timer->data;
	struct err err;

	hv->silent = hv->silent || hv->asked;
	if (!hv->asked)
		hv->asked = qmp_execute(hv->qmp, "query-status", NULL, on_asked, hv, &err) == RC_OK;
}

static void on_exported(void *owner, const struct err *result)
{
	struct hypervisor *hv = owner;

	if (hv->state != CHECKING)
		return;
	if (result->code != RC_OK) {
		report_with_words(hv, result->code, result->text);
		return;
	}
	hv->state = WARM;
	(void)uv_timer_stop(&hv->limit);
	(void)uv_timer_start(&hv->tick, on_ask, ASK_MS, ASK_MS);
	hv->ops->on_ready(hv->owner);
}

static void on_checked(void *owner, const struct err *result)
{
	struct hypervisor *hv = owner;
	struct err err;

	if (hv->state != CHECKING)
		return;
	if (result->code != RC_OK || hv->setup.nexports == 0)
		on_exported(hv, result);
	else if (hypervisor_exports_start(&hv->exports, hv->qmp, &hv->setup, on_exported, hv,
					  &err) != RC_OK)
		on_exported(hv, &err);
}

static void on_qmp_ready(void *owner)
{
	struct hypervisor *hv = owner;
	struct err err;

	hv->state = CHECKING;
	if (hypervisor_check(&hv->check, hv->qmp, &hv->setup, on_checked, hv, &err) != RC_OK)
		report(hv, &err);
}

static void on_qmp_lost(void *owner, const struct err *err)
{
	struct hypervisor *hv = owner;

	hv->qmp_ended = hv->state != STARTING;
	hv->heard_all = err->code == RC_CLOSED;
	if (hv->state == STARTING)
		end_qmp(hv); /* it does not listen yet: on_qmp_closed() goes on */
	else if (hv->state == RUNNING)
		log_warn(hv->setup.part, "%s; the instance is still watched by its process",
			 err->text);
	else if (hv->state == KILLED)
		tell_when_over(hv);
	else if (hv->state != ENDED)
		/* It is on its way out, and the process's end tells more than the connection's. */
		(void)uv_timer_start(&hv->tick, on_lost_limit, LOST_MS, 0);
}

/* Activation --------------------------------------------------------------------------------- */

static void resumed(struct hypervisor *hv)
{
	hv->resumed = true;
	if (hv->state != ACTIVATING)
		return;
	hv->state = RUNNING;
	(void)uv_timer_stop(&hv->limit);
	hv->ops->on_running(hv->owner, clock_now_ns() - hv->started_ns);
}

static void on_continued(void *owner, const cJSON *reply, const struct err *err)
{
	struct hypervisor *hv = owner;

	if (hv->state == ACTIVATING && reply == NULL)
		refused(hv, "cont", err);
}

static void on_migration(struct hypervisor *hv, const cJSON *data)
{
	const cJSON *status = cJSON_GetObjectItemCaseSensitive(data, "status");
	struct err err;

	if (hv->state != ACTIVATING || !cJSON_IsString(status) ||
	    strcmp(status->valuestring, "completed") != 0)
		return;
	/*
	 * Its memory and devices are in place, and it was not resumed: it was stopped when it was
	 * captured, or a disk cannot be had.
	 */
	if (qmp_execute(hv->qmp, "cont", NULL, on_continued, hv, &err) != RC_OK)
		report(hv, &err);
}

static void on_qmp_event(void *owner, const char *name, const cJSON *data, uint64_t time_us)
{
	struct hypervisor *hv = owner;

	(void)time_us;
	if (hv->state != RUNNING && strcmp(name, "RESUME") == 0)
		resumed(hv);
	else if (strcmp(name, "MIGRATION") == 0)
		on_migration(hv, data);
	else if (hv->state == RUNNING && hv->ops->on_event != NULL)
		hv->ops->on_event(hv->owner, name, data);
}

static const struct qmp_ops qmp_callbacks = { on_qmp_ready, on_qmp_event, on_qmp_lost };

static void connect_qmp(struct hypervisor *hv)
{
	struct err err;

	/* Not there yet, or bound and not yet listening: `limit` bounds how often. */
	if (access(hv->setup.qmp_path, F_OK) != 0 ||
	    qmp_connect(&hv->qmp, hv->loop, hv->setup.qmp_path, READY_MS, &qmp_callbacks, hv,
			&err) != RC_OK)
		(void)uv_timer_start(&hv->tick, on_tick, CONNECT_EVERY_MS, 0);
}

static void on_activation_command(void *owner, const cJSON *reply, const struct err *err)
{
	struct hypervisor *hv = owner;

	if (hv->state == ACTIVATING && reply == NULL)
		refused(hv, "activation", err);
}

int hypervisor_activate(struct hypervisor *hv, int fd, struct err *err)
{
	uint64_t now_ns = clock_now_ns();
	cJSON *arguments = cJSON_CreateObject();
	int rc = RC_OK;

	if (hv->state != WARM || hv->closing)
		rc = err_set(err, RC_STATE, "QEMU is %s, not warm", hypervisor_state(hv));
	else if (cJSON_AddStringToObject(arguments, "uri", "fd:activation") == NULL)
		rc = err_nomem(err, "an activation");
	if (rc == RC_OK)
		rc = qmp_send_fd(hv->qmp, "activation", fd, on_activation_command, hv, err);
	if (rc == RC_OK)
		rc = hypervisor_exports_stop(hv->qmp, &hv->setup, on_activation_command, hv, err);
	if (rc == RC_OK)
		rc = qmp_execute(hv->qmp, "migrate-incoming", arguments, on_activation_command, hv,
				 err);
	else
		cJSON_Delete(arguments);
	(void)close(fd);
	if (rc != RC_OK)
		return rc;
	hv->state = ACTIVATING;
	hv->started_ns = now_ns;
	(void)uv_timer_stop(&hv->tick);
	(void)uv_timer_start(&hv->limit, on_limit, ACTIVATE_MS, 0);
	return RC_OK;
}

/* Life --------------------------------------------------------------------------------------- */

static void on_first_tick(uv_timer_t *timer)
{
	struct hypervisor *hv = timer->data;
	const struct child_options options = { .part = hv->setup.part,
					       .args = hv->setup.args.args,
					       .cwd = hv->setup.run_dir,
					       .keep = hv->setup.lock,
					       .confine = hv->setup.confine };
	struct err err;

	(void)unlink(hv->setup.qmp_path);
	(void)uv_timer_start(&hv->limit, on_limit, READY_MS, 0);
	if (child_start(&hv->child, hv->loop, &options, on_child_end, hv, &err) != RC_OK)
		report(hv, &err);
	else
		connect_qmp(hv);
}

static void on_timer_closed(uv_handle_t *handle)
{
	struct hypervisor *hv = handle->data;
	void (*on_closed)(void *) = hv->on_closed;
	void *owner = hv->owner;

	if (--hv->timers > 0)
		return;
	hypervisor_setup_free(&hv->setup);
	mem_free(hv);
	if (on_closed != NULL)
		on_closed(owner);
}

static void on_child_closed(void *owner)
{
	struct hypervisor *hv = owner;

	hv->child = NULL;
	if (!hv->leave)
		(void)unlink(hv->setup.qmp_path);
	close_next(hv);
}

/* One part after the other; each calls this again when it is closed. */
static void close_next(struct hypervisor *hv)
{
	if (hv->qmp != NULL) {
		end_qmp(hv);
	} else if (hv->child != NULL) {
		child_close(hv->child, hv->leave, on_child_closed);
	} else {
		uv_close((uv_handle_t *)&hv->tick, on_timer_closed);
		uv_close((uv_handle_t *)&hv->limit, on_timer_closed);
	}
}

void hypervisor_close(struct hypervisor *hv, bool leave, void (*on_closed)(void *owner))
{
	if (hv->closing)
		return;
	hv->closing = true;
	hv->leave = leave;
	hv->on_closed = on_closed;
	(void)uv_timer_stop(&hv->tick);
	(void)uv_timer_stop(&hv->limit);
	close_next(hv);
}

int hypervisor_start(struct hypervisor **out, uv_loop_t *loop,
		     const struct hypervisor_options *options, const struct cmdline_spec *spec,
		     const struct hypervisor_ops *ops, void *owner, struct err *err)
{
	struct hypervisor *hv = mem_zalloc(1, sizeof(*hv));
	int rc;

	if (hv == NULL)
		return err_nomem(err, "a replica's QEMU");
	hv->loop = loop;
	hv->ops = ops;
	hv->owner = owner;
	rc = hypervisor_setup(&hv->setup, options, spec, err);
	if (rc != RC_OK) {
		hypervisor_setup_free(&hv->setup);
		mem_free(hv);
		return rc;
	}
	(void)uv_timer_init(loop, &hv->tick);
	(void)uv_timer_init(loop, &hv->limit);
	hv->tick.data = hv->limit.data = hv;
	hv->timers = 2;
	(void)uv_timer_start(&hv->tick, on_first_tick, 0, 0);
	*out = hv;
	return RC_OK;
}

int hypervisor_check_layout(struct hypervisor *hv, const struct layout *layout,
			    void (*done)(void *owner, const struct err *result), void *owner,
			    struct err *err)
{
	if (hv->state != WARM || hv->closing)
		return err_set(err, RC_STATE, "QEMU is %s, not warm", hypervisor_state(hv));
	return ram_blocks_ask(hv->qmp, layout, done, owner, err);
}

const struct activation_block *hypervisor_blocks(const struct hypervisor *hv, size_t *count)
{
	*count = hv->setup.nblocks;
	return hv->setup.blocks;
}

bool hypervisor_may_have_run(const struct hypervisor *hv)
{
	return hv->resumed || (hv->started_ns != 0 && !hv->heard_all);
}

bool hypervisor_is_silent(const struct hypervisor *hv)
{
	return hv->state == WARM && hv->silent;
}

pid_t hypervisor_pid(const struct hypervisor *hv)
{
	return hv->child != NULL ? child_pid(hv->child) : 0;
}

const char *hypervisor_state(const struct hypervisor *hv)
{
	return state_names[hv->state];
}
