/*
 * Targets that take connections and never answer: what other instances do, and what a takeover puts on the disk, does not
 * wait for them.
 */
#include "replica/delta.h"
#include "tests/unit/journaling_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#define HUNG 4 /* as many as libuv has threads of everybody's */
#define DISK_BYTES ((uint64_t)4 * LAYOUT_PAGE)

struct hung {
	char dir[64];
	struct layout layout;
	struct image *image;
	struct receiver *receiver;
	int connection; /* at the target */
	bool failed, closed;
};

static struct hung hung[HUNG];
static struct sockaddr_un target;
static int listener;
static struct err err;

static void on_committed(void *owner, uint64_t epoch, uint64_t took_ns)
{
	(void)owner;
	(void)epoch;
	(void)took_ns;
	fail();
}

static void on_fault(void *owner, uint64_t epoch, const struct err *why)
{
	(void)epoch;
	(void)why;
	((struct hung *)owner)->failed = true;
}

static void on_consumed(void *owner, size_t bytes)
{
	(void)owner;
	(void)bytes;
}

static const struct receiver_ops callbacks = { on_committed, on_fault, on_consumed, NULL, NULL };

static void on_closed(void *owner)
{
	((struct hung *)owner)->closed = true;
}

static void listen_only(void)
{
	target.sun_family = AF_UNIX;
	(void)snprintf(target.sun_path, sizeof(target.sun_path), "%s/target", image_fixture.spill);
	listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(listener, (struct sockaddr *)&target, sizeof(target)), 0);
	assert_int_equal(listen(listener, HUNG), 0);
}

static void make_image(struct hung *h)
{
	struct image_shared shared = { .name = "pc.ram", .bytes = LAYOUT_PAGE };
	struct image_disk disk = {
		.name = "system", .bytes = DISK_BYTES, .path = "the target", .export = "disk0"
	};

	memcpy(disk.socket, target.sun_path, sizeof(disk.socket));
	(void)snprintf(h->dir, sizeof(h->dir), "/dev/shm/hung-XXXXXX");
	assert_non_null(mkdtemp(h->dir));
	assert_int_equal(image_create(&h->image, h->dir, image_fixture.spill, &shared, 1, 1U << 20,
				      &err),
			 RC_OK);
	assert_int_equal(image_add_disk(h->image, &disk, &err), RC_OK);
	assert_int_equal(layout_add(&h->layout, "pc.ram", 6, LAYOUT_PAGE, &err), RC_OK);
	assert_int_equal(layout_finish(&h->layout, &err), RC_OK);
	assert_int_equal(layout_add_disk(&h->layout, "system", 6, DISK_BYTES, &err), RC_OK);
	assert_int_equal(image_set_layout(h->image, &h->layout, &err), RC_OK);
}

/* Half an epoch of a page of its disk. */
static void begin_to_hang(struct hung *h)
{
	const struct journal_origin origin = { SESSION, TERM };
	static const uint8_t content[LAYOUT_PAGE] = { 1 };
	struct chunk_page page = { .data = content };
	struct buf batch = { .limit = DELTA_BATCH_MAX };

	make_image(h);
	page.index = layout_disk(&h->layout, 0)->first;
	assert_int_equal(delta_encode_plain(&page, 1, &batch, &err), RC_OK);
	assert_int_equal(receiver_create(&h->receiver, &journaling_play.loop, h->image, NULL,
					 &callbacks, h, &err),
			 RC_OK);
	assert_int_equal(receiver_begin(h->receiver, 1, &origin, true, &err), RC_OK);
	assert_int_equal(receiver_batch(h->receiver, batch.data, batch.len, &err), RC_OK);
	buf_free(&batch);
	h->connection = accept(listener, NULL, NULL); /* whose greeting does not come */
	assert_true(h->connection >= 0);
}

static void end(struct hung *h)
{
	image_give_up(h->image);
	receiver_close(h->receiver, on_closed, h);
	journaling_wait_for(&h->closed);
	image_destroy(h->image, false);
	(void)close(h->connection);
	assert_int_equal(rmdir(h->dir), 0);
}

static void nothing(uv_work_t *work)
{
	(void)work;
}

static void nothing_done(uv_work_t *work, int status)
{
	assert_int_equal(status, 0);
	*(bool *)work->data = true;
}

static void others_commit_and_a_term_is_kept_while_targets_hang(void **state)
{
	bool kept = false;
	uv_work_t term = { .data = &kept };

	(void)state;
	memset(hung, 0, sizeof(hung));
	listen_only();
	for (size_t i = 0; i < HUNG; i++)
		begin_to_hang(&hung[i]);
	journaling_send_epochs(3);
	assert_int_equal(uv_queue_work(&journaling_play.loop, &term, nothing, nothing_done), 0);
	journaling_wait_for(&kept);
	for (size_t i = 0; i < HUNG; i++)
		assert_false(hung[i].failed); /* it still waits */
	for (size_t i = 0; i < HUNG; i++)
		end(&hung[i]);
	(void)close(listener);
	assert_int_equal(unlink(target.sun_path), 0);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(others_commit_and_a_term_is_kept_while_targets_hang,
						journaling_fixture_begin, journaling_fixture_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
