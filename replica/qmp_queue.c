#include "replica/qmp_queue.h"

#include "appliance/base/clock.h"
#include "appliance/base/mem.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

void qmp_queue_init(struct qmp_queue *queue)
{
	memset(queue, 0, sizeof(*queue));
	queue->end = &queue->first;
	queue->next_id = 1;
}

static void request_free(struct qmp_request *request)
{
	if (request->fd >= 0)
		(void)close(request->fd);
	cJSON_free(request->text);
	mem_free(request);
}

/* Out of the list first: the callback may add commands, answer others, or close the connection. */
static void answer_at(struct qmp_queue *queue, struct qmp_request **at, const cJSON *reply,
		      const struct err *err)
{
	struct qmp_request *request = *at;

	*at = request->next;
	if (queue->end == &request->next)
		queue->end = at;
	queue->open--;
	if (request->text != NULL)
		queue->unsent--;
	if (request->cb != NULL)
		request->cb(request->owner, reply, err);
	request_free(request);
}

void qmp_queue_answer(struct qmp_queue *queue, uint64_t id, const cJSON *reply,
		      const struct err *err)
{
	struct qmp_request **at;

	for (at = &queue->first; *at != NULL && (*at)->text == NULL; at = &(*at)->next) {
		if ((*at)->id == id) {
			answer_at(queue, at, reply, err);
			return;
		}
	}
}

void qmp_queue_answer_first(struct qmp_queue *queue, const struct err *err)
{
	answer_at(queue, &queue->first, NULL, err);
}

void qmp_queue_answer_all(struct qmp_queue *queue, const struct err *err)
{
	while (queue->first != NULL)
		qmp_queue_answer_first(queue, err);
}

/* ---- adding -------------------------------------------------------------------------------- */

/* One line of text for the command; `arguments` is consumed. cJSON_free() it. */
static char *command_text(const char *command, cJSON *arguments, uint64_t id, size_t *len)
{
	cJSON *root = cJSON_CreateObject();
	char *text = NULL;

	if (root == NULL || cJSON_AddStringToObject(root, "execute", command) == NULL ||
	    cJSON_AddNumberToObject(root, "id", (double)id) == NULL)
		goto out;
	if (arguments != NULL) {
		if (!cJSON_AddItemToObject(root, "arguments", arguments))
			goto out;
		arguments = NULL;
	}
	text = cJSON_PrintUnformatted(root);
	if (text != NULL) {
		*len = strlen(text) + 1;
		text[*len - 1] = '\n'; /* in place of the NUL: from here on bytes with a length */
	}
out:
	cJSON_Delete(arguments);
	cJSON_Delete(root);
	return text;
}

int qmp_queue_add(struct qmp_queue *queue, const char *command, cJSON *arguments, int fd,
		  qmp_reply_cb cb, void *owner, struct err *err)
{
	struct qmp_request *request = mem_zalloc(1, sizeof(*request));

	if (request == NULL) {
		cJSON_Delete(arguments);
		if (fd >= 0)
			(void)close(fd);
		return err_nomem(err, command);
	}
	request->fd = fd;
	request->id = queue->next_id;
	request->text = command_text(command, arguments, request->id, &request->len);
	if (request->text == NULL) {
		request_free(request);
		return err_nomem(err, command);
	}
	if (queue->open >= QMP_OPEN_MAX) {
		request_free(request);
		return err_set(err, RC_LIMIT, "%s: %u QMP commands are waiting for their replies",
			       command, queue->open);
	}
	request->cb = cb;
	request->owner = owner;
	request->deadline_ns = clock_now_ns() + QMP_COMMAND_MS * CLOCK_NS_PER_MS;
	*queue->end = request;
	queue->end = &request->next;
	queue->next_id++;
	queue->open++;
	queue->unsent++;
	return RC_OK;
}

/* ---- sending ------------------------------------------------------------------------------- */

static ssize_t send_some(int socket, const struct qmp_request *request)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = { .bytes = { 0 } };
	struct iovec iov = { .iov_base = request->text + request->sent,
			     .iov_len = request->len - request->sent };
	struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct cmsghdr *header;
	ssize_t r;

	if (request->fd >= 0) {
		message.msg_control = control.bytes;
		message.msg_controllen = sizeof(control.bytes);
		header = CMSG_FIRSTHDR(&message);
		header->cmsg_level = SOL_SOCKET;
		header->cmsg_type = SCM_RIGHTS;
		header->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(header), &request->fd, sizeof(int));
	}
	do {
		r = sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
	} while (r < 0 && errno == EINTR);
	return r;
}

int qmp_queue_flush(struct qmp_queue *queue, int socket)
{
	struct qmp_request *request = queue->first;
	ssize_t r;

	while (queue->unsent > 0) {
		if (request->text == NULL) {
			request = request->next;
			continue;
		}
		r = send_some(socket, request);
		if (r < 0)
			return errno == EAGAIN ? 0 : errno;
		if (request->fd >= 0) {
			(void)close(request->fd);
			request->fd = -1;
		}
		request->sent += (size_t)r;
		if (request->sent < request->len)
			continue;
		cJSON_free(request->text);
		request->text = NULL;
		queue->unsent--;
	}
	return 0;
}
