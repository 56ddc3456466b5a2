/*
 * Heartbeats as datagrams, byte by byte. No I/O. Little-endian.
 *
 * The standby makes the keys of a connection and tells them over it, in a BEACON frame (wire.h):
 *    0  u64  id of the connection, random, not 0
 *    8  16 bytes, key of what the primary sends
 *   24  16 bytes, key of what the standby sends
 *
 * A datagram, always BEACON_SIZE bytes:
 *    0  u64  id of the connection
 *    8  u64  sequence: 1 in the first datagram of this direction, then one more in each
 *   16  40 bytes, encrypted:
 *        0  u32  flags: bit 0 BEACON_STUCK, bit 1 BEACON_OVER; the others are 0
 *        4  u32  0
 *        8  u64  sender's clock ns, u64 echo, u64 held, u64 lease, as in HEARTBEAT (wire.h)
 *   56  16 bytes, tag
 *
 * Encryption is AES-128-GCM with the key of the direction; the nonce is 4 bytes 0 and the sequence,
 * the additional data are bytes 0 to 15. Keys serve for one connection and one direction and a
 * sequence is never used twice, so neither is a nonce.
 *
 * A datagram is valid if and only if (1) it has BEACON_SIZE bytes, (2) its id is that of a
 * connection, (3) its sequence is higher than that of any valid one before: what is late tells
 * nothing new, (4) its tag is right, (5) the bits that have no meaning are 0. What is not valid is
 * dropped and counted.
 */
#ifndef NET_BEACON_FORMAT_H
#define NET_BEACON_FORMAT_H

#include "appliance/base/buf.h"
#include "appliance/base/err.h"

#include <mbedtls/gcm.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BEACON_KEY 16
#define BEACON_KEYS_SIZE ((size_t)(8 + 2 * BEACON_KEY))
#define BEACON_SIZE ((size_t)72)

#define BEACON_STUCK (1U << 0) /* what the sender says over TCP is not acknowledged any more */
#define BEACON_OVER (1U << 1)  /* the sender has given the connection up, without last words */

struct beacon_keys {
	uint64_t id;
	uint8_t primary[BEACON_KEY], standby[BEACON_KEY];
};

/* The payload of a BEACON frame; false if the buffer failed. */
bool beacon_put_keys(struct buf *payload, const struct beacon_keys *keys);
int beacon_get_keys(struct beacon_keys *keys, const uint8_t *payload, size_t len, struct err *err);
/* Leaves nothing of them in memory. */
void beacon_forget_keys(struct beacon_keys *keys);

struct beacon_beat {
	uint64_t sequence;
	uint32_t flags;
	uint64_t clock_ns, echo_ns, held_ns, lease_ns;
};

/* One direction. Zero-initialised, beacon_cipher_free() does no harm. */
struct beacon_cipher {
	mbedtls_gcm_context gcm;
};
int beacon_cipher_init(struct beacon_cipher *cipher, const uint8_t key[BEACON_KEY],
		       struct err *err);
void beacon_cipher_free(struct beacon_cipher *cipher);

/* False: the cipher failed (no memory); nothing may be sent. */
bool beacon_seal(struct beacon_cipher *cipher, uint64_t id, const struct beacon_beat *beat,
		 uint8_t out[BEACON_SIZE]);
/* What a datagram says of itself, without any proof; false: (1) does not hold. */
bool beacon_peek(const uint8_t *datagram, size_t len, uint64_t *id, uint64_t *sequence);
/* (4) and (5); only then is *beat filled. */
bool beacon_unseal(struct beacon_cipher *cipher, const uint8_t datagram[BEACON_SIZE],
		   struct beacon_beat *beat);

#endif
