#include "appliance/term_record.h"

#include "appliance/base/bytes.h"

#include <assert.h>

#include <xxhash.h>

#define MAGIC "USTDTERM"
#define VERSION 3
#define VERSION_FIRST 1
#define HASH ((size_t)8)
#define SHORT_BYTES ((size_t)40) /* of versions 1 and 2 */

void term_record_encode(const struct term_record *record, uint8_t out[TERM_RECORD_BYTES])
{
	assert(record->term >= 1 && (record->epoch == 0) == (record->kind == TERM_STANDS_BY));
	assert(record->identity != 0 && (record->kind != TERM_STANDS_BY || *record->site == '\0'));
	memset(out, 0, TERM_RECORD_BYTES);
	memcpy(out, MAGIC, sizeof(MAGIC) - 1);
	bytes_put_le16(out + 8, VERSION);
	bytes_put_le16(out + 10, (uint16_t)record->kind);
	bytes_put_le64(out + 16, record->term);
	bytes_put_le64(out + 24, record->epoch);
	bytes_put_le64(out + 32, record->identity);
	memcpy(out + 40, record->site, strnlen(record->site, TERM_SITE_MAX));
	bytes_put_le64(out + TERM_RECORD_BYTES - HASH, XXH64(out, TERM_RECORD_BYTES - HASH, 0));
}

/* Printable, and nothing behind its end. */
static bool get_site(struct term_record *record, const uint8_t *in)
{
	size_t i, len = strnlen((const char *)in, TERM_SITE_MAX);

	for (i = 0; i < TERM_SITE_MAX; i++) {
		if (i < len ? in[i] < 0x20 || in[i] > 0x7e : in[i] != 0)
			return false;
	}
	memcpy(record->site, in, len);
	return len == 0 || record->kind != TERM_STANDS_BY;
}

/* What versions 1 and 2 do not have. */
static bool get_rest(struct term_record *record, const uint8_t *in)
{
	record->identity = bytes_get_le64(in + 32);
	return record->identity != 0 && get_site(record, in + 40);
}

int term_record_decode(struct term_record *record, const uint8_t *in, size_t len, struct err *err)
{
	struct cursor c;
	uint16_t version, kind;
	uint32_t zero;

	*record = (struct term_record){ 0 };
	if (len != TERM_RECORD_BYTES && len != SHORT_BYTES)
		return err_set(err, RC_INVALID, "has %zu bytes instead of %d", len,
			       TERM_RECORD_BYTES);
	if (XXH64(in, len - HASH, 0) != bytes_get_le64(in + len - HASH))
		return err_set(err, RC_INVALID, "its checksum is wrong");
	if (memcmp(in, MAGIC, sizeof(MAGIC) - 1) != 0)
		return err_set(err, RC_INVALID, "is not a term's record");
	c = cursor_of(in + 8, SHORT_BYTES - HASH - 8);
	version = cursor_le16(&c);
	kind = cursor_le16(&c);
	zero = cursor_le32(&c);
	if (version < VERSION_FIRST || version > VERSION)
		return err_set(err, RC_UNSUPPORTED, "is of version %u, this program knows %d",
			       version, VERSION);
	if ((version < VERSION) != (len == SHORT_BYTES))
		return err_set(err, RC_INVALID, "has %zu bytes, version %u has not", len, version);
	record->term = cursor_le64(&c);
	record->epoch = cursor_le64(&c);
	if (zero != 0 || record->term == 0 || record->term > TERM_MAX || kind < TERM_STANDS_BY ||
	    kind > (version == 1 ? TERM_TOOK_OVER : TERM_UNFINISHED) ||
	    (record->epoch == 0) != (kind == TERM_STANDS_BY))
		return err_set(err, RC_INVALID, "holds values that cannot be");
	record->kind = (enum term_kind)kind;
	if (version == VERSION && !get_rest(record, in))
		return err_set(err, RC_INVALID, "holds values that cannot be");
	return RC_OK;
}
