/*
 * Theory of operation
 *
 * One non-blocking unix socket watched by one uv_poll_t (not a uv_pipe_t: descriptors have to
 * travel with the bytes of "getfd", which libuv does only for its own handles) and one timer armed
 * for the earliest deadline.
 *
 *   CONNECTING -greeting-> NEGOTIATING -reply to qmp_capabilities-> READY -anything wrong-> LOST
 *
 * Sending: qmp_queue.c holds the commands until their replies. Receiving: qmp_parse.c finds the
 * objects. Replies are matched by id; a reply with an id that is not open (the guardian writes
 * commands to the same socket, a late reply comes after its time limit) or with none is ignored.
 *
 * Life: every callback may call qmp_close(), so after each of them `closing` is looked at before
 * anything else is done; the memory goes only when libuv has closed both handles. Loss is reported
 * only from the loop, never from inside a call of the owner's.
 */
#include "replica/qmp.h"

#include "appliance/base/clock.h"
#include "appliance/base/mem.h"
#include "replica/qmp_parse.h"
#include "replica/qmp_queue.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define READ_BYTES ((size_t)16 << 10)
#define READS_PER_TURN 64 /* 1 MiB, then the loop's other handles get their turn */
/* While the backlog is full nothing tells when it has room again. */
#define CONNECT_RETRY_MS 5
#define CONNECT_RETRY_MS_MAX 200

enum state { CONNECTING, NEGOTIATING, READY, LOST };

struct qmp {
	uv_loop_t *loop;
	uv_poll_t poll;
	uv_timer_t timer;
	int handles; /* open */
	int fd;
	enum state state;
	bool connected, watched, closing;
	int send_errno; /* 0: none */
	struct sockaddr_un address;
	uint64_t connect_deadline_ns;
	uint32_t retry_ms;
	struct qmp_ops ops;
	void *owner;
	void (*on_closed)(void *owner);
	struct qmp_queue queue;
	struct qmp_parse parse;
};

static void update_timer(struct qmp *qmp);
static void update_poll(struct qmp *qmp);

/* The end, from the loop: everything open is answered, then the owner hears of it once. */
static void lose(struct qmp *qmp, const struct err *why)
{
	struct err closed;

	if (qmp->closing || qmp->state == LOST)
		return;
	qmp->state = LOST;
	(void)uv_timer_stop(&qmp->timer);
	if (qmp->watched)
		(void)uv_poll_stop(&qmp->poll);
	(void)err_set(&closed, RC_CLOSED, "%s", why->text);
	qmp_queue_answer_all(&qmp->queue, &closed);
	if (!qmp->closing)
		qmp->ops.on_lost(qmp->owner, why);
}

/* ---- sending ------------------------------------------------------------------------------- */

/* A closed connection is left for the read side to find: QEMU's last words may still be there. */
static void flush(struct qmp *qmp)
{
	int error = qmp_queue_flush(&qmp->queue, qmp->fd);

	if (error != 0 && error != EPIPE && error != ECONNRESET)
		qmp->send_errno = error; /* on_timer() reports it */
}

/* Queues and tries to send; `fd` (or -1) becomes ours, also on failure. */
static int submit(struct qmp *qmp, const char *command, cJSON *arguments, int fd, qmp_reply_cb cb,
		  void *owner, struct err *err)
{
	int rc = qmp_queue_add(&qmp->queue, command, arguments, fd, cb, owner, err);

	if (rc != RC_OK)
		return rc;
	flush(qmp);
	update_poll(qmp);
	update_timer(qmp);
	return RC_OK;
}

static int not_ready(const struct qmp *qmp, const char *command, struct err *err)
{
	if (qmp->closing || qmp->state == LOST)
		return err_set(err, RC_STATE, "%s: the QMP connection is gone", command);
	return err_set(err, RC_STATE, "%s: the QMP connection is not ready", command);
}

int qmp_execute(struct qmp *qmp, const char *command, cJSON *arguments, qmp_reply_cb cb,
		void *owner, struct err *err)
{
	if (qmp->closing || qmp->state != READY) {
		cJSON_Delete(arguments);
		return not_ready(qmp, command, err);
	}
	return submit(qmp, command, arguments, -1, cb, owner, err);
}

int qmp_send_fd(struct qmp *qmp, const char *name, int fd, qmp_reply_cb cb, void *owner,
		struct err *err)
{
	cJSON *arguments;
	int own;

	if (qmp->closing || qmp->state != READY)
		return not_ready(qmp, "getfd", err);
	arguments = cJSON_CreateObject();
	if (arguments == NULL || cJSON_AddStringToObject(arguments, "fdname", name) == NULL) {
		cJSON_Delete(arguments);
		return err_nomem(err, "getfd");
	}
	own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (own < 0) {
		cJSON_Delete(arguments);
		return err_system(err, errno, "getfd: duplicating descriptor %d", fd);
	}
	return submit(qmp, "getfd", arguments, own, cb, owner, err);
}

/* ---- receiving ----------------------------------------------------------------------------- */

static void on_capabilities(void *owner, const cJSON *reply, const struct err *err)
{
	struct qmp *qmp = owner;
	struct err why;

	if (qmp->closing || qmp->state == LOST)
		return;
	if (reply == NULL) {
		why = *err;
		(void)err_prefix(&why, "qmp_capabilities: ");
		lose(qmp, &why);
		return;
	}
	qmp->state = READY;
	update_timer(qmp);
	qmp->ops.on_ready(qmp->owner);
}

static int take_greeting(struct qmp *qmp, struct err *err)
{
	if (qmp->state != CONNECTING)
		return err_set(err, RC_INVALID, "not QMP: a second greeting");
	qmp->state = NEGOTIATING;
	return submit(qmp, "qmp_capabilities", NULL, -1, on_capabilities, qmp, err);
}

static int dispatch(struct qmp *qmp, const struct qmp_parse_message *message, struct err *err)
{
	struct err refused;

	switch (message->kind) {
	case QMP_PARSE_GREETING:
		return take_greeting(qmp, err);
	case QMP_PARSE_EVENT:
		if (qmp->state == READY && qmp->ops.on_event != NULL)
			qmp->ops.on_event(qmp->owner, message->text, message->data,
					  message->time_us);
		return RC_OK;
	case QMP_PARSE_RETURN:
	case QMP_PARSE_ERROR:
		break;
	}
	if (!message->has_id)
		return RC_OK;
	if (message->id == QMP_GUARDIAN_ID) {
		if (qmp->state == READY && message->kind == QMP_PARSE_RETURN &&
		    qmp->ops.on_event != NULL)
			qmp->ops.on_event(qmp->owner, QMP_GUARDIAN_EVENT, message->data, 0);
		return RC_OK;
	}
	(void)err_set(&refused, RC_REFUSED, "%s", message->text);
	if (message->kind == QMP_PARSE_RETURN)
		qmp_queue_answer(&qmp->queue, message->id, message->data, NULL);
	else
		qmp_queue_answer(&qmp->queue, message->id, NULL, &refused);
	return RC_OK;
}

/* What is wrong with what it said; before the greeting it is most likely no QMP socket at all. */
static void lose_to_nonsense(struct qmp *qmp, const struct err *why)
{
	struct err err;

	(void)err_set(&err, why->code, "%s: %.200s%s", qmp->address.sun_path, why->text,
		      qmp->state == CONNECTING ?
			      "; is it the socket of a \"-qmp unix:PATH,server=on,wait=off\"?" :
			      "");
	lose(qmp, &err);
}

/* Everything in `bytes`, until used up or the connection ends. */
static void consume(struct qmp *qmp, const uint8_t *bytes, size_t len)
{
	struct qmp_parse_message message;
	struct err err;
	bool complete;
	int rc;

	while (len > 0 && !qmp->closing && qmp->state != LOST) {
		rc = qmp_parse_feed(&qmp->parse, &bytes, &len, &message, &complete, &err);
		if (rc == RC_OK && complete) {
			rc = dispatch(qmp, &message, &err);
			qmp_parse_release(&message);
		}
		if (rc != RC_OK)
			lose_to_nonsense(qmp, &err);
	}
}

/* Takes what is there; false when there may be more. */
static bool receive(struct qmp *qmp)
{
	uint8_t bytes[READ_BYTES];
	struct err err;
	ssize_t r;
	int turn;

	for (turn = 0; turn < READS_PER_TURN && !qmp->closing && qmp->state != LOST; turn++) {
		r = recv(qmp->fd, bytes, sizeof(bytes), MSG_DONTWAIT);
		if (r > 0) {
			consume(qmp, bytes, (size_t)r);
		} else if (r == 0 || errno == ECONNRESET) {
			(void)err_set(&err, RC_CLOSED, "QEMU closed the QMP connection");
			lose(qmp, &err);
		} else if (errno == EAGAIN || errno == EWOULDBLOCK) {
			return true;
		} else if (errno != EINTR) {
			(void)err_system(&err, errno, "reading from QMP");
			lose(qmp, &err);
		}
	}
	return false;
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
	struct qmp *qmp = poll->data;
	bool all = false;
	struct err err;

	if ((events & UV_WRITABLE) != 0)
		flush(qmp);
	/*
	 * With an error (QEMU was killed before it read all of ours), what it said before is still
	 * there.
	 */
	if (status < 0 || (events & UV_READABLE) != 0)
		all = receive(qmp);
	if (status < 0 && all) {
		(void)err_set(&err, RC_CLOSED, "QMP connection: %s", uv_strerror(status));
		lose(qmp, &err);
	}
	update_poll(qmp);
	update_timer(qmp);
}

static void update_poll(struct qmp *qmp)
{
	int events =
		UV_READABLE | (qmp->queue.unsent > 0 && qmp->send_errno == 0 ? UV_WRITABLE : 0);

	if (qmp->watched && !qmp->closing && qmp->state != LOST)
		(void)uv_poll_start(&qmp->poll, events, on_poll);
}

/* ---- time ---------------------------------------------------------------------------------- */

static void try_connect(struct qmp *qmp);

static void expire(struct qmp *qmp, uint64_t now)
{
	const struct qmp_request *first;
	struct err err;

	while ((first = qmp->queue.first) != NULL && first->deadline_ns <= now && !qmp->closing &&
	       qmp->state == READY) {
		if (first->text != NULL) {
			/* Half a command may be out, so this connection is of no more use. */
			(void)err_set(&err, RC_TIMEOUT, "QEMU has not read its QMP socket for %d s",
				      QMP_COMMAND_MS / 1000);
			lose(qmp, &err);
			return;
		}
		(void)err_set(&err, RC_TIMEOUT, "no QMP reply within %d s", QMP_COMMAND_MS / 1000);
		qmp_queue_answer_first(&qmp->queue, &err);
	}
}

static void on_timer(uv_timer_t *timer)
{
	struct qmp *qmp = timer->data;
	uint64_t now = clock_now_ns();
	struct err err;

	/*
	 * What has come counts before the clock does: if it is this process that was held up, the
	 * answers are there.
	 */
	if (qmp->connected)
		(void)receive(qmp);
	if (qmp->closing || qmp->state == LOST)
		return;
	if (qmp->send_errno != 0) {
		(void)err_system(&err, qmp->send_errno, "writing to QMP");
		lose(qmp, &err);
	} else if (qmp->state == READY) {
		expire(qmp, now);
	} else if (now >= qmp->connect_deadline_ns) {
		(void)err_set(
			&err, RC_TIMEOUT, "%s: %s", qmp->address.sun_path,
			qmp->state == NEGOTIATING ?
				"greeted, and did not answer qmp_capabilities in time" :
			qmp->connected ?
				"no QMP greeting in time (is another client connected to this socket?)" :
				"no QMP greeting in time");
		lose(qmp, &err);
	} else if (!qmp->connected) {
		if (qmp->retry_ms < CONNECT_RETRY_MS_MAX)
			qmp->retry_ms *= 2;
		try_connect(qmp);
	}
	update_timer(qmp);
}

static void update_timer(struct qmp *qmp)
{
	uint64_t now = clock_now_ns(), deadline = qmp->connect_deadline_ns, wait_ms = 0;

	if (qmp->closing || qmp->state == LOST)
		return;
	if (qmp->state == READY) {
		if (qmp->queue.first == NULL) {
			(void)uv_timer_stop(&qmp->timer);
			return;
		}
		deadline = qmp->queue.first->deadline_ns;
	}
	if (deadline > now)
		wait_ms = (deadline - now) / CLOCK_NS_PER_MS + 1;
	if (qmp->send_errno != 0)
		wait_ms = 0;
	if (!qmp->connected && wait_ms > qmp->retry_ms)
		wait_ms = qmp->retry_ms;
	uv_update_time(qmp->loop);
	(void)uv_timer_start(&qmp->timer, on_timer, wait_ms, 0);
}

/* ---- connecting and closing ---------------------------------------------------------------- */

static int start_connect(struct qmp *qmp, struct err *err)
{
	int r;

	do {
		r = connect(qmp->fd, (const struct sockaddr *)&qmp->address, sizeof(qmp->address));
	} while (r < 0 && errno == EINTR);
	if (r < 0 && errno == EAGAIN)
		return RC_OK; /* the listener's backlog is full: again in a moment */
	if (r < 0) {
		(void)err_system(err, errno, "%s", qmp->address.sun_path);
		if (errno == ECONNREFUSED || errno == ENOENT)
			err->code = RC_CLOSED; /* nobody listens */
		return (int)err->code;
	}
	qmp->connected = qmp->watched = true;
	update_poll(qmp);
	return RC_OK;
}

static void try_connect(struct qmp *qmp)
{
	struct err err;

	if (start_connect(qmp, &err) != RC_OK)
		lose(qmp, &err);
}

static void on_handle_closed(uv_handle_t *handle)
{
	struct qmp *qmp = handle->data;
	struct err err;

	if (--qmp->handles > 0)
		return;
	(void)err_set(&err, RC_CANCELLED, "the QMP connection was closed");
	qmp_queue_answer_all(&qmp->queue, &err);
	qmp_parse_free(&qmp->parse);
	(void)close(qmp->fd);
	if (qmp->on_closed != NULL)
		qmp->on_closed(qmp->owner);
	mem_free(qmp);
}

void qmp_close(struct qmp *qmp, void (*on_closed)(void *owner))
{
	if (qmp == NULL || qmp->closing)
		return;
	qmp->closing = true;
	qmp->on_closed = on_closed;
	uv_close((uv_handle_t *)&qmp->poll, on_handle_closed);
	uv_close((uv_handle_t *)&qmp->timer, on_handle_closed);
}

static int set_address(struct qmp *qmp, const char *path, struct err *err)
{
	size_t len = strlen(path);

	if (len == 0 || len >= sizeof(qmp->address.sun_path))
		return err_set(err, RC_LIMIT, "%s: a unix socket's path has 1 to %zu bytes", path,
			       sizeof(qmp->address.sun_path) - 1);
	qmp->address.sun_family = AF_UNIX;
	memcpy(qmp->address.sun_path, path, len + 1);
	return RC_OK;
}

int qmp_connect(struct qmp **out, uv_loop_t *loop, const char *path, uint32_t timeout_ms,
		const struct qmp_ops *ops, void *owner, struct err *err)
{
	struct qmp *qmp = mem_zalloc(1, sizeof(*qmp));
	int rc, r;

	*out = NULL;
	if (qmp == NULL)
		return err_nomem(err, "a QMP connection");
	qmp->loop = loop;
	qmp->ops = *ops;
	qmp->owner = owner;
	qmp_queue_init(&qmp->queue);
	qmp->fd = -1;
	qmp_parse_init(&qmp->parse);
	qmp->connect_deadline_ns =
		timeout_ms > 0 ? clock_now_ns() + timeout_ms * CLOCK_NS_PER_MS : UINT64_MAX;
	qmp->retry_ms = CONNECT_RETRY_MS;
	rc = set_address(qmp, path, err);
	if (rc != RC_OK)
		goto out;
	qmp->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (qmp->fd < 0) {
		rc = err_system(err, errno, "a unix socket");
		goto out;
	}
	r = uv_poll_init(loop, &qmp->poll, qmp->fd);
	if (r < 0) {
		rc = err_set(err, RC_IO, "watching a unix socket: %s", uv_strerror(r));
		goto out;
	}
	(void)uv_timer_init(loop, &qmp->timer);
	qmp->poll.data = qmp->timer.data = qmp;
	qmp->handles = 2;
	rc = start_connect(qmp, err);
	if (rc != RC_OK) {
		qmp_close(qmp, NULL);
		return rc;
	}
	update_timer(qmp);
	*out = qmp;
	return RC_OK;
out:
	if (qmp->fd >= 0)
		(void)close(qmp->fd);
	mem_free(qmp);
	return rc;
}

int qmp_fd(const struct qmp *qmp)
{
	return qmp->fd;
}

bool qmp_was_greeted(const struct qmp *qmp)
{
	return qmp->state == NEGOTIATING || qmp->state == READY;
}

pid_t qmp_peer_pid(const struct qmp *qmp)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	if (getsockopt(qmp->fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
		return 0;
	return peer.pid;
}
