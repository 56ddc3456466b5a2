#include "appliance/term_record.h"

#include "appliance/base/bytes.h"

#include <assert.h>

#include <xxhash.h>

#define MAGIC "USTDTERM"
#define VERSION 1
#define HASHED (TERM_RECORD_BYTES - 8) /* all but the hash itself */

enum { STANDS_BY = 1, TOOK_OVER = 2 };

void term_record_encode(const struct term_record *record, uint8_t out[TERM_RECORD_BYTES])
{
	assert(record->term >= 1);
	memset(out, 0, TERM_RECORD_BYTES);
	memcpy(out, MAGIC, sizeof(MAGIC) - 1);
	bytes_put_le16(out + 8, VERSION);
	bytes_put_le16(out + 10, record->epoch == 0 ? STANDS_BY : TOOK_OVER);
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
	if (version != VERSION)
		return err_set(err, RC_UNSUPPORTED, "is of version %u, this program knows %d",
			       version, VERSION);
	record->term = cursor_le64(&c);
	record->epoch = cursor_le64(&c);
	if (zero != 0 || record->term == 0 || record->term > TERM_MAX ||
	    kind != (record->epoch == 0 ? STANDS_BY : TOOK_OVER))
		return err_set(err, RC_INVALID, "holds values that cannot be");
	return RC_OK;
}

bool term_record_equal(const struct term_record *a, const struct term_record *b)
{
	return a->term == b->term && a->epoch == b->epoch;
}
