/*
 * QMP, QEMU's control protocol: JSON objects over a unix socket, one command at a time in flight or
 * several, answers matched by id, events in between. Replies are bounded in size and in time; a
 * QEMU that says anything that is not QMP is disconnected with a reason. Source: QEMU's
 * docs/interop/qmp-spec. Everything here is for the loop's thread.
 */
#ifndef REPLICA_QMP_H
#define REPLICA_QMP_H

#include "appliance/base/err.h"

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <uv.h>

struct qmp;

#define QMP_LINE_MAX ((size_t)4 << 20) /* query-qmp-schema has 200 KiB; this is not QEMU */
#define QMP_COMMAND_MS 10000	       /* for one reply; slow storage can keep QEMU for seconds */
#define QMP_OPEN_MAX 256 /* commands without a reply; a caller in a loop is stopped here */

/*
 * The guardian shares the connection. Before it stops an instance it puts query-status with that id;
 * the reply comes as an event of that name, its data what query-status returned.
 */
#define QMP_GUARDIAN_ID 4503599627370496 /* beyond what is counted for commands */
#define QMP_GUARDIAN_ID_TEXT "4503599627370496"
#define QMP_GUARDIAN_EVENT "us-guardian"

struct qmp_ops {
	void (*on_ready)(void *owner); /* connected, capabilities negotiated */
	/*
	 * `data` may be NULL; `time_us`: QEMU's wall-clock timestamp in microseconds, 0 if it has
	 * none. May be NULL.
	 */
	void (*on_event)(void *owner, const char *name, const cJSON *data, uint64_t time_us);
	void (*on_lost)(void *owner, const struct err *err); /* once; then qmp_close() */
};

/*
 * `reply` is the "return" member and `err` is NULL; or `reply` is NULL and `err` tells: RC_REFUSED
 * (QEMU's own words), RC_TIMEOUT (no reply within QMP_COMMAND_MS; the connection stays), RC_CLOSED
 * (connection lost; on_lost comes next), RC_CANCELLED (qmp_close()). Both are valid during the call
 * only. Each command is answered exactly once, never from inside qmp_execute(). All callbacks may
 * call any function here, qmp_close() too.
 */
typedef void (*qmp_reply_cb)(void *owner, const cJSON *reply, const struct err *err);

/*
 * Connects to the unix socket at `path`, once; on_ready or on_lost follows within `timeout_ms` (0:
 * however long; QEMU serves one client of a socket, and greets the next when that has gone), never
 * before this returns.
 */
int qmp_connect(struct qmp **qmp, uv_loop_t *loop, const char *path, uint32_t timeout_ms,
		const struct qmp_ops *ops, void *owner, struct err *err);

/*
 * Sends a command: RC_STATE before on_ready and after on_lost. `arguments` (may be NULL) becomes
 * the callee's, also on failure. `cb` may be NULL. After an error `cb` is not called.
 */
int qmp_execute(struct qmp *qmp, const char *command, cJSON *arguments, qmp_reply_cb cb,
		void *owner, struct err *err);

/*
 * As qmp_execute("getfd", {"fdname": name}) with the descriptor passed along; `fd` stays the
 * caller's.
 */
int qmp_send_fd(struct qmp *qmp, const char *name, int fd, qmp_reply_cb cb, void *owner,
		struct err *err);

/*
 * The connection's descriptor (non-blocking), for the guardian to share; and the peer's process id,
 * which is known before the greeting; 0 if unknown.
 */
int qmp_fd(const struct qmp *qmp);
pid_t qmp_peer_pid(const struct qmp *qmp);
/* It has said that it speaks QMP; without on_ready: it does not answer. */
bool qmp_was_greeted(const struct qmp *qmp);

/*
 * Idempotent. No event and no on_lost from now on; commands without a reply are answered with
 * RC_CANCELLED from the loop, then on_closed (may be NULL) is called with the owner of
 * qmp_connect(), then everything is freed.
 */
void qmp_close(struct qmp *qmp, void (*on_closed)(void *owner));

#endif
