/* A frame that waited in a port leaves only if it still may when its turn comes. */
#include "net/port.h"
#include "tests/unit/frame_builder.h"
#include "tests/unit/netns_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

static struct err err;
static uv_loop_t loop;
static bool allowed;

static void on_frames(void *owner, const struct port_frame *frames, size_t count)
{
	(void)owner;
	(void)frames;
	(void)count;
}

static bool may_leave(void *owner)
{
	(void)owner;
	return allowed;
}

static const struct port_ops ops = { .on_frames = on_frames, .may_leave = may_leave };

static void end(struct port *port)
{
	port_close(port);
	(void)uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&loop), 0);
}

/* The other end, which is slow. */
static int reader(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

static void what_was_queued_is_dropped_when_the_right_has_ended(void **state)
{
	char dir[64] = "/tmp/understudy-port-XXXXXX", ours[80], theirs[80];
	uint8_t frame[1000] = { 0 };
	uint64_t written, queued;
	struct port *port;
	int fd, turns;

	(void)state;
	assert_non_null(mkdtemp(dir));
	(void)snprintf(ours, sizeof(ours), "%s/ours", dir);
	(void)snprintf(theirs, sizeof(theirs), "%s/theirs", dir);
	fd = reader(theirs);
	assert_int_equal(uv_loop_init(&loop), 0);
	assert_int_equal(port_open_dgram(&port, &loop, ours, theirs, &ops, NULL, &err), RC_OK);
	allowed = true;
	while (port_queued(port) < 3)
		assert_true(port_send(port, frame, sizeof(frame)));
	written = port_counters(port).frames_out;
	queued = port_queued(port);
	allowed = false;
	for (turns = 0; turns < 50 && port_queued(port) > 0; turns++) {
		while (recv(fd, frame, sizeof(frame), 0) > 0)
			;
		(void)uv_run(&loop, UV_RUN_NOWAIT);
	}
	assert_int_equal(port_queued(port), 0);
	assert_int_equal(port_counters(port).frames_out, written);
	assert_int_equal(port_counters(port).dropped, queued);
	assert_int_equal(recv(fd, frame, sizeof(frame), 0), -1);
	(void)close(fd);
	end(port);
	(void)unlink(theirs);
	(void)rmdir(dir);
}

static void send_segments(struct port *port)
{
	struct frame_builder segment = { 0 };
	uint32_t i;

	port_cork(port);
	for (i = 0; i < 3; i++) {
		frame_builder_segment(&segment, i * 100, 100);
		assert_true(port_send(port, segment.data, segment.len));
	}
}

static void what_waits_for_others_is_dropped_when_the_right_has_ended(void **state)
{
	struct port *port;

	(void)state;
	if (!netns_fixture_create() || access("/dev/net/tun", R_OK | W_OK) != 0) {
		print_message("this machine gives no network namespaces, or no /dev/net/tun\n");
		skip();
	}
	assert_int_equal(uv_loop_init(&loop), 0);
	assert_int_equal(port_open_tap(&port, &loop, "tap", NULL, &ops, NULL, &err), RC_OK);
	allowed = true;
	send_segments(port);
	assert_int_equal(port_counters(port).frames_out, 0); /* they do wait */
	port_uncork(port);
	assert_int_equal(port_counters(port).frames_out, 3);
	send_segments(port);
	allowed = false;
	port_uncork(port);
	assert_int_equal(port_counters(port).frames_out, 3);
	assert_int_equal(port_counters(port).dropped, 3);
	end(port);
	netns_fixture_remove();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_queued_is_dropped_when_the_right_has_ended),
		cmocka_unit_test(what_waits_for_others_is_dropped_when_the_right_has_ended),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
