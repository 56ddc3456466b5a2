/*
 * What a mirror writes is taken in by a thread: whatever the owner's loop does meanwhile. The client is this
 * test's own thread, which runs that loop only where it says so.
 */
#include "replica/disk_server.h"

#include "appliance/base/bytes.h"
#include "net/nbd_format.h"
#include "replica/disk_job.h"
#include "replica/layout.h"
#include "tests/unit/scratch.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#define BYTES (UINT64_C(64) << 20)
#define CHUNKS 8 /* of the pool */
#define PATIENCE_MS 30000

static struct play {
	uv_loop_t loop;
	struct chunk_pool *pool;
	struct disk_store *store;
	struct disk_server *server;
	char dir[SCRATCH_MAX], socket[SCRATCH_MAX + 8];
	int client;
	uint64_t cookie;
	unsigned news;
	bool closed;
	struct err err;
} play;

static void on_news(void *owner)
{
	(void)owner;
	play.news++;
}

static void receive(void *to, size_t len)
{
	struct pollfd ready = { .fd = play.client, .events = POLLIN };
	size_t done = 0;
	ssize_t got;

	for (; done < len; done += (size_t)got) {
		assert_int_equal(poll(&ready, 1, PATIENCE_MS), 1);
		got = recv(play.client, (uint8_t *)to + done, len - done, 0);
		assert_true(got > 0);
	}
}

static void say(const struct buf *said)
{
	size_t done = 0;
	ssize_t sent;

	for (; done < said->len; done += (size_t)sent) {
		sent = send(play.client, said->data + done, said->len - done, MSG_NOSIGNAL);
		assert_true(sent > 0);
	}
}

static void open_client(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct buf said = { 0 };
	uint8_t answer[28];

	play.client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	memcpy(address.sun_path, play.socket, strlen(play.socket) + 1);
	assert_int_equal(connect(play.client, (struct sockaddr *)&address, sizeof(address)), 0);
	(void)buf_append_be32(&said, NBD_FIXED_NEWSTYLE | NBD_NO_ZEROES);
	(void)buf_append_be64(&said, NBD_OPTION_MAGIC);
	(void)buf_append_be32(&said, NBD_OPTION_EXPORT_NAME);
	(void)buf_append_be32(&said, (uint32_t)strlen(DISK_JOB_EXPORT));
	(void)buf_append(&said, DISK_JOB_EXPORT, strlen(DISK_JOB_EXPORT));
	say(&said);
	buf_free(&said);
	receive(answer, sizeof(answer));
	assert_int_equal(bytes_get_be64(answer + 18), BYTES);
}

/* Asks for it; the bytes are never zero. */
static void ask_write(uint64_t offset, uint32_t len)
{
	struct buf said = { .limit = (size_t)4 << 20 };

	(void)buf_append_be32(&said, NBD_REQUEST_MAGIC);
	(void)buf_append_be16(&said, 0);
	(void)buf_append_be16(&said, NBD_WRITE);
	(void)buf_append_be64(&said, ++play.cookie);
	(void)buf_append_be64(&said, offset);
	(void)buf_append_be32(&said, len);
	memset(buf_extend(&said, len), (int)(1 + play.cookie % 255), len);
	say(&said);
	buf_free(&said);
}

static void expect_answer(void)
{
	uint8_t reply[16];

	receive(reply, sizeof(reply));
	assert_int_equal(bytes_get_be32(reply + 4), NBD_OK);
	assert_int_equal(bytes_get_be64(reply + 8), play.cookie);
}

static void do_write(uint64_t offset, uint32_t len)
{
	ask_write(offset, len);
	expect_answer();
}

static int begin(void **state)
{
	const struct disk_extent extent = { .bytes = BYTES };

	(void)state;
	memset(&play, 0, sizeof(play));
	assert_int_equal(scratch_make(play.dir, "disk"), 0);
	(void)snprintf(play.socket, sizeof(play.socket), "%s/socket", play.dir);
	assert_int_equal(uv_loop_init(&play.loop), 0);
	assert_int_equal(chunk_pool_create(&play.pool, CHUNKS * CHUNK_BYTES, &play.err), RC_OK);
	assert_int_equal(disk_store_create(&play.store, play.pool, &play.err), RC_OK);
	assert_int_equal(disk_server_create(&play.server, &play.loop, play.store, play.pool,
					    on_news, NULL, &play.err),
			 RC_OK);
	assert_int_equal(disk_server_add(play.server, "system", play.socket, &extent, &play.err),
			 RC_OK);
	assert_int_equal(disk_server_start(play.server, &play.err), RC_OK);
	open_client();
	return 0;
}

static void on_closed(void *owner)
{
	(void)owner;
	play.closed = true;
}

static int end(void **state)
{
	(void)state;
	disk_server_close(play.server, on_closed);
	while (uv_run(&play.loop, UV_RUN_DEFAULT) != 0)
		;
	assert_true(play.closed);
	assert_int_equal(uv_loop_close(&play.loop), 0);
	assert_int_equal(access(play.socket, F_OK), -1);
	(void)close(play.client);
	disk_store_destroy(play.store);
	chunk_pool_destroy(play.pool);
	return rmdir(play.dir);
}

static uint64_t pages_kept(void)
{
	struct chunk_list chunks = { 0 };
	struct chunk *chunk;
	uint64_t pages = 0;

	disk_store_cut(play.store);
	disk_store_take(play.store, &chunks);
	while ((chunk = chunk_list_take(&chunks)) != NULL) {
		pages += chunk->npages;
		chunk_put(chunk);
	}
	return pages;
}

static void writes_are_kept_whatever_the_owners_loop_does(void **state)
{
	(void)state;
	do_write(0, 4096); /* into nothing */
	assert_int_equal(pages_kept(), 0);
	disk_server_keep(play.server, true);
	do_write(4096, 8192);
	do_write(8192, 512);
	assert_int_equal(pages_kept(), 2);
	disk_server_keep(play.server, false);
	do_write(0, 4096);
	assert_int_equal(pages_kept(), 0);
	assert_false(disk_server_failed(play.server, &play.err));
}

static void a_write_that_finds_no_room_is_answered_and_its_failure_known_by_then(void **state)
{
	uint64_t at;

	(void)state;
	disk_server_keep(play.server, true);
	for (at = 0; at < CHUNKS; at++) {
		do_write(at * CHUNK_BYTES, CHUNK_BYTES);
		assert_false(disk_server_failed(play.server, &play.err));
	}
	do_write(at * CHUNK_BYTES, 512);
	assert_true(disk_server_failed(play.server, &play.err));
	assert_non_null(strstr(play.err.text, "disk system: more was written"));
	assert_int_equal(play.news, 0); /* the loop has not run */
	(void)uv_run(&play.loop, UV_RUN_ONCE);
	assert_int_equal(play.news, 1);
}

/* As far as that can be seen: what is not there after a moment may come. */
static bool is_answered(void)
{
	struct pollfd ready = { .fd = play.client, .events = POLLIN };

	return poll(&ready, 1, 50) == 1;
}

static void a_first_copy_waits_for_the_loop_when_the_pool_is_nearly_full(void **state)
{
	uint64_t at;

	(void)state;
	disk_server_keep(play.server, true);
	disk_server_paced(play.server, true);
	for (at = 0; at < CHUNKS * 6 / 8; at++)
		do_write(at * CHUNK_BYTES, CHUNK_BYTES);
	ask_write(at++ * CHUNK_BYTES, 4096);
	assert_false(is_answered());
	disk_server_paced(play.server, true);
	expect_answer();
	ask_write(at++ * CHUNK_BYTES, 4096);
	assert_false(is_answered());
	disk_server_paced(play.server, false); /* the first copy is over: nothing waits any more */
	expect_answer();
	do_write(at * CHUNK_BYTES, 4096);
	ask_write(0, 4096); /* and the end waits for nobody, be it answered or not */
}

static void the_end_does_not_wait_for_a_write_that_waits(void **state)
{
	uint64_t at;

	(void)state;
	disk_server_keep(play.server, true);
	disk_server_paced(play.server, true);
	for (at = 0; at < CHUNKS * 6 / 8; at++)
		do_write(at * CHUNK_BYTES, CHUNK_BYTES);
	ask_write(at * CHUNK_BYTES, 4096);
	assert_false(is_answered());
}

/* The number that is told, once it is `number`; with a descriptor, which is closed. */
static void expect_connection(unsigned known, unsigned number)
{
	unsigned told = 0;
	int fd = -1, i;

	for (i = 0; i < PATIENCE_MS; i++) {
		told = disk_server_connection(play.server, 0, known, &fd);
		if (told == number)
			break;
		if (fd >= 0)
			(void)close(fd);
		(void)usleep(1000);
	}
	assert_int_equal(told, number);
	assert_true((fd >= 0) == (number != 0 && number != known));
	if (fd >= 0)
		(void)close(fd);
}

static int connect_stray(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int stray = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char greeting[18];

	memcpy(address.sun_path, play.socket, strlen(play.socket) + 1);
	assert_int_equal(connect(stray, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(recv(stray, greeting, sizeof(greeting), MSG_WAITALL), sizeof(greeting));
	return stray;
}

static void the_mirrors_connection_can_be_had_while_it_lives(void **state)
{
	(void)state;
	expect_connection(0, 1);
	expect_connection(1, 1);
	(void)close(play.client);
	expect_connection(1, 0);
	open_client();
	expect_connection(1, 2);
}

static void who_connects_and_goes_is_not_the_mirror(void **state)
{
	int mirror = play.client, stray;

	(void)state;
	expect_connection(0, 1);
	stray = connect_stray();
	expect_connection(1, 1);
	(void)close(stray);
	(void)usleep(10000);
	expect_connection(0, 1);
	open_client(); /* the second that writes, if it does */
	expect_connection(1, 1);
	do_write(0, 4096);
	expect_connection(1, 3);
	stray = play.client;
	play.client = mirror;
	do_write(4096, 4096);
	expect_connection(1, 1);
	(void)close(stray);
	(void)usleep(10000);
	expect_connection(1, 1);
	open_client();
	(void)close(mirror);
	expect_connection(1, 4);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
	const struct CMUnitTest tests[] = {
		TEST(writes_are_kept_whatever_the_owners_loop_does),
		TEST(a_write_that_finds_no_room_is_answered_and_its_failure_known_by_then),
		TEST(a_first_copy_waits_for_the_loop_when_the_pool_is_nearly_full),
		TEST(the_end_does_not_wait_for_a_write_that_waits),
		TEST(the_mirrors_connection_can_be_had_while_it_lives),
		TEST(who_connects_and_goes_is_not_the_mirror),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
