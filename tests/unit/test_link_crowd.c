/*
 * Strangers in numbers: connections that say nothing, or begin to speak and then say nothing, or
 * say rubbish. An honest peer comes in promptly all the same, and memory and log stay bounded.
 */
#include "tests/unit/link_fixture.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define FLOOD_MS 5	/* one connection each: 200 a second */
#define FLOOD_FDS 512	/* kept open at this end */
#define PROMPT_MS 2000	/* instrumented, shared machines are slow; a displaced one needed 5000 */
#define LISTENER_OWN 64 /* uv_listen()'s backlog: what one turn of the loop may bring at once */

/* From 127.0.0.`source`, without waiting. */
static int stranger(const struct world *world, unsigned source, const char *says)
{
	struct sockaddr_in at = { .sin_family = AF_INET };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	at.sin_addr.s_addr = htonl(0x7f000000 | source);
	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	at.sin_port = htons(world->port);
	assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	/* The listener may have closed it already. */
	(void)send(fd, says, strlen(says), MSG_NOSIGNAL);
	return fd;
}

/* ---- a flood ---- */

struct flood {
	struct world *world;
	uv_timer_t timer;
	unsigned first, sources; /* 127.0.0.`first` and so many after it, in turn */
	const char *says;
	unsigned opened;
	int fds[FLOOD_FDS];
};

static void on_flood(uv_timer_t *timer)
{
	struct flood *flood = timer->data;
	int *fd = &flood->fds[flood->opened % FLOOD_FDS];

	if (flood->opened >= FLOOD_FDS)
		(void)close(*fd);
	*fd = stranger(flood->world, flood->first + flood->opened % flood->sources, flood->says);
	flood->opened++;
}

/* Until the listener is as full as it gets. */
static void flood_begin(struct flood *flood, struct world *world)
{
	flood->world = world;
	assert_int_equal(uv_timer_init(&world->loop, &flood->timer), 0);
	flood->timer.data = flood;
	while (flood->opened < LINK_STRANGERS_MAX + 20) {
		on_flood(&flood->timer);
		(void)uv_run(&world->loop, UV_RUN_NOWAIT);
	}
	assert_int_equal(uv_timer_start(&flood->timer, on_flood, FLOOD_MS, FLOOD_MS), 0);
	world_run_for(world, 200);
}

static void flood_end(struct flood *flood)
{
	unsigned i, kept = flood->opened < FLOOD_FDS ? flood->opened : FLOOD_FDS;

	uv_close((uv_handle_t *)&flood->timer, NULL);
	for (i = 0; i < kept; i++)
		(void)close(flood->fds[i]);
}

/* An honest peer dials from 127.0.0.1 into the middle of it. */
static void expect_in_promptly(unsigned first, unsigned sources, const char *says)
{
	struct flood flood = { .first = first, .sources = sources, .says = says };
	struct world world;
	uint64_t began;

	world_open(&world);
	world_listen(&world);
	log_capture();
	flood_begin(&flood, &world);
	began = uv_now(&world.loop);
	world_dial(&world, "primary");
	RUN_UNTIL(&world, world.primary.ups == 1 && world.standby.ups == 1);
	assert_true(uv_now(&world.loop) - began < PROMPT_MS);
	assert_int_equal(world.primary.downs, 0); /* at its first attempt */
	/* And it stays. */
	world_run_for(&world, 300);
	assert_int_equal(world.primary.downs + world.standby.downs, 0);
	flood_end(&flood);
	world_close(&world);
	(void)log_captured();
}

static void an_honest_peer_comes_in_during_a_flood_from_another_address(void **state)
{
	(void)state;
	expect_in_promptly(2, 1, "");
	expect_in_promptly(2, 1, "\x16\x03\x01");
}

static void an_honest_peer_comes_in_during_a_flood_from_its_own_address(void **state)
{
	(void)state;
	expect_in_promptly(1, 1, "");
	expect_in_promptly(1, 1, "\x16\x03\x01");
}

static void an_honest_peer_comes_in_during_a_flood_from_everywhere(void **state)
{
	(void)state;
	expect_in_promptly(2, 250, "");
}

/* ---- bounds ---- */

static void silent_strangers_are_bounded_in_number_time_and_log(void **state)
{
	enum { CROWD = LINK_STRANGERS_PER_SOURCE + 50 };
	struct world world;
	struct raw silent;
	int fds[CROWD], i, kept = 0;
	uint64_t began;
	const char *log;

	(void)state;
	world_open(&world);
	world_listen(&world);
	log_capture();
	raw_connect(&silent, &world, "primary"); /* speaks TLS, and then nothing */
	began = uv_now(&world.loop);
	for (i = 0; i < CROWD; i++) {
		fds[i] = stranger(&world, 1, "");
		(void)uv_run(&world.loop, UV_RUN_NOWAIT);
	}
	world_run_for(&world, 300);
	for (i = 0; i < CROWD; i++)
		kept += world_is_closed(fds[i]) ? 0 : 1;
	assert_int_equal(kept, LINK_STRANGERS_PER_SOURCE);
	assert_true(world_is_closed(fds[0]) && !world_is_closed(fds[CROWD - 1]));
	assert_false(silent.ended);
	/* Their time is limited. */
	RUN_UNTIL(&world, silent.ended && world_is_closed(fds[CROWD - 1]));
	assert_true(uv_now(&world.loop) - began >= LINK_HANDSHAKE_MS - 500);
	/* And the rest is told without another one. */
	RUN_UNTIL(&world, count_lines(log_so_far(), "not logged") == 2);
	log = log_captured();
	assert_int_equal(count_lines(log, "without a word, to make room for a newer one"), 1);
	expect_text(log, "49 more connections that were closed to make room were not logged");
	assert_int_equal(count_lines(log, "after 5000 ms"), 10 + 1 /* that spoke TLS */);
	expect_text(log, "54 more connections that came to nothing were not logged");
	for (i = 0; i < CROWD; i++)
		(void)close(fds[i]);
	raw_close(&silent);
	world_close(&world);
}

static void a_peer_that_is_refused_again_and_again_is_told_of_once_and_waits(void **state)
{
	struct world world;
	const char *log;

	(void)state;
	world_open(&world);
	world.refuse = RC_REFUSED;
	world.refuse_with = WIRE_REASON_INSTANCE;
	log_capture();
	world_listen(&world);
	world_dial(&world, "primary");
	/* The next wait is longer than one after anything else. */
	RUN_UNTIL(&world, world.primary.downs == 8);
	assert_true(uv_timer_get_due_in(&world.primary.link->timer) > LINK_BACKOFF_LAST_MS);
	link_listener_close(world.listener, NULL);
	world.listener = NULL;
	log = log_captured();
	assert_int_equal(count_lines(log, "here today"), 1);
	assert_int_equal(count_lines(log, "connected with"), 0);
	world_close(&world);
}

/* The log tells of a dialler with that certificate, beside a flood that is told of as `flooded`. */
static void expect_told(const char *says, const char *flooded, const char *identity,
			const char *refused)
{
	struct flood flood = { .first = 2, .sources = 1, .says = says };
	struct world world;
	const char *log;

	world_open(&world);
	world.refuse = RC_REFUSED;
	world.refuse_with = WIRE_REASON_INSTANCE;
	world_listen(&world);
	log_capture();
	flood_begin(&flood, &world);
	world_dial(&world, identity);
	RUN_UNTIL(&world, world.primary.downs == 1);
	world_run_for(&world, 50);
	log = log_captured();
	expect_text(log, flooded);
	expect_text(log, refused);
	flood_end(&flood);
	world_close(&world);
}

static void a_flood_does_not_hide_what_another_is_refused_for(void **state)
{
	static const char plain[] = "GET / HTTP/1.0\r\n\r\n";

	(void)state;
	expect_told("", "to make room for a newer one", "expired", "expired on 2");
	expect_told(plain, "a plain-text client?", "expired", "expired on 2");
	expect_told(plain, "a plain-text client?", "primary", "no vm1 here today");
}

static void count_handle(uv_handle_t *handle, void *count)
{
	(void)handle;
	++*(unsigned *)count;
}

static void strangers_with_rubbish_do_not_pile_up_while_they_end(void **state)
{
	enum { CROWD = 900, PER_STRANGER = 4 /* handles of a channel and its link */ };
	struct world world;
	unsigned handles, most = 0;
	int fds[CROWD], i;

	(void)state;
	world_open(&world);
	world_listen(&world);
	log_capture();
	for (i = 0; i < CROWD; i++) {
		fds[i] = stranger(&world, 2 + (unsigned)i % 200, "GET / HTTP/1.0\r\n\r\n");
		(void)uv_run(&world.loop, UV_RUN_NOWAIT);
		handles = 0;
		uv_walk(&world.loop, count_handle, &handles);
		most = handles > most ? handles : most;
	}
	/* As many as may be waiting for their end, and as many as may be there. */
	assert_true(most <= PER_STRANGER * (3 * LINK_STRANGERS_MAX + LISTENER_OWN));
	world_dial(&world, "primary");
	RUN_UNTIL(&world, world.primary.ups == 1);
	(void)log_captured();
	for (i = 0; i < CROWD; i++)
		(void)close(fds[i]);
	world_close(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_honest_peer_comes_in_during_a_flood_from_another_address),
		cmocka_unit_test(an_honest_peer_comes_in_during_a_flood_from_its_own_address),
		cmocka_unit_test(an_honest_peer_comes_in_during_a_flood_from_everywhere),
		cmocka_unit_test(silent_strangers_are_bounded_in_number_time_and_log),
		cmocka_unit_test(a_peer_that_is_refused_again_and_again_is_told_of_once_and_waits),
		cmocka_unit_test(a_flood_does_not_hide_what_another_is_refused_for),
		cmocka_unit_test(strangers_with_rubbish_do_not_pile_up_while_they_end),
	};

	return cmocka_run_group_tests(tests, link_fixture_setup, link_fixture_teardown);
}
