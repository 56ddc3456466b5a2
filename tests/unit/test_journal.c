/*
 * The journal: what was written is read again; and whatever ends its writer, at whatever write or sync
 * or byte, it holds the last epoch that was acknowledged, or one that was about to be, and nothing else.
 */
#include "replica/journal.h"

#include "appliance/base/bytes.h"
#include "appliance/base/mem.h"
#include "tests/unit/scratch.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <xxhash.h>

#define SMALL 1500 /* of a segment: two epochs or three */
#define NUMBER 0x1122334455667788
#define BATCH_MAX 400

static struct play {
	char dir[SCRATCH_MAX], journal[SCRATCH_MAX + 8];
	uint64_t segment_bytes;
	struct journal *j;
	struct journal_found found;
	/* what the writer did */
	uint64_t acknowledged, begun;
	/* what a reader saw: whole epochs only */
	uint64_t seen, open, batches;
	bool wrong;
} play;

/* Batch `n` of an epoch: its length and its bytes follow from both numbers. */
static uint32_t batch_of(uint64_t epoch, uint64_t n, uint8_t bytes[BATCH_MAX])
{
	const uint32_t len = 1 + (uint32_t)((epoch * 131 + n * 37) % BATCH_MAX);
	uint32_t i;

	for (i = 0; i < len; i++)
		bytes[i] = (uint8_t)(epoch * 7 + n * 13 + i);
	return len;
}

static uint64_t batches_of(uint64_t epoch)
{
	return epoch % 4; /* also none */
}

static int on_record(void *owner, const struct journal_record *record, const uint8_t *payload,
		     struct err *err)
{
	uint8_t expected[BATCH_MAX];
	struct journal_commit commit;

	(void)owner;
	(void)err;
	switch (record->kind) {
	case JOURNAL_BEGIN:
		play.open = record->epoch;
		play.batches = 0;
		break;
	case JOURNAL_BATCH:
		play.batches++;
		if (record->epoch != play.open ||
		    batch_of(record->epoch, play.batches, expected) != record->length ||
		    memcmp(payload, expected, record->length) != 0)
			play.wrong = true;
		break;
	case JOURNAL_COMMIT:
		journal_get_commit(&commit, payload);
		if (record->epoch != play.open || commit.batches != batches_of(record->epoch) ||
		    commit.hash != record->epoch * 3)
			play.wrong = true;
		play.seen = record->epoch;
		break;
	default:
		break;
	}
	return RC_OK;
}

static int open_it(struct err *err)
{
	play.seen = 0;
	play.wrong = false;
	return journal_open(&play.j, play.journal, NUMBER, play.segment_bytes, on_record, NULL,
			    &play.found, err);
}

static void close_it(void)
{
	journal_close(play.j);
	play.j = NULL;
}

static const uint8_t session[JOURNAL_BEGIN_BYTES] = { 5 };

/* It becomes whole two epochs later; the first one, of nothing, at once. */
static int write_base(uint64_t epoch, bool cut, struct err *err)
{
	uint8_t base[JOURNAL_BASE_BYTES + 4] = { 0 };
	int rc;

	journal_put_base(base, &(struct journal_base){ .origin = { 5, 1 }, .cut = cut });
	rc = journal_append(play.j, JOURNAL_BASE, epoch, base, sizeof(base), err);
	if (rc == RC_OK)
		rc = journal_append(play.j, JOURNAL_PAGES, epoch, base, 7, err);
	return rc == RC_OK && cut ? journal_append(play.j, JOURNAL_WHOLE, epoch, NULL, 0, err) : rc;
}

static int write_epoch(uint64_t epoch, bool durable, struct err *err)
{
	const struct journal_commit commit = { .batches = batches_of(epoch), .hash = epoch * 3 };
	uint8_t bytes[BATCH_MAX];
	uint64_t n;
	int rc = RC_OK;

	play.begun = epoch;
	if (epoch % 5 == 1)
		rc = write_base(epoch - 1, epoch == 1, err);
	if (rc == RC_OK && epoch % 5 == 3)
		rc = journal_append(play.j, JOURNAL_WHOLE, epoch - 1, NULL, 0, err);
	if (rc == RC_OK)
		rc = journal_append(play.j, JOURNAL_BEGIN, epoch, session, sizeof(session), err);
	for (n = 1; rc == RC_OK && n <= batches_of(epoch); n++)
		rc = journal_append(play.j, JOURNAL_BATCH, epoch, bytes, batch_of(epoch, n, bytes),
				    err);
	if (rc == RC_OK)
		rc = journal_commit(play.j, epoch, &commit, durable, err);
	if (rc == RC_OK && durable)
		play.acknowledged = epoch;
	return rc;
}

static void write_epochs(uint64_t from, uint64_t to)
{
	struct err err;

	for (; from <= to; from++)
		assert_int_equal(write_epoch(from, true, &err), RC_OK);
}

/* ---- files ------------------------------------------------------------------------------------ */

static void remove_all(void)
{
	DIR *dir = opendir(play.journal);
	struct dirent *entry;

	while (dir != NULL && (entry = readdir(dir)) != NULL)
		(void)unlinkat(dirfd(dir), entry->d_name, 0);
	if (dir != NULL)
		(void)closedir(dir);
	(void)rmdir(play.journal);
}

static int begin(void **state)
{
	(void)state;
	memset(&play, 0, sizeof(play));
	play.segment_bytes = SMALL;
	if (scratch_make(play.dir, "journal") != 0)
		return -1;
	(void)snprintf(play.journal, sizeof(play.journal), "%s/j", play.dir);
	return 0;
}

static int end(void **state)
{
	(void)state;
	close_it();
	remove_all();
	return rmdir(play.dir);
}

static int last_segment(const char *mode_of, size_t *len, uint8_t **bytes)
{
	char path[sizeof(play.journal) + JOURNAL_NAME_BYTES + 1], name[JOURNAL_NAME_BYTES];
	struct stat info;
	int fd;

	journal_segment_name(name, play.found.segment);
	(void)snprintf(path, sizeof(path), "%s/%s", play.journal, name);
	fd = open(path, (*mode_of == 'r' ? O_RDONLY : O_WRONLY | O_TRUNC) | O_CLOEXEC);
	assert_true(fd >= 0);
	if (*mode_of == 'r') {
		assert_int_equal(fstat(fd, &info), 0);
		*len = (size_t)info.st_size;
		*bytes = malloc(*len);
		assert_int_equal(read(fd, *bytes, *len), (ssize_t)*len);
	} else {
		assert_int_equal(write(fd, *bytes, *len), (ssize_t)*len);
	}
	return close(fd);
}

/* ---- tests ------------------------------------------------------------------------------------ */

static void what_was_written_is_read_again_and_written_on(void **state)
{
	struct err err;
	uint64_t bytes;

	(void)state;
	assert_int_equal(open_it(&err), RC_OK);
	assert_int_equal(play.found.epoch, 0);
	write_epochs(1, 9);
	assert_int_equal(journal_append(play.j, JOURNAL_MARK, 9, (const uint8_t *)"before it", 9,
					&err),
			 RC_OK);
	write_epochs(10, 12);
	bytes = journal_bytes(play.j);
	close_it();
	assert_int_equal(open_it(&err), RC_OK);
	assert_true(play.found.journal == NUMBER && play.found.epoch == 12 && play.seen == 12);
	assert_false(play.wrong);
	assert_true(play.found.segments > 2);
	assert_int_equal(play.found.torn, 0);
	assert_true(play.found.bytes == bytes);
	write_epochs(13, 30);
	close_it();
	assert_int_equal(open_it(&err), RC_OK);
	assert_true(play.seen == 30 && !play.wrong);
}

static void an_epoch_that_was_given_up_is_followed_by_another(void **state)
{
	struct err err;

	(void)state;
	assert_int_equal(open_it(&err), RC_OK);
	write_epochs(1, 2);
	assert_int_equal(journal_append(play.j, JOURNAL_BEGIN, 3, session, sizeof(session), &err),
			 RC_OK);
	write_epochs(4, 5);
	close_it();
	assert_int_equal(open_it(&err), RC_OK);
	assert_true(play.seen == 5 && !play.wrong);
}

/* Each open, write and sync fails once, and with it ends the writer, as SIGKILL would end it. */
static void killed_at_each_step_it_holds_what_was_acknowledged(void **state)
{
	static const enum fault_kind kinds[] = { FAULT_OPEN, FAULT_WRITE, FAULT_FSYNC,
						 FAULT_ALLOC };
	unsigned long nth;
	struct err err;
	size_t kind;
	bool fired;

	(void)state;
	for (kind = 0; kind < sizeof(kinds) / sizeof(kinds[0]); kind++) {
		for (nth = 1, fired = true; fired; nth++) {
			play.acknowledged = play.begun = 0;
			fault_arm(kinds[kind], nth);
			if (open_it(&err) == RC_OK) {
				while (play.begun < 12 &&
				       write_epoch(play.begun + 1, true, &err) == RC_OK)
					;
			}
			fired = fault_fired(kinds[kind]);
			fault_arm(kinds[kind], 0);
			if (fired && play.j != NULL)
				assert_int_equal(write_epoch(99, true, &err), RC_STATE);
			play.begun = play.begun == 99 ? 12 : play.begun;
			close_it();
			assert_int_equal(open_it(&err), RC_OK);
			assert_true(play.seen >= play.acknowledged && play.seen <= play.begun);
			assert_true(play.found.epoch == play.seen && !play.wrong);
			write_epochs(play.seen + 1, play.seen + 3);
			close_it();
			assert_int_equal(open_it(&err), RC_OK);
			assert_true(play.seen == play.acknowledged && !play.wrong);
			close_it();
			remove_all();
		}
		assert_true(nth > 3);
	}
}

/* What was not synced is there up to any byte, and behind that it is zeroes or anything. */
static void a_power_cut_at_each_byte_leaves_what_was_acknowledged(void **state)
{
	uint8_t *whole, *cut;
	size_t synced, len, at, copy;
	struct err err;
	int filler;

	(void)state;
	play.segment_bytes = JOURNAL_SEGMENT_BYTES; /* what a new one follows has been synced */
	assert_int_equal(open_it(&err), RC_OK);
	write_epochs(1, 6); /* the sixth begins a segment */
	close_it();
	assert_int_equal(open_it(&err), RC_OK);
	synced = (size_t)play.found.end;
	assert_int_equal(write_epoch(7, false, &err), RC_OK);
	assert_int_equal(write_epoch(8, false, &err), RC_OK);
	close_it();
	(void)last_segment("r", &len, &whole);
	assert_true(len > synced + 200);
	cut = malloc(len);
	for (at = synced; at <= len; at++) {
		for (filler = at % 5 == 0 ? 0 : 2; filler < 3; filler++) {
			memset(cut, filler == 1 ? 0 : 0xa5, len);
			memcpy(cut, whole, at);
			copy = filler == 2 ? at : len;
			(void)last_segment("w", &copy, &cut);
			if (open_it(&err) != RC_OK)
				fail_msg("cut at %zu of %zu, filler %d: %s", at, len, filler,
					 err.text);
			assert_true(play.found.epoch >= 6 && play.found.epoch <= 8 && !play.wrong);
			assert_true(at < len || play.found.epoch == 8);
			close_it();
		}
	}
	free(whole);
	free(cut);
}

/* No flipped bit goes through as content; in the middle it is damage, at the end a torn tail. */
static void flipped_bits_are_found(void **state)
{
	uint8_t *whole;
	size_t len, at;
	unsigned damaged = 0, torn = 0;
	struct err err;
	int rc;

	(void)state;
	assert_int_equal(open_it(&err), RC_OK);
	write_epochs(1, 2);
	close_it();
	assert_int_equal(open_it(&err), RC_OK);
	close_it();
	(void)last_segment("r", &len, &whole);
	for (at = 0; at < len; at++) {
		whole[at] ^= (uint8_t)(1U << at % 8);
		(void)last_segment("w", &len, &whole);
		rc = open_it(&err);
		assert_true(rc == RC_OK || rc == RC_INVALID || rc == RC_UNSUPPORTED);
		assert_false(play.wrong);
		damaged += rc != RC_OK;
		torn += rc == RC_OK && play.found.torn > 0;
		close_it();
		whole[at] ^= (uint8_t)(1U << at % 8);
		play.found.segment = 1; /* a new one may have been begun */
		(void)last_segment("w", &len, &whole);
	}
	free(whole);
	assert_true(damaged > 100 && torn > 100);
}

static void a_damaged_journal_is_left_as_it_is(void **state)
{
	uint8_t *whole, *after;
	size_t len, len_after;
	struct err err;

	(void)state;
	assert_int_equal(open_it(&err), RC_OK);
	write_epochs(1, 2);
	close_it();
	assert_int_equal(open_it(&err), RC_OK);
	close_it();
	(void)last_segment("r", &len, &whole);
	whole[JOURNAL_SEGMENT_HEAD + JOURNAL_RECORD_HEAD + 3] ^= 1;
	(void)last_segment("w", &len, &whole);
	assert_int_equal(open_it(&err), RC_INVALID);
	assert_non_null(strstr(err.text, "damaged"));
	assert_non_null(strstr(err.text, play.journal));
	play.found.segment = 1;
	(void)last_segment("r", &len_after, &after);
	assert_int_equal(len, len_after);
	assert_memory_equal(whole, after, len);
	free(whole);
	free(after);
}

static void segments_before_a_whole_base_can_go(void **state)
{
	unsigned removed;
	uint64_t bytes;
	struct err err;

	(void)state;
	assert_int_equal(open_it(&err), RC_OK);
	write_epochs(1, 18);
	close_it();
	assert_int_equal(open_it(&err), RC_OK);
	bytes = journal_bytes(play.j);
	assert_int_equal(journal_trim(play.j, play.found.base, &removed, &err), RC_OK);
	assert_true(removed >= 2 && journal_bytes(play.j) < bytes);
	write_epochs(19, 20);
	close_it();
	assert_int_equal(open_it(&err), RC_OK);
	assert_true(play.seen == 20 && !play.wrong && play.found.base != 0);
	assert_int_equal(journal_trim(play.j, UINT64_MAX, &removed, &err), RC_OK);
	assert_true(journal_bytes(play.j) > 0); /* the one that is written to stays */
}

static void make_old(int dir, const char *name)
{
	uint8_t head[JOURNAL_SEGMENT_HEAD];
	int fd = openat(dir, name, O_RDWR | O_CLOEXEC);

	assert_int_equal(pread(fd, head, sizeof(head), 0), (ssize_t)sizeof(head));
	assert_int_equal(bytes_get_le16(head + 8), 2);
	bytes_put_le16(head + 8, 1);
	bytes_put_le64(head + 56, XXH64(head, 56, 0));
	assert_int_equal(pwrite(fd, head, sizeof(head), 0), (ssize_t)sizeof(head));
	(void)close(fd);
}

static void a_journal_of_the_former_version_is_read_and_written_on(void **state)
{
	DIR *dir;
	struct dirent *entry;
	struct err err;

	(void)state;
	assert_int_equal(open_it(&err), RC_OK);
	write_epochs(1, 8);
	close_it();
	dir = opendir(play.journal);
	while ((entry = readdir(dir)) != NULL) {
		if (journal_segment_sequence(entry->d_name) != 0)
			make_old(dirfd(dir), entry->d_name);
	}
	(void)closedir(dir);
	assert_int_equal(open_it(&err), RC_OK);
	assert_true(play.seen == 8 && !play.wrong);
	write_epochs(9, 16);
	close_it();
	assert_int_equal(open_it(&err), RC_OK);
	assert_true(play.seen == 16 && !play.wrong);
}

static void one_at_a_time_has_it_open(void **state)
{
	struct journal_found found;
	struct journal *second;
	struct err err;

	(void)state;
	assert_int_equal(open_it(&err), RC_OK);
	assert_int_equal(journal_open(&second, play.journal, 1, SMALL, NULL, NULL, &found, &err),
			 RC_REFUSED);
	assert_non_null(strstr(err.text, play.journal));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
	const struct CMUnitTest tests[] = {
		TEST(what_was_written_is_read_again_and_written_on),
		TEST(an_epoch_that_was_given_up_is_followed_by_another),
		TEST(killed_at_each_step_it_holds_what_was_acknowledged),
		TEST(a_power_cut_at_each_byte_leaves_what_was_acknowledged),
		TEST(flipped_bits_are_found),
		TEST(a_damaged_journal_is_left_as_it_is),
		TEST(segments_before_a_whole_base_can_go),
		TEST(a_journal_of_the_former_version_is_read_and_written_on),
		TEST(one_at_a_time_has_it_open),
	};

	(void)setenv("TMPDIR", "/dev/shm",
		     1); /* thousands of syncs, which need not be waited for */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
