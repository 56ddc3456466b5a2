#include "appliance/hashes.h"

#include "appliance/base/bytes.h"
#include "appliance/base/clock.h"

#define HEAD ((size_t)16)
#define PORTION 512 /* hashes on the stack at a time */

/* As many of `count` as there is time for, some at least. */
static uint32_t put_hashes(uint8_t *to, const struct image *image, uint64_t first, uint32_t count,
			   uint64_t until_ns)
{
	uint64_t hashes[PORTION];
	uint32_t done, n, i;

	for (done = 0; done < count && (done == 0 || clock_now_ns() < until_ns); done += n) {
		n = count - done < PORTION ? count - done : PORTION;
		image_hashes(image, first + done, n, hashes);
		for (i = 0; i < n; i++)
			bytes_put_le64(to + 8 * (size_t)(done + i), hashes[i]);
	}
	return done;
}

void hashes_tell(struct hashes *hashes, const struct image *image, struct link *link, uint64_t term)
{
	static uint8_t payload[HEAD + 8 * HASHES_PER_FRAME];
	const uint64_t pages = image_layout(image)->pages;
	const uint64_t until_ns = clock_now_ns() + HASHES_MS * CLOCK_NS_PER_MS;
	struct err err = { 0 };
	unsigned frames;
	uint32_t count;

	if (hashes->wanted)
		image_prefetch(image, hashes->next, HASHES_PER_FRAME * HASHES_FRAMES_AT_ONCE);
	for (frames = 0; hashes->wanted && frames < HASHES_FRAMES_AT_ONCE &&
			 (frames == 0 || clock_now_ns() < until_ns);
	     frames++) {
		count = pages - hashes->next < HASHES_PER_FRAME ? (uint32_t)(pages - hashes->next) :
								  HASHES_PER_FRAME;
		count = put_hashes(payload + HEAD, image, hashes->next, count, until_ns);
		bytes_put_le64(payload, hashes->next);
		bytes_put_le32(payload + 8, count);
		bytes_put_le32(payload + 12, hashes->next + count == pages);
		if (link_send(link, WIRE_HASHES, term, 0, payload, HEAD + 8 * (size_t)count,
			      &err) != RC_OK)
			return;
		hashes->next += count;
		hashes->wanted = hashes->next < pages;
	}
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
