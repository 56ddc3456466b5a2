/*
 * The NBD client, against this project's server, and against servers that break the protocol.
 */
#include "net/nbd_client.h"

#include "appliance/base/clock.h"
#include "tests/unit/nbd_fixture.h"
#include "tests/unit/nbd_script.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define TIMEOUT_MS 20000
#define SHORT_MS 200

static struct play {
	struct nbd_client *client;
	struct err err;
} play;

static int setup(void **state)
{
	memset(&play, 0, sizeof(play));
	return nbd_fixture_setup(state);
}

static int teardown(void **state)
{
	nbd_client_close(play.client);
	return nbd_fixture_teardown(state);
}

static int open_named(const char *name, uint32_t timeout_ms)
{
	const struct nbd_client_options options = { .socket = nbd_fixture.socket,
						    .name = name,
						    .timeout_ms = timeout_ms };

	return nbd_client_open(&play.client, &options, &play.err);
}

static void open_it(void)
{
	assert_int_equal(open_named("disk0", TIMEOUT_MS), RC_OK);
	assert_int_equal(nbd_client_bytes(play.client), NBD_BYTES);
}

static void what_is_written_is_read(void **state)
{
	static uint8_t data[NBD_BYTES / 4], read[NBD_BYTES / 4];
	size_t at;

	(void)state;
	open_it();
	for (at = 0; at < sizeof(data); at++)
		data[at] = (uint8_t)(at * 7 + at / 251);
	for (at = 0; at < sizeof(data); at += 512) /* many more than may be open at once */
		assert_int_equal(nbd_client_write(play.client, 512 + at, data + at, 512, &play.err),
				 RC_OK);
	assert_int_equal(nbd_client_read(play.client, 512, read, sizeof(read), &play.err), RC_OK);
	assert_memory_equal(read, data, sizeof(data));
	assert_int_equal(nbd_client_zero(play.client, 1024, 4096, &play.err), RC_OK);
	assert_int_equal(nbd_client_settle(play.client, &play.err), RC_OK);
	memset(data + 512, 0, 4096);
	assert_memory_equal(nbd_fixture.disk + 512, data, sizeof(data));
	assert_int_equal(nbd_client_read(play.client, NBD_BYTES - 1, read, 1, &play.err), RC_OK);
	assert_int_equal(read[0], 0);
}

static void a_flush_is_not_waited_for_and_its_end_is_seen(void **state)
{
	const uint64_t until_ns = clock_now_ns() + 20 * CLOCK_NS_PER_S;

	(void)state;
	open_it();
	assert_int_equal(nbd_client_write(play.client, 0, nbd_fixture.disk, 512, &play.err), RC_OK);
	assert_int_equal(nbd_client_settle(play.client, &play.err), RC_OK);
	assert_int_equal(nbd_client_flush(play.client, &play.err), RC_OK);
	while (nbd_client_is_flushing(play.client))
		assert_true(clock_now_ns() < until_ns);
	assert_int_equal(nbd_fixture.flushes, 1);
	assert_int_equal(nbd_client_flush(play.client, &play.err), RC_OK);
	assert_int_equal(nbd_client_settle(play.client, &play.err), RC_OK);
}

static void an_error_of_the_server_is_told_at_the_latest_when_settled(void **state)
{
	int rc;

	(void)state;
	open_it();
	nbd_fixture.error = NBD_ENOSPC;
	rc = nbd_client_write(play.client, 0, nbd_fixture.disk + 4096, 4096, &play.err);
	if (rc == RC_OK)
		rc = nbd_client_settle(play.client, &play.err);
	assert_int_equal(rc, RC_IO);
	assert_string_equal(play.err.text, "writing: no space left (28)");
	assert_int_equal(nbd_client_write(play.client, 0, nbd_fixture.disk, 512, &play.err), RC_IO);
	assert_string_equal(play.err.text, "writing: no space left (28)");
}

static void an_error_that_nobody_waited_for_is_told_by_name(void **state)
{
	(void)state;
	open_it();
	nbd_fixture.flush_error = NBD_EIO;
	assert_int_equal(nbd_client_flush(play.client, &play.err), RC_OK);
	while (nbd_client_is_flushing(play.client))
		(void)usleep(1000);
	assert_true(nbd_client_is_broken(play.client));
	assert_int_equal(nbd_client_settle(play.client, &play.err), RC_IO);
	assert_string_equal(play.err.text, "flushing: input/output error (5)");
	assert_int_equal(nbd_client_write(play.client, 0, nbd_fixture.disk, 512, &play.err), RC_IO);
	assert_string_equal(play.err.text, "flushing: input/output error (5)");
}

static void an_unknown_export_is_refused_and_nobody_at_a_socket_is_told_apart(void **state)
{
	(void)state;
	assert_int_equal(open_named("disk1", TIMEOUT_MS), RC_REFUSED);
	assert_non_null(strstr(play.err.text, "disk1: refused"));
	assert_null(play.client);
	(void)snprintf(nbd_fixture.socket, sizeof(nbd_fixture.socket), "%s/none", nbd_fixture.dir);
	assert_int_equal(open_named("disk0", TIMEOUT_MS), RC_CLOSED);
}

static uint64_t told[16][2];
static size_t ntold;

static void on_data(void *owner, uint64_t offset, uint64_t len)
{
	(void)owner;
	assert_true(ntold < 16);
	told[ntold][0] = offset;
	told[ntold++][1] = len;
}

static void what_is_zero_is_told(void **state)
{
	uint64_t bytes = 0;

	(void)state;
	nbd_fixture.disk[1U << 20] = 1;
	nbd_fixture.disk[3U << 20] = 1;
	open_it();
	ntold = 0;
	assert_int_equal(nbd_client_extents(play.client, 0, NBD_BYTES, on_data, NULL, &play.err),
			 RC_OK);
	for (size_t i = 0; i < ntold; i++) {
		assert_true(told[i][0] / (1U << 20) == 1 || told[i][0] / (1U << 20) == 3);
		bytes += told[i][1];
	}
	assert_int_equal(bytes, 2U << 20);
}

/* ---- servers that are none ------------------------------------------------------------------- */

/* `ends`: and closes, else it falls silent. The server's end, to be closed. */
static int hear(bool ends, int *other)
{
	const struct nbd_client_options options = { .name = "d", .timeout_ms = SHORT_MS };
	int fds[2];

	assert_false(nbd_script.failed);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	assert_int_equal(write(fds[1], nbd_script.data, nbd_script.len), nbd_script.len);
	if (ends)
		assert_int_equal(shutdown(fds[1], SHUT_WR), 0);
	buf_free(&nbd_script);
	*other = fds[1];
	return nbd_client_open_on(&play.client, fds[0], &options, &play.err);
}

static void refuses_to_open(enum rc rc, const char *text)
{
	int other;

	assert_int_equal(hear(true, &other), rc);
	assert_non_null(strstr(play.err.text, text));
	(void)close(other);
}

static void what_is_no_such_server_is_not_opened(void **state)
{
	(void)state;
	(void)buf_append(&nbd_script, "HTTP/1.1 400 Bad Request\r\n\r\n", 28);
	refuses_to_open(RC_INVALID, "no NBD server");
	nbd_script_greet();
	refuses_to_open(RC_CLOSED, "closed");
	nbd_script_greet();
	nbd_script_reply(NBD_OPTION_GO, NBD_REPLY_ACK, 0); /* to what was not asked */
	refuses_to_open(RC_INVALID, "no NBD server");
	nbd_script_greet();
	nbd_script_reply(NBD_OPTION_STRUCTURED_REPLY, NBD_REPLY_INFO, 0xffffffff);
	refuses_to_open(RC_LIMIT, "4294967295 bytes");
	nbd_script_greet();
	nbd_script_reply(NBD_OPTION_STRUCTURED_REPLY, NBD_REPLY_INFO, 0);
	refuses_to_open(RC_INVALID, "an answer of kind");
	nbd_script_greet();
	nbd_script_reply(NBD_OPTION_STRUCTURED_REPLY, NBD_REPLY_ERROR | NBD_REPLY_UNSUPPORTED, 0);
	nbd_script_reply(NBD_OPTION_GO, NBD_REPLY_ERROR | NBD_REPLY_UNKNOWN, 9);
	(void)buf_append(&nbd_script, "no\033[2Jway", 9);
	refuses_to_open(RC_REFUSED, "d: refused (error 6): no?[2Jway");
}

static void an_export_that_cannot_be_written_to_is_not_opened(void **state)
{
	(void)state;
	nbd_script_greet();
	nbd_script_reply(NBD_OPTION_STRUCTURED_REPLY, NBD_REPLY_ERROR | NBD_REPLY_UNSUPPORTED, 0);
	nbd_script_export(NBD_SCRIPT_FLAGS | NBD_READ_ONLY, NBD_BYTES);
	refuses_to_open(RC_UNSUPPORTED, "cannot be written");
	nbd_script_greet();
	nbd_script_reply(NBD_OPTION_STRUCTURED_REPLY, NBD_REPLY_ERROR | NBD_REPLY_UNSUPPORTED, 0);
	nbd_script_export(NBD_HAS_FLAGS | NBD_SEND_FLUSH, NBD_BYTES);
	refuses_to_open(RC_UNSUPPORTED, "zeroed");
	nbd_script_greet();
	nbd_script_reply(NBD_OPTION_STRUCTURED_REPLY, NBD_REPLY_ERROR | NBD_REPLY_UNSUPPORTED, 0);
	nbd_script_export(NBD_SCRIPT_FLAGS, UINT64_MAX);
	refuses_to_open(RC_INVALID, "no size");
	nbd_script_greet();
	nbd_script_reply(NBD_OPTION_STRUCTURED_REPLY, NBD_REPLY_ERROR | NBD_REPLY_UNSUPPORTED, 0);
	for (int i = 0; i < 100; i++) {
		nbd_script_reply(NBD_OPTION_GO, NBD_REPLY_INFO, 2);
		(void)buf_append_be16(&nbd_script, 77);
	}
	refuses_to_open(RC_LIMIT, "without an end");
}

/* A read of 16 bytes at 32 fails so. */
static void read_fails(bool ends, enum rc rc, const char *text)
{
	uint8_t room[16];
	int other;

	assert_int_equal(hear(ends, &other), RC_OK);
	assert_int_equal(nbd_client_read(play.client, 32, room, sizeof(room), &play.err), rc);
	assert_non_null(strstr(play.err.text, text));
	nbd_client_close(play.client);
	play.client = NULL;
	(void)close(other);
}

static void answers_that_do_not_fit_the_question_end_it(void **state)
{
	(void)state;
	nbd_script_open(false);
	nbd_script_simple(0, 99);
	read_fails(true, RC_INVALID, "not asked");
	nbd_script_open(false);
	nbd_script_chunk(1, NBD_CHUNK_NONE, 1, 0);
	read_fails(true, RC_INVALID, "not asked");
	nbd_script_open(true);
	nbd_script_simple(0, 1);
	read_fails(true, RC_INVALID, "not asked");
	nbd_script_open(true);
	nbd_script_chunk(1, NBD_CHUNK_NONE, 1, 0);
	read_fails(true, RC_INVALID, "0 bytes of 16 came");
	nbd_script_open(true);
	nbd_script_chunk(0, NBD_CHUNK_OFFSET_DATA, 1, 0xffffffff);
	(void)buf_append_be64(&nbd_script, 32);
	read_fails(true, RC_INVALID, "not asked");
	nbd_script_open(true);
	nbd_script_chunk(0, NBD_CHUNK_OFFSET_DATA, 1, 16);
	(void)buf_append_be64(&nbd_script, 41); /* one byte beyond */
	read_fails(true, RC_INVALID, "not asked");
	nbd_script_open(true);
	nbd_script_chunk(0, NBD_CHUNK_OFFSET_DATA, 1, 16);
	(void)buf_append_be64(&nbd_script, 31); /* before */
	read_fails(true, RC_INVALID, "not asked");
	nbd_script_open(true);
	nbd_script_chunk(0, NBD_CHUNK_OFFSET_HOLE, 1, 12);
	(void)buf_append_be64(&nbd_script, 32);
	(void)buf_append_be32(&nbd_script, 17);
	read_fails(true, RC_INVALID, "not asked");
	nbd_script_open(true);
	nbd_script_chunk(0, NBD_CHUNK_BLOCK_STATUS, 1, 12);
	read_fails(true, RC_INVALID, "extents");
	nbd_script_open(true);
	nbd_script_chunk(1, 0x9999, 1, 5);
	read_fails(true, RC_INVALID, "an error of 5 bytes");
	nbd_script_open(true);
	nbd_script_chunk(1, NBD_CHUNK_ERROR, 1, 6);
	(void)buf_append_be32(&nbd_script, NBD_EIO);
	(void)buf_append_be16(&nbd_script, 0);
	read_fails(true, RC_IO, "reading: input/output error (5)");
	nbd_script_open(true);
	read_fails(false, RC_TIMEOUT, "no answer for 200 ms");
	nbd_script_open(true);
	nbd_script_chunk(1, NBD_CHUNK_OFFSET_DATA, 1, 24);
	(void)buf_append_be64(&nbd_script, 32);
	read_fails(true, RC_CLOSED, "closed");
}

static void data_in_pieces_are_put_together(void **state)
{
	uint8_t room[16];
	int other;

	(void)state;
	nbd_script_open(true);
	nbd_script_chunk(0, NBD_CHUNK_OFFSET_DATA, 1, 8 + 4);
	(void)buf_append_be64(&nbd_script, 44);
	(void)buf_append(&nbd_script, "tail", 4);
	nbd_script_chunk(1, NBD_CHUNK_OFFSET_HOLE, 1, 12);
	(void)buf_append_be64(&nbd_script, 32);
	(void)buf_append_be32(&nbd_script, 12);
	assert_int_equal(hear(true, &other), RC_OK);
	memset(room, 0xff, sizeof(room));
	assert_int_equal(nbd_client_read(play.client, 32, room, 16, &play.err), RC_OK);
	assert_memory_equal(room, "\0\0\0\0\0\0\0\0\0\0\0\0tail", 16);
	(void)close(other);
}

/* `payload` extents follow. */
static void extents_fail(uint32_t context, uint32_t len, uint32_t first, const char *text)
{
	int other;

	nbd_script_open(true);
	nbd_script_chunk(1, NBD_CHUNK_BLOCK_STATUS, 1, len);
	(void)buf_append_be32(&nbd_script, context);
	(void)buf_append_be32(&nbd_script, first);
	(void)buf_append_be32(&nbd_script, 0);
	assert_int_equal(hear(true, &other), RC_OK);
	ntold = 0;
	assert_int_equal(nbd_client_extents(play.client, 0, NBD_BYTES, on_data, NULL, &play.err),
			 RC_INVALID);
	assert_non_null(strstr(play.err.text, text));
	nbd_client_close(play.client);
	play.client = NULL;
	(void)close(other);
}

static void extents_that_make_no_sense_end_it(void **state)
{
	(void)state;
	extents_fail(8, 12, 4096, "another context");
	extents_fail(7, 12, 0, "no bytes");
	extents_fail(7, 4, 4096, "extents of 4 bytes");
	extents_fail(7, 13, 4096, "extents of 13 bytes");
	extents_fail(7, 0xfffffffc, 4096, "extents of 4294967292 bytes");
}

/* What the server says more. */
static void say(int other)
{
	assert_int_equal(write(other, nbd_script.data, nbd_script.len), nbd_script.len);
	buf_free(&nbd_script);
}

/* Two writes; the server's end. */
static int write_to_nobody(void)
{
	static const uint8_t data[512];
	int other;

	nbd_script_open(false);
	assert_int_equal(hear(false, &other), RC_OK);
	assert_int_equal(nbd_client_write(play.client, 0, data, sizeof(data), &play.err), RC_OK);
	assert_int_equal(nbd_client_write(play.client, 512, data, sizeof(data), &play.err), RC_OK);
	return other;
}

static void leave(int other)
{
	nbd_client_close(play.client);
	play.client = NULL;
	(void)close(other);
}

static void what_was_written_is_under_way_until_it_is_answered(void **state)
{
	const int other = write_to_nobody();

	(void)state;
	assert_int_equal(nbd_client_settle(play.client, &play.err), RC_TIMEOUT);
	assert_false(nbd_client_is_quiet(play.client));
	nbd_script_simple(0, 2);
	say(other);
	assert_false(nbd_client_is_quiet(play.client));
	nbd_script_simple(NBD_EIO, 1); /* refused is answered */
	say(other);
	assert_true(nbd_client_is_quiet(play.client));
	assert_int_equal(nbd_client_settle(play.client, &play.err), RC_TIMEOUT);
	leave(other);
}

static void half_an_answer_is_none_until_the_rest_has_come(void **state)
{
	const int other = write_to_nobody();

	(void)state;
	nbd_script_simple(NBD_ENOSPC, 2);
	nbd_script_simple(0, 1);
	assert_int_equal(write(other, nbd_script.data, 20), 20);
	assert_int_equal(nbd_client_settle(play.client, &play.err), RC_IO);
	assert_string_equal(play.err.text, "writing: no space left (28)");
	assert_false(nbd_client_is_quiet(play.client));
	assert_int_equal(write(other, nbd_script.data + 20, 12), 12);
	buf_free(&nbd_script);
	assert_true(nbd_client_is_quiet(play.client));
	leave(other);
}

static void a_server_that_has_gone_does_nothing_more_and_one_that_lies_may(void **state)
{
	int other = write_to_nobody();

	(void)state;
	assert_int_equal(nbd_client_settle(play.client, &play.err), RC_TIMEOUT);
	assert_int_equal(shutdown(other, SHUT_RDWR), 0);
	assert_true(nbd_client_is_quiet(play.client));
	leave(other);
	other = write_to_nobody();
	nbd_script_simple(0, 77);
	nbd_script_simple(0, 1);
	nbd_script_simple(0, 2);
	say(other);
	assert_int_equal(nbd_client_settle(play.client, &play.err), RC_INVALID);
	assert_false(nbd_client_is_quiet(play.client));
	leave(other);
}

static void what_was_not_sent_whole_is_not_under_way(void **state)
{
	static const uint8_t data[NBD_BYTES];
	int other;

	(void)state;
	nbd_script_open(false);
	assert_int_equal(hear(false, &other), RC_OK);
	assert_int_equal(nbd_client_write(play.client, 0, data, sizeof(data), &play.err),
			 RC_TIMEOUT);
	assert_true(nbd_client_is_quiet(play.client));
	assert_int_equal(nbd_client_settle(play.client, &play.err), RC_TIMEOUT);
	leave(other);
}

static void it_gives_up_when_it_is_told_to(void **state)
{
	atomic_bool cancel = true;
	const struct nbd_client_options options = { .socket = nbd_fixture.socket,
						    .name = "disk0",
						    .timeout_ms = TIMEOUT_MS,
						    .cancel = &cancel };
	int fds[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	assert_int_equal(nbd_client_open_on(&play.client, fds[0], &options, &play.err),
			 RC_CANCELLED);
	(void)close(fds[1]);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		TEST(what_is_written_is_read),
		TEST(a_flush_is_not_waited_for_and_its_end_is_seen),
		TEST(an_error_of_the_server_is_told_at_the_latest_when_settled),
		TEST(an_unknown_export_is_refused_and_nobody_at_a_socket_is_told_apart),
		TEST(what_is_zero_is_told),
		TEST(what_is_no_such_server_is_not_opened),
		TEST(an_export_that_cannot_be_written_to_is_not_opened),
		TEST(answers_that_do_not_fit_the_question_end_it),
		TEST(data_in_pieces_are_put_together),
		TEST(extents_that_make_no_sense_end_it),
		TEST(an_error_that_nobody_waited_for_is_told_by_name),
		TEST(what_was_written_is_under_way_until_it_is_answered),
		TEST(half_an_answer_is_none_until_the_rest_has_come),
		TEST(a_server_that_has_gone_does_nothing_more_and_one_that_lies_may),
		TEST(what_was_not_sent_whole_is_not_under_way),
		TEST(it_gives_up_when_it_is_told_to),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
