/* Datagrams are what their format says, and nothing else is one. */
#include "net/beacon_format.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct err err;
static const struct beacon_beat sample = {
	.sequence = UINT64_C(0x0102030405060708),
	.flags = BEACON_STUCK,
	.clock_ns = 11,
	.echo_ns = 12,
	.held_ns = 13,
	.lease_ns = 14,
};
#define ID UINT64_C(0x1122334455667788)

static void open_cipher(struct beacon_cipher *cipher, uint8_t first)
{
	uint8_t key[BEACON_KEY];
	uint8_t i;

	for (i = 0; i < BEACON_KEY; i++)
		key[i] = (uint8_t)(first + i);
	assert_int_equal(beacon_cipher_init(cipher, key, &err), RC_OK);
}

static void a_datagram_is_byte_by_byte_what_the_format_says(void **state)
{
	/* Made with another implementation of AES-GCM (OpenSSL's). */
	static const uint8_t expected[BEACON_SIZE] = {
		0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 0x08, 0x07, 0x06, 0x05,
		0x04, 0x03, 0x02, 0x01, 0xdd, 0x42, 0x8b, 0x64, 0x91, 0x8e, 0x9e, 0xaf,
		0xf0, 0xde, 0x39, 0x88, 0x84, 0x02, 0xb3, 0x28, 0x9f, 0x0c, 0x9c, 0x30,
		0x70, 0xe3, 0x48, 0x13, 0x8c, 0xe3, 0x80, 0x0b, 0xf4, 0x0b, 0x42, 0xd2,
		0x2a, 0x03, 0xbb, 0xa2, 0xf2, 0x8e, 0xb0, 0xa9, 0x9b, 0x6b, 0x4c, 0x6e,
		0xf5, 0x88, 0x9a, 0xc2, 0x9a, 0x38, 0x7e, 0xe7, 0x19, 0xd1, 0x56, 0x90
	};
	struct beacon_cipher cipher;
	uint8_t datagram[BEACON_SIZE];

	(void)state;
	open_cipher(&cipher, 0);
	assert_true(beacon_seal(&cipher, ID, &sample, datagram));
	assert_memory_equal(datagram, expected, BEACON_SIZE);
	beacon_cipher_free(&cipher);
}

static void what_is_sealed_comes_back(void **state)
{
	struct beacon_cipher cipher;
	uint8_t datagram[BEACON_SIZE];
	struct beacon_beat beat;
	uint64_t id, sequence;

	(void)state;
	open_cipher(&cipher, 0);
	assert_true(beacon_seal(&cipher, ID, &sample, datagram));
	assert_true(beacon_peek(datagram, BEACON_SIZE, &id, &sequence));
	assert_true(id == ID && sequence == sample.sequence);
	assert_true(beacon_unseal(&cipher, datagram, &beat));
	assert_memory_equal(&beat, &sample, sizeof(beat));
	beacon_cipher_free(&cipher);
}

static void a_changed_bit_anywhere_makes_it_invalid(void **state)
{
	const struct beacon_beat untouched = { .sequence = 99 };
	struct beacon_beat beat = untouched;
	struct beacon_cipher cipher;
	uint8_t datagram[BEACON_SIZE];
	size_t bit;

	(void)state;
	open_cipher(&cipher, 0);
	assert_true(beacon_seal(&cipher, ID, &sample, datagram));
	for (bit = 0; bit < 8 * BEACON_SIZE; bit++) {
		datagram[bit / 8] = (uint8_t)(datagram[bit / 8] ^ (1U << bit % 8));
		assert_false(beacon_unseal(&cipher, datagram, &beat));
		datagram[bit / 8] = (uint8_t)(datagram[bit / 8] ^ (1U << bit % 8));
	}
	assert_memory_equal(&beat, &untouched, sizeof(beat));
	assert_true(beacon_unseal(&cipher, datagram, &beat));
	beacon_cipher_free(&cipher);
}

static void another_key_does_not_open_it(void **state)
{
	struct beacon_cipher cipher, other;
	uint8_t datagram[BEACON_SIZE];
	struct beacon_beat beat;

	(void)state;
	open_cipher(&cipher, 0);
	open_cipher(&other, 1);
	assert_true(beacon_seal(&cipher, ID, &sample, datagram));
	assert_false(beacon_unseal(&other, datagram, &beat));
	beacon_cipher_free(&cipher);
	beacon_cipher_free(&other);
}

static void a_flag_without_a_meaning_makes_it_invalid(void **state)
{
	struct beacon_beat beat = sample, back;
	struct beacon_cipher cipher;
	uint8_t datagram[BEACON_SIZE];
	unsigned bit;

	(void)state;
	open_cipher(&cipher, 0);
	for (bit = 0; bit < 32; bit++) {
		beat.flags = 1U << bit;
		assert_true(beacon_seal(&cipher, ID, &beat, datagram));
		assert_int_equal(beacon_unseal(&cipher, datagram, &back), bit < 2);
	}
	beacon_cipher_free(&cipher);
}

static void only_one_size_is_a_datagram(void **state)
{
	uint8_t bytes[2 * BEACON_SIZE] = { 1 };
	uint64_t id, sequence;
	size_t len;

	(void)state;
	for (len = 0; len <= sizeof(bytes); len++)
		assert_int_equal(beacon_peek(bytes, len, &id, &sequence), len == BEACON_SIZE);
}

static void keys_survive_their_frame_and_are_wiped(void **state)
{
	static const struct beacon_keys nothing;
	struct beacon_keys keys = { .id = ID, .primary = { 1, 2 }, .standby = { 3, 4 } }, back;
	struct buf out = { 0 };

	(void)state;
	assert_true(beacon_put_keys(&out, &keys));
	assert_int_equal(out.len, BEACON_KEYS_SIZE);
	assert_int_equal(beacon_get_keys(&back, out.data, out.len, &err), RC_OK);
	assert_memory_equal(&back, &keys, sizeof(keys));
	assert_int_equal(beacon_get_keys(&back, out.data, out.len - 1, &err), RC_INVALID);
	memset(out.data, 0, 8);
	assert_int_equal(beacon_get_keys(&back, out.data, out.len, &err), RC_INVALID);
	buf_free(&out);
	beacon_forget_keys(&keys);
	assert_memory_equal(&keys, &nothing, sizeof(keys));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_datagram_is_byte_by_byte_what_the_format_says),
		cmocka_unit_test(what_is_sealed_comes_back),
		cmocka_unit_test(a_changed_bit_anywhere_makes_it_invalid),
		cmocka_unit_test(another_key_does_not_open_it),
		cmocka_unit_test(a_flag_without_a_meaning_makes_it_invalid),
		cmocka_unit_test(only_one_size_is_a_datagram),
		cmocka_unit_test(keys_survive_their_frame_and_are_wiped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
