/*
 * A journal's segment, as a disk may give it back: read as for a recovery, its past noted, and its epochs listed. With a first byte that is
 * odd its checksums are made right, as far as its records are where their lengths say, so that what they hold is looked at.
 */
#include "appliance/base/bytes.h"
#include "replica/history_target.h"
#include "replica/journal_epochs.h"
#include "replica/journal_scan.h"
#include "replica/journal_start.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/journal_records.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <xxhash.h>

#define SIZE_MAX_HERE 65536
#define SEGMENT "0000000000000001.journal"

static volatile uint8_t last;
static struct history history;

/* What is found leads somewhere that is there; what is kept is not more than there is. */
static uint64_t bytes_from(const void *owner, uint64_t sequence)
{
	(void)owner;
	return UINT64_MAX - sequence;
}

static void look_at_history(uint64_t end)
{
	const struct history_limits limits = { UINT64_MAX / 2, 1000 };
	char text[JOURNAL_MARK_MAX + 1];
	struct history_place place;
	struct err err;
	uint64_t from;
	size_t i;

	history_end(&history, end);
	for (i = 0; i < history.nmarks; i++) {
		(void)snprintf(text, sizeof(text), "%s", history.marks[i].text);
		if (history_find(&history, text, UINT64_MAX, &place, &err) == RC_OK)
			CHECK(place.base != 0);
	}
	for (i = 0; i < history.nbases; i++) {
		CHECK(history.bases[i].whole > history.bases[i].sequence);
		(void)history_find_epoch(&history, history.bases[i].first, &place, &err);
		(void)history_find_time(&history, history.bases[i].last_ms, &place, &err);
	}
	from = history_keep_from(&history, &limits, 2000, 0, bytes_from, NULL);
	history_drop(&history, from);
	CHECK(history.nbases == 0 || history.bases[0].sequence == from || history.nbases == 1);
	history_free(&history);
}

static int visit(void *owner, const struct journal_record *record, const uint8_t *payload,
		 struct err *err)
{
	uint64_t *sequence = owner;

	(void)history_note(&history, record->kind, record->sequence, record->epoch, payload,
			   record->length, err);
	CHECK(*sequence == 0 || record->sequence == *sequence + 1);
	*sequence = record->sequence;
	if (record->length > 0)
		last = payload[record->length - 1]; /* readable to its end */
	return RC_OK;
}

static char path[] = "/dev/shm/us-fuzz-journal-XXXXXX";

/* Heads that were read for a recovery are those that a list is made of. */
static void list_epochs(uint64_t records)
{
	const struct journal_epochs_options options = {
		.dirs = { path },
		.count = 1,
		.from = { 1, 0, UINT64_MAX, 0 },
		.to = { 1, UINT64_MAX, UINT64_MAX, 0 },
		.newest = (records & 1) != 0,
		.limit = 3,
	};
	const atomic_bool cancelled = false;
	struct journal_epochs epochs;
	struct err err;

	if (journal_epochs_read(&epochs, &options, &cancelled, &err) != RC_OK)
		return;
	CHECK(epochs.count <= options.limit);
	journal_epochs_free(&epochs);
}

static void make_right(uint8_t *bytes, size_t len)
{
	static const uint8_t begin[16] = "USTDJRNL\3";

	if (len < JOURNAL_SEGMENT_HEAD)
		return;
	memcpy(bytes, begin, sizeof(begin));
	memset(bytes + 32, 0, 24);
	bytes_put_le64(bytes + 32, 1);
	bytes_put_le64(bytes + 24, 1);
	bytes_put_le64(bytes + 56, XXH64(bytes, 56, 0));
	fuzz_journal_make_right(bytes, len, bytes_get_le64(bytes + 16), 1);
}

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
	struct journal_dirs dirs = { .fd = { directory() }, .count = 1 };
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
	if (journal_scan(&dirs, 0, visit, &sequence, &found, &err) == RC_OK) {
		CHECK(found.segments == 1 && found.bytes == size - 1 && found.torn <= size - 1);
		CHECK(found.segment == 0 || found.end + found.torn == size - 1);
	}
	look_at_history(found.next_sequence);
	list_epochs(found.records);
	CHECK(journal_start(directory()) <= 1);
	return 0;
}
