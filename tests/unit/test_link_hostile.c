/*
 * The link and those it must not trust: other certificates, no TLS, other versions, broken frames,
 * silence. (Crowds: test_link_crowd.c.)
 */
#include "tests/unit/link_fixture.h"

#include "net/channel_internal.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct err err;

/* ---- certificates ---- */

/* These certificates at the two ends: what both of them say. */
static void expect_refused(const char *dialler, const char *listener, const char *dialler_says,
			   const char *log_says)
{
	struct world world;
	const char *log;

	world_open(&world);
	world_listen_as(&world, listener);
	log_capture();
	world_dial(&world, dialler);
	RUN_UNTIL(&world, world.primary.downs == 1);
	world_run_for(&world, 20); /* for what the dialler said to arrive */
	log = log_captured();
	expect_text(world.primary.down.text, dialler_says);
	expect_text(world.primary.down.text, "127.0.0.1:");
	expect_text(log, "warn   link: 127.0.0.1:");
	expect_text(log, log_says);
	assert_int_equal(world.primary.ups + world.standby.ups, 0);
	assert_int_equal(world.hello.role, 0); /* on_hello was not asked */
	world_close(&world);
}

static void a_dialler_whose_certificate_is_not_right_is_refused_on_both_sides(void **state)
{
	(void)state;
	expect_refused("foreign", "standby", "the peer refused our certificate: unknown CA",
		       "is not signed by our CA");
	expect_refused("expired", "standby", "the peer refused our certificate: expired",
		       "expired on 2");
	expect_refused("future", "standby",
		       "the peer refused our certificate: expired, or not valid yet",
		       "is not valid before 2");
	expect_refused("standby", "standby", "the peer refused our certificate: not of the role",
		       "is for role 'standby', expected 'primary'");
}

static void a_listener_whose_certificate_is_not_right_is_refused_on_both_sides(void **state)
{
	(void)state;
	expect_refused("primary", "foreign-standby", "is not signed by our CA",
		       "the peer refused our certificate: unknown CA");
	expect_refused("primary", "expired-standby", "expired on 2",
		       "the peer refused our certificate: expired");
	expect_refused("primary", "future-standby", "is not valid before 2",
		       "the peer refused our certificate: expired, or not valid yet");
	expect_refused("primary", "primary", "is for role 'primary', expected 'standby'",
		       "the peer refused our certificate: not of the role");
}

/* ---- plain TCP ---- */

static struct sockaddr_in loopback(uint16_t port)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons(port) };

	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return at;
}

static int plain_socket(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	return fd;
}

static void a_plain_text_client_is_named_as_such(void **state)
{
	static const char request[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
	struct sockaddr_in to;
	struct world world;
	int fd = plain_socket();

	(void)state;
	world_open(&world);
	world_listen(&world);
	log_capture();
	to = loopback(world.port);
	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	assert_int_equal(write(fd, request, sizeof(request) - 1), sizeof(request) - 1);
	RUN_UNTIL(&world, world_is_closed(fd));
	expect_text(log_captured(), "not TLS: a plain-text client?");
	(void)close(fd);
	world_close(&world);
}

static void a_plain_text_server_is_named_as_such(void **state)
{
	static const char banner[] = "SSH-2.0-x\r\n";
	struct sockaddr_in at = loopback(0);
	socklen_t len = sizeof(at);
	struct world world;
	int listener = plain_socket(), fd;

	(void)state;
	assert_int_equal(bind(listener, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&at, &len), 0);
	world_open(&world);
	world.port = ntohs(at.sin_port);
	world_dial(&world, "primary");
	world_turn(&world);
	fd = accept(listener, NULL, NULL);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, banner, sizeof(banner) - 1), sizeof(banner) - 1);
	RUN_UNTIL(&world, world.primary.downs == 1);
	expect_text(world.primary.down.text, "not TLS: a plain-text server?");
	(void)close(fd);
	(void)close(listener);
	world_close(&world);
}

/* ---- versions and HELLO ---- */

static void a_dialler_of_another_version_is_refused_on_both_sides(void **state)
{
	struct world world;
	const char *log;

	(void)state;
	world_open(&world);
	world.lowest = 7;
	world.highest = 9;
	world_listen(&world);
	log_capture();
	world_dial(&world, "primary");
	RUN_UNTIL(&world, world.primary.downs == 1);
	log = log_captured();
	expect_text(log, "no protocol version in common: the peer speaks 7 to 9, this end 1 to 1");
	expect_text(world.primary.down.text, "refused by the peer: no protocol version in common");
	expect_text(world.primary.down.text, "speaks 7 to 9");
	assert_int_equal(link_refusal(world.primary.link), WIRE_REASON_VERSION);
	world_close(&world);
}

/* Connects, says something, and the listener refuses with this reason and text. */
static void expect_stranger_refused(void (*say)(struct raw *raw), uint16_t reason, const char *text)
{
	struct world world;
	struct raw raw;

	world_open(&world);
	world_listen(&world);
	raw_connect(&raw, &world, "primary");
	log_capture();
	say(&raw);
	RUN_UNTIL(&world, raw.ended);
	expect_text(log_captured(), text);
	assert_int_equal(raw.refusals, 1);
	assert_int_equal(raw.hellos, 0);
	assert_int_equal(raw.reason, reason);
	expect_text(raw.text, text);
	assert_int_equal(world.standby.ups + world.standby.downs, 0);
	raw_close(&raw);
	world_close(&world);
}

static void say_the_same_role(struct raw *raw)
{
	raw_hello(raw, 1, 1, WIRE_ROLE_STANDBY);
}

static void say_no_hello(struct raw *raw)
{
	const uint8_t commit[32] = { 0 };

	raw_frame(raw, WIRE_COMMIT, 0, sizeof(commit), commit, sizeof(commit));
}

static void say_another_hello(struct raw *raw)
{
	uint8_t bytes[60] = { 'S', 'S', 'H' };

	raw_frame(raw, WIRE_HELLO, 0, sizeof(bytes), bytes, sizeof(bytes));
}

static void say_something_huge(struct raw *raw)
{
	raw_frame(raw, WIRE_HELLO, 0, UINT32_MAX, "", 0);
}

static void a_first_word_that_is_not_right_is_refused(void **state)
{
	(void)state;
	expect_stranger_refused(say_the_same_role, WIRE_REASON_ROLE,
				"both ends have the same role");
	expect_stranger_refused(say_no_hello, WIRE_REASON_PROTOCOL, "commit frame before hello");
	expect_stranger_refused(say_another_hello, WIRE_REASON_PROTOCOL, "does not begin with");
	expect_stranger_refused(say_something_huge, WIRE_REASON_PROTOCOL,
				"hello frame of 4294967295 bytes");
}

/* ---- after HELLO ---- */

static void raw_up(struct raw *raw, struct world *world)
{
	world_listen(world);
	raw_connect(raw, world, "primary");
	raw_hello(raw, 1, 1, WIRE_ROLE_PRIMARY);
	RUN_UNTIL(world, raw->hellos == 1);
	assert_true(link_is_up(world->standby.link));
}

static void expect_broken(void (*say)(struct raw *raw), int code, const char *text)
{
	struct world world;
	struct raw raw;

	world_open(&world);
	raw_up(&raw, &world);
	say(&raw);
	RUN_UNTIL(&world, raw.ended && world.standby.closed == 1);
	assert_int_equal(world.standby.down.code, code);
	expect_text(world.standby.down.text, text);
	assert_int_equal(raw.reason, WIRE_REASON_PROTOCOL);
	expect_text(raw.text, text);
	assert_int_equal(world.standby.frames, 0);
	raw_close(&raw);
	world_close(&world);
}

static void say_too_much(struct raw *raw)
{
	raw_frame(raw, WIRE_RESERVE, 0, (uint32_t)WIRE_JSON_MAX + 1, "", 0);
}

static void say_an_unknown_type(struct raw *raw)
{
	raw_frame(raw, 99, 0, 0, "", 0);
}

static void say_a_flag(struct raw *raw)
{
	raw_frame(raw, WIRE_WANT_HASHES, 4, 0, "", 0);
}

static void say_bulk_without_credit(struct raw *raw)
{
	raw_frame(raw, WIRE_BATCH, 0, 3, "abc", 3);
}

static void say_what_a_standby_says(struct raw *raw)
{
	raw_frame(raw, WIRE_ACK, 0, 8, "12345678", 8);
}

static void say_hello_again(struct raw *raw)
{
	raw_hello(raw, 1, 1, WIRE_ROLE_PRIMARY);
}

static void frames_that_break_the_protocol_end_the_link_with_the_reason(void **state)
{
	(void)state;
	expect_broken(say_too_much, RC_LIMIT, "reserve frame of 262145 bytes");
	expect_broken(say_an_unknown_type, RC_INVALID, "unknown type 99");
	expect_broken(say_a_flag, RC_INVALID, "unknown flags 0x4");
	expect_broken(say_bulk_without_credit, RC_LIMIT, "more bulk than it was granted");
	expect_broken(say_what_a_standby_says, RC_INVALID, "ack frame from a primary");
	expect_broken(say_hello_again, RC_INVALID, "hello frame after the first");
}

static void a_frame_that_is_cut_is_never_delivered(void **state)
{
	struct world world;
	struct raw raw;

	(void)state;
	world_open(&world);
	raw_up(&raw, &world);
	raw_frame(&raw, WIRE_RESERVE, 0, 1000, "the beginning", 13);
	world_run_for(&world, 50);
	assert_int_equal(world.standby.frames + world.standby.downs, 0);
	channel_end(raw.channel);
	RUN_UNTIL(&world, world.standby.closed == 1);
	assert_int_equal(world.standby.frames, 0);
	assert_int_equal(world.standby.down.code, RC_CLOSED);
	expect_text(world.standby.down.text, "in the middle of a frame");
	raw_close(&raw);
	world_close(&world);
}

/* Resets the connection at once, as a machine that lost its memory of it would. */
static void raw_reset(struct raw *raw)
{
	const struct sockaddr nobody = { .sa_family = AF_UNSPEC };
	uv_os_fd_t fd;

	assert_int_equal(uv_fileno((uv_handle_t *)&raw->channel->tcp, &fd), 0);
	assert_int_equal(connect(fd, &nobody, sizeof(nobody)), 0);
}

/*
 * The standby's link writes, and has read all that it may in that turn: it learns of a reset by
 * its write.
 */
static void write_before_reading(struct world *world)
{
	struct channel *channel = world->standby.link->channel;
	uv_metrics_t metrics;

	assert_int_equal(uv_metrics_info(&world->loop, &metrics), 0);
	channel->turn = metrics.loop_count + 1;
	channel->burst = CHANNEL_BURST;
	assert_int_equal(link_send(world->standby.link, WIRE_ACK, 1, 1, "12345678", 8, &err),
			 RC_OK);
}

static void a_write_that_fails_ends_the_link_once(void **state)
{
	struct world world;
	struct raw raw;

	(void)state;
	world_open(&world);
	raw_up(&raw, &world);
	raw_reset(&raw);
	write_before_reading(&world);
	RUN_UNTIL(&world, world.standby.closed == 1);
	assert_int_equal(world.standby.downs, 1);
	assert_int_equal(world.standby.down.code, RC_CLOSED);
	expect_text(world.standby.down.text, "write: connection reset by peer");
	raw_close(&raw);
	world_close(&world);
}

static void last_words_are_heard_even_if_a_write_failed_before(void **state)
{
	struct world world;
	struct buf words = { 0 };
	struct raw raw;
	struct buf *out;
	uv_os_fd_t fd;

	(void)state;
	world_open(&world);
	raw_up(&raw, &world);
	assert_true(wire_put_reason(&words, WIRE_REASON_SHUTDOWN, "good night"));
	raw_frame(&raw, WIRE_REFUSE, 0, (uint32_t)words.len, words.data, words.len);
	/* Past the loop, so that the other end finds both only after its own write. */
	out = tls_output(raw.channel->tls);
	assert_int_equal(uv_fileno((uv_handle_t *)&raw.channel->tcp, &fd), 0);
	assert_int_equal(write(fd, out->data, out->len), out->len);
	buf_reset(out);
	raw_reset(&raw);
	write_before_reading(&world);
	RUN_UNTIL(&world, world.standby.closed == 1);
	expect_text(world.standby.down.text, "refused by the peer: shutting down: good night");
	buf_free(&words);
	raw_close(&raw);
	world_close(&world);
}

static void a_silent_peer_is_given_up(void **state)
{
	struct world world;
	struct raw raw;

	(void)state;
	world_open(&world);
	world.options.heartbeat_ms = 20;
	world.options.dead_ms = 200;
	raw_up(&raw, &world); /* says hello and never beats */
	assert_true(link_heard_ns(world.standby.link) > 0);
	RUN_UNTIL(&world, world.standby.closed == 1);
	assert_int_equal(world.standby.down.code, RC_TIMEOUT);
	expect_text(world.standby.down.text, "nothing heard for ");
	raw_close(&raw);
	world_close(&world);
}

static void any_bytes_count_as_life(void **state)
{
	struct world world;
	struct raw raw;
	int i;

	(void)state;
	world_open(&world);
	world.options.heartbeat_ms = 20;
	world.options.dead_ms = 400;
	raw_up(&raw, &world);
	/* A frame that never ends: its bytes come in slowly, but they come. */
	raw_frame(&raw, WIRE_RESERVE, 0, 1000, "x", 1);
	for (i = 0; i < 10; i++) {
		world_run_for(&world, 100);
		assert_int_equal(world.standby.downs, 0);
		assert_int_equal(channel_write(raw.channel, (const uint8_t *)"x", 1, &err), RC_OK);
		channel_wake(raw.channel);
	}
	RUN_UNTIL(&world, world.standby.closed == 1);
	assert_int_equal(world.standby.down.code, RC_TIMEOUT);
	raw_close(&raw);
	world_close(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_dialler_whose_certificate_is_not_right_is_refused_on_both_sides),
		cmocka_unit_test(
			a_listener_whose_certificate_is_not_right_is_refused_on_both_sides),
		cmocka_unit_test(a_plain_text_client_is_named_as_such),
		cmocka_unit_test(a_plain_text_server_is_named_as_such),
		cmocka_unit_test(a_dialler_of_another_version_is_refused_on_both_sides),
		cmocka_unit_test(a_first_word_that_is_not_right_is_refused),
		cmocka_unit_test(frames_that_break_the_protocol_end_the_link_with_the_reason),
		cmocka_unit_test(a_frame_that_is_cut_is_never_delivered),
		cmocka_unit_test(a_write_that_fails_ends_the_link_once),
		cmocka_unit_test(last_words_are_heard_even_if_a_write_failed_before),
		cmocka_unit_test(a_silent_peer_is_given_up),
		cmocka_unit_test(any_bytes_count_as_life),
	};

	return cmocka_run_group_tests(tests, link_fixture_setup, link_fixture_teardown);
}
