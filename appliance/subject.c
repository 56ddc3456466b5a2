#include "appliance/subject.h"

#include "appliance/base/log.h"
#include "appliance/base/mem.h"
#include "appliance/leftover.h"
#include "appliance/subject_derive.h"
#include "replica/claim.h"
#include "replica/cmdline.h"
#include "replica/guardian_mark.h"
#include "replica/precheck.h"
#include "replica/release.h"
#include "replica/reservation.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define GREETING_MS 2000  /* without QEMU's greeting: said, and looked at again */
#define STALE_MS 1000	  /* a guardian notices its agent's end at once, on a loaded machine too */
#define RECONNECT_MS 500  /* between two attempts at the QMP socket */
#define REEXAMINE_MS 5000 /* after a refusal: somebody has to change something first */
#define CLAIM_MS 1000	  /* between two attempts at the claim that another agent has */
#define SETTLE_MS 1	  /* after its process's end: what it said before is read in this turn */

struct subject {
	uv_loop_t *loop;
	const struct config_instance *config;
	const struct config *site; /* its witness is told with the reservation: */
	const struct etcd *etcd;   /* NULL: none */
	const struct subject_ops *ops;
	void *owner;
	struct qmp *qmp;
	int claim;   /* on its process, from before the first examination until QMP is closed */
	pid_t stale; /* the guardian that was seen to keep QEMU's QMP socket; 0: none */
	bool ready, found, fit, closing;
	bool resumed;	   /* since the examination began, and not stopped again */
	bool held, orphan; /* orphan: the connection is lost, and closed once it is not held */
	struct leftover
		*leftover; /* NULL: the instance is not being let go from an earlier agent's COLO */
	char last_error[ERR_TEXT_MAX];
	struct precheck_facts facts; /* while its disks are asked for */
	struct disk_found disks[CONFIG_DISKS_MAX];
	char others[256]; /* disks that are not captured: said */
	int pidfd;
	uv_poll_t *process; /* on the pidfd; of its own, because a new connection may come before
			       libuv let go of it */
	bool shutdown_seen;
	uv_timer_t retry, settle;
	unsigned open_parts;
	void (*on_closed)(void *owner);
};

static void on_retry(uv_timer_t *timer);
static void part_closed(struct subject *s);

static void retry_in(struct subject *s, uint64_t ms)
{
	if (!s->closing)
		(void)uv_timer_start(&s->retry, on_retry, ms, 0);
}

static void leave(struct subject *s)
{
	if (s->found)
		s->ops->on_left(s->owner);
	s->found = false;
}

/* The process -------------------------------------------------------------------------------- */

static void on_poll_closed(uv_handle_t *handle)
{
	mem_free(handle);
}

static void unwatch(struct subject *s)
{
	if (s->process == NULL)
		return;
	uv_close((uv_handle_t *)s->process, on_poll_closed);
	s->process = NULL;
	(void)close(s->pidfd);
}

static void on_settled(uv_timer_t *timer)
{
	struct subject *s = timer->data;
	const bool orderly = s->shutdown_seen;

	unwatch(s);
	leave(s);
	s->fit = s->shutdown_seen = false;
	s->ops->on_gone(s->owner, orderly);
}

static void on_process_end(uv_poll_t *poll, int status, int events)
{
	struct subject *s = poll->data;

	(void)status;
	(void)events;
	(void)uv_poll_stop(poll);
	(void)uv_timer_start(&s->settle, on_settled, SETTLE_MS, 0);
}

static int watch(struct subject *s, struct err *err)
{
	pid_t pid = qmp_peer_pid(s->qmp);
	int fd;

	unwatch(s);
	s->shutdown_seen = false;
	fd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (fd < 0)
		return err_system(err, errno, "process %d behind %s", (int)pid, s->config->qmp);
	s->process = mem_zalloc(1, sizeof(*s->process));
	if (s->process == NULL || uv_poll_init(s->loop, s->process, fd) != 0) {
		mem_free(s->process);
		s->process = NULL;
		(void)close(fd);
		return err_nomem(err, "watching the instance's process");
	}
	s->pidfd = fd;
	s->process->data = s;
	(void)uv_poll_start(s->process, UV_READABLE, on_process_end);
	return RC_OK;
}

/* Examination -------------------------------------------------------------------------------- */

static void unfit(struct subject *s, const struct err *err)
{
	s->ops->on_unfit(s->owner, err);
	retry_in(s, REEXAMINE_MS);
}

/*
 * Of an instance whose operator says himself what the replica has, no devices are compared; neither
 * with a command line that cannot be read, which the derivation will refuse.
 */
static int run_precheck(struct subject *s,
			void (*done)(void *owner, const struct precheck_facts *facts,
				     const struct err *verdict),
			struct err *err)
{
	struct cmdline source = { 0 };
	struct err unread;
	bool compare = s->config->arguments == NULL &&
		       cmdline_of_pid(&source, qmp_peer_pid(s->qmp), &unread) == RC_OK;
	int rc = precheck_run(s->qmp, compare ? &source : NULL, done, s, err);

	cmdline_free(&source);
	return rc;
}

static void close_orphan(struct subject *s);
static void close_parts(struct subject *s);

static void on_let_go(void *owner)
{
	struct subject *s = owner;

	s->leftover = NULL;
	if (s->closing) {
		close_parts(s);
	} else {
		close_orphan(s);
		retry_in(s, RECONNECT_MS);
	}
}

/* Its owner has told it to, before anything was asked for here: it was told of the instance first. */
static bool is_to_stand(void *owner)
{
	const struct subject *s = owner;

	return s->found && s->ops->has_stopped(s->owner);
}

static void leave_colo(struct subject *s)
{
	static const struct leftover_ops callbacks = { is_to_stand, on_let_go };
	struct err err;

	if (leftover_begin(&s->leftover, s->loop, s->qmp, s->config->name, &callbacks, s, &err) !=
	    RC_OK)
		unfit(s, &err);
}

/* As if it were not for a pause that is its owner's own, or is over by now. */
static bool runs_but_for_us(const struct subject *s, struct precheck_facts *facts)
{
	if (strcmp(facts->status, "paused") != 0 || !(s->resumed || s->ops->has_stopped(s->owner)))
		return false;
	(void)snprintf(facts->status, sizeof(facts->status), "running");
	return true;
}

/* All that has to be asked is known. */
static void examined(struct subject *s)
{
	struct buf json = { .limit = RESERVATION_JSON_MAX };
	struct err err = { 0 };
	const struct subject_derivation derivation = {
		.config = s->config,
		.site = s->site,
		.etcd = s->etcd,
		.qemu = qmp_peer_pid(s->qmp),
		.facts = &s->facts,
		.disks = s->disks,
	};
	int rc = subject_derive(&derivation, &json, &err);

	if (rc == RC_OK)
		rc = watch(s, &err);
	if (rc == RC_OK) {
		s->fit = true;
		s->ops->on_fit(s->owner, (const char *)json.data);
	} else {
		unfit(s, &err);
	}
	buf_free(&json);
}

/* Once, and again when they change. */
static void say_others(struct subject *s, const cJSON *blocks)
{
	char others[sizeof(s->others)];

	disk_others(blocks, s->disks, s->config->ndisks, others, sizeof(others));
	if (*others != '\0' && strcmp(others, s->others) != 0)
		log_warn(
			"subject",
			"%s: not among its disks (disks): %s: to be reachable from both sites, or not to "
			"matter",
			s->config->name, others);
	memcpy(s->others, others, sizeof(others));
}

static void on_blocks(void *owner, const cJSON *reply, const struct err *error)
{
	struct subject *s = owner;
	struct err err = { 0 };
	int rc = RC_OK;

	if (s->closing || !s->ready)
		return;
	if (reply == NULL) {
		err = *error;
		rc = (int)err.code;
	}
	for (size_t i = 0; rc == RC_OK && i < s->config->ndisks; i++)
		rc = disk_find(reply, s->config->disks[i].device, &s->disks[i], &err);
	if (rc != RC_OK) {
		unfit(s, &err);
		return;
	}
	say_others(s, reply);
	examined(s);
}

static void on_examined(void *owner, const struct precheck_facts *facts, const struct err *verdict)
{
	struct subject *s = owner;
	struct precheck_facts seen = *facts;
	struct err err = *verdict;
	int rc = (int)verdict->code;

	if (s->closing || !s->ready)
		return;
	if (runs_but_for_us(s, &seen) && rc == RC_STATE) {
		err = (struct err){ 0 };
		rc = precheck_verdict(&seen, &err);
	}
	if (release_decide(seen.migration, seen.status) == RELEASE_TELL) {
		leave_colo(s);
		return;
	}
	s->facts = *facts;
	if (rc == RC_OK && s->config->ndisks > 0)
		rc = qmp_execute(s->qmp, "query-block", NULL, on_blocks, s, &err);
	else if (rc == RC_OK)
		examined(s);
	if (rc != RC_OK)
		unfit(s, &err);
}

/* Before anything else: what another agent does with the instance looks like a fault from here. */
static void examine(struct subject *s)
{
	struct err err = { 0 };

	s->resumed = false;
	if (s->claim == CLAIM_NONE && claim_take(&s->claim, qmp_peer_pid(s->qmp), &err) != RC_OK) {
		s->ops->on_unfit(s->owner, &err);
		retry_in(s, CLAIM_MS);
		return;
	}
	if (!s->found) {
		s->found = true;
		s->ops->on_found(s->owner, s->qmp);
	}
	if (run_precheck(s, on_examined, &err) != RC_OK)
		unfit(s, &err);
}

/* QMP ---------------------------------------------------------------------------------------- */

static void on_qmp_ready(void *owner)
{
	struct subject *s = owner;

	(void)uv_timer_stop(&s->retry);
	s->ready = true;
	*s->last_error = '\0';
	examine(s);
}

static void on_qmp_event(void *owner, const char *name, const cJSON *data, uint64_t time_us)
{
	struct subject *s = owner;

	/* After a shutdown with -no-shutdown nothing runs again before a reset. */
	if (strcmp(name, "SHUTDOWN") == 0)
		s->shutdown_seen = true;
	else if (strcmp(name, "RESET") == 0)
		s->shutdown_seen = false;
	else if (strcmp(name, "RESUME") == 0 || strcmp(name, "STOP") == 0)
		s->resumed = *name == 'R';
	if (!s->closing)
		s->ops->on_event(s->owner, name, data, time_us);
	if (s->leftover != NULL)
		leftover_event(s->leftover, name);
}

static void lost(struct subject *s, const struct err *err)
{
	leave(s);
	s->fit = s->ready = false;
	/* Once per reason: a machine that is off for a week is not worth a line every half second.
	 */
	if (strcmp(s->last_error, err->text) != 0) {
		memcpy(s->last_error, err->text, sizeof(s->last_error));
		s->ops->on_lost(s->owner, err);
	}
}

static void on_qmp_closed(void *owner)
{
	struct subject *s = owner;

	s->qmp = NULL;
	claim_end(&s->claim);
	if (s->closing)
		part_closed(s); /* subject_close() came meanwhile and waits for this */
	else
		retry_in(s, RECONNECT_MS);
}

static void close_orphan(struct subject *s)
{
	if (!s->orphan || s->held || s->leftover != NULL || s->closing)
		return;
	s->orphan = false;
	qmp_close(s->qmp, on_qmp_closed);
}

static void on_qmp_lost(void *owner, const struct err *err)
{
	struct subject *s = owner;

	if (s->closing)
		return; /* what is being let go hears of it, too */
	s->orphan = true;
	lost(s, err);
	close_orphan(s);
}

/* Whether a guardian keeps us from QEMU that should not; then what to say, and when to look again. */
static bool is_stale_guardian(struct subject *s, pid_t qemu, const char *process,
			      uint64_t *again_ms, struct err *err)
{
	const pid_t before = s->stale;
	enum guardian_mark mark;
	int claim, r = EAGAIN;
	const char *does;

	s->stale = 0;
	if (qemu <= 0 || qmp_was_greeted(s->qmp) || claim_take(&claim, qemu, err) != RC_OK)
		return false; /* its agent lives */
	mark = guardian_mark_find(qemu, &s->stale);
	if (mark == GUARDIAN_MARK_WATCHES && s->stale == before)
		r = guardian_mark_end(qemu, s->stale);
	claim_end(&claim);
	if (mark == GUARDIAN_MARK_NONE)
		return false;
	does = mark == GUARDIAN_MARK_RELEASES ?
		       "waits for QEMU to let the instance go, or for the end of its lease" :
	       r == EPERM ? "does nothing, and is another user's: kill -9 it" :
			    "does nothing: ending it";
	*again_ms = mark == GUARDIAN_MARK_WATCHES ? STALE_MS : GREETING_MS;
	if (r == 0)
		log_warn("subject", "%s: ended process %d, the guardian of an agent that is gone",
			 s->config->name, (int)s->stale);
	(void)err_set(err, RC_TIMEOUT,
		      "QMP socket %s: QEMU%s does not greet: process %d, the guardian of an agent "
		      "that is gone, has it and %s",
		      s->config->qmp, process, (int)s->stale, does);
	return true;
}

/*
 * QEMU greets one client of a socket at a time. The connection stays, to be the next in line; the
 * kernel knows meanwhile who listens there.
 */
static void not_greeted(struct subject *s)
{
	const pid_t pid = qmp_peer_pid(s->qmp), holder = claim_holder(pid);
	uint64_t again_ms = GREETING_MS;
	char process[32] = "";
	struct err err;

	if (pid > 0) /* else the line is full */
		(void)snprintf(process, sizeof(process), " (process %d)", (int)pid);
	if (is_stale_guardian(s, pid, process, &again_ms, &err))
		;
	else if (qmp_was_greeted(s->qmp))
		(void)err_set(
			&err, RC_TIMEOUT,
			"QMP socket %s: QEMU%s greeted and does not answer: it is stopped, or "
			"stuck",
			s->config->qmp, process);
	else if (holder == 0)
		(void)err_set(&err, RC_TIMEOUT,
			      "QMP socket %s: QEMU%s does not greet: another QMP client has it, or "
			      "QEMU is stopped; give this agent a QMP socket of its own "
			      "(-qmp unix:PATH,server=on,wait=off)",
			      s->config->qmp, process);
	else if (holder == getpid())
		(void)err_set(&err, RC_STATE,
			      "QMP socket %s: QEMU%s does not greet: another instance of this "
			      "agent has it",
			      s->config->qmp, process);
	else
		(void)err_set(&err, RC_STATE,
			      "QMP socket %s: QEMU%s does not greet: process %d (understudy "
			      "primary) has it; one agent per instance",
			      s->config->qmp, process, (int)holder);
	if (err.code == RC_TIMEOUT) {
		lost(s, &err);
	} else {
		*s->last_error = '\0';
		s->ops->on_unfit(s->owner, &err);
	}
	retry_in(s, again_ms);
}

static const struct qmp_ops qmp_callbacks = { on_qmp_ready, on_qmp_event, on_qmp_lost };

static void on_retry(uv_timer_t *timer)
{
	struct subject *s = timer->data;
	struct err err = { 0 };

	if (s->qmp != NULL) {
		if (s->ready && !s->fit)
			examine(s);
		else if (!s->ready && !s->orphan)
			not_greeted(s);
		return; /* else a lost one that is not closed yet */
	}
	if (qmp_connect(&s->qmp, s->loop, s->config->qmp, 0, &qmp_callbacks, s, &err) == RC_OK) {
		retry_in(s, GREETING_MS);
	} else {
		s->qmp = NULL;
		lost(s, &err);
		retry_in(s, RECONNECT_MS);
	}
}

/* Life --------------------------------------------------------------------------------------- */

int subject_open(struct subject **out, uv_loop_t *loop, const struct config_instance *config,
		 const struct config *site, const struct etcd *etcd, const struct subject_ops *ops,
		 void *owner, struct err *err)
{
	struct subject *s = mem_zalloc(1, sizeof(*s));

	if (s == NULL)
		return err_nomem(err, "an instance");
	s->loop = loop;
	s->config = config;
	s->site = site;
	s->etcd = etcd;
	s->ops = ops;
	s->owner = owner;
	s->claim = CLAIM_NONE;
	(void)uv_timer_init(loop, &s->retry);
	(void)uv_timer_init(loop, &s->settle);
	s->retry.data = s->settle.data = s;
	retry_in(s, 0);
	*out = s;
	return RC_OK;
}

struct qmp *subject_qmp(const struct subject *s)
{
	return s->fit ? s->qmp : NULL;
}

const struct disk_found *subject_disks(const struct subject *s)
{
	return s->disks;
}

bool subject_shuts_down(const struct subject *s)
{
	return s->shutdown_seen;
}

bool subject_is_leaving_colo(const struct subject *s)
{
	return s->leftover != NULL;
}

void subject_reexamine(struct subject *s)
{
	if (!s->fit)
		return; /* it is being examined as it is */
	s->fit = false;
	retry_in(s, 0);
}

void subject_hold(struct subject *s)
{
	s->held = true;
}

void subject_release(struct subject *s)
{
	s->held = false;
	close_orphan(s);
}

static void part_closed(struct subject *s)
{
	void (*on_closed)(void *) = s->on_closed;
	void *owner = s->owner;

	if (--s->open_parts > 0)
		return;
	claim_end(&s->claim);
	mem_free(s);
	on_closed(owner);
}

static void on_timer_closed(uv_handle_t *handle)
{
	part_closed(handle->data);
}

static void on_last_qmp_closed(void *owner)
{
	part_closed(owner);
}

static void close_parts(struct subject *s)
{
	s->open_parts = 2 + (s->qmp != NULL);
	if (s->qmp != NULL)
		qmp_close(s->qmp, on_last_qmp_closed);
	uv_close((uv_handle_t *)&s->retry, on_timer_closed);
	uv_close((uv_handle_t *)&s->settle, on_timer_closed);
}

void subject_close(struct subject *s, void (*on_closed)(void *owner))
{
	if (s->closing)
		return;
	if (s->leftover != NULL) /* left in the middle, it would run, cut off */
		leftover_end(s->leftover);
	leave(s);
	s->closing = true;
	s->fit = false;
	s->on_closed = on_closed;
	unwatch(s);
	(void)uv_timer_stop(&s->retry);
	if (s->leftover == NULL)
		close_parts(s);
}
