/*
 * Page hashes of a hostile standby, one frame after the other (each behind its length, two bytes):
 * no crash, a reason with every refusal; what is taken lies within the pages, and after the last of
 * them nothing is taken any more.
 */
#include "appliance/hashes.h"
#include "replica/sender.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

#define PAGES 4096

static bool on_begin(void *owner, uint64_t epoch, enum wire_epoch kind)
{
	(void)owner;
	(void)epoch;
	(void)kind;
	return false;
}

static bool on_commit(void *owner, uint64_t epoch, const struct wire_commit *commit)
{
	(void)owner;
	(void)epoch;
	(void)commit;
	return false;
}

static bool on_batch(void *owner, uint64_t epoch, const uint8_t *data, size_t len,
		     void (*release)(void *context), void *context)
{
	(void)owner;
	(void)epoch;
	(void)data;
	(void)len;
	(void)release;
	(void)context;
	return false;
}

static void on_failed(void *owner, const struct err *err)
{
	(void)owner;
	(void)err;
	CHECK(false);
}

static const struct sender_ops ops = { on_begin, on_commit, on_batch, on_failed };

static void take_frames(struct sender *sender, const uint8_t *data, size_t size)
{
	struct err err = { 0 };
	bool held = true;
	size_t len;
	int rc;

	while (size >= 2) {
		len = (size_t)data[0] | (size_t)data[1] << 8;
		data += 2;
		size -= 2;
		len = len < size ? len : size;
		rc = hashes_take(sender, PAGES, data, len, &err);
		CHECK(held || rc != RC_OK);
		CHECK(rc == RC_OK || err.text[0] != '\0');
		held = sender_is_held(sender);
		data += len;
		size -= len;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sender *sender;
	struct err err = { 0 };
	uv_loop_t loop;

	CHECK(uv_loop_init(&loop) == 0);
	CHECK(sender_create(&sender, &loop, PAGES, 0, (size_t)1 << 20, 1, true, &ops, NULL, &err) ==
	      RC_OK);
	take_frames(sender, data, size);
	sender_close(sender, NULL);
	(void)uv_run(&loop, UV_RUN_DEFAULT);
	CHECK(uv_loop_close(&loop) == 0);
	return 0;
}
