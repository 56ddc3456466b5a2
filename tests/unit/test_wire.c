#include "appliance/base/bytes.h"
#include "appliance/base/mem.h"
#include "net/frame_reader.h"
#include "net/wire.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct err err;

static struct wire_hello sample_hello(void)
{
	return (struct wire_hello){
		.lowest = 1,
		.highest = 3,
		.features = 5,
		.role = WIRE_ROLE_PRIMARY,
		.session = UINT64_C(0x1122334455667788),
		.epoch = 42,
		.site = "north",
		.instance = "vm 1",
	};
}

static void hello_has_the_bytes_that_the_header_file_says(void **state)
{
	static const char expected[] = "UNDRSTDY"
				       "\x01\x00\x03\x00"
				       "\0\0\0\0"
				       "\x05\0\0\0\0\0\0\0"
				       "\x01\0\0\0\0\0\0\0"
				       "\x88\x77\x66\x55\x44\x33\x22\x11"
				       "\x2a\0\0\0\0\0\0\0"
				       "\x05north\x04vm 1";
	struct wire_hello hello = sample_hello(), back;
	struct buf out = { 0 }, again = { 0 };

	(void)state;
	assert_true(wire_put_hello(&out, &hello));
	assert_int_equal(out.len, sizeof(expected) - 1);
	assert_memory_equal(out.data, expected, out.len);
	assert_int_equal(wire_get_hello(&back, out.data, out.len, &err), RC_OK);
	assert_true(wire_put_hello(&again, &back));
	assert_int_equal(again.len, out.len);
	assert_memory_equal(again.data, out.data, out.len);
	buf_free(&out);
	buf_free(&again);
}

/* Behind the names, and of a standby only. */
static void a_standbys_hello_may_tell_which_one_it_is(void **state)
{
	struct wire_hello hello = sample_hello(), back;
	struct buf out = { 0 };
	size_t plain, len;

	(void)state;
	hello.role = WIRE_ROLE_STANDBY;
	assert_true(wire_put_hello(&out, &hello));
	assert_int_equal(wire_get_hello(&back, out.data, out.len, &err), RC_OK);
	assert_int_equal(back.identity, 0);
	plain = out.len;
	hello.identity = UINT64_C(0x8877665544332211);
	buf_reset(&out);
	assert_true(wire_put_hello(&out, &hello));
	assert_int_equal(out.len, plain + 8);
	assert_memory_equal(out.data + plain, "\x11\x22\x33\x44\x55\x66\x77\x88", 8);
	assert_int_equal(wire_get_hello(&back, out.data, out.len, &err), RC_OK);
	assert_int_equal(back.identity, hello.identity);
	for (len = plain + 1; len < out.len; len++)
		assert_int_equal(wire_get_hello(&back, out.data, len, &err), RC_INVALID);
	memset(out.data + plain, 0, 8);
	assert_int_equal(wire_get_hello(&back, out.data, out.len, &err), RC_INVALID);
	out.data[24] = WIRE_ROLE_PRIMARY;
	memset(out.data + plain, 1, 8);
	assert_int_equal(wire_get_hello(&back, out.data, out.len, &err), RC_INVALID);
	buf_free(&out);
}

static void hello_is_refused_when_cut_anywhere_or_longer(void **state)
{
	struct wire_hello hello = sample_hello(), back;
	struct buf out = { 0 };
	size_t len;

	(void)state;
	assert_true(wire_put_hello(&out, &hello));
	for (len = 0; len < out.len; len++)
		assert_int_equal(wire_get_hello(&back, out.data, len, &err), RC_INVALID);
	assert_true(buf_append_u8(&out, 0));
	assert_int_equal(wire_get_hello(&back, out.data, out.len, &err), RC_INVALID);
	buf_free(&out);
}

static void expect_bad_hello(size_t at, uint8_t value, const char *complaint)
{
	struct wire_hello hello = sample_hello(), back;
	struct buf out = { 0 };

	assert_true(wire_put_hello(&out, &hello));
	out.data[at] = value;
	assert_int_equal(wire_get_hello(&back, out.data, out.len, &err), RC_INVALID);
	assert_non_null(strstr(err.text, complaint));
	buf_free(&out);
}

static void hello_with_a_wrong_field_is_refused_naming_it(void **state)
{
	(void)state;
	expect_bad_hello(0, 'X', "UNDRSTDY");
	expect_bad_hello(8, 0, "versions");
	expect_bad_hello(8, 4, "versions");
	expect_bad_hello(12, 1, "reserved");
	expect_bad_hello(24, 3, "role");
	expect_bad_hello(31, 1, "reserved");
	expect_bad_hello(48, 0, "site");
	expect_bad_hello(49, '\n', "site");
	expect_bad_hello(54, 200, "instance");
}

static void a_name_that_cannot_be_sent_is_not_sent(void **state)
{
	struct wire_hello hello = sample_hello();
	struct buf out = { 0 };

	(void)state;
	hello.site[0] = '\0';
	assert_false(wire_put_hello(&out, &hello));
	buf_reset(&out);
	memset(hello.site, 'a', sizeof(hello.site));
	assert_false(wire_put_hello(&out, &hello));
	buf_free(&out);
}

static void ends_without_a_common_version_are_told_both_ranges(void **state)
{
	struct wire_hello own = sample_hello(), peer = sample_hello();

	(void)state;
	own.lowest = 2, own.highest = 5;
	peer.lowest = 1, peer.highest = 4;
	assert_int_equal(wire_check_versions(&own, &peer, &err), RC_OK);
	peer.lowest = 5, peer.highest = 9;
	assert_int_equal(wire_check_versions(&own, &peer, &err), RC_OK);
	peer.lowest = 6, peer.highest = 9;
	assert_int_equal(wire_check_versions(&own, &peer, &err), RC_UNSUPPORTED);
	assert_non_null(strstr(err.text, "6 to 9"));
	assert_non_null(strstr(err.text, "2 to 5"));
}

static void a_header_survives_the_wire(void **state)
{
	static const uint8_t expected[WIRE_HEADER] = { 0x10, 0x27, 0, 0, WIRE_BATCH, 0, 1, 0,
						       7,    0,	   0, 0, 0,	     0, 0, 0,
						       9,    0,	   0, 0, 0,	     0, 0, 1 };
	struct wire_header header = {
		.length = 10000, .type = WIRE_BATCH, .more = true, .term = 7
	};
	struct wire_header back;
	uint8_t bytes[WIRE_HEADER];

	(void)state;
	header.epoch = (UINT64_C(1) << 56) + 9;
	wire_put_header(bytes, &header);
	assert_memory_equal(bytes, expected, WIRE_HEADER);
	assert_int_equal(wire_get_header(&back, bytes, &err), RC_OK);
	assert_int_equal(back.length, header.length);
	assert_int_equal(back.type, header.type);
	assert_true(back.more);
	assert_true(back.term == header.term && back.epoch == header.epoch);
}

static int header_verdict(uint32_t length, unsigned type, uint16_t flags)
{
	struct wire_header back;
	uint8_t bytes[WIRE_HEADER] = { 0 };

	bytes_put_le32(bytes, length);
	bytes_put_le16(bytes + 4, (uint16_t)type);
	bytes_put_le16(bytes + 6, flags);
	return wire_get_header(&back, bytes, &err);
}

static void headers_outside_the_rules_are_refused(void **state)
{
	unsigned type;

	(void)state;
	assert_int_equal(header_verdict(0, 0, 0), RC_INVALID);
	assert_int_equal(header_verdict(0, WIRE_TYPE_END, 0), RC_INVALID);
	assert_int_equal(header_verdict(0, 65535, 0), RC_INVALID);
	for (type = WIRE_HELLO; type < WIRE_TYPE_END; type++) {
		uint32_t least = (uint32_t)wire_payload_min((uint16_t)type);
		uint32_t most = (uint32_t)wire_payload_max((uint16_t)type);

		assert_int_equal(header_verdict(least, type, 0), RC_OK);
		assert_int_equal(header_verdict(most, type, 0), RC_OK);
		assert_int_equal(header_verdict(most + 1, type, 0), RC_LIMIT);
		assert_int_equal(header_verdict(UINT32_MAX, type, 0), RC_LIMIT);
		if (least > 0)
			assert_int_equal(header_verdict(least - 1, type, 0), RC_INVALID);
		assert_int_equal(header_verdict(most, type, 2), RC_INVALID);
		assert_int_equal(header_verdict(most, type, 1),
				 type == WIRE_BATCH ? RC_OK : RC_INVALID);
	}
}

static void a_role_sends_its_own_types_only(void **state)
{
	(void)state;
	assert_true(wire_allowed(WIRE_ROLE_PRIMARY, WIRE_BATCH));
	assert_false(wire_allowed(WIRE_ROLE_STANDBY, WIRE_BATCH));
	assert_true(wire_allowed(WIRE_ROLE_STANDBY, WIRE_ACK));
	assert_false(wire_allowed(WIRE_ROLE_PRIMARY, WIRE_ACK));
	assert_true(wire_allowed(WIRE_ROLE_PRIMARY, WIRE_HEARTBEAT));
	assert_true(wire_allowed(WIRE_ROLE_STANDBY, WIRE_HEARTBEAT));
	assert_true(wire_allowed(WIRE_ROLE_STANDBY, WIRE_YIELD));
	assert_false(wire_allowed(WIRE_ROLE_PRIMARY, WIRE_YIELD));
	assert_true(wire_allowed(WIRE_ROLE_PRIMARY, WIRE_YIELDED));
	assert_false(wire_allowed(WIRE_ROLE_STANDBY, WIRE_YIELDED));
	assert_false(wire_allowed(0, WIRE_HEARTBEAT));
	assert_false(wire_allowed(33, WIRE_HEARTBEAT));
	assert_false(wire_allowed(WIRE_ROLE_PRIMARY, 0));
	assert_false(wire_allowed(WIRE_ROLE_PRIMARY, WIRE_TYPE_END));
}

static void a_reason_is_cut_and_cleaned(void **state)
{
	char long_text[WIRE_TEXT_MAX + 100], text[WIRE_TEXT_MAX + 1];
	struct buf out = { 0 };
	uint16_t code = 0;

	(void)state;
	memset(long_text, 'x', sizeof(long_text));
	memcpy(long_text, "a\033[31m\n", 7);
	long_text[sizeof(long_text) - 1] = '\0';
	assert_true(wire_put_reason(&out, WIRE_REASON_BUSY, long_text));
	assert_int_equal(out.len, 2 + WIRE_TEXT_MAX);
	assert_int_equal(wire_get_reason(&code, text, out.data, out.len, &err), RC_OK);
	assert_int_equal(code, WIRE_REASON_BUSY);
	assert_int_equal(strlen(text), WIRE_TEXT_MAX);
	assert_memory_equal(text, "a?[31m?x", 8);
	assert_int_equal(wire_get_reason(&code, text, out.data, 2, &err), RC_OK);
	assert_string_equal(text, "");
	assert_int_equal(wire_get_reason(&code, text, out.data, 1, &err), RC_INVALID);
	buf_free(&out);
}

static void every_type_with_a_code_has_room_for_the_longest_text(void **state)
{
	static const uint16_t coded[] = { WIRE_REFUSE, WIRE_FAULT, WIRE_INSTANCE, WIRE_SUPERSEDED };

	(void)state;
	for (size_t i = 0; i < sizeof(coded) / sizeof(coded[0]); i++) {
		assert_int_equal(wire_payload_min(coded[i]), 2);
		assert_int_equal(wire_payload_max(coded[i]), 2 + WIRE_TEXT_MAX);
	}
}

static void every_reason_and_type_has_a_text(void **state)
{
	unsigned i;

	(void)state;
	for (i = 1; i < WIRE_REASON_END; i++)
		assert_null(strstr(wire_reason_text((uint16_t)i), "does not know"));
	assert_non_null(strstr(wire_reason_text(0), "does not know"));
	assert_non_null(strstr(wire_reason_text(WIRE_REASON_END), "does not know"));
	for (i = 1; i < WIRE_TYPE_END; i++)
		assert_string_not_equal(wire_type_name((uint16_t)i), "unknown");
	assert_string_equal(wire_type_name(WIRE_TYPE_END), "unknown");
}

static void a_peer_without_a_feature_gets_what_it_knows(void **state)
{
	(void)state;
	assert_int_equal(wire_payload_for(WIRE_COMMIT, WIRE_FEATURES, 48), 48);
	assert_int_equal(wire_payload_for(WIRE_COMMIT, WIRE_FEATURE_BEACON, 48), 32);
	assert_int_equal(wire_payload_for(WIRE_COMMIT, WIRE_FEATURES, 32), 32);
	assert_int_equal(wire_payload_for(WIRE_COMMIT, 0, 32), 32);
	assert_int_equal(wire_payload_for(WIRE_RESERVE, 0, 1000), 1000);
	assert_int_equal(wire_payload_for(WIRE_TYPE_END, 0, 7), 7);
}

static void what_was_received_survives_the_wire(void **state)
{
	const struct wire_received received = { 7, UINT64_MAX, UINT64_MAX - 1 };
	struct wire_received back;
	struct buf out = { 0 };

	(void)state;
	assert_true(wire_allowed(WIRE_ROLE_STANDBY, WIRE_RECEIVED));
	assert_false(wire_allowed(WIRE_ROLE_PRIMARY, WIRE_RECEIVED));
	assert_false(wire_is_ordered(WIRE_RECEIVED));
	assert_true(wire_put_received(&out, &received));
	assert_int_equal(out.len, wire_payload_max(WIRE_RECEIVED));
	assert_int_equal(wire_get_received(&back, 7, out.data, out.len, &err), RC_OK);
	assert_memory_equal(&back, &received, sizeof(back));
	assert_int_equal(wire_get_received(&back, 7, out.data, out.len - 1, &err), RC_INVALID);
	assert_true(buf_append_u8(&out, 0));
	assert_int_equal(wire_get_received(&back, 7, out.data, out.len, &err), RC_INVALID);
	buf_free(&out);
}

static void commit_heartbeat_and_numbers_survive_the_wire(void **state)
{
	struct wire_commit commit = {
		.batches = 1, .pages = 2, .hash = UINT64_MAX, .device_state_len = 4
	};
	struct wire_commit commit_back;
	struct wire_heartbeat beat = { 5, 6, 7, UINT64_MAX - 1, 8 }, beat_back;
	struct buf out = { 0 };
	uint64_t number = 0;

	(void)state;
	assert_true(wire_put_commit(&out, &commit));
	assert_int_equal(out.len, wire_payload_min(WIRE_COMMIT));
	assert_int_equal(wire_get_commit(&commit_back, out.data, out.len, &err), RC_OK);
	assert_true(commit_back.batches == 1 && commit_back.pages == 2 &&
		    commit_back.hash == UINT64_MAX && commit_back.device_state_len == 4 &&
		    !commit_back.timed);
	buf_reset(&out);
	commit.timed = true;
	commit.age_ns = 0x0102030405060708;
	commit.pause_ns = UINT64_MAX;
	assert_true(wire_put_commit(&out, &commit));
	assert_int_equal(out.len, wire_payload_max(WIRE_COMMIT));
	assert_memory_equal(out.data + 32, "\x08\7\6\5\4\3\2\1\xff\xff\xff\xff\xff\xff\xff\xff",
			    16);
	assert_int_equal(wire_get_commit(&commit_back, out.data, out.len, &err), RC_OK);
	assert_true(commit_back.timed && commit_back.age_ns == commit.age_ns &&
		    commit_back.pause_ns == commit.pause_ns);
	assert_int_equal(wire_get_commit(&commit_back, out.data, 40, &err), RC_INVALID);
	assert_int_equal(wire_get_commit(&commit_back, out.data, out.len - 1, &err), RC_INVALID);
	out.data[28] = 1;
	assert_int_equal(wire_get_commit(&commit_back, out.data, out.len, &err), RC_INVALID);

	buf_reset(&out);
	assert_true(wire_put_heartbeat(&out, &beat));
	assert_int_equal(out.len, wire_payload_max(WIRE_HEARTBEAT));
	assert_int_equal(wire_get_heartbeat(&beat_back, out.data, out.len, &err), RC_OK);
	assert_memory_equal(&beat_back, &beat, sizeof(beat));
	assert_int_equal(wire_get_heartbeat(&beat_back, out.data, out.len - 1, &err), RC_INVALID);

	assert_int_equal(wire_get_u64(&number, out.data, 8, &err), RC_OK);
	assert_true(number == 5);
	assert_int_equal(wire_get_u64(&number, out.data, 7, &err), RC_INVALID);
	buf_free(&out);
}

/* ---- frames out of a stream ---- */

static void add_frame(struct buf *stream, uint16_t type, bool more, uint64_t epoch, size_t len,
		      uint8_t fill)
{
	struct wire_header header = { .length = (uint32_t)len, .type = type, .more = more };
	uint8_t *to;

	header.epoch = epoch;
	to = buf_extend(stream, WIRE_HEADER + len);
	assert_non_null(to);
	wire_put_header(to, &header);
	memset(to + WIRE_HEADER, fill, len);
}

static void add_hello(struct buf *stream, uint8_t role)
{
	struct wire_hello hello = sample_hello();
	struct wire_header header = { .type = WIRE_HELLO };
	struct buf payload = { 0 };
	uint8_t head[WIRE_HEADER];

	hello.role = role;
	assert_true(wire_put_hello(&payload, &hello));
	header.length = (uint32_t)payload.len;
	wire_put_header(head, &header);
	assert_true(buf_append(stream, head, sizeof(head)));
	assert_true(buf_append(stream, payload.data, payload.len));
	buf_free(&payload);
}

struct seen {
	unsigned frames;
	uint16_t types[16];
	uint32_t lengths[16];
	uint8_t first[16], last[16];
};

/* Reads the whole stream in pieces of at most `piece` bytes. */
static int read_all(const struct buf *stream, uint8_t sender, size_t piece, struct seen *seen)
{
	struct frame_reader reader;
	const struct wire_header *header;
	const uint8_t *payload;
	size_t at = 0, room;
	int rc = RC_OK;

	memset(seen, 0, sizeof(*seen));
	frame_reader_init(&reader, sender);
	while (at < stream->len && rc == RC_OK) {
		uint8_t *to = frame_reader_space(&reader, &room);

		assert_true(room > 0);
		room = room < piece ? room : piece;
		room = room < stream->len - at ? room : stream->len - at;
		memcpy(to, stream->data + at, room);
		at += room;
		rc = frame_reader_filled(&reader, room, &header, &payload, &err);
		if (rc == RC_OK && header != NULL && seen->frames < 16) {
			seen->types[seen->frames] = header->type;
			seen->lengths[seen->frames] = header->length;
			if (header->length > 0) {
				seen->first[seen->frames] = payload[0];
				seen->last[seen->frames] = payload[header->length - 1];
			}
			seen->frames++;
		}
	}
	if (rc == RC_OK)
		assert_false(frame_reader_is_inside(&reader));
	frame_reader_free(&reader);
	return rc;
}

static void frames_are_found_however_the_stream_is_cut(void **state)
{
	static const size_t pieces[] = { 1, 7, 23, 24, 25, 4096, 1 << 20 };
	struct buf stream = { .limit = 4 << 20 };
	struct seen seen;
	size_t i;

	(void)state;
	add_hello(&stream, WIRE_ROLE_PRIMARY);
	add_frame(&stream, WIRE_WANT_HASHES, false, 0, 0, 0);
	add_frame(&stream, WIRE_BATCH, true, 8, 60000, 0xa1);
	add_frame(&stream, WIRE_HEARTBEAT, false, 0, 40, 0x55);
	add_frame(&stream, WIRE_BATCH, false, 8, 10, 0xa2);
	add_frame(&stream, WIRE_BATCH, false, 8, 3, 0xb1);
	for (i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
		assert_int_equal(read_all(&stream, WIRE_ROLE_PRIMARY, pieces[i], &seen), RC_OK);
		assert_int_equal(seen.frames, 5);
		assert_int_equal(seen.types[0], WIRE_HELLO);
		assert_int_equal(seen.types[1], WIRE_WANT_HASHES);
		assert_int_equal(seen.types[2], WIRE_HEARTBEAT);
		assert_int_equal(seen.types[3], WIRE_BATCH);
		assert_int_equal(seen.lengths[3], 60010);
		assert_int_equal(seen.first[3], 0xa1);
		assert_int_equal(seen.last[3], 0xa2);
		assert_int_equal(seen.lengths[4], 3);
		assert_int_equal(seen.first[4], 0xb1);
	}
	buf_free(&stream);
}

static void nothing_but_refuse_comes_before_hello(void **state)
{
	struct buf stream = { 0 };
	struct seen seen;

	(void)state;
	add_frame(&stream, WIRE_HEARTBEAT, false, 0, 40, 0);
	assert_int_equal(read_all(&stream, WIRE_ROLE_PRIMARY, 100, &seen), RC_INVALID);
	assert_non_null(strstr(err.text, "before hello"));
	buf_reset(&stream);
	add_frame(&stream, WIRE_REFUSE, false, 0, 2, 0);
	assert_int_equal(read_all(&stream, WIRE_ROLE_PRIMARY, 100, &seen), RC_OK);
	assert_int_equal(seen.frames, 1);
	buf_free(&stream);
}

static void a_second_hello_is_refused(void **state)
{
	struct buf stream = { 0 };
	struct seen seen;

	(void)state;
	add_hello(&stream, WIRE_ROLE_STANDBY);
	add_hello(&stream, WIRE_ROLE_STANDBY);
	assert_int_equal(read_all(&stream, WIRE_ROLE_STANDBY, 100, &seen), RC_INVALID);
	assert_int_equal(seen.frames, 1);
	buf_free(&stream);
}

static void a_frame_of_the_other_role_is_refused(void **state)
{
	struct buf stream = { 0 };
	struct seen seen;

	(void)state;
	add_hello(&stream, WIRE_ROLE_STANDBY);
	add_frame(&stream, WIRE_BATCH, false, 0, 5, 0);
	assert_int_equal(read_all(&stream, WIRE_ROLE_STANDBY, 100, &seen), RC_INVALID);
	assert_non_null(strstr(err.text, "batch frame from a standby"));
	buf_free(&stream);
}

static void a_batch_ends_at_its_limit(void **state)
{
	struct buf stream = { .limit = 4 << 20 };
	struct seen seen;
	size_t i;

	(void)state;
	add_hello(&stream, WIRE_ROLE_PRIMARY);
	for (i = 0; i < WIRE_BATCH_MAX / WIRE_FRAGMENT_MAX; i++)
		add_frame(&stream, WIRE_BATCH, true, 1, WIRE_FRAGMENT_MAX, 1);
	add_frame(&stream, WIRE_BATCH, false, 1, 1, 1);
	assert_int_equal(read_all(&stream, WIRE_ROLE_PRIMARY, 1 << 20, &seen), RC_LIMIT);
	buf_free(&stream);
}

static void batches_do_not_mix(void **state)
{
	struct buf stream = { .limit = 4 << 20 };
	struct seen seen;

	(void)state;
	add_hello(&stream, WIRE_ROLE_PRIMARY);
	add_frame(&stream, WIRE_BATCH, true, 1, 100, 1);
	add_frame(&stream, WIRE_BATCH, false, 2, 100, 1);
	assert_int_equal(read_all(&stream, WIRE_ROLE_PRIMARY, 1 << 20, &seen), RC_INVALID);
	assert_non_null(strstr(err.text, "epoch 2 began inside one of epoch 1"));
	buf_free(&stream);
}

static void a_failed_allocation_is_an_error_at_each_place(void **state)
{
	struct buf stream = { .limit = 4 << 20 };
	struct seen seen;
	unsigned long n;
	int rc;

	(void)state;
	add_hello(&stream, WIRE_ROLE_PRIMARY);
	add_frame(&stream, WIRE_BATCH, false, 1, 100, 1);
	add_frame(&stream, WIRE_RESERVE, false, 1, 100000, 1);
	for (n = 1;; n++) {
		fault_arm(FAULT_ALLOC, n);
		rc = read_all(&stream, WIRE_ROLE_PRIMARY, 1 << 20, &seen);
		if (!fault_fired(FAULT_ALLOC))
			break;
		assert_int_equal(rc, RC_NOMEM);
	}
	fault_arm(FAULT_ALLOC, 0);
	assert_int_equal(rc, RC_OK);
	assert_true(n > 3);
	buf_free(&stream);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hello_has_the_bytes_that_the_header_file_says),
		cmocka_unit_test(a_standbys_hello_may_tell_which_one_it_is),
		cmocka_unit_test(hello_is_refused_when_cut_anywhere_or_longer),
		cmocka_unit_test(hello_with_a_wrong_field_is_refused_naming_it),
		cmocka_unit_test(a_name_that_cannot_be_sent_is_not_sent),
		cmocka_unit_test(ends_without_a_common_version_are_told_both_ranges),
		cmocka_unit_test(a_header_survives_the_wire),
		cmocka_unit_test(headers_outside_the_rules_are_refused),
		cmocka_unit_test(a_role_sends_its_own_types_only),
		cmocka_unit_test(a_reason_is_cut_and_cleaned),
		cmocka_unit_test(every_type_with_a_code_has_room_for_the_longest_text),
		cmocka_unit_test(every_reason_and_type_has_a_text),
		cmocka_unit_test(a_peer_without_a_feature_gets_what_it_knows),
		cmocka_unit_test(what_was_received_survives_the_wire),
		cmocka_unit_test(commit_heartbeat_and_numbers_survive_the_wire),
		cmocka_unit_test(frames_are_found_however_the_stream_is_cut),
		cmocka_unit_test(nothing_but_refuse_comes_before_hello),
		cmocka_unit_test(a_second_hello_is_refused),
		cmocka_unit_test(a_frame_of_the_other_role_is_refused),
		cmocka_unit_test(a_batch_ends_at_its_limit),
		cmocka_unit_test(batches_do_not_mix),
		cmocka_unit_test(a_failed_allocation_is_an_error_at_each_place),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
