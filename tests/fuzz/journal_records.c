#include "tests/fuzz/journal_records.h"

#include "appliance/base/bytes.h"
#include "replica/journal_format.h"

#include <xxhash.h>

void fuzz_journal_make_right(uint8_t *bytes, size_t len, uint64_t journal, uint64_t sequence)
{
	size_t at = JOURNAL_SEGMENT_HEAD, whole;
	uint32_t payload;

	while (at + JOURNAL_RECORD_HEAD <= len) {
		payload = bytes_get_le32(bytes + at) & 0xff;
		whole = journal_record_bytes(payload);
		if (whole > len - at)
			break;
		bytes_put_le32(bytes + at, payload);
		bytes_put_le64(bytes + at + 8, sequence++);
		bytes_put_le64(bytes + at + 24,
			       XXH64(bytes + at + JOURNAL_RECORD_HEAD, payload, 0));
		bytes_put_le64(bytes + at + 32, XXH64(bytes + at, 32, journal));
		at += whole;
	}
}
