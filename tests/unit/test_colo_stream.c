#include "replica/colo_stream.h"

#include "tests/unit/stream_builder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct colo_stream *stream;
static struct buf bytes;
static struct err err;

static int setup(void **state)
{
	(void)state;
	bytes.limit = (size_t)8 << 20;
	return colo_stream_create(&stream, &err);
}

static int teardown(void **state)
{
	(void)state;
	colo_stream_destroy(stream);
	buf_free(&bytes);
	return 0;
}

/* The next event of `bytes`, which is taken out of them; its data is not to be looked at. */
static struct colo_event take(void)
{
	struct cursor in = cursor_of(bytes.data, bytes.len);
	struct colo_event event;

	assert_false(bytes.failed);
	assert_int_equal(colo_stream_next(stream, &in, &event, &err), RC_OK);
	buf_consume(&bytes, bytes.len - in.left);
	return event;
}

static void takes(enum colo_event_kind kind)
{
	assert_int_equal(take().kind, kind);
}

/* Up to where QEMU waits for READY. */
static void first_copy(void)
{
	builder_header(&bytes);
	builder_start(&bytes);
	builder_begin_end(&bytes);
	builder_footer(&bytes);
	takes(COLO_EVENT_LAYOUT);
	takes(COLO_EVENT_STOPPED);
	takes(COLO_EVENT_COPIED);
}

static void protected(void)
{
	first_copy();
	assert_true(colo_stream_ready(stream));
}

/* What is in `bytes` is refused with that code and a text with that in it. */
static void refused(enum rc code, const char *text)
{
	struct cursor in = cursor_of(bytes.data, bytes.len);
	struct colo_event event;
	int rc;

	do {
		rc = colo_stream_next(stream, &in, &event, &err);
	} while (rc == RC_OK && event.kind != COLO_EVENT_MORE);
	assert_int_equal(rc, code);
	if (strstr(err.text, text) == NULL)
		fail_msg("\"%s\" is not in \"%s\"", text, err.text);
}

static void a_first_copy_gives_layout_pages_and_its_end(void **state)
{
	const struct layout *layout = colo_stream_layout(stream);
	struct colo_event event;

	(void)state;
	builder_header(&bytes);
	builder_start(&bytes);
	builder_begin_part(&bytes);
	builder_page(&bytes, "pc.ram", 5, 0x11);
	builder_page(&bytes, "pc.bios", 1, 0);
	builder_footer(&bytes);
	builder_begin_end(&bytes);
	builder_page(&bytes, "pc.ram", 5, 0x12);
	builder_footer(&bytes);
	takes(COLO_EVENT_LAYOUT);
	assert_int_equal(layout->section, BUILDER_SECTION);
	assert_int_equal(layout->version, 4);
	assert_memory_equal(layout->configuration, "pc-10.0", layout->configuration_len);
	event = take();
	assert_int_equal(event.kind, COLO_EVENT_PAGE);
	assert_int_equal(event.index, 5);
	assert_non_null(event.data);
	event = take();
	assert_int_equal(event.index, BUILDER_RAM_PAGES + 1);
	assert_null(event.data);
	takes(COLO_EVENT_STOPPED);
	takes(COLO_EVENT_PAGE);
	takes(COLO_EVENT_COPIED);
	takes(COLO_EVENT_MORE);
	assert_int_equal(bytes.len, 0);
}

static void device_state_of_the_first_copy_is_swallowed_until_ready(void **state)
{
	(void)state;
	assert_false(colo_stream_ready(stream));
	first_copy();
	buf_append(&bytes, "\0\0\0\1 whatever \0\0\0\3", 18);
	takes(COLO_EVENT_MORE);
	assert_int_equal(bytes.len, 0);
	assert_true(colo_stream_ready(stream));
	assert_false(colo_stream_ready(stream));
	buf_append_be32(&bytes, 1);
	takes(COLO_EVENT_REQUEST);
}

static void a_checkpoint_is_pages_and_device_state_pages(void **state)
{
	const struct layout *layout = colo_stream_layout(stream);
	struct colo_event event;
	int round;

	(void)state;
	protected();
	for (round = 0; round < 3; round++) {
		builder_begin_checkpoint(&bytes);
		builder_page(&bytes, "pc.ram", 9, 0x11);
		builder_end_checkpoint(&bytes, 2 * LAYOUT_PAGE + 100);
		takes(COLO_EVENT_REQUEST);
		takes(COLO_EVENT_STOPPED);
		assert_int_equal(take().index, 9);
		event = take();
		assert_int_equal(event.kind, COLO_EVENT_PAGE);
		assert_int_equal(event.index, layout->ram_pages);
		assert_int_equal(take().index, layout->ram_pages + 1);
		event = take();
		assert_int_equal(event.kind, COLO_EVENT_TAIL);
		assert_int_equal(event.index, layout->ram_pages + 2);
		assert_int_equal(event.len, 100);
		event = take();
		assert_int_equal(event.kind, COLO_EVENT_CHECKPOINT);
		assert_int_equal(event.len, 2 * LAYOUT_PAGE + 100);
		takes(COLO_EVENT_MORE);
	}
}

static void device_state_of_whole_pages_has_no_tail(void **state)
{
	(void)state;
	protected();
	builder_begin_checkpoint(&bytes);
	builder_end_checkpoint(&bytes, LAYOUT_PAGE);
	takes(COLO_EVENT_REQUEST);
	takes(COLO_EVENT_STOPPED);
	takes(COLO_EVENT_PAGE);
	takes(COLO_EVENT_CHECKPOINT);
}

static void the_end_of_a_checkpoint_needs_no_further_byte(void **state)
{
	struct cursor nothing = cursor_of(NULL, 0);
	struct colo_event event;

	(void)state;
	protected();
	builder_begin_checkpoint(&bytes);
	builder_end_checkpoint(&bytes, 5);
	takes(COLO_EVENT_REQUEST);
	takes(COLO_EVENT_STOPPED);
	takes(COLO_EVENT_TAIL);
	assert_int_equal(bytes.len, 0);
	assert_int_equal(colo_stream_next(stream, &nothing, &event, &err), RC_OK);
	assert_int_equal(event.kind, COLO_EVENT_CHECKPOINT);
}

/*
 * Counts the events of a file of the fuzzer's corpus: real streams, with most pages left out. See
 * fuzz_colo_stream.c for the first two bytes.
 */
static void read_recording(const char *path, size_t piece, unsigned counts[8])
{
	static uint8_t data[64 << 10];
	FILE *file = fopen(path, "rb");
	size_t len, shown = 2, done = 2, swallow;
	struct colo_event event;
	struct cursor in;

	if (file == NULL)
		fail_msg("%s is missing: tests run in the tree's root", path);
	len = fread(data, 1, sizeof(data), file);
	(void)fclose(file);
	swallow = data[0];
	while (shown < len) {
		shown = shown + piece < len ? shown + piece : len;
		do {
			if (counts[COLO_EVENT_COPIED] == 1 && swallow > 0) {
				in = cursor_of(data + done,
					       shown - done < swallow ? shown - done : swallow);
				swallow -= in.left;
				done += in.left;
				assert_int_equal(colo_stream_next(stream, &in, &event, &err),
						 RC_OK);
				assert_true(swallow > 0 || colo_stream_ready(stream));
			}
			in = cursor_of(data + done, shown - done);
			if (colo_stream_next(stream, &in, &event, &err) != RC_OK)
				fail_msg("%s: %s", path, err.text);
			done = shown - in.left;
			counts[event.kind]++;
		} while (event.kind != COLO_EVENT_MORE);
	}
	assert_int_equal(done, len);
}

static void recorded_streams_of_qemu_10_are_understood_in_any_pieces(void **state)
{
	static const char *const paths[] = { "tests/fuzz/corpus/colo_stream/pc",
					     "tests/fuzz/corpus/colo_stream/q35" };
	static const size_t pieces[] = { 1, 7, 4096, 65536 };
	size_t i, k;

	for (i = 0; i < 2; i++) {
		for (k = 0; k < sizeof(pieces) / sizeof(pieces[0]); k++) {
			unsigned counts[8] = { 0 };

			teardown(state);
			setup(state);
			read_recording(paths[i], pieces[k], counts);
			assert_int_equal(counts[COLO_EVENT_LAYOUT], 1);
			assert_int_equal(counts[COLO_EVENT_COPIED], 1);
			assert_int_equal(counts[COLO_EVENT_STOPPED], 3);
			assert_int_equal(counts[COLO_EVENT_REQUEST], 2);
			assert_int_equal(counts[COLO_EVENT_CHECKPOINT], 2);
			assert_true(counts[COLO_EVENT_PAGE] > 4);
		}
	}
}

static void what_is_no_migration_stream_is_refused(void **state)
{
	(void)state;
	buf_append(&bytes, "HTTP/1.1", 8);
	refused(RC_INVALID, "not a migration stream");
	buf_reset(&bytes);
	buf_append(&bytes, "QEVM\0\0\0\2", 8);
	refused(RC_UNSUPPORTED, "version 2");
}

static void errors_say_where(void **state)
{
	(void)state;
	builder_header(&bytes);
	buf_append_u8(&bytes, 99);
	refused(RC_INVALID, "byte 25 of QEMU's stream: a section of unknown type 99");
}

static void sections_other_than_ram_are_refused_by_name(void **state)
{
	(void)state;
	builder_header(&bytes);
	buf_append_u8(&bytes, 1);
	buf_append_be32(&bytes, 3);
	builder_text(&bytes, "dirty-bitmap");
	buf_append_be64(&bytes, 1);
	refused(RC_UNSUPPORTED, "dirty-bitmap");
	teardown(state);
	setup(state);
	builder_header(&bytes);
	buf_append_u8(&bytes, 4);
	buf_append_be32(&bytes, 9);
	builder_text(&bytes, "virtio-mem-early");
	refused(RC_UNSUPPORTED, "virtio-mem-early");
	teardown(state);
	setup(state);
	builder_header(&bytes);
	buf_append_u8(&bytes, 5);
	builder_text(&bytes, "configuration/capabilities");
	refused(RC_UNSUPPORTED, "configuration/capabilities");
}

static void commands_other_than_colos_are_refused(void **state)
{
	(void)state;
	builder_header(&bytes);
	buf_append_u8(&bytes, 8);
	buf_append_be32(&bytes, UINT32_C(1) << 16); /* OPEN_RETURN_PATH */
	refused(RC_UNSUPPORTED, "command 1");
	buf_reset(&bytes);
	buf_append_u8(&bytes, 8);
	buf_append_be32(&bytes, (UINT32_C(8) << 16) + 4);
	refused(RC_UNSUPPORTED, "command 8 with 4 bytes");
}

static void the_machine_type_comes_once_before_ram_and_is_short(void **state)
{
	(void)state;
	builder_header(&bytes);
	buf_append_u8(&bytes, 7);
	buf_append_be32(&bytes, 2);
	refused(RC_INVALID, "second configuration");
	teardown(state);
	setup(state);
	buf_append(&bytes, "QEVM\0\0\0\3\7\0\0\1\1", 13);
	refused(RC_LIMIT, "257 bytes");
	teardown(state);
	setup(state);
	buf_append(&bytes, "QEVM\0\0\0\3", 8);
	builder_start(&bytes);
	refused(RC_UNSUPPORTED, "no configuration");
}

static void ram_sections_come_in_order(void **state)
{
	(void)state;
	builder_header(&bytes);
	builder_begin_part(&bytes);
	refused(RC_INVALID, "not been started");
	teardown(state);
	setup(state);
	builder_header(&bytes);
	builder_start(&bytes);
	builder_start(&bytes);
	refused(RC_INVALID, "second time");
	teardown(state);
	setup(state);
	builder_header(&bytes);
	builder_start(&bytes);
	buf_append_u8(&bytes, 0);
	refused(RC_INVALID, "before the end of RAM");
	teardown(state);
	setup(state);
	builder_header(&bytes);
	builder_start(&bytes);
	builder_begin_part(&bytes);
	builder_eos(&bytes);
	buf_append(&bytes, "\x7e\0\0\0\x09", 5);
	refused(RC_INVALID, "no footer");
}

static void a_checkpoint_has_one_end_of_ram_and_its_messages_in_order(void **state)
{
	(void)state;
	protected();
	buf_append_be32(&bytes, 3);
	refused(RC_INVALID, "message 3 where 1");
	teardown(state);
	setup(state);
	protected();
	buf_append_be64(&bytes, (UINT64_C(1) << 32) + 3);
	builder_begin_part(&bytes);
	refused(RC_INVALID, "goes on after its end");
	teardown(state);
	setup(state);
	protected();
	buf_append_be64(&bytes, (UINT64_C(1) << 32) + 3);
	buf_append_u8(&bytes, 0);
	refused(RC_INVALID, "before the end of RAM");
	teardown(state);
	setup(state);
	protected();
	builder_begin_checkpoint(&bytes);
	builder_footer(&bytes);
	builder_begin_end(&bytes);
	refused(RC_INVALID, "goes on after its end");
}

static void device_state_has_a_limit(void **state)
{
	static const uint64_t sizes[] = { 0, LAYOUT_DEVICE_STATE_MAX + 1, UINT64_MAX };
	size_t i;

	for (i = 0; i < 3; i++) {
		teardown(state);
		setup(state);
		protected();
		builder_begin_checkpoint(&bytes);
		builder_footer(&bytes);
		buf_append_u8(&bytes, 0);
		buf_append_be32(&bytes, 4);
		buf_append_be64(&bytes, sizes[i]);
		refused(RC_LIMIT, "device state");
	}
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(a_first_copy_gives_layout_pages_and_its_end),
		TEST(device_state_of_the_first_copy_is_swallowed_until_ready),
		TEST(a_checkpoint_is_pages_and_device_state_pages),
		TEST(device_state_of_whole_pages_has_no_tail),
		TEST(the_end_of_a_checkpoint_needs_no_further_byte),
		TEST(recorded_streams_of_qemu_10_are_understood_in_any_pieces),
		TEST(what_is_no_migration_stream_is_refused),
		TEST(errors_say_where),
		TEST(sections_other_than_ram_are_refused_by_name),
		TEST(commands_other_than_colos_are_refused),
		TEST(the_machine_type_comes_once_before_ram_and_is_short),
		TEST(ram_sections_come_in_order),
		TEST(a_checkpoint_has_one_end_of_ram_and_its_messages_in_order),
		TEST(device_state_has_a_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
