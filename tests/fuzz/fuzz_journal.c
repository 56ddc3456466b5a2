/*
 * A journal's segment, as a disk may give it back. With a first byte that is odd its checksums are made
 * right, as far as its records are where their lengths say, so that what they hold is looked at.
 */
#include "appliance/base/bytes.h"
#include "replica/journal_scan.h"
#include "tests/fuzz/fuzz.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <xxhash.h>

#define SIZE_MAX_HERE 65536
#define SEGMENT "0000000000000001.journal"

static volatile uint8_t last;

static int visit(void *owner, const struct journal_record *record, const uint8_t *payload,
		 struct err *err)
{
	uint64_t *sequence = owner;

	(void)err;
	CHECK(*sequence == 0 || record->sequence == *sequence + 1);
	*sequence = record->sequence;
	if (record->length > 0)
		last = payload[record->length - 1]; /* readable to its end */
	return RC_OK;
}

static void make_right(uint8_t *bytes, size_t len)
{
	static const uint8_t begin[16] = "USTDJRNL\1";
	size_t at = JOURNAL_SEGMENT_HEAD, whole;
	uint64_t journal, sequence = 1;
	uint32_t payload;

	if (len < at)
		return;
	memcpy(bytes, begin, sizeof(begin));
	memset(bytes + 32, 0, 24);
	bytes_put_le64(bytes + 24, 1);
	bytes_put_le64(bytes + 56, XXH64(bytes, 56, 0));
	journal = bytes_get_le64(bytes + 16);
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

static char path[] = "/dev/shm/us-fuzz-journal-XXXXXX";

static void remove_directory(void)
{
	char file[sizeof(path) + JOURNAL_NAME_BYTES];

	(void)snprintf(file, sizeof(file), "%s/" SEGMENT, path);
	(void)unlink(file);
	(void)rmdir(path);
}

static int directory(void)
{
	static int dir = -1;

	if (dir < 0 && mkdtemp(path) != NULL && atexit(remove_directory) == 0)
		dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return dir;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t bytes[SIZE_MAX_HERE];
	struct journal_found found;
	uint64_t sequence = 0;
	struct err err;
	int file;

	if (size < 1 || size > sizeof(bytes))
		return 0;
	memcpy(bytes, data + 1, size - 1);
	if ((data[0] & 1) != 0)
		make_right(bytes, size - 1);
	file = openat(directory(), SEGMENT, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	CHECK(file >= 0 && write(file, bytes, size - 1) == (ssize_t)(size - 1) && close(file) == 0);
	if (journal_scan(directory(), 0, visit, &sequence, &found, &err) == RC_OK) {
		CHECK(found.segments == 1 && found.bytes == size - 1 && found.torn <= size - 1);
		CHECK(found.segment == 0 || found.end + found.torn == size - 1);
	}
	return 0;
}
