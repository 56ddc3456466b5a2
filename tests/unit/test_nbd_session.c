/*
 * An NBD client's bytes, whole and in pieces of every size: what is answered in the handshake, which
 * requests come out, and what is wrong with the others.
 */
#include "net/nbd_session.h"

#include "appliance/base/bytes.h"
#include "appliance/base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define REQUESTS_MAX 8
#define BYTES UINT64_C(1048576)

static const struct nbd_export export = { .name = "disk0", .bytes = BYTES, .block = 65536 };

/* A client that has said something, and what came of it. */
struct play {
	struct nbd_session session;
	struct buf said;
	struct nbd_request requests[REQUESTS_MAX];
	uint8_t written; /* the last byte of the last WRITE */
	size_t count;
	struct err err;
	int rc;
};

static int begin(void **state)
{
	static struct play play;
	struct err err;

	memset(&play, 0, sizeof(play));
	assert_int_equal(nbd_session_init(&play.session, &export, 65536, &err), RC_OK);
	*state = &play;
	return 0;
}

static int end(void **state)
{
	struct play *play = *state;

	nbd_session_free(&play->session);
	buf_free(&play->said);
	return 0;
}

static void note(struct play *play, const struct nbd_request *request)
{
	assert_true(play->count < REQUESTS_MAX);
	if (request->command == NBD_WRITE)
		play->written = request->data[request->length - 1];
	else
		assert_null(request->data);
	play->requests[play->count] = *request;
	play->requests[play->count++].data = NULL;
}

/* All that was said, at most `piece` bytes at a time. */
static void feed(struct play *play, size_t piece)
{
	const struct nbd_request *request;
	size_t at = 0, room;
	uint8_t *space;

	play->rc = RC_OK;
	while (play->rc == RC_OK && at < play->said.len &&
	       (space = nbd_session_space(&play->session, &room)) != NULL) {
		assert_true(room > 0);
		room = room < piece ? room : piece;
		room = room < play->said.len - at ? room : play->said.len - at;
		memcpy(space, play->said.data + at, room);
		at += room;
		nbd_session_filled(&play->session, room);
		while ((play->rc = nbd_session_next(&play->session, &request, &play->err)) ==
			       RC_OK &&
		       request != NULL)
			note(play, request);
	}
	buf_reset(&play->said);
}

static void say_flags(struct play *play, uint32_t flags)
{
	(void)buf_append_be32(&play->said, flags);
}

static void say_option(struct play *play, uint32_t option, const void *data, size_t len)
{
	(void)buf_append_be64(&play->said, NBD_OPTION_MAGIC);
	(void)buf_append_be32(&play->said, option);
	(void)buf_append_be32(&play->said, (uint32_t)len);
	(void)buf_append(&play->said, data, len);
}

/* GO and INFO: a name, and that nothing more is asked. */
static void say_named(struct play *play, uint32_t option, const char *name)
{
	struct buf data = { 0 };

	(void)buf_append_be32(&data, (uint32_t)strlen(name));
	(void)buf_append(&data, name, strlen(name));
	(void)buf_append_be16(&data, 0);
	say_option(play, option, data.data, data.len);
	buf_free(&data);
}

static void say_context(struct play *play, uint32_t option, const char *query)
{
	struct buf data = { 0 };

	(void)buf_append_be32(&data, (uint32_t)strlen(export.name));
	(void)buf_append(&data, export.name, strlen(export.name));
	(void)buf_append_be32(&data, 1);
	(void)buf_append_be32(&data, (uint32_t)strlen(query));
	(void)buf_append(&data, query, strlen(query));
	say_option(play, option, data.data, data.len);
	buf_free(&data);
}

static void say_request(struct play *play, uint16_t command, uint16_t flags, uint64_t offset,
			uint32_t length)
{
	(void)buf_append_be32(&play->said, NBD_REQUEST_MAGIC);
	(void)buf_append_be16(&play->said, flags);
	(void)buf_append_be16(&play->said, command);
	(void)buf_append_be64(&play->said, 0xc00c1e00 + offset);
	(void)buf_append_be64(&play->said, offset);
	(void)buf_append_be32(&play->said, length);
}

static void say_data(struct play *play, size_t len)
{
	uint8_t *at = buf_extend(&play->said, len);

	memset(at, 0x77, len);
}

/* The kinds of the replies to options, in their order, and what is behind the last of them. */
static size_t replies(const struct play *play, uint32_t kinds[], size_t max, struct cursor *rest)
{
	struct cursor c = cursor_of(play->session.out.data, play->session.out.len);
	size_t count = 0;

	assert_true(cursor_be64(&c) == NBD_MAGIC);
	assert_true(cursor_be64(&c) == NBD_OPTION_MAGIC);
	assert_int_equal(cursor_be16(&c), NBD_FIXED_NEWSTYLE | NBD_NO_ZEROES);
	while (c.left >= 20 && bytes_get_be64(c.at) == NBD_REPLY_MAGIC) {
		assert_true(count < max);
		(void)cursor_bytes(&c, 12);
		kinds[count++] = cursor_be32(&c);
		assert_non_null(cursor_bytes(&c, cursor_be32(&c)));
	}
	*rest = c;
	return count;
}

static void serve(struct play *play, bool structured)
{
	say_flags(play, NBD_FIXED_NEWSTYLE | NBD_NO_ZEROES);
	if (structured) {
		say_option(play, NBD_OPTION_STRUCTURED_REPLY, "", 0);
		say_context(play, NBD_OPTION_SET_META_CONTEXT, "base:allocation");
	}
	say_named(play, NBD_OPTION_GO, "disk0");
	feed(play, SIZE_MAX);
	assert_int_equal(play->rc, RC_OK);
	assert_int_equal(play->session.state, NBD_SERVING);
	buf_reset(&play->session.out);
}

static void a_handshake_as_qemu_holds_it_in_pieces_of_every_size(void **state)
{
	uint32_t kinds[8] = { 0 };
	struct cursor rest;
	size_t piece;

	for (piece = 1; piece < 90; piece++) {
		struct play *play = *state;

		say_flags(play, NBD_FIXED_NEWSTYLE | NBD_NO_ZEROES);
		say_option(play, NBD_OPTION_STRUCTURED_REPLY, "", 0);
		say_context(play, NBD_OPTION_SET_META_CONTEXT, "base:allocation");
		say_named(play, NBD_OPTION_GO, "disk0");
		feed(play, piece);
		assert_int_equal(play->rc, RC_OK);
		assert_int_equal(play->session.state, NBD_SERVING);
		assert_true(play->session.structured && play->session.contexts);
		assert_int_equal(replies(play, kinds, 8, &rest), 6);
		assert_int_equal(rest.left, 0);
		assert_int_equal(kinds[0], NBD_REPLY_ACK);
		assert_int_equal(kinds[1], NBD_REPLY_META_CONTEXT);
		assert_int_equal(kinds[3], NBD_REPLY_INFO);
		assert_int_equal(kinds[5], NBD_REPLY_ACK);
		(void)end(state);
		(void)begin(state);
	}
}

static void an_old_client_names_its_export_and_gets_its_size(void **state)
{
	struct play *play = *state;
	struct cursor rest;
	uint32_t kind;

	say_flags(play, NBD_FIXED_NEWSTYLE);
	say_option(play, NBD_OPTION_EXPORT_NAME, "disk0", 5);
	feed(play, SIZE_MAX);
	assert_int_equal(play->rc, RC_OK);
	assert_int_equal(replies(play, &kind, 1, &rest), 0);
	assert_true(cursor_be64(&rest) == BYTES);
	assert_true((cursor_be16(&rest) & NBD_CAN_MULTI_CONN) != 0);
	assert_int_equal(rest.left, 124);
	assert_int_equal(play->session.state, NBD_SERVING);
}

static void what_is_asked_for_and_not_there_is_refused_by_name(void **state)
{
	static const struct {
		uint32_t option, refusal;
		const char *data;
		size_t len;
	} cases[] = {
		{ 5, NBD_REPLY_UNSUPPORTED, "", 0 }, /* STARTTLS */
		{ 11, NBD_REPLY_UNSUPPORTED, "", 0 },
		{ 0xffffffff, NBD_REPLY_UNSUPPORTED, "x", 1 },
		{ NBD_OPTION_LIST, NBD_REPLY_INVALID, "x", 1 },
		{ NBD_OPTION_STRUCTURED_REPLY, NBD_REPLY_INVALID, "x", 1 },
		{ NBD_OPTION_GO, NBD_REPLY_UNKNOWN, "\0\0\0\5disk1\0\0", 11 },
		{ NBD_OPTION_INFO, NBD_REPLY_UNKNOWN, "\0\0\0\4disk\0\0", 10 },
		{ NBD_OPTION_GO, NBD_REPLY_INVALID, "\0\0\0\5disk0\0", 10 },
		{ NBD_OPTION_GO, NBD_REPLY_INVALID, "\0\0\0\5disk0\0\1\0", 12 },
		{ NBD_OPTION_GO, NBD_REPLY_INVALID, "\377\377\377\377disk0\0\0", 11 },
		{ NBD_OPTION_GO, NBD_REPLY_INVALID, "\0\0\0\5disk0\0\0x", 12 },
		{ NBD_OPTION_GO, NBD_REPLY_INVALID, "", 0 },
		/* Without structured replies there are no contexts. */
		{ NBD_OPTION_LIST_META_CONTEXT, NBD_REPLY_INVALID, "\0\0\0\5disk0\0\0\0\0", 13 },
	};
	struct play *play = *state;
	uint32_t kinds[sizeof(cases) / sizeof(cases[0])];
	struct cursor rest;
	size_t i;

	say_flags(play, NBD_FIXED_NEWSTYLE);
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		say_option(play, cases[i].option, cases[i].data, cases[i].len);
	feed(play, 7);
	assert_int_equal(play->rc, RC_OK);
	assert_int_equal(replies(play, kinds, i, &rest), i);
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(kinds[i], NBD_REPLY_ERROR | cases[i].refusal);
	assert_int_equal(play->session.state, NBD_OPTIONS);
}

static void a_handshake_that_makes_no_sense_ends_the_connection(void **state)
{
	static const struct {
		uint32_t flags, option;
		const char *name;
		size_t len;
		int rc;
	} cases[] = {
		{ 0, 0, "", 0, RC_INVALID },
		{ NBD_FIXED_NEWSTYLE | 4, 0, "", 0, RC_INVALID },
		{ NBD_FIXED_NEWSTYLE, NBD_OPTION_EXPORT_NAME, "disk", 4, RC_INVALID },
		{ NBD_FIXED_NEWSTYLE, NBD_OPTION_EXPORT_NAME, "", 0, RC_INVALID },
	};
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct play *play = *state;

		say_flags(play, cases[i].flags);
		say_option(play, cases[i].option, cases[i].name, cases[i].len);
		feed(play, SIZE_MAX);
		assert_int_equal(play->rc, cases[i].rc);
		assert_int_equal(play->session.state, NBD_ENDED);
		(void)end(state);
		(void)begin(state);
	}
}

static void sizes_and_numbers_are_limited(void **state)
{
	struct play *play = *state;
	unsigned i;

	say_flags(play, NBD_FIXED_NEWSTYLE);
	for (i = 0; i <= NBD_OPTIONS_MAX; i++)
		say_option(play, NBD_OPTION_LIST, "", 0);
	feed(play, SIZE_MAX);
	assert_int_equal(play->rc, RC_LIMIT);
	(void)end(state);
	(void)begin(state);
	say_flags(play, NBD_FIXED_NEWSTYLE);
	(void)buf_append_be64(&play->said, NBD_OPTION_MAGIC);
	(void)buf_append_be32(&play->said, NBD_OPTION_GO);
	(void)buf_append_be32(&play->said, (uint32_t)NBD_OPTION_MAX + 1);
	feed(play, SIZE_MAX);
	assert_int_equal(play->rc, RC_LIMIT);
	(void)end(state);
	(void)begin(state);
	serve(play, true);
	say_request(play, NBD_WRITE, 0, 0, NBD_PAYLOAD_MAX + 1);
	feed(play, SIZE_MAX);
	assert_int_equal(play->rc, RC_LIMIT);
	(void)end(state);
	(void)begin(state);
	serve(play, true);
	for (i = 0; i < 65536; i++)
		say_request(play, NBD_READ, 0, BYTES, 1); /* whose refusals nobody takes */
	feed(play, SIZE_MAX);
	assert_int_equal(play->rc, RC_LIMIT);
}

static void requests_come_out_as_they_were_made(void **state)
{
	size_t piece;

	for (piece = 1; piece < 700; piece += 1 + piece / 8) {
		struct play *play = *state;

		serve(play, true);
		say_request(play, NBD_READ, NBD_DF, 4096, 512);
		say_request(play, NBD_WRITE, NBD_FUA, BYTES - 600, 600);
		say_data(play, 600);
		say_request(play, NBD_FLUSH, 0, 0, 0);
		say_request(play, NBD_TRIM, 0, 0, BYTES);
		say_request(play, NBD_WRITE_ZEROES, NBD_NO_HOLE, 1, 2);
		say_request(play, NBD_BLOCK_STATUS, NBD_REQ_ONE, 0, 100);
		say_request(play, NBD_DISCONNECT, 0, 0, 0);
		say_request(play, NBD_READ, 0, 0, 1); /* nobody hears that */
		feed(play, piece);
		assert_int_equal(play->rc, RC_OK);
		assert_int_equal(play->count, 6);
		assert_int_equal(play->requests[0].flags, NBD_DF);
		assert_true(play->requests[1].cookie == 0xc00c1e00 + BYTES - 600);
		assert_int_equal(play->requests[1].length, 600);
		assert_int_equal(play->written, 0x77);
		assert_int_equal(play->requests[2].command, NBD_FLUSH);
		assert_true(play->requests[3].length == BYTES);
		assert_int_equal(play->requests[4].command, NBD_WRITE_ZEROES);
		assert_int_equal(play->requests[5].command, NBD_BLOCK_STATUS);
		assert_int_equal(play->session.out.len, 0);
		assert_int_equal(play->session.state, NBD_ENDED);
		(void)end(state);
		(void)begin(state);
	}
}

static void a_request_that_does_not_fit_is_answered_and_the_next_one_is_taken(void **state)
{
	static const struct {
		uint16_t command, flags;
		uint64_t offset;
		uint32_t length;
		enum nbd_error error;
	} cases[] = {
		{ NBD_READ, 0, BYTES, 1, NBD_EINVAL },
		{ NBD_READ, 0, BYTES - 1, 2, NBD_EINVAL },
		{ NBD_READ, 0, UINT64_MAX, 2, NBD_EINVAL },
		{ NBD_READ, 0, 0, 0, NBD_EINVAL },
		{ NBD_READ, NBD_NO_HOLE, 0, 1, NBD_EINVAL },
		{ NBD_WRITE, 0, BYTES - 1, 2, NBD_ENOSPC },
		{ NBD_WRITE, 0, 0, 0, NBD_EINVAL },
		{ NBD_WRITE, 0x8000, 0, 3, NBD_EINVAL },
		{ NBD_WRITE_ZEROES, 0, 1, BYTES, NBD_ENOSPC },
		{ NBD_TRIM, 0, 1, UINT32_MAX, NBD_EINVAL },
		{ NBD_FLUSH, 0, 1, 0, NBD_EINVAL },
		{ NBD_BLOCK_STATUS, 0, 0, 1, NBD_EINVAL }, /* no context was agreed upon */
		{ 5, 0, 0, 1, NBD_EINVAL },		   /* CACHE */
		{ 0xffff, 0, 0, 1, NBD_EINVAL },
	};
	struct play *play = *state;
	struct cursor c;
	size_t i;

	serve(play, false);
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		say_request(play, cases[i].command, cases[i].flags, cases[i].offset,
			    cases[i].length);
		if (cases[i].command == NBD_WRITE)
			say_data(play, cases[i].length);
	}
	say_request(play, NBD_READ, 0, 0, 1);
	feed(play, 11);
	assert_int_equal(play->rc, RC_OK);
	assert_int_equal(play->count, 1);
	c = cursor_of(play->session.out.data, play->session.out.len);
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(cursor_be32(&c), NBD_SIMPLE_MAGIC);
		assert_int_equal(cursor_be32(&c), cases[i].error);
		assert_true(cursor_be64(&c) == 0xc00c1e00 + cases[i].offset);
	}
	assert_int_equal(c.left, 0);
}

static void no_read_is_longer_than_a_write_may_be(void **state)
{
	static const struct nbd_export large = { .bytes = (uint64_t)1 << 40, .block = 65536 };
	struct play *play = *state;
	struct cursor c;

	serve(play, false);
	play->session.export = &large;
	say_request(play, NBD_READ, 0, 0, NBD_PAYLOAD_MAX + 1);
	feed(play, SIZE_MAX);
	assert_int_equal(play->rc, RC_OK);
	assert_int_equal(play->count, 0);
	c = cursor_of(play->session.out.data, play->session.out.len);
	assert_int_equal(cursor_be32(&c), NBD_SIMPLE_MAGIC);
	assert_int_equal(cursor_be32(&c), NBD_EINVAL);
}

static void replies_are_the_bytes_of_the_protocol(void **state)
{
	static const struct nbd_extent extents[] = { { 4096, 0 }, { 8192, NBD_HOLE | NBD_ZERO } };
	struct buf out = { 0 };

	(void)state;
	nbd_put_done(&out, 0x0102030405060708);
	nbd_put_data(&out, false, 1, 0, (const uint8_t *)"ab", 2);
	assert_int_equal(out.len, 34);
	assert_memory_equal(out.data,
			    "\x67\x44\x66\x98\0\0\0\0\1\2\3\4\5\6\7\x8"
			    "\x67\x44\x66\x98\0\0\0\0\0\0\0\0\0\0\0\1ab",
			    34);
	buf_reset(&out);
	nbd_put_data(&out, true, 1, 5, (const uint8_t *)"ab", 2);
	nbd_put_data(&out, true, 1, 5, NULL, 512);
	assert_int_equal(out.len, 30 + 32);
	assert_memory_equal(out.data,
			    "\x66\x8e\x33\xef\0\1\0\1\0\0\0\0\0\0\0\1\0\0\0\xa\0\0\0\0\0\0\0\5"
			    "ab"
			    "\x66\x8e\x33\xef\0\1\0\2\0\0\0\0\0\0\0\1\0\0\0\xc\0\0\0\0\0\0\0\5"
			    "\0\0\2\0",
			    62);
	buf_reset(&out);
	nbd_put_extents(&out, 1, NBD_CONTEXT_ALLOCATION, extents, 2);
	nbd_put_error(&out, true, 1, NBD_ENOSPC);
	assert_int_equal(out.len, 40 + 26);
	assert_memory_equal(out.data,
			    "\x66\x8e\x33\xef\0\1\0\5\0\0\0\0\0\0\0\1\0\0\0\x14\0\0\0\1"
			    "\0\0\x10\0\0\0\0\0\0\0\x20\0\0\0\0\3"
			    "\x66\x8e\x33\xef\0\1\x80\1\0\0\0\0\0\0\0\1\0\0\0\6\0\0\0\x1c\0\0",
			    66);
	buf_free(&out);
}

static void without_memory_the_session_ends(void **state)
{
	unsigned long nth;

	for (nth = 1;; nth++) {
		struct play *play = *state;

		say_flags(play, NBD_FIXED_NEWSTYLE | NBD_NO_ZEROES);
		say_named(play, NBD_OPTION_GO, "disk0");
		say_request(play, NBD_WRITE, 0, 0, 70000);
		say_data(play, 70000);
		say_request(play, NBD_READ, 0, 0, 1);
		fault_arm(FAULT_ALLOC, nth);
		feed(play, SIZE_MAX);
		if (!fault_fired(FAULT_ALLOC))
			break;
		fault_arm(FAULT_ALLOC, 0);
		assert_int_equal(play->session.state, NBD_ENDED);
		(void)end(state);
		(void)begin(state);
	}
	fault_arm(FAULT_ALLOC, 0);
	assert_true(nth > 2);
	assert_int_equal(((struct play *)*state)->count, 2);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
	const struct CMUnitTest tests[] = {
		TEST(a_handshake_as_qemu_holds_it_in_pieces_of_every_size),
		TEST(an_old_client_names_its_export_and_gets_its_size),
		TEST(what_is_asked_for_and_not_there_is_refused_by_name),
		TEST(a_handshake_that_makes_no_sense_ends_the_connection),
		TEST(sizes_and_numbers_are_limited),
		TEST(requests_come_out_as_they_were_made),
		TEST(a_request_that_does_not_fit_is_answered_and_the_next_one_is_taken),
		TEST(no_read_is_longer_than_a_write_may_be),
		TEST(replies_are_the_bytes_of_the_protocol),
		TEST(without_memory_the_session_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
