#include "appliance/hashes.h"

#include "appliance/base/bytes.h"
#include "appliance/base/clock.h"
#include "appliance/base/mem.h"

#define HEAD ((size_t)16)
#define AHEAD 4	    /* frames that a disk is read ahead of them */
#define PORTION 512 /* hashes on the stack at a time */

struct hashes_job {
	struct hashes *hashes; /* NULL: nobody wants it any more */
	void (*again)(void *owner);
	void *owner;
	bool read;
	uint64_t first;
	uint32_t count;
	uint8_t payload[HEAD + 8 * HASHES_PER_FRAME];
};

/* As many as there is time for, some at least. In a worker thread. */
static void read_hashes(void *owner, const struct image *image)
{
	const uint64_t until_ns = clock_now_ns() + HASHES_MS * CLOCK_NS_PER_MS;
	struct hashes_job *job = owner;
	uint64_t hashes[PORTION];
	uint32_t done, n, i;

	for (done = 0; done < job->count && (done == 0 || clock_now_ns() < until_ns); done += n) {
		n = job->count - done < PORTION ? job->count - done : PORTION;
		image_hashes(image, job->first + done, n, hashes);
		for (i = 0; i < n; i++)
			bytes_put_le64(job->payload + HEAD + 8 * (size_t)(done + i), hashes[i]);
	}
	job->count = done;
}

static void on_read(void *owner)
{
	struct hashes_job *job = owner;

	job->read = true;
	if (job->hashes == NULL)
		mem_free(job);
	else
		job->again(job->owner);
}

void hashes_end(struct hashes *hashes)
{
	if (hashes->job != NULL && hashes->job->read)
		mem_free(hashes->job);
	else if (hashes->job != NULL)
		hashes->job->hashes = NULL;
	*hashes = (struct hashes){ 0 };
}

void hashes_want(struct hashes *hashes)
{
	hashes_end(hashes);
	hashes->wanted = true;
}

static bool send_job(struct hashes *hashes, uint64_t pages, struct link *link, uint64_t term)
{
	struct hashes_job *job = hashes->job;
	struct err err = { 0 };

	bytes_put_le64(job->payload, job->first);
	bytes_put_le32(job->payload + 8, job->count);
	bytes_put_le32(job->payload + 12, job->first + job->count == pages);
	if (link_send(link, WIRE_HASHES, term, 0, job->payload, HEAD + 8 * (size_t)job->count,
		      &err) != RC_OK)
		return false;
	hashes->next += job->count;
	hashes->wanted = hashes->next < pages;
	hashes->job = NULL;
	mem_free(job);
	return true;
}

static void start_job(struct hashes *hashes, uint64_t pages, struct receiver *receiver,
		      void (*again)(void *owner), void *owner)
{
	const uint64_t left = pages - hashes->next;
	struct hashes_job *job = mem_zalloc(1, sizeof(*job));
	const struct receiver_aside aside = { read_hashes, on_read, job };
	struct err err;

	if (job == NULL)
		return; /* the next tick tries again */
	job->hashes = hashes;
	job->again = again;
	job->owner = owner;
	job->first = hashes->next;
	job->count = left < HASHES_PER_FRAME ? (uint32_t)left : HASHES_PER_FRAME;
	if (receiver_aside(receiver, &aside, &err) == RC_OK)
		hashes->job = job;
	else
		mem_free(job);
}

void hashes_tell(struct hashes *hashes, struct receiver *receiver, const struct image *image,
		 struct link *link, uint64_t term, void (*again)(void *owner), void *owner)
{
	const uint64_t pages = image_layout(image)->pages;

	if (hashes->job != NULL &&
	    (!hashes->job->read || !send_job(hashes, pages, link, term) || !hashes->wanted))
		return;
	image_prefetch(image, hashes->next, (uint64_t)HASHES_PER_FRAME * AHEAD);
	start_job(hashes, pages, receiver, again, owner);
}

int hashes_take(struct sender *sender, uint64_t pages, const uint8_t *payload, size_t len,
		struct err *err)
{
	struct cursor c = cursor_of(payload, len);
	uint64_t first = cursor_le64(&c), hashes[PORTION];
	uint32_t count = cursor_le32(&c), last = cursor_le32(&c), i, n;

	if (!sender_is_held(sender))
		return err_set(err, RC_INVALID, "page hashes that nobody asked for");
	if (c.short_read || c.left != (size_t)count * 8 || first > pages || count > pages - first)
		return err_set(err, RC_INVALID, "page hashes of a wrong size or place");
	for (; count > 0; count -= n, first += n) {
		n = count < PORTION ? count : PORTION;
		for (i = 0; i < n; i++)
			hashes[i] = cursor_le64(&c);
		sender_learn(sender, first, hashes, n);
	}
	if (last != 0)
		sender_learned(sender);
	return RC_OK;
}
