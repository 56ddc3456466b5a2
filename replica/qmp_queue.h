/*
 * QMP commands on their way: written to the socket in order, then waiting for their replies. No
 * loop, no timer; qmp.c drives it.
 *
 * Bytes that the socket did not take stay with their command, and `unsent` counts such commands,
 * always the last ones: order is kept without a second queue. A descriptor goes out with the first
 * byte of its command.
 */
#ifndef REPLICA_QMP_QUEUE_H
#define REPLICA_QMP_QUEUE_H

#include "appliance/base/err.h"
#include "replica/qmp.h"

#include <stddef.h>
#include <stdint.h>

struct qmp_request {
	struct qmp_request *next;
	uint64_t id, deadline_ns;
	qmp_reply_cb cb;
	void *owner;
	char *text; /* with its newline; NULL once all is sent */
	size_t len, sent;
	int fd; /* ours, -1: none or already sent */
};

struct qmp_queue {
	struct qmp_request *first, **end;
	unsigned open, unsent;
	uint64_t next_id;
};

void qmp_queue_init(struct qmp_queue *queue);

/*
 * Adds a command. `arguments` (may be NULL) and `fd` (or -1) become the queue's, also on failure.
 */
int qmp_queue_add(struct qmp_queue *queue, const char *command, cJSON *arguments, int fd,
		  qmp_reply_cb cb, void *owner, struct err *err);

/*
 * Sends what the socket takes now; 0, or the errno value of what went wrong (EAGAIN does not
 * count).
 */
int qmp_queue_flush(struct qmp_queue *queue, int socket);

/* Answers the command with that id, if there is one that was sent; frees it after its callback. */
void qmp_queue_answer(struct qmp_queue *queue, uint64_t id, const cJSON *reply,
		      const struct err *err);
/* The same for the oldest command, sent or not; there must be one. And for all. */
void qmp_queue_answer_first(struct qmp_queue *queue, const struct err *err);
void qmp_queue_answer_all(struct qmp_queue *queue, const struct err *err);

#endif
