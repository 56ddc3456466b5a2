/*
 * A disk of the image on a block target: against an NBD server that ends, comes back, is full, or has another size.
 */
#include "replica/image_target.h"

#include "appliance/base/clock.h"
#include "replica/delta.h"
#include "replica/zero_page.h"
#include "tests/unit/nbd_fixture.h"
#include "tests/unit/nbd_script.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#define PAGES (NBD_BYTES / LAYOUT_PAGE)
#define PATIENCE_NS (20 * CLOCK_NS_PER_S)

static struct {
	struct image_block block;
	struct err err;
	uint8_t truth[NBD_BYTES];
	uint64_t random;
} f;

static uint64_t next_random(uint64_t below)
{
	f.random = f.random * UINT64_C(6364136223846793005) + 1442695040888963407;
	return (f.random >> 33) % below;
}

static struct image_disk target_of(uint64_t bytes)
{
	struct image_disk disk = { .name = "system", .bytes = bytes, .path = "the target" };

	memcpy(disk.socket, nbd_fixture.socket, sizeof(nbd_fixture.socket));
	memcpy(disk.export, "disk0", 6);
	return disk;
}

static int setup(void **state)
{
	struct image_disk disk;
	bool existed;

	if (nbd_fixture_setup(state) != 0)
		return -1;
	memset(&f, 0, sizeof(f));
	f.random = 1;
	disk = target_of(NBD_BYTES);
	assert_int_equal(image_block_disk(&f.block, &disk, &existed, &f.err), RC_OK);
	assert_true(existed); /* worth a look */
	return 0;
}

static int teardown(void **state)
{
	image_block_close(&f.block);
	return nbd_fixture_teardown(state);
}

static void write_page(uint64_t page)
{
	uint8_t *at = f.truth + page * LAYOUT_PAGE;

	for (size_t i = 0; i < LAYOUT_PAGE; i += 8)
		at[i] = (uint8_t)next_random(251);
	assert_int_equal(image_block_reserve(&f.block, page, &f.err), RC_OK);
	assert_int_equal(image_block_write(&f.block, page, at, &f.err), RC_OK);
}

static void zero_pages(uint64_t page, uint64_t count)
{
	memset(f.truth + page * LAYOUT_PAGE, 0, count * LAYOUT_PAGE);
	assert_int_equal(image_block_zero(&f.block, page, count, &f.err), RC_OK);
}

static void settle(bool durable)
{
	assert_int_equal(image_block_settle(&f.block, durable, &f.err), RC_OK);
}

static void holds(uint64_t page)
{
	uint8_t room[LAYOUT_PAGE];
	const uint8_t *content;

	if (image_block_read(&f.block, page, room, &content, &f.err) != RC_OK)
		fail_msg("%s", f.err.text);
	assert_memory_equal(content != NULL ? content : zero_page, f.truth + page * LAYOUT_PAGE,
			    LAYOUT_PAGE);
}

static void it_holds_what_was_written_to_it(void **state)
{
	(void)state;
	for (int round = 0; round < 40; round++) {
		const uint64_t first = next_random(PAGES - 200), zeroes = next_random(60);

		for (uint64_t i = 0; i < 100; i++) /* neighbours, and gaps */
			if (next_random(4) > 0)
				write_page(first + i);
		zero_pages(first + 100, zeroes);
		if (round % 3 >
		    0) /* a read waits for what was written, in whatever state that is */
			settle(round % 3 == 1);
		for (uint64_t i = 0; i < 20; i++)
			holds(first + next_random(200));
		for (uint64_t i = 0; i < 150; i++)
			holds(first + i);
		settle(false);
	}
	settle(true);
	assert_memory_equal(nbd_fixture.disk, f.truth, NBD_BYTES);
}

static void what_the_target_says_is_zero_is_not_read(void **state)
{
	(void)state;
	memset(nbd_fixture.disk + (1U << 20), 7, 4096);
	memcpy(f.truth, nbd_fixture.disk, NBD_BYTES);
	nbd_fixture.disk[5000] = 1; /* in a hole, as the server says: a lie that shows who reads */
	for (uint64_t page = 0; page < PAGES; page++)
		holds(page);
	assert_int_equal(image_block_stored(&f.block), 1U << 20);
}

static void one_that_ends_and_comes_back_goes_on(void **state)
{
	(void)state;
	write_page(3);
	write_page(5);
	settle(true);
	while (image_target_lost(&f.block)) /* until the flush is answered */
		settle(true);
	nbd_fixture_end();
	assert_false(image_target_lost(&f.block));
	nbd_fixture_start();
	holds(3);
	write_page(3);
	settle(false);
	holds(3);
	holds(5);
}

static void what_was_not_durable_is_lost_with_it(void **state)
{
	const uint64_t until_ns = clock_now_ns() + PATIENCE_NS;

	(void)state;
	assert_false(image_target_lost(&f.block));
	write_page(3);
	settle(false);
	nbd_fixture_end();
	assert_true(image_target_lost(&f.block));
	assert_false(image_target_lost(&f.block)); /* told once */
	nbd_fixture_start();
	write_page(4);
	settle(true);
	while (atomic_load(&nbd_fixture.flushes) == 0)
		assert_true(clock_now_ns() < until_ns);
	write_page(5); /* after the flush */
	settle(false);
	assert_true(image_target_lost(&f.block));
}

static void a_page_that_was_zeroed_and_lost_is_looked_at_again(void **state)
{
	(void)state;
	for (uint64_t page = 0; page < 32; page++)
		write_page(page);
	settle(true);
	zero_pages(0, 32);
	settle(false);
	nbd_fixture_end();
	assert_true(image_target_lost(&f.block));
	nbd_fixture.disk[0] = 9; /* as it was before */
	f.truth[0] = 9;
	nbd_fixture_start();
	holds(0);
}

static void a_full_one_is_told_by_name_and_left_alone_for_a_moment(void **state)
{
	const uint64_t until_ns = clock_now_ns() + PATIENCE_NS;
	uint8_t page[LAYOUT_PAGE] = { 1 };
	int rc;

	(void)state;
	atomic_store(&nbd_fixture.error, NBD_ENOSPC);
	rc = image_block_write(&f.block, 1, page, &f.err);
	if (rc == RC_OK)
		rc = image_block_settle(&f.block, false, &f.err);
	assert_int_equal(rc, RC_IO);
	assert_string_equal(f.err.text, "the target: writing: no space left (28)");
	atomic_store(&nbd_fixture.error, NBD_OK);
	while (image_block_write(&f.block, 1, page, &f.err) != RC_OK) {
		assert_string_equal(f.err.text, "the target: writing: no space left (28)");
		assert_true(clock_now_ns() < until_ns);
		(void)usleep(20000);
	}
	settle(true);
	assert_int_equal(nbd_fixture.disk[LAYOUT_PAGE], 1);
}

static void a_flush_that_failed_has_made_nothing_durable(void **state)
{
	(void)state;
	atomic_store(&nbd_fixture.flush_error, NBD_EIO);
	write_page(1);
	while (image_block_settle(&f.block, true, &f.err) ==
	       RC_OK) /* its answer has not come yet */
		(void)usleep(1000);
	assert_string_equal(f.err.text, "the target: flushing: input/output error (5)");
	atomic_store(&nbd_fixture.flush_error, NBD_OK);
	assert_true(image_target_lost(&f.block));
}

/* ---- a server that answers late --------------------------------------------------------------- */

#define PREAMBLE 47 /* bytes that a client says before its first request */

static int listen_there(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	memcpy(address.sun_path, nbd_fixture.socket, sizeof(nbd_fixture.socket));
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fd, 4), 0);
	return fd;
}

static bool is_knocking(int listener)
{
	struct pollfd poll_fd = { .fd = listener, .events = POLLIN };

	return poll(&poll_fd, 1, 0) == 1;
}

static void say(int client)
{
	assert_int_equal(write(client, nbd_script.data, nbd_script.len), nbd_script.len);
	buf_free(&nbd_script);
}

static void hear(int client, size_t len)
{
	uint8_t room[NBD_REQUEST_HEADER + LAYOUT_PAGE];

	assert_true(len <= sizeof(room));
	assert_int_equal(recv(client, room, len, MSG_WAITALL), len);
}

/* Two pages, of which the second is refused and the first is not answered. */
static void serve_half(void *owner)
{
	int *client = owner;

	*client = accept(*client, NULL, NULL);
	nbd_script_open(false);
	say(*client);
	hear(*client, PREAMBLE);
	for (int i = 0; i < 2; i++)
		hear(*client, NBD_REQUEST_HEADER + LAYOUT_PAGE);
	nbd_script_simple(NBD_EIO, 2);
	say(*client);
}

static void nothing_is_written_before_what_was_is_answered(void **state)
{
	const uint64_t until_ns = clock_now_ns() + PATIENCE_NS;
	uint8_t page[LAYOUT_PAGE] = { 1 };
	int listener, client;
	uv_thread_t thread;

	(void)state;
	nbd_fixture_end();
	client = listener = listen_there();
	assert_int_equal(uv_thread_create(&thread, serve_half, &client), 0);
	assert_int_equal(image_block_write(&f.block, 1, page, &f.err), RC_OK);
	assert_int_equal(image_block_write(&f.block, 3, page, &f.err), RC_OK);
	assert_int_equal(image_block_settle(&f.block, false, &f.err), RC_IO);
	assert_string_equal(f.err.text, "the target: writing: input/output error (5)");
	assert_int_equal(uv_thread_join(&thread), 0);
	do {
		assert_int_equal(image_block_write(&f.block, 1, page, &f.err), RC_IO);
		assert_true(clock_now_ns() < until_ns);
		(void)usleep(20000);
	} while (strstr(f.err.text, "has no answer yet") == NULL);
	assert_false(is_knocking(listener));
	nbd_script_simple(0, 1);
	say(client);
	(void)close(listener);
	assert_int_equal(unlink(nbd_fixture.socket), 0);
	nbd_fixture_start();
	assert_int_equal(image_block_write(&f.block, 1, page, &f.err), RC_OK);
	settle(true);
	assert_int_equal(nbd_fixture.disk[LAYOUT_PAGE], 1);
	(void)close(client);
}

static void one_of_another_size_is_told(void **state)
{
	uint8_t room[LAYOUT_PAGE];
	const uint8_t *content;

	(void)state;
	nbd_fixture_end();
	nbd_fixture.bytes = NBD_BYTES / 2;
	nbd_fixture_start();
	assert_int_equal(image_block_read(&f.block, 0, room, &content, &f.err), RC_IO);
	assert_string_equal(f.err.text,
			    "the target: has 2097152 bytes, the instance's disk 4194304");
}

static void give_up(void *owner)
{
	(void)owner;
	(void)usleep(100000);
	image_target_give_up(&f.block);
}

static void who_waits_for_one_that_is_not_there_gives_up_when_told(void **state)
{
	uint8_t room[LAYOUT_PAGE];
	const uint8_t *content;
	uv_thread_t thread;

	(void)state;
	nbd_fixture_end();
	assert_int_equal(uv_thread_create(&thread, give_up, NULL), 0);
	assert_int_equal(image_block_read(&f.block, 0, room, &content, &f.err), RC_CANCELLED);
	assert_int_equal(uv_thread_join(&thread), 0);
}

/* ---- the whole image --------------------------------------------------------------------------- */

static struct image *make_image(const char *dir, struct image_shared *shared, struct layout *layout)
{
	const struct image_disk disk = target_of(NBD_BYTES);
	struct image *image;

	assert_int_equal(image_create(&image, dir, nbd_fixture.dir, shared, 1, 1U << 20, &f.err),
			 RC_OK);
	assert_int_equal(image_add_disk(image, &disk, &f.err), RC_OK);
	assert_int_equal(layout_add(layout, "pc.ram", 6, LAYOUT_PAGE, &f.err), RC_OK);
	assert_int_equal(layout_finish(layout, &f.err), RC_OK);
	assert_int_equal(layout_add_disk(layout, "system", 6, NBD_BYTES, &f.err), RC_OK);
	assert_int_equal(image_set_layout(image, layout, &f.err), RC_OK);
	return image;
}

/* Of one page of the disk. */
static int epoch_of(struct image *image, const struct layout *layout, uint64_t number)
{
	const struct chunk_page page = { .index = layout_disk(layout, 0)->first + 7,
					 .data = f.truth };
	struct buf batch = { .limit = DELTA_BATCH_MAX };
	int rc = image_begin(image, number, &f.err);

	f.truth[0] = (uint8_t)number;
	if (rc == RC_OK)
		rc = delta_encode_plain(&page, 1, &batch, &f.err);
	if (rc == RC_OK)
		rc = image_batch(image, batch.data, batch.len, &f.err);
	if (rc == RC_OK)
		rc = image_commit(image, 1,
				  delta_page_hash(page.index, delta_content_hash(f.truth)), 0,
				  &f.err);
	image_abort(image);
	buf_free(&batch);
	return rc;
}

static void an_image_whose_writes_were_lost_holds_no_epoch(void **state)
{
	struct image_shared shared = { .name = "pc.ram", .bytes = LAYOUT_PAGE };
	struct layout *layout = calloc(1, sizeof(*layout));
	char dir[] = "/dev/shm/target-XXXXXX";
	const uint64_t until_ns = clock_now_ns() + PATIENCE_NS;
	struct image *image;

	(void)state;
	assert_non_null(layout);
	assert_non_null(mkdtemp(dir));
	image = make_image(dir, &shared, layout);
	if (epoch_of(image, layout, 1) != RC_OK)
		fail_msg("%s", f.err.text);
	assert_int_equal(image_epoch(image), 1);
	atomic_store(&nbd_fixture.error, NBD_EIO);
	assert_int_equal(epoch_of(image, layout, 2), RC_IO);
	assert_non_null(strstr(f.err.text, "the target: writing: input/output error"));
	assert_int_equal(image_epoch(image), 0); /* some of it may have been written */
	atomic_store(&nbd_fixture.error, NBD_OK);
	while (epoch_of(image, layout, 3) != RC_OK) {
		assert_true(clock_now_ns() < until_ns);
		(void)usleep(20000);
	}
	assert_int_equal(image_epoch(image), 3);
	nbd_fixture_end();
	if (image_disks_lost(image)) { /* the flush behind epoch 3 was not answered */
		assert_int_equal(image_epoch(image), 0);
		assert_int_equal(image_begin(image, 4, &f.err), RC_IO);
		assert_non_null(strstr(f.err.text, "not durable yet"));
	}
	nbd_fixture_start();
	assert_int_equal(epoch_of(image, layout, 5), RC_OK);
	assert_int_equal(image_epoch(image), 5);
	image_destroy(image, false);
	assert_int_equal(rmdir(dir), 0);
	free(layout);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		TEST(it_holds_what_was_written_to_it),
		TEST(what_the_target_says_is_zero_is_not_read),
		TEST(one_that_ends_and_comes_back_goes_on),
		TEST(what_was_not_durable_is_lost_with_it),
		TEST(a_page_that_was_zeroed_and_lost_is_looked_at_again),
		TEST(a_full_one_is_told_by_name_and_left_alone_for_a_moment),
		TEST(a_flush_that_failed_has_made_nothing_durable),
		TEST(nothing_is_written_before_what_was_is_answered),
		TEST(one_of_another_size_is_told),
		TEST(who_waits_for_one_that_is_not_there_gives_up_when_told),
		TEST(an_image_whose_writes_were_lost_holds_no_epoch),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
