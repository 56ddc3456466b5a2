#include "net/beacon_format.h"

#include "appliance/base/bytes.h"

#include <assert.h>
#include <mbedtls/platform_util.h>
#include <string.h>

#define HEAD ((size_t)16)
#define BODY ((size_t)40)
#define TAG ((size_t)16)
#define NONCE ((size_t)12)
static_assert(HEAD + BODY + TAG == BEACON_SIZE, "the parts of a datagram");

bool beacon_put_keys(struct buf *payload, const struct beacon_keys *keys)
{
	return buf_append_le64(payload, keys->id) &&
	       buf_append(payload, keys->primary, BEACON_KEY) &&
	       buf_append(payload, keys->standby, BEACON_KEY);
}

int beacon_get_keys(struct beacon_keys *keys, const uint8_t *payload, size_t len, struct err *err)
{
	if (len != BEACON_KEYS_SIZE || bytes_get_le64(payload) == 0)
		return err_set(err, RC_INVALID, "not keys for datagrams");
	keys->id = bytes_get_le64(payload);
	memcpy(keys->primary, payload + 8, BEACON_KEY);
	memcpy(keys->standby, payload + 8 + BEACON_KEY, BEACON_KEY);
	return RC_OK;
}

void beacon_forget_keys(struct beacon_keys *keys)
{
	mbedtls_platform_zeroize(keys, sizeof(*keys));
}

int beacon_cipher_init(struct beacon_cipher *cipher, const uint8_t key[BEACON_KEY], struct err *err)
{
	mbedtls_gcm_init(&cipher->gcm);
	if (mbedtls_gcm_setkey(&cipher->gcm, MBEDTLS_CIPHER_ID_AES, key, 8 * BEACON_KEY) != 0)
		return err_nomem(err, "a cipher for datagrams");
	return RC_OK;
}

void beacon_cipher_free(struct beacon_cipher *cipher)
{
	mbedtls_gcm_free(&cipher->gcm);
}

static void make_nonce(uint8_t nonce[NONCE], uint64_t sequence)
{
	memset(nonce, 0, NONCE);
	bytes_put_le64(nonce + 4, sequence);
}

bool beacon_seal(struct beacon_cipher *cipher, uint64_t id, const struct beacon_beat *beat,
		 uint8_t out[BEACON_SIZE])
{
	uint8_t nonce[NONCE], body[BODY];

	assert(id != 0 && beat->sequence != 0);
	make_nonce(nonce, beat->sequence);
	bytes_put_le64(out, id);
	bytes_put_le64(out + 8, beat->sequence);
	bytes_put_le32(body, beat->flags);
	bytes_put_le32(body + 4, 0);
	bytes_put_le64(body + 8, beat->clock_ns);
	bytes_put_le64(body + 16, beat->echo_ns);
	bytes_put_le64(body + 24, beat->held_ns);
	bytes_put_le64(body + 32, beat->lease_ns);
	return mbedtls_gcm_crypt_and_tag(&cipher->gcm, MBEDTLS_GCM_ENCRYPT, BODY, nonce, NONCE, out,
					 HEAD, body, out + HEAD, TAG, out + HEAD + BODY) == 0;
}

bool beacon_peek(const uint8_t *datagram, size_t len, uint64_t *id, uint64_t *sequence)
{
	if (len != BEACON_SIZE)
		return false;
	*id = bytes_get_le64(datagram);
	*sequence = bytes_get_le64(datagram + 8);
	return true;
}

bool beacon_unseal(struct beacon_cipher *cipher, const uint8_t datagram[BEACON_SIZE],
		   struct beacon_beat *beat)
{
	uint8_t nonce[NONCE], body[BODY];

	make_nonce(nonce, bytes_get_le64(datagram + 8));
	if (mbedtls_gcm_auth_decrypt(&cipher->gcm, BODY, nonce, NONCE, datagram, HEAD,
				     datagram + HEAD + BODY, TAG, datagram + HEAD, body) != 0)
		return false;
	if ((bytes_get_le32(body) & ~(BEACON_STUCK | BEACON_OVER)) != 0 ||
	    bytes_get_le32(body + 4) != 0)
		return false;
	*beat = (struct beacon_beat){
		.sequence = bytes_get_le64(datagram + 8),
		.flags = bytes_get_le32(body),
		.clock_ns = bytes_get_le64(body + 8),
		.echo_ns = bytes_get_le64(body + 16),
		.held_ns = bytes_get_le64(body + 24),
		.lease_ns = bytes_get_le64(body + 32),
	};
	return true;
}
