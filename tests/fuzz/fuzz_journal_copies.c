/*
 * Segments of a journal in up to three directories, as disks may give them back: read together, as copies are, and what one
 * of them holds opened for writing, twice: what was found the first time is found again, and nothing torn any more. With a first
 * byte that is odd the checksums are made right.
 */
#include "replica/journal.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/journal_records.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DIRS 3
#define BYTES_MAX 8192 /* of a segment */
#define NUMBER 77

static char paths[DIRS][40] = { "/dev/shm/us-fuzz-copies-XXXXXX", "/dev/shm/us-fuzz-copies-XXXXXX",
				"/dev/shm/us-fuzz-copies-XXXXXX" };
static int dirs[DIRS];

static void empty(int dir)
{
	int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *list = fdopendir(fd);
	struct dirent *entry;

	while (list != NULL && (entry = readdir(list)) != NULL)
		(void)unlinkat(dir, entry->d_name, 0);
	if (list != NULL)
		(void)closedir(list);
}

static void remove_directories(void)
{
	int i;

	for (i = 0; i < DIRS; i++) {
		empty(dirs[i]);
		(void)rmdir(paths[i]);
	}
}

static void make_directories(void)
{
	int i;

	if (dirs[0] != 0)
		return;
	for (i = 0; i < DIRS; i++) {
		CHECK(mkdtemp(paths[i]) != NULL);
		dirs[i] = open(paths[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		CHECK(dirs[i] > 0);
	}
	CHECK(atexit(remove_directories) == 0);
}

static void make_right(uint8_t *bytes, size_t len, uint64_t sequence, uint64_t opening)
{
	if (len < JOURNAL_SEGMENT_HEAD)
		return;
	journal_put_segment(bytes, &(struct journal_segment){ NUMBER, sequence, opening });
	fuzz_journal_make_right(bytes, len, NUMBER, sequence);
}

/* Each: a byte that says where, one for the length, one for the opening; then its bytes. The highest are for numbers that are too high. */
static void make_segments(const uint8_t *data, size_t size, bool right)
{
	static uint8_t bytes[BYTES_MAX];
	char name[JOURNAL_NAME_BYTES];
	uint64_t sequence;
	size_t len;
	int file, dir;

	while (size > 3) {
		dir = dirs[data[0] % DIRS];
		sequence = data[0] < 240 ? 1 + data[0] / DIRS % 8 : UINT64_MAX - data[0] % 8;
		len = (size_t)data[1] * 4 < size - 3 ? (size_t)data[1] * 4 : size - 3;
		memcpy(bytes, data + 3, len);
		if (right)
			make_right(bytes, len, sequence,
				   data[2] < 240 ? 1 + data[2] % 4 : UINT64_MAX - data[2] % 4);
		journal_segment_name(name, sequence);
		file = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
		CHECK(file >= 0 && write(file, bytes, len) == (ssize_t)len && close(file) == 0);
		data += 3 + len;
		size -= 3 + len;
	}
}

static int visit(void *owner, const struct journal_record *record, const uint8_t *payload,
		 struct err *err)
{
	uint64_t *next = owner;

	(void)err;
	CHECK(*next == 0 || record->sequence == *next);
	CHECK(journal_check_payload(record, payload, err) == RC_OK);
	*next = record->sequence + 1;
	return RC_OK;
}

static void open_one(void)
{
	const struct journal_place place = { .dirs = { paths[0] }, .count = 1, .quorum = 1 };
	struct journal_found first, second;
	struct journal *journal;
	struct err err;

	if (journal_open(&journal, &place, NUMBER, JOURNAL_SEGMENT_BYTES, NULL, NULL, &first,
			 &err) != RC_OK)
		return;
	journal_close(journal);
	CHECK(journal_open(&journal, &place, NUMBER, JOURNAL_SEGMENT_BYTES, NULL, NULL, &second,
			   &err) == RC_OK);
	CHECK(second.torn == 0 && second.next_sequence == first.next_sequence);
	CHECK(second.epoch == first.epoch && second.base == first.base);
	journal_close(journal);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct journal_dirs all = { .count = DIRS };
	struct journal_found found;
	uint64_t next = 0;
	struct err err;
	int i;

	if (size < 1 || size > 65536)
		return 0;
	make_directories();
	for (i = 0; i < DIRS; i++) {
		empty(dirs[i]);
		all.fd[i] = dirs[i];
	}
	make_segments(data + 1, size - 1, (data[0] & 1) != 0);
	if (journal_scan(&all, 0, visit, &next, &found, &err) == RC_OK)
		CHECK(found.next_sequence <= next || next == 0);
	open_one();
	return 0;
}
