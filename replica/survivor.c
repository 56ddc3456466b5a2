/*
 *   connect -> query-status -> anything but "inmigrate"             : it holds the instance
 *                           -> inmigrate -> query-migrate -> nothing: it waits, and always has
 *                                                         -> under way: look again
 *           -> connected, no answer: silent; a new connection every AGAIN_MS
 *           -> nobody listens: it has ended, or its socket's file was removed, and nothing can ask it:
 *              it is looked for among all processes (hypervisor_find.h), and silent if it is there
 *
 * A process of ours that was killed right after it had sent the activation leaves a QEMU that is
 * "inmigrate" for some more milliseconds and then runs: so that word alone does not say that it was
 * never brought to life.
 *
 * The process is watched by a pidfd, as it is no child of ours. Where there is none (its process
 * id is not known here), the end of the QMP connection stands for its end.
 */
#include "replica/survivor.h"

#include "appliance/base/log.h"
#include "appliance/base/mem.h"
#include "replica/hypervisor_find.h"
#include "replica/qmp.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ANSWER_MS 2000 /* as predecessor.c: the main loop of a QEMU has little to do */
#define LOOK_MS 20     /* between looks at one that is being brought to life */
#define LOOKS_MAX 500  /* 10 s, what hypervisor.c gives an activation */
#define AGAIN_MS 2000  /* after a connection that came to nothing */

struct survivor {
	uv_loop_t *loop;
	const struct survivor_ops *ops;
	void *owner;
	char part[96], state[32];
	char *path;
	struct qmp *qmp;
	bool qmp_closing;
	uv_timer_t timer; /* what comes next */
	uv_poll_t process;
	int pidfd;
	pid_t pid;
	unsigned looks;
	bool told, silent, ended, closing;
	bool unnamed; /* nobody listens at its path, and yet it is there */
	unsigned handles;
	void (*on_closed)(void *owner);
};

static void connect_qmp(struct survivor *s);
static void ask(struct survivor *s);

/* What is told ------------------------------------------------------------------------------- */

static void found(struct survivor *s, enum survivor_kind kind)
{
	if (s->closing || s->ended || (s->told && !s->silent) ||
	    (s->silent && kind == SURVIVOR_SILENT))
		return;
	s->told = true;
	s->silent = kind == SURVIVOR_SILENT;
	s->ops->on_found(s->owner, kind);
}

static void ended(struct survivor *s)
{
	if (s->ended || s->closing)
		return;
	s->ended = true;
	(void)uv_timer_stop(&s->timer);
	if (s->told)
		s->ops->on_ended(s->owner);
	else
		s->ops->on_found(s->owner, SURVIVOR_NONE);
}

/* Its process -------------------------------------------------------------------------------- */

static void on_process_end(uv_poll_t *poll, int status, int events)
{
	(void)status;
	(void)events;
	(void)uv_poll_stop(poll);
	ended(poll->data);
}

static void watch_process(struct survivor *s, pid_t pid)
{
	if (s->pidfd >= 0)
		return;
	s->pid = pid;
	s->pidfd = s->pid > 0 ? (int)syscall(SYS_pidfd_open, s->pid, 0) : -1;
	if (s->pidfd < 0)
		return;
	if (uv_poll_init(s->loop, &s->process, s->pidfd) != 0) {
		(void)close(s->pidfd);
		s->pidfd = -1;
		return;
	}
	s->handles++;
	s->process.data = s;
	(void)uv_poll_start(&s->process, UV_READABLE, on_process_end);
}

/* QMP ---------------------------------------------------------------------------------------- */

static void on_timer(uv_timer_t *timer)
{
	struct survivor *s = timer->data;

	if (s->qmp != NULL)
		ask(s);
	else
		connect_qmp(s);
}

static void handle_closed(struct survivor *s)
{
	void (*on_closed)(void *) = s->on_closed;
	void *owner = s->owner;

	if (--s->handles > 0)
		return;
	if (s->pidfd >= 0)
		(void)close(s->pidfd);
	mem_free(s->path);
	mem_free(s);
	if (on_closed != NULL)
		on_closed(owner);
}

static void on_qmp_closed(void *owner)
{
	struct survivor *s = owner;

	s->qmp = NULL;
	s->qmp_closing = false;
	if (s->closing)
		handle_closed(s);
	else if (!s->ended)
		(void)uv_timer_start(&s->timer, on_timer, AGAIN_MS, 0);
}

static void end_qmp(struct survivor *s)
{
	if (s->qmp == NULL || s->qmp_closing)
		return;
	s->qmp_closing = true;
	qmp_close(s->qmp, on_qmp_closed);
}

/* No answer, or none that makes sense, from somebody who is there. */
static void no_answer(struct survivor *s)
{
	found(s, SURVIVOR_SILENT);
	end_qmp(s);
}

static void on_migration(void *owner, const cJSON *reply, const struct err *err)
{
	const cJSON *status = cJSON_GetObjectItemCaseSensitive(reply, "status");
	struct survivor *s = owner;

	if (s->closing || s->ended || (reply == NULL && err->code == RC_CLOSED))
		return;
	if (reply != NULL && (!cJSON_IsString(status) || strcmp(status->valuestring, "none") == 0 ||
			      strcmp(status->valuestring, "failed") == 0))
		found(s, SURVIVOR_WAITS);
	else if (reply != NULL && s->looks++ < LOOKS_MAX)
		(void)uv_timer_start(&s->timer, on_timer, LOOK_MS, 0);
	else
		no_answer(s);
}

static void on_status(void *owner, const cJSON *reply, const struct err *err)
{
	const cJSON *status = cJSON_GetObjectItemCaseSensitive(reply, "status");
	struct survivor *s = owner;
	struct err failed;

	if (s->closing || s->ended || (reply == NULL && err->code == RC_CLOSED))
		return; /* closed: on_lost() comes next */
	if (!cJSON_IsString(status)) {
		no_answer(s);
		return;
	}
	if (strcmp(status->valuestring, "inmigrate") != 0) {
		(void)snprintf(s->state, sizeof(s->state), "%s", status->valuestring);
		found(s, SURVIVOR_RUNS);
	} else if (qmp_execute(s->qmp, "query-migrate", NULL, on_migration, s, &failed) != RC_OK) {
		no_answer(s);
	}
}

static void ask(struct survivor *s)
{
	struct err err;

	if (qmp_execute(s->qmp, "query-status", NULL, on_status, s, &err) != RC_OK)
		no_answer(s);
}

static void on_ready(void *owner)
{
	struct survivor *s = owner;

	s->unnamed = false;
	watch_process(s, qmp_peer_pid(s->qmp));
	ask(s);
}

static void on_event(void *owner, const char *name, const cJSON *data, uint64_t time_us)
{
	struct survivor *s = owner;

	(void)data;
	(void)time_us;
	if (strcmp(name, "STOP") == 0)
		(void)snprintf(s->state, sizeof(s->state), "paused");
	else if (strcmp(name, "RESUME") == 0)
		(void)snprintf(s->state, sizeof(s->state), "running");
}

static void on_lost(void *owner, const struct err *err)
{
	struct survivor *s = owner;

	if (s->closing || s->ended)
		return;
	watch_process(s, qmp_peer_pid(s->qmp));
	if (s->pidfd < 0 && err->code != RC_TIMEOUT) {
		end_qmp(s);
		ended(s);
		return;
	}
	log_warn(s->part, "%s; process %d is still there", err->text, (int)s->pid);
	no_answer(s);
}

static const struct qmp_ops qmp_callbacks = { on_ready, on_event, on_lost };

/* Nobody listens. That it has ended is said only if that is certain: whoever believes it may be wrong for good. */
static void seek_process(struct survivor *s)
{
	struct err err;
	pid_t pid;
	int rc = hypervisor_find(&pid, s->path, &err);

	if (rc != RC_OK)
		log_warn(s->part, "looking for the replica: %s", err.text);
	if (rc == RC_OK && pid == 0) {
		ended(s);
		return;
	}
	if (rc == RC_OK)
		watch_process(s, pid);
	if (s->pidfd >= 0) {
		log_warn(s->part, "process %d runs, but its QMP socket %s is gone", (int)pid,
			 s->path);
		s->unnamed = true;
		found(s, SURVIVOR_SILENT);
	}
	(void)uv_timer_start(&s->timer, on_timer, AGAIN_MS, 0);
}

static void connect_qmp(struct survivor *s)
{
	struct err err;
	int rc = qmp_connect(&s->qmp, s->loop, s->path, ANSWER_MS, &qmp_callbacks, s, &err);

	if (rc == RC_OK)
		return;
	s->qmp = NULL;
	if (rc == RC_CLOSED && s->pidfd < 0) {
		seek_process(s);
		return;
	}
	/* Of one whose process is watched, that alone tells its end. */
	if (rc != RC_CLOSED)
		log_warn(s->part, "looking for the replica: %s", err.text);
	(void)uv_timer_start(&s->timer, on_timer, AGAIN_MS, 0);
}

/* Life --------------------------------------------------------------------------------------- */

int survivor_seek(struct survivor **out, uv_loop_t *loop, const char *part, const char *qmp_path,
		  const struct survivor_ops *ops, void *owner, struct err *err)
{
	struct survivor *s = mem_zalloc(1, sizeof(*s));

	if (s != NULL)
		s->path = mem_strdup(qmp_path);
	if (s == NULL || s->path == NULL) {
		mem_free(s);
		return err_nomem(err, "looking for a replica");
	}
	(void)snprintf(s->part, sizeof(s->part), "%s", part);
	s->loop = loop;
	s->ops = ops;
	s->owner = owner;
	s->pidfd = -1;
	(void)uv_timer_init(loop, &s->timer);
	s->timer.data = s;
	s->handles = 1;
	(void)uv_timer_start(&s->timer, on_timer, 0, 0);
	*out = s;
	return RC_OK;
}

pid_t survivor_pid(const struct survivor *s)
{
	return s->pid;
}

const char *survivor_silence(const struct survivor *s)
{
	return s != NULL && s->unnamed ?
		       "the replica's process runs, but its QMP socket is gone: it cannot be asked" :
		       "the replica's process is there and does not answer";
}

const char *survivor_state(const struct survivor *s)
{
	return s->silent ? "silent" : s->state;
}

static void on_handle_closed(uv_handle_t *handle)
{
	handle_closed(handle->data);
}

void survivor_close(struct survivor *s, void (*on_closed)(void *owner))
{
	if (s->closing)
		return;
	s->closing = true;
	s->on_closed = on_closed;
	if (s->qmp != NULL) {
		s->handles++;
		end_qmp(s);
	}
	if (s->pidfd >= 0)
		uv_close((uv_handle_t *)&s->process, on_handle_closed);
	uv_close((uv_handle_t *)&s->timer, on_handle_closed);
}
