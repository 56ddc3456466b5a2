/*
 * Datagrams and keys as anybody may send them: nothing is accepted that was not sealed with the
 * key, and what was sealed is not accepted once a byte of it is another one.
 */
#include "net/beacon_format.h"

#include <assert.h>
#include <string.h>

static const uint8_t key[BEACON_KEY] = "sixteen  letters";

/* The input is what is sealed; its first bytes say which byte to change and how. */
static void seal_and_spoil(struct beacon_cipher *cipher, const uint8_t *data)
{
	struct beacon_beat beat = { .sequence = 1 }, back;
	uint8_t datagram[BEACON_SIZE];

	memcpy(&beat.clock_ns, data + 8, 8);
	memcpy(&beat.lease_ns, data + 16, 8);
	beat.sequence += data[2];
	assert(beacon_seal(cipher, 1, &beat, datagram));
	assert(beacon_unseal(cipher, datagram, &back));
	assert(back.clock_ns == beat.clock_ns && back.lease_ns == beat.lease_ns);
	datagram[data[0] % BEACON_SIZE] ^= (uint8_t)(data[1] | 1);
	assert(!beacon_unseal(cipher, datagram, &back));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct beacon_cipher cipher;
	struct beacon_keys keys;
	struct beacon_beat beat;
	uint64_t id, sequence;
	struct err err;

	if (beacon_get_keys(&keys, data, size, &err) == RC_OK)
		assert(size == BEACON_KEYS_SIZE && keys.id != 0);
	if (beacon_cipher_init(&cipher, key, &err) != RC_OK)
		return 0;
	if (beacon_peek(data, size, &id, &sequence)) {
		assert(!beacon_unseal(&cipher, data, &beat));
		seal_and_spoil(&cipher, data);
	}
	beacon_cipher_free(&cipher);
	return 0;
}
