/*
 * What is learned from frames, and the table that travels between the sites. First byte 0: a table
 * as a peer may send it; else frames, each after a byte with its length. Then what is in the table
 * is announced and read back, and must be what it says.
 */
#include "appliance/base/bytes.h"
#include "net/announce.h"

#include <assert.h>

#define NOW (UINT64_C(1) << 50)

static void check(void *owner, const uint8_t *data, size_t len)
{
	struct card_addresses heard = { 0 };
	struct ethernet_frame frame;

	(void)owner;
	assert(len >= ETHERNET_SHORTEST && len <= ANNOUNCE_FRAME_MAX);
	assert(ethernet_read(&frame, data, len) && ethernet_is_station(frame.source));
	card_addresses_learn(&heard, data, len, NOW);
	assert(heard.count == (frame.type == ETHERNET_RARP ? 0 : 1));
}

static void check_table(const struct card_addresses *table)
{
	static const uint8_t mac[ETHERNET_MAC] = { 2 };
	struct card_addresses copy = { 0 };
	struct buf payload = { 0 };
	struct err err;

	assert(table->count <= CARD_ADDRESSES_MAX);
	(void)announce_card(table, mac, NOW, check, NULL);
	if (card_addresses_put(&payload, table, NOW)) {
		assert(payload.len <= CARD_ADDRESSES_BYTES_MAX);
		assert(card_addresses_get(&copy, payload.data, payload.len, NOW, &err) == RC_OK);
	}
	buf_free(&payload);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct card_addresses table = { 0 };
	struct cursor c = cursor_of(data, size);
	struct err err;

	if (cursor_u8(&c) == 0) {
		if (card_addresses_get(&table, c.at, c.left, NOW, &err) != RC_OK)
			return 0;
	} else {
		while (c.left > 0) {
			size_t len = cursor_u8(&c);

			if (len > c.left)
				len = c.left;
			card_addresses_learn(&table, cursor_bytes(&c, len), len, NOW);
		}
	}
	check_table(&table);
	return 0;
}
