#include "appliance/base/clock.h"
#include "net/frames.h"
#include "net/port.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#define PATIENCE_NS (20 * CLOCK_NS_PER_S) /* of a loaded machine */

static struct err err;
static uv_loop_t loop;
static char dir[64], ours[128], theirs[128];
static size_t received, received_bytes;
static unsigned told;
static char last_fault[ERR_TEXT_MAX];

static void on_frames(void *owner, const struct port_frame *frames, size_t count)
{
	size_t i;

	(void)owner;
	received += count;
	for (i = 0; i < count; i++)
		received_bytes += frames[i].len;
}

static void on_fault(void *owner, const char *fault)
{
	(void)owner;
	told++;
	if (*fault != '\0')
		(void)snprintf(last_fault, sizeof(last_fault), "%s", fault);
}

static const struct port_ops ops = { .on_frames = on_frames, .on_fault = on_fault };

static int set_up(void **state)
{
	(void)state;
	(void)snprintf(dir, sizeof(dir), "%s", "/tmp/understudy-port-XXXXXX");
	if (mkdtemp(dir) == NULL || uv_loop_init(&loop) != 0)
		return -1;
	(void)snprintf(ours, sizeof(ours), "%s/agent", dir);
	(void)snprintf(theirs, sizeof(theirs), "%s/qemu", dir);
	received = received_bytes = 0;
	told = 0;
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	(void)uv_run(&loop, UV_RUN_DEFAULT);
	(void)unlink(theirs);
	(void)unlink(ours);
	(void)rmdir(dir);
	return uv_loop_close(&loop); /* no handle is left */
}

/* As QEMU has it: bound, not connected. */
static int qemu(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", theirs);
	(void)unlink(theirs);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

static ssize_t say(int fd, const void *frame, size_t len)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", ours);
	return sendto(fd, frame, len, 0, (struct sockaddr *)&address, sizeof(address));
}

static void turn(void)
{
	int i;

	for (i = 0; i < 20; i++)
		(void)uv_run(&loop, UV_RUN_NOWAIT);
}

static struct port *open_port(void)
{
	struct port *port = NULL;

	assert_int_equal(port_open_dgram(&port, &loop, ours, theirs, &ops, NULL, &err), RC_OK);
	return port;
}

static void frames_go_both_ways(void **state)
{
	int fd = qemu();
	struct port *port = open_port();
	uint8_t frame[1514] = { 1 }, got[2000];

	(void)state;
	assert_true(port_send(port, frame, sizeof(frame)));
	assert_int_equal(recv(fd, got, sizeof(got), 0), sizeof(frame));
	assert_int_equal(say(fd, frame, 60), 60);
	assert_int_equal(say(fd, frame, 1514), 1514);
	turn();
	assert_int_equal(received, 2);
	assert_int_equal(received_bytes, 1574);
	(void)close(fd);
	port_close(port);
	assert_int_equal(access(ours, F_OK), -1);
}

static void what_is_no_frame_is_counted_and_left_out(void **state)
{
	int fd = qemu();
	struct port *port = open_port();
	uint8_t frame[FRAMES_LEN_MIN] = { 0 };

	(void)state;
	assert_int_equal(say(fd, frame, FRAMES_LEN_MIN - 1), FRAMES_LEN_MIN - 1);
	assert_int_equal(say(fd, frame, 0), 0);
	assert_int_equal(say(fd, frame, FRAMES_LEN_MIN), FRAMES_LEN_MIN);
	turn();
	assert_int_equal(received, 1);
	assert_true(port_counters(port).refused == 2);
	(void)close(fd);
	port_close(port);
}

static void a_qemu_that_comes_later_or_again_is_found(void **state)
{
	struct port *port = open_port();
	uint8_t frame[60] = { 0 };
	int fd;

	(void)state;
	assert_false(port_send(port, frame, sizeof(frame)));
	assert_true(port_counters(port).dropped == 1);
	fd = qemu();
	assert_true(port_send(port, frame, sizeof(frame)));
	(void)close(fd);
	fd = qemu();
	/* What the new one says is refused by the kernel until we have connected to it. */
	assert_int_equal(say(fd, frame, sizeof(frame)), -1);
	port_reconnect(port);
	assert_int_equal(say(fd, frame, sizeof(frame)), sizeof(frame));
	turn();
	assert_int_equal(received, 1);
	(void)close(fd);
	port_close(port);
}

/* A socket that was connected to ours, and is no more, with a frame unread: ours gets an error. */
static void a_port_hears_on_after_an_error(void **state)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	const struct sockaddr none = { .sa_family = AF_UNSPEC };
	int fd = qemu();
	struct port *port = open_port();
	uint8_t frame[60] = { 0 };

	(void)state;
	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", ours);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_true(port_send(port, frame, sizeof(frame)));
	assert_int_equal(connect(fd, &none, sizeof(none)), 0);
	turn();
	assert_int_equal(say(fd, frame, sizeof(frame)), sizeof(frame));
	turn();
	assert_int_equal(received, 1);
	assert_string_equal(port_fault(port), "");
	(void)close(fd);
	port_close(port);
}

static void a_burst_waits_for_room_and_a_flood_is_dropped(void **state)
{
	int fd = qemu();
	struct port *port = open_port();
	uint8_t frame[1000] = { 0 };
	size_t sent = 0, got = 0, i;

	(void)state;
	for (i = 0; i < 5000; i++)
		sent += port_send(port, frame, sizeof(frame));
	assert_true(port_queued(port) > 0);
	assert_true(sent < 5000);
	assert_true(port_counters(port).dropped == 5000 - sent);
	for (i = 0; i < 5000 && got < sent; i++) {
		while (recv(fd, frame, sizeof(frame), 0) > 0)
			got++;
		turn();
	}
	assert_int_equal(got, sent);
	assert_int_equal(port_queued(port), 0);
	(void)close(fd);
	port_close(port);
}

static void a_living_process_keeps_its_socket_and_a_dead_ones_is_replaced(void **state)
{
	struct port *first = open_port(), *second;
	int fd = qemu();

	(void)state;
	assert_int_equal(port_open_dgram(&second, &loop, ours, theirs, &ops, NULL, &err),
			 RC_REFUSED);
	assert_non_null(strstr(err.text, "another process"));
	port_reconnect(first); /* and when it is connected to QEMU */
	assert_int_equal(port_open_dgram(&second, &loop, ours, theirs, &ops, NULL, &err),
			 RC_REFUSED);
	(void)close(fd);
	port_close(first);
	turn();
	fd = qemu();
	(void)close(fd); /* leaves its file */
	assert_int_equal(port_open_dgram(&second, &loop, theirs, ours, &ops, NULL, &err), RC_OK);
	port_close(second);
}

static void wait_until_told(const struct port *port, unsigned times)
{
	uint64_t end_ns = clock_now_ns() + PATIENCE_NS;

	while (told < times) {
		if (clock_now_ns() > end_ns)
			fail_msg("told %u times, \"%s\"", told, port_fault(port));
		(void)uv_run(&loop, UV_RUN_ONCE);
	}
}

static void one_whose_file_is_removed_is_bound_anew_and_that_is_told(void **state)
{
	struct port *port = open_port();
	uint8_t frame[60] = { 0 };
	int fd = qemu();

	(void)state;
	assert_int_equal(unlink(ours), 0);
	assert_int_equal(say(fd, frame, sizeof(frame)), -1);
	wait_until_told(port, 2);
	assert_non_null(strstr(last_fault, ours));
	assert_non_null(strstr(last_fault, "was removed by somebody; it is made anew"));
	assert_string_equal(port_fault(port), "");
	assert_int_equal(say(fd, frame, sizeof(frame)), sizeof(frame));
	turn();
	assert_int_equal(received, 1);
	assert_true(port_send(port, frame, sizeof(frame)));
	assert_int_equal(recv(fd, frame, sizeof(frame), 0), sizeof(frame));
	(void)close(fd);
	port_close(port);
	assert_int_equal(access(ours, F_OK), -1);
}

static void one_that_cannot_be_bound_anew_says_why_until_it_can(void **state)
{
	struct port *port = open_port(), *other;
	uint8_t frame[60] = { 0 };
	uint64_t dropped;

	(void)state;
	assert_int_equal(unlink(ours), 0);
	assert_int_equal(port_open_dgram(&other, &loop, ours, theirs, &ops, NULL, &err), RC_OK);
	wait_until_told(port, 2);
	assert_non_null(strstr(port_fault(port), "another process listens there"));
	dropped = port_counters(port).dropped;
	assert_false(port_send(port, frame, sizeof(frame)));
	assert_true(port_counters(port).dropped == dropped + 1);
	port_close(other);
	wait_until_told(port, 3);
	assert_string_equal(port_fault(port), "");
	port_close(port);
}

static void one_that_is_closed_leaves_anothers_file(void **state)
{
	struct port *port = open_port(), *other;

	(void)state;
	assert_int_equal(unlink(ours), 0);
	assert_int_equal(port_open_dgram(&other, &loop, ours, theirs, &ops, NULL, &err), RC_OK);
	port_close(port);
	assert_int_equal(access(ours, F_OK), 0);
	port_close(other);
}

static void a_path_that_cannot_be_bound_is_named(void **state)
{
	struct port *port;
	char path[200];

	(void)state;
	(void)snprintf(path, sizeof(path), "%s/no/such", dir);
	assert_int_not_equal(port_open_dgram(&port, &loop, path, theirs, &ops, NULL, &err), RC_OK);
	assert_non_null(strstr(err.text, path));
	memset(path, 'x', sizeof(path) - 1);
	path[sizeof(path) - 1] = '\0';
	assert_int_equal(port_open_dgram(&port, &loop, path, theirs, &ops, NULL, &err), RC_INVALID);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(frames_go_both_ways, set_up, tear_down),
		cmocka_unit_test_setup_teardown(what_is_no_frame_is_counted_and_left_out, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(a_qemu_that_comes_later_or_again_is_found, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(a_port_hears_on_after_an_error, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_burst_waits_for_room_and_a_flood_is_dropped,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			a_living_process_keeps_its_socket_and_a_dead_ones_is_replaced, set_up,
			tear_down),
		cmocka_unit_test_setup_teardown(
			one_whose_file_is_removed_is_bound_anew_and_that_is_told, set_up,
			tear_down),
		cmocka_unit_test_setup_teardown(one_that_cannot_be_bound_anew_says_why_until_it_can,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(one_that_is_closed_leaves_anothers_file, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(a_path_that_cannot_be_bound_is_named, set_up,
						tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
