#include "appliance/term_record.h"

#include "appliance/base/bytes.h"

#include <assert.h>

#include <xxhash.h>

#define MAGIC "USTDTERM"
#define VERSION 2
#define VERSION_FIRST 1
#define HASHED (TERM_RECORD_BYTES - 8) /* all but the hash itself */

void term_record_encode(const struct term_record *record, uint8_t out[TERM_RECORD_BYTES])
{
	assert(record->term >= 1 && (record->epoch == 0) == (record->kind == TERM_STANDS_BY));
	memset(out, 0, TERM_RECORD_BYTES);
	memcpy(out, MAGIC, sizeof(MAGIC) - 1);
	bytes_put_le16(out + 8, VERSION);
	bytes_put_le16(out + 10, (uint16_t)record->kind);
	bytes_put_le64(out + 16, record->term);
	bytes_put_le64(out + 24, record->epoch);
	bytes_put_le64(out + HASHED, XXH64(out, HASHED, 0));
}

int term_record_decode(struct term_record *record, const uint8_t *in, size_t len, struct err *err)
{
	struct cursor c;
	uint16_t version, kind;
	uint32_t zero;

	if (len != TERM_RECORD_BYTES)
		return err_set(err, RC_INVALID, "has %zu bytes instead of %d", len,
			       TERM_RECORD_BYTES);
	if (XXH64(in, HASHED, 0) != bytes_get_le64(in + HASHED))
		return err_set(err, RC_INVALID, "its checksum is wrong");
	if (memcmp(in, MAGIC, sizeof(MAGIC) - 1) != 0)
		return err_set(err, RC_INVALID, "is not a term's record");
	c = cursor_of(in + 8, HASHED - 8);
	version = cursor_le16(&c);
	kind = cursor_le16(&c);
	zero = cursor_le32(&c);
	if (version < VERSION_FIRST || version > VERSION)
		return err_set(err, RC_UNSUPPORTED, "is of version %u, this program knows %d",
			       version, VERSION);
	record->term = cursor_le64(&c);
	record->epoch = cursor_le64(&c);
	if (zero != 0 || record->term == 0 || record->term > TERM_MAX || kind < TERM_STANDS_BY ||
	    kind > (version == 1 ? TERM_TOOK_OVER : TERM_UNFINISHED) ||
	    (record->epoch == 0) != (kind == TERM_STANDS_BY))
		return err_set(err, RC_INVALID, "holds values that cannot be");
	record->kind = (enum term_kind)kind;
	return RC_OK;
}
