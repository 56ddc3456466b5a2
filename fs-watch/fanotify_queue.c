#include "fs-watch/fanotify_queue.h"

#include "appliance/base/mem.h"

#include <errno.h>
#include <linux/fanotify.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <xxhash.h>

#define READ_BYTES ((size_t)256 << 10)
#define BUFFER_MAX ((size_t)256 << 20)

struct fanotify_leaving {
	size_t at;
	uint64_t hash;
};

void fanotify_queue_init(struct fanotify_queue *queue, int fd)
{
	*queue = (struct fanotify_queue){ .fd = fd, .data.limit = BUFFER_MAX + READ_BYTES };
}

static uint64_t hash_of(const struct tree_key *key)
{
	return XXH64(key->bytes, key->len, 0);
}

static bool note_leaving(struct fanotify_queue *queue, size_t at, const struct tree_key *key)
{
	const size_t capacity = queue->capacity > 0 ? queue->capacity * 2 : 64;
	struct fanotify_leaving *more;

	if (queue->nleaving == queue->capacity) {
		more = mem_realloc(queue->leaving, capacity * sizeof(*more));
		if (more == NULL)
			return false;
		queue->leaving = more;
		queue->capacity = capacity;
	}
	queue->leaving[queue->nleaving++] =
		(struct fanotify_leaving){ .at = at, .hash = hash_of(key) };
	return true;
}

/* Of what has just been read. */
static int look_through(struct fanotify_queue *queue, size_t at, struct err *err)
{
	struct fanotify_event event;
	size_t used;

	for (; at < queue->data.len; at += used) {
		if (fanotify_event_parse(&event, &used, queue->data.data + at, queue->data.len - at,
					 err) != RC_OK)
			return (int)err->code;
		queue->count++;
		if ((event.mask & FAN_ONDIR) != 0 && event.has_target && event.at.there &&
		    (event.mask & (FAN_DELETE | FAN_RENAME)) != 0 &&
		    !note_leaving(queue, at, &event.target))
			return err_nomem(err, "fanotify's reports");
	}
	return RC_OK;
}

int fanotify_queue_read(struct fanotify_queue *queue, struct err *err)
{
	const size_t before = queue->data.len;
	uint8_t *room;
	ssize_t got;

	if (before >= BUFFER_MAX)
		return err_set(err, RC_LIMIT, "fanotify's reports: there are too many");
	room = buf_extend(&queue->data, READ_BYTES);
	if (room == NULL) {
		queue->data.failed = false;
		return err_nomem(err, "fanotify's reports");
	}
	got = read(queue->fd, room, READ_BYTES);
	queue->data.len = before + (got > 0 ? (size_t)got : 0);
	if (got > 0)
		return look_through(queue, before, err);
	return err_set(err, got < 0 && errno != EAGAIN && errno != EINTR ? RC_IO : RC_STATE,
		       "fanotify: %s", strerror(errno));
}

/* It counts the fixed part of each. */
uint64_t fanotify_queue_waiting(const struct fanotify_queue *queue)
{
	int bytes = 0;

	(void)ioctl(queue->fd, FIONREAD, &bytes);
	return (uint64_t)bytes / FAN_EVENT_METADATA_LEN;
}

bool fanotify_queue_next(struct fanotify_queue *queue, struct fanotify_event *event)
{
	struct err err;
	size_t used;

	if (queue->at == queue->data.len ||
	    fanotify_event_parse(event, &used, queue->data.data + queue->at,
				 queue->data.len - queue->at, &err) != RC_OK) {
		fanotify_queue_forget(queue);
		return false;
	}
	if (queue->first < queue->nleaving && queue->leaving[queue->first].at == queue->at)
		queue->first++;
	queue->at += used;
	queue->taken++;
	return true;
}

bool fanotify_queue_ahead(const struct fanotify_queue *queue, size_t *at,
			  struct fanotify_event *event)
{
	struct err err;
	size_t used;

	if (*at >= queue->data.len || fanotify_event_parse(event, &used, queue->data.data + *at,
							   queue->data.len - *at, &err) != RC_OK)
		return false;
	*at += used;
	return true;
}

bool fanotify_queue_place(const struct fanotify_queue *queue, const struct tree_key *key,
			  struct fanotify_place *place)
{
	const uint64_t hash = queue->first < queue->nleaving ? hash_of(key) : 0;
	struct fanotify_event event;
	struct err err;
	size_t used, at;

	for (size_t i = queue->first; i < queue->nleaving; i++) {
		at = queue->leaving[i].at;
		if (queue->leaving[i].hash != hash ||
		    fanotify_event_parse(&event, &used, queue->data.data + at, queue->data.len - at,
					 &err) != RC_OK ||
		    !tree_key_is(&event.target, key))
			continue;
		*place = event.from.there ? event.from : event.at;
		return true;
	}
	return false;
}

void fanotify_queue_forget(struct fanotify_queue *queue)
{
	buf_reset(&queue->data);
	queue->at = queue->nleaving = queue->first = 0;
}

void fanotify_queue_free(struct fanotify_queue *queue)
{
	buf_free(&queue->data);
	mem_free(queue->leaving);
}
