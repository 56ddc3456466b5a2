#include "fs-watch/inotify_queue.h"

#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define READ_BYTES ((size_t)256 << 10)
#define BUFFER_MAX ((size_t)64 << 20)
#define HALF_MS 5
#define MOMENT_US 1000

struct tree_key inotify_queue_key(int watch)
{
	struct tree_key key = { .len = sizeof(watch) };

	memcpy(key.bytes, &watch, sizeof(watch));
	return key;
}

int inotify_queue_watch(const struct tree_dir *dir)
{
	int watch;

	memcpy(&watch, tree_key_of(dir)->bytes, sizeof(watch));
	return watch;
}

void inotify_queue_init(struct inotify_queue *queue, int fd)
{
	*queue = (struct inotify_queue){ .fd = fd, .data.limit = BUFFER_MAX + READ_BYTES };
}

static struct inotify_event *event_at(const struct inotify_queue *queue, size_t at)
{
	return (struct inotify_event *)(void *)(queue->data.data + at);
}

const struct inotify_event *inotify_queue_event(const struct inotify_queue *queue, size_t at)
{
	return event_at(queue, at);
}

static size_t size_of(const struct inotify_event *event)
{
	return sizeof(*event) + event->len;
}

static bool is_leaving(const struct inotify_event *event)
{
	return (event->mask & IN_ISDIR) != 0 && (event->mask & (IN_MOVED_FROM | IN_DELETE)) != 0;
}

bool inotify_queue_read(struct inotify_queue *queue)
{
	const size_t before = queue->data.len;
	uint8_t *room;
	ssize_t got;

	if (before >= BUFFER_MAX)
		return false;
	room = buf_extend(&queue->data, READ_BYTES);
	if (room == NULL) {
		queue->data.failed = false;
		return false;
	}
	got = read(queue->fd, room, READ_BYTES);
	queue->data.len = before + (got > 0 ? (size_t)got : 0);
	queue->read += queue->data.len - before;
	for (size_t at = before; at < queue->data.len; at += size_of(event_at(queue, at)))
		queue->leaving += is_leaving(event_at(queue, at));
	return got > 0;
}

const struct inotify_event *inotify_queue_next(struct inotify_queue *queue, size_t *at)
{
	const struct inotify_event *event;

	if (queue->at == queue->data.len) {
		inotify_queue_forget(queue);
		return NULL;
	}
	*at = queue->at;
	event = event_at(queue, queue->at);
	queue->at += size_of(event);
	queue->leaving -= is_leaving(event);
	return event;
}

uint64_t inotify_queue_taken(const struct inotify_queue *queue)
{
	return queue->read - (queue->data.len - queue->at);
}

uint64_t inotify_queue_end(const struct inotify_queue *queue)
{
	int waiting = 0;

	return ioctl(queue->fd, FIONREAD, &waiting) == 0 && waiting > 0 ?
		       queue->read + (uint64_t)waiting :
		       queue->read;
}

size_t inotify_queue_other_half(struct inotify_queue *queue, size_t at)
{
	struct pollfd moment = { .fd = queue->fd, .events = POLLIN };
	const uint32_t cookie = event_at(queue, at)->cookie;
	bool waited = false;

	at = queue->at;
	for (;;) {
		for (; at < queue->data.len; at += size_of(event_at(queue, at))) {
			if ((event_at(queue, at)->mask & IN_MOVED_TO) != 0 &&
			    event_at(queue, at)->cookie == cookie)
				return at;
		}
		if (inotify_queue_read(queue))
			continue;
		if (waited || poll(&moment, 1, HALF_MS) <= 0)
			return 0;
		waited = true;
	}
}

static bool is_of(const struct inotify_event *event, int watch, const char *name)
{
	return (event->mask & (IN_CREATE | IN_DELETE | IN_MOVE)) != 0 && event->wd == watch &&
	       event->len > 0 && strcmp(event->name, name) == 0;
}

/* `at`: where to begin. 0: none. */
static size_t next_of(const struct inotify_queue *queue, size_t at, int watch, const char *name)
{
	for (; at < queue->data.len; at += size_of(event_at(queue, at))) {
		if (is_of(event_at(queue, at), watch, name))
			return at;
	}
	return 0;
}

bool inotify_queue_mentions(const struct inotify_queue *queue, int watch, const char *name)
{
	return next_of(queue, queue->at, watch, name) > 0 ||
	       (queue->at == 0 && queue->data.len > 0 && is_of(event_at(queue, 0), watch, name));
}

size_t inotify_queue_back(const struct inotify_queue *queue, size_t at, size_t other)
{
	const struct inotify_event *from = event_at(queue, at), *to = event_at(queue, other);
	const size_t first = next_of(queue, queue->at, to->wd, to->name),
		     second = next_of(queue, queue->at, from->wd, from->name);

	return first > 0 && first < second && (event_at(queue, first)->mask & IN_MOVED_FROM) != 0 &&
			       event_at(queue, first)->cookie == event_at(queue, second)->cookie ?
		       first :
		       0;
}

void inotify_queue_cancel(struct inotify_queue *queue, size_t at)
{
	struct inotify_event *event = event_at(queue, at);

	queue->leaving -= at >= queue->at && is_leaving(event);
	event->mask = 0;
}

void inotify_queue_cancel_both(struct inotify_queue *queue, size_t at)
{
	const uint32_t cookie = event_at(queue, at)->cookie;

	for (; at < queue->data.len; at += size_of(event_at(queue, at))) {
		if (event_at(queue, at)->cookie == cookie)
			inotify_queue_cancel(queue, at);
	}
}

void inotify_queue_wait(struct inotify_queue *queue)
{
	(void)usleep(MOMENT_US);
	while (inotify_queue_read(queue))
		;
}

static bool takes_name(const struct inotify_event *event, const struct tree_dir *dir,
		       const char *name)
{
	for (; dir != NULL; name = tree_name_of(dir), dir = tree_parent_of(dir)) {
		if (name != NULL && event->wd == inotify_queue_watch(dir) &&
		    strcmp(event->name, name) == 0)
			return true;
	}
	return false;
}

bool inotify_queue_leaves(struct inotify_queue *queue, const struct tree_dir *dir, const char *name)
{
	const struct inotify_event *event;

	while (inotify_queue_read(queue))
		;
	if (queue->leaving == 0)
		return false;
	for (size_t at = queue->at; at < queue->data.len; at += size_of(event)) {
		event = event_at(queue, at);
		if (is_leaving(event) && event->len > 0 && takes_name(event, dir, name))
			return true;
	}
	return false;
}

void inotify_queue_forget(struct inotify_queue *queue)
{
	buf_reset(&queue->data);
	queue->at = 0;
	queue->leaving = 0;
}

void inotify_queue_free(struct inotify_queue *queue)
{
	buf_free(&queue->data);
}
