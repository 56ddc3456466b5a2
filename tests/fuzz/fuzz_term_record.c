/*
 * A term's record as it may stand on a disk. The hash of every second input is made right, so that
 * what is behind it is reached. What is accepted must encode to the same bytes, of the present version.
 */
#include "appliance/base/bytes.h"
#include "appliance/term_record.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>
#include <xxhash.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t bytes[TERM_RECORD_BYTES + 8], again[TERM_RECORD_BYTES];
	struct term_record record;
	struct err err;

	if (size == 0 || size - 1 > sizeof(bytes))
		return 0;
	memcpy(bytes, data + 1, size - 1);
	if (data[0] % 2 == 1 && size - 1 >= 8)
		bytes_put_le64(bytes + (size - 9), XXH64(bytes, size - 9, 0));
	if (term_record_decode(&record, bytes, size - 1, &err) != RC_OK)
		return 0;
	if (record.identity == 0) { /* of an older version: the standby gives it one */
		record.identity = 1;
		term_record_encode(&record, again);
		if (memcmp(again + 10, bytes + 10, 22) != 0)
			abort();
		return 0;
	}
	term_record_encode(&record, again);
	if (memcmp(again, bytes, sizeof(again)) != 0)
		abort();
	return 0;
}
