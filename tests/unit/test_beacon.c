/* Two ends on loopback: what a valid datagram does, and that no other does anything. */
#include "net/beacon.h"

#include "appliance/base/clock.h"
#include "net/address.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define ID UINT64_C(0xfeedface12345678)
#define PATIENCE_NS (20 * CLOCK_NS_PER_S)

static const uint8_t primary_key[BEACON_KEY] = "the primary's ke";
static const uint8_t standby_key[BEACON_KEY] = "the standby's ke";

struct end {
	struct beacon_port *port;
	struct beacon *beacon;
	struct sockaddr_storage at;
	unsigned beats;
	struct beacon_beat last;
	bool close_on_beat;
};

static uv_loop_t loop;
static struct end primary, standby;
static struct err err;
static struct sockaddr_storage primary_to; /* where it sends to */
static int raw = -1;			   /* a stranger's socket */

static struct sockaddr_storage local(const char *host, uint16_t port)
{
	struct address address = { .port = port };
	struct sockaddr_storage at;

	(void)strncpy(address.host, host, ADDRESS_HOST_MAX);
	assert_true(address_to_socket(&address, &at));
	return at;
}

/* A number that is free for UDP at that moment. */
static uint16_t free_port(const char *host)
{
	struct sockaddr_storage at = local(host, 0);
	struct sockaddr_in6 name = { 0 };
	socklen_t len = sizeof(name);
	int fd = socket(at.ss_family, SOCK_DGRAM, 0);
	uint16_t port;

	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(struct sockaddr_in6)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&name, &len), 0);
	port = ntohs(name.sin6_port); /* at the same place in both kinds */
	(void)close(fd);
	return port;
}

static void on_beat(void *owner, const struct beacon_beat *beat)
{
	struct end *end = owner;

	end->beats++;
	end->last = *beat;
	if (end->close_on_beat) {
		beacon_close(end->beacon);
		end->beacon = NULL;
		beacon_port_close(end->port, NULL, NULL);
		end->port = NULL;
	}
}

static void open_end(struct end *end, const struct sockaddr_storage *to, bool is_primary)
{
	const struct beacon_options options = {
		.id = ID,
		.out = is_primary ? primary_key : standby_key,
		.in = is_primary ? standby_key : primary_key,
		.to = to,
		.on_beat = on_beat,
		.owner = end,
	};

	assert_int_equal(beacon_open(&end->beacon, end->port, &options, &err), RC_OK);
}

static void open_both(const char *listen, const char *dial)
{
	struct sockaddr_storage any = local(dial, 0);
	uint16_t port = free_port(listen);

	memset(&primary, 0, sizeof(primary));
	memset(&standby, 0, sizeof(standby));
	assert_int_equal(uv_loop_init(&loop), 0);
	standby.at = local(listen, port);
	primary_to = local(dial, port);
	assert_int_equal(beacon_port_open(&standby.port, &loop, &standby.at, &err), RC_OK);
	assert_int_equal(beacon_port_open(&primary.port, &loop, &any, &err), RC_OK);
	open_end(&standby, NULL, false);
	open_end(&primary, &primary_to, true);
	raw = socket(AF_INET, SOCK_DGRAM, 0);
	assert_true(raw >= 0);
}

static void close_both(void)
{
	struct end *ends[] = { &primary, &standby };
	size_t i;

	for (i = 0; i < 2; i++) {
		if (ends[i]->port != NULL)
			beacon_port_close(ends[i]->port, NULL, NULL);
		if (ends[i]->beacon != NULL)
			beacon_close(ends[i]->beacon);
	}
	assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
	assert_int_equal(uv_loop_close(&loop), 0);
	(void)close(raw);
}

#define RUN_UNTIL(condition)                                   \
	do {                                                   \
		uint64_t until = clock_now_ns() + PATIENCE_NS; \
		while (!(condition)) {                         \
			assert_true(clock_now_ns() < until);   \
			(void)uv_run(&loop, UV_RUN_NOWAIT);    \
		}                                              \
	} while (0)

static void spray(const void *bytes, size_t len)
{
	assert_int_equal(sendto(raw, bytes, len, 0, (struct sockaddr *)&standby.at,
				sizeof(struct sockaddr_in)),
			 (ssize_t)len);
}

static void seal(uint64_t id, const uint8_t key[BEACON_KEY], uint64_t sequence, uint64_t clock_ns,
		 uint8_t out[BEACON_SIZE])
{
	const struct beacon_beat beat = { .sequence = sequence, .clock_ns = clock_ns };
	struct beacon_cipher cipher;

	assert_int_equal(beacon_cipher_init(&cipher, key, &err), RC_OK);
	assert_true(beacon_seal(&cipher, id, &beat, out));
	beacon_cipher_free(&cipher);
}

/* Everything that was sent before has been looked at when this has come. */
static void a_valid_one_with(uint64_t sequence)
{
	uint8_t datagram[BEACON_SIZE];

	seal(ID, primary_key, sequence, sequence, datagram);
	spray(datagram, BEACON_SIZE);
	RUN_UNTIL(standby.last.sequence == sequence);
}

static void beats_go_there_and_the_answers_come_back(void **state)
{
	static const char *const pairs[][2] = {
		{ "127.0.0.1", "127.0.0.1" },
		{ "0.0.0.0", "127.0.0.1" },
		{ "::1", "::1" },
		{ "::", "::1" },
		{ "::", "127.0.0.1" },
	};
	struct beacon_beat beat = { .clock_ns = 5, .lease_ns = 7 };
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		open_both(pairs[i][0], pairs[i][1]);
		beacon_send(standby.beacon, &beat); /* it knows no address yet */
		beacon_send(primary.beacon, &beat);
		RUN_UNTIL(standby.beats == 1);
		assert_true(standby.last.sequence == 1 && standby.last.clock_ns == 5);
		assert_int_equal(primary.beats, 0);
		beat.clock_ns = 5;
		beacon_send(standby.beacon, &beat);
		RUN_UNTIL(primary.beats == 1);
		assert_true(primary.last.lease_ns == 7);
		close_both();
	}
}

static void replayed_and_late_ones_are_refused(void **state)
{
	uint8_t early[BEACON_SIZE], late[BEACON_SIZE];

	(void)state;
	open_both("127.0.0.1", "127.0.0.1");
	seal(ID, primary_key, 9, 9, late);
	seal(ID, primary_key, 3, 3, early);
	a_valid_one_with(5);
	spray(early, BEACON_SIZE);
	spray(late, BEACON_SIZE);
	spray(late, BEACON_SIZE);
	a_valid_one_with(10);
	assert_int_equal(standby.beats, 3);
	assert_int_equal(beacon_refused(standby.beacon), 2);
	close_both();
}

static void what_was_not_sealed_with_the_key_is_refused(void **state)
{
	uint8_t datagram[BEACON_SIZE + 1] = { 0 }, zeroes[4] = { 0 };

	(void)state;
	open_both("127.0.0.1", "127.0.0.1");
	a_valid_one_with(1);
	seal(ID, standby_key, 50, 50, datagram); /* its own, sent back to it */
	spray(datagram, BEACON_SIZE);
	seal(ID, primary_key, 51, 51, datagram);
	datagram[30] ^= 1;
	spray(datagram, BEACON_SIZE);
	datagram[30] ^= 1;
	datagram[8] ^= 64; /* its sequence */
	spray(datagram, BEACON_SIZE);
	a_valid_one_with(2); /* the spoilt ones did not count */
	assert_int_equal(standby.beats, 2);
	assert_int_equal(beacon_refused(standby.beacon), 3);
	/* What does not even look like one of this connection is not counted with it. */
	seal(ID + 1, primary_key, 60, 60, datagram);
	spray(datagram, BEACON_SIZE);
	spray(datagram, BEACON_SIZE - 1);
	spray(datagram, BEACON_SIZE + 1);
	spray(zeroes, sizeof(zeroes));
	spray(zeroes, 0);
	a_valid_one_with(3);
	assert_int_equal(standby.beats, 3);
	assert_int_equal(beacon_refused(standby.beacon), 3);
	close_both();
}

static void the_answer_follows_the_newest_valid_sender_only(void **state)
{
	struct beacon_beat beat = { .clock_ns = 1 };
	uint8_t datagram[BEACON_SIZE];

	(void)state;
	open_both("127.0.0.1", "127.0.0.1");
	beacon_send(primary.beacon, &beat);
	RUN_UNTIL(standby.beats == 1);
	seal(ID, primary_key, 1, 1, datagram); /* a copy from elsewhere */
	spray(datagram, BEACON_SIZE);
	RUN_UNTIL(beacon_refused(standby.beacon) == 1);
	beacon_send(standby.beacon, &beat);
	RUN_UNTIL(primary.beats == 1);
	a_valid_one_with(100); /* the primary has another address now */
	beacon_send(standby.beacon, &beat);
	while (recv(raw, datagram, sizeof(datagram), 0) != (ssize_t)BEACON_SIZE)
		;
	assert_int_equal(primary.beats, 1);
	close_both();
}

/* A standby with several addresses that listens at all of them. */
static void an_answer_leaves_from_the_address_that_was_asked(void **state)
{
	static const struct {
		const char *listen, *from, *raw_from;
	} rows[] = {
		{ "0.0.0.0", "127.0.0.2", "127.0.0.2" },
		{ "::", "::ffff:127.0.0.3", "127.0.0.3" },
	};
	const struct beacon_beat beat = { .clock_ns = 1 };
	struct sockaddr_storage from, expected;
	uint8_t datagram[BEACON_SIZE];
	struct sockaddr_in source;
	socklen_t len;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct beacon_options options = { .id = ID,
						  .out = standby_key,
						  .in = primary_key,
						  .from = &from,
						  .on_beat = on_beat,
						  .owner = &standby };

		open_both(rows[i].listen, "127.0.0.1");
		from = local(rows[i].from, 0);
		expected = local(rows[i].raw_from, 0);
		beacon_close(standby.beacon);
		assert_int_equal(beacon_open(&standby.beacon, standby.port, &options, &err), RC_OK);
		seal(ID, primary_key, 1, 1, datagram);
		standby.at = primary_to;
		spray(datagram, BEACON_SIZE);
		RUN_UNTIL(standby.beats == 1);
		beacon_send(standby.beacon, &beat);
		len = sizeof(source);
		while (recvfrom(raw, datagram, sizeof(datagram), 0, (struct sockaddr *)&source,
				&len) != (ssize_t)BEACON_SIZE)
			;
		assert_memory_equal(&source.sin_addr, &((struct sockaddr_in *)&expected)->sin_addr,
				    4);
		close_both();
	}
}

static void a_flood_leaves_time_for_others(void **state)
{
	uint8_t datagram[BEACON_SIZE];
	unsigned i, turns = 0;

	(void)state;
	open_both("127.0.0.1", "127.0.0.1");
	a_valid_one_with(1);
	seal(ID, primary_key, 1, 1, datagram);
	for (i = 0; i < 130; i++)
		spray(datagram, BEACON_SIZE);
	while (beacon_refused(standby.beacon) < 130) {
		(void)uv_run(&loop, UV_RUN_ONCE);
		assert_true(beacon_refused(standby.beacon) <= ++turns * 64);
	}
	assert_true(turns >= 3);
	close_both();
}

static void a_beat_may_close_its_beacon_and_port(void **state)
{
	const struct beacon_beat beat = { .clock_ns = 1 };

	(void)state;
	open_both("127.0.0.1", "127.0.0.1");
	standby.close_on_beat = true;
	beacon_send(primary.beacon, &beat);
	beacon_send(primary.beacon, &beat);
	RUN_UNTIL(standby.beats == 1);
	(void)uv_run(&loop, UV_RUN_NOWAIT);
	assert_int_equal(standby.beats, 1);
	close_both();
}

static void a_beacon_outlives_its_port_in_silence(void **state)
{
	const struct beacon_beat beat = { .clock_ns = 1 };

	(void)state;
	open_both("127.0.0.1", "127.0.0.1");
	beacon_port_close(primary.port, NULL, NULL);
	primary.port = NULL;
	beacon_send(primary.beacon, &beat);
	a_valid_one_with(7);
	assert_int_equal(standby.beats, 1);
	close_both();
}

static void an_id_or_an_address_in_use_is_an_error(void **state)
{
	const struct beacon_options options = { .id = ID, .out = primary_key, .in = standby_key };
	struct beacon_port *port;
	struct beacon *beacon;

	(void)state;
	open_both("127.0.0.1", "127.0.0.1");
	assert_int_equal(beacon_open(&beacon, standby.port, &options, &err), RC_STATE);
	assert_int_equal(beacon_port_open(&port, &loop, &standby.at, &err), RC_IO);
	assert_non_null(strstr(err.text, "in use"));
	close_both();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(beats_go_there_and_the_answers_come_back),
		cmocka_unit_test(replayed_and_late_ones_are_refused),
		cmocka_unit_test(what_was_not_sealed_with_the_key_is_refused),
		cmocka_unit_test(the_answer_follows_the_newest_valid_sender_only),
		cmocka_unit_test(an_answer_leaves_from_the_address_that_was_asked),
		cmocka_unit_test(a_flood_leaves_time_for_others),
		cmocka_unit_test(a_beat_may_close_its_beacon_and_port),
		cmocka_unit_test(a_beacon_outlives_its_port_in_silence),
		cmocka_unit_test(an_id_or_an_address_in_use_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
