/*
 * connect -> query-status -> (inmigrate) quit -> the connection is lost -> the process has ended ->
 * done
 *
 * Its end is waited for, and not only that of the connection: QEMU removes its socket's name on the
 * way out, which must not be the name of the next one's. A pidfd tells also of a process that
 * nobody reaps.
 */
#include "replica/predecessor.h"

#include "appliance/base/log.h"
#include "appliance/base/mem.h"
#include "replica/qmp.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ANSWER_MS 2000 /* to greet: QEMU's main loop is idle while it waits for its memory */
#define LIMIT_MS 5000  /* for all of it */
#define LOOK_MS 5      /* between looks at the process */

struct predecessor {
	char part[96];
	char *path;
	void (*done)(void *owner, const struct err *result);
	void *owner;
	struct qmp *qmp;
	uv_timer_t limit, look;
	pid_t pid;
	int pidfd;
	bool quitting, finished;
	struct err result;
	unsigned open; /* handles and connection */
};

static void part_closed(struct predecessor *p)
{
	void (*done)(void *, const struct err *) = p->done;
	struct err result = p->result;
	void *owner = p->owner;

	if (--p->open > 0)
		return;
	if (p->pidfd >= 0)
		(void)close(p->pidfd);
	mem_free(p->path);
	mem_free(p);
	done(owner, &result);
}

static void on_qmp_closed(void *owner)
{
	struct predecessor *p = owner;

	p->qmp = NULL;
	part_closed(p);
}

static void on_timer_closed(uv_handle_t *handle)
{
	part_closed(handle->data);
}

/* The result is known: close everything, then tell it. */
static void finish(struct predecessor *p)
{
	if (p->finished)
		return;
	p->finished = true;
	uv_close((uv_handle_t *)&p->limit, on_timer_closed);
	uv_close((uv_handle_t *)&p->look, on_timer_closed);
	if (p->qmp != NULL)
		qmp_close(p->qmp, on_qmp_closed);
}

static void on_limit(uv_timer_t *timer)
{
	struct predecessor *p = timer->data;

	(void)err_set(&p->result, RC_TIMEOUT, "%.200s: process %d is there and does not %s",
		      p->path, (int)p->pid, p->quitting ? "end" : "answer");
	finish(p);
}

static void on_look(uv_timer_t *timer)
{
	struct predecessor *p = timer->data;
	struct pollfd pidfd = { .fd = p->pidfd, .events = POLLIN };

	if (p->pidfd < 0 || poll(&pidfd, 1, 0) > 0)
		finish(p);
}

static void on_status(void *owner, const cJSON *reply, const struct err *err)
{
	struct predecessor *p = owner;
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(reply, "status");
	const char *status = cJSON_IsString(item) ? item->valuestring : "of an unknown state";

	if (p->finished)
		return;
	if (reply == NULL) {
		if (err->code == RC_CLOSED)
			return; /* on_lost() comes next */
		p->result = *err;
		finish(p);
	} else if (strcmp(status, "inmigrate") != 0) {
		(void)err_set(&p->result, RC_STATE,
			      "a replica of this instance is here already: process %d, %.32s",
			      (int)p->pid, status);
		finish(p);
	} else {
		log_info(p->part, "ending process %d, which has waited here since an earlier run",
			 (int)p->pid);
		p->quitting = true;
		if (qmp_execute(p->qmp, "quit", NULL, NULL, NULL, &p->result) != RC_OK)
			finish(p);
	}
}

static void on_ready(void *owner)
{
	struct predecessor *p = owner;

	p->pid = qmp_peer_pid(p->qmp);
	p->pidfd = (int)syscall(SYS_pidfd_open, p->pid, 0);
	if (qmp_execute(p->qmp, "query-status", NULL, on_status, p, &p->result) != RC_OK)
		finish(p);
}

static void on_lost(void *owner, const struct err *err)
{
	struct predecessor *p = owner;

	if (err->code == RC_TIMEOUT) {
		p->pid = qmp_peer_pid(p->qmp);
		on_limit(&p->limit);
	} else if (p->quitting) {
		(void)uv_timer_start(&p->look, on_look, 0, LOOK_MS);
	} else {
		finish(p); /* a socket that nobody listens on */
	}
}

static const struct qmp_ops qmp_callbacks = { .on_ready = on_ready, .on_lost = on_lost };

int predecessor_clear(struct predecessor **out, uv_loop_t *loop, const char *part,
		      const char *qmp_path, void (*done)(void *owner, const struct err *result),
		      void *owner, struct err *err)
{
	struct predecessor *p = mem_zalloc(1, sizeof(*p));
	int rc;

	if (p == NULL)
		return err_nomem(err, "looking for an earlier replica");
	p->pidfd = -1;
	p->path = mem_strdup(qmp_path);
	if (p->path == NULL)
		rc = err_nomem(err, "looking for an earlier replica");
	else
		rc = qmp_connect(&p->qmp, loop, qmp_path, ANSWER_MS, &qmp_callbacks, p, err);
	if (rc != RC_OK) {
		mem_free(p->path);
		mem_free(p);
		return rc;
	}
	(void)snprintf(p->part, sizeof(p->part), "%s", part);
	p->done = done;
	p->owner = owner;
	(void)uv_timer_init(loop, &p->limit);
	(void)uv_timer_init(loop, &p->look);
	p->limit.data = p->look.data = p;
	p->open = 3;
	(void)uv_timer_start(&p->limit, on_limit, LIMIT_MS, 0);
	*out = p;
	return RC_OK;
}

void predecessor_cancel(struct predecessor *p)
{
	if (p->finished)
		return;
	(void)err_set(&p->result, RC_CANCELLED, "cancelled");
	finish(p);
}
