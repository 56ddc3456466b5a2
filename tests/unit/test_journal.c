/*
 * The journal: what was written is read again; and whatever ends its writer, at whatever write or sync
 * or byte, it holds the last epoch that was acknowledged, or one that was about to be, and nothing else.
 */

#include "appliance/base/mem.h"
#include "tests/unit/journal_fixture.h"

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

static uint64_t victim; /* the segment that last_segment() is of */

/* ---- files ------------------------------------------------------------------------------------ */

static int last_segment(const char *mode_of, size_t *len, uint8_t **bytes)
{
	char path[SCRATCH_MAX + 8 + JOURNAL_NAME_BYTES + 1], name[JOURNAL_NAME_BYTES];
	struct stat info;
	int fd;

	journal_segment_name(name, victim);
	(void)snprintf(path, sizeof(path), "%s/%s", journal_play.path[0], name);
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
	assert_int_equal(journal_fixture_open(&err), RC_OK);
	assert_int_equal(journal_play.found.epoch, 0);
	journal_fixture_write_all(1, 9);
	assert_int_equal(journal_append(journal_play.j, JOURNAL_MARK, 9,
					(const uint8_t *)"before it", 9, &err),
			 RC_OK);
	journal_fixture_write_all(10, 12);
	bytes = journal_bytes(journal_play.j);
	journal_fixture_close();
	assert_int_equal(journal_fixture_open(&err), RC_OK);
	assert_true(journal_play.found.journal == JOURNAL_NUMBER &&
		    journal_play.found.epoch == 12 && journal_play.seen == 12);
	assert_false(journal_play.wrong);
	assert_true(journal_play.found.segments > 2);
	assert_int_equal(journal_play.found.torn, 0);
	assert_true(journal_play.found.bytes == bytes);
	journal_fixture_write_all(13, 30);
	journal_fixture_close();
	assert_int_equal(journal_fixture_open(&err), RC_OK);
	assert_true(journal_play.seen == 30 && !journal_play.wrong);
}

static void what_a_disk_takes_piece_by_piece_is_whole(void **state)
{
	(void)state;
	fault_short(7);
	what_was_written_is_read_again_and_written_on(state);
	fault_short(0);
}

static void an_epoch_that_was_given_up_is_followed_by_another(void **state)
{
	struct err err;

	(void)state;
	assert_int_equal(journal_fixture_open(&err), RC_OK);
	journal_fixture_write_all(1, 2);
	assert_int_equal(journal_append(journal_play.j, JOURNAL_BEGIN, 3, journal_fixture_session,
					JOURNAL_BEGIN_BYTES, &err),
			 RC_OK);
	journal_fixture_write_all(4, 5);
	journal_fixture_close();
	assert_int_equal(journal_fixture_open(&err), RC_OK);
	assert_true(journal_play.seen == 5 && !journal_play.wrong);
}

/* Each open, write and sync fails once, and with it ends the writer, as SIGKILL would end it. */
static void killed_at_each_step_it_holds_what_was_acknowledged(void **state)
{
	static const enum fault_kind kinds[] = { FAULT_OPEN, FAULT_WRITE, FAULT_FSYNC, FAULT_RENAME,
						 FAULT_ALLOC };
	unsigned long nth;
	struct err err;
	size_t kind;
	bool fired;

	(void)state;
	for (kind = 0; kind < sizeof(kinds) / sizeof(kinds[0]); kind++) {
		for (nth = 1, fired = true; fired; nth++) {
			journal_play.acknowledged = journal_play.begun = 0;
			fault_arm(kinds[kind], nth);
			if (journal_fixture_open(&err) == RC_OK) {
				while (journal_play.begun < 12 &&
				       journal_fixture_write(journal_play.begun + 1, true, &err) ==
					       RC_OK)
					;
			}
			fired = fault_fired(kinds[kind]);
			fault_arm(kinds[kind], 0);
			if (fired && journal_play.j != NULL)
				assert_int_equal(journal_fixture_write(99, true, &err), RC_STATE);
			journal_play.begun = journal_play.begun == 99 ? 12 : journal_play.begun;
			journal_fixture_close();
			assert_int_equal(journal_fixture_open(&err), RC_OK);
			assert_true(journal_play.seen >= journal_play.acknowledged &&
				    journal_play.seen <= journal_play.begun);
			assert_true(journal_play.found.epoch == journal_play.seen &&
				    !journal_play.wrong);
			journal_fixture_write_all(journal_play.seen + 1, journal_play.seen + 3);
			journal_fixture_close();
			assert_int_equal(journal_fixture_open(&err), RC_OK);
			assert_true(journal_play.seen == journal_play.acknowledged &&
				    !journal_play.wrong);
			journal_fixture_close();
			journal_fixture_remove(0);
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
	journal_play.segment_bytes =
		JOURNAL_SEGMENT_BYTES; /* what a new one follows has been synced */
	assert_int_equal(journal_fixture_open(&err), RC_OK);
	journal_fixture_write_all(1, 6);
	journal_fixture_close();
	assert_int_equal(journal_fixture_open(&err), RC_OK); /* begins a segment */
	victim = journal_play.found.next_sequence;
	synced = JOURNAL_SEGMENT_HEAD;
	assert_int_equal(journal_fixture_write(7, false, &err), RC_OK);
	assert_int_equal(journal_fixture_write(8, false, &err), RC_OK);
	journal_fixture_close();
	(void)last_segment("r", &len, &whole);
	assert_true(len > synced + 200);
	cut = malloc(len);
	for (at = synced; at <= len; at++) {
		for (filler = at % 5 == 0 ? 0 : 2; filler < 3; filler++) {
			memset(cut, filler == 1 ? 0 : 0xa5, len);
			memcpy(cut, whole, at);
			copy = filler == 2 ? at : len;
			(void)last_segment("w", &copy, &cut);
			if (journal_fixture_open(&err) != RC_OK)
				fail_msg("cut at %zu of %zu, filler %d: %s", at, len, filler,
					 err.text);
			assert_true(journal_play.found.epoch >= 6 &&
				    journal_play.found.epoch <= 8 && !journal_play.wrong);
			assert_true(at < len || journal_play.found.epoch == 8);
			journal_fixture_close();
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
	assert_int_equal(journal_fixture_open(&err), RC_OK);
	journal_fixture_write_all(1, 2);
	journal_fixture_close();
	assert_int_equal(journal_fixture_open(&err), RC_OK);
	journal_fixture_close();
	victim = 1;
	(void)last_segment("r", &len, &whole);
	for (at = 0; at < len; at++) {
		whole[at] ^= (uint8_t)(1U << at % 8);
		(void)last_segment("w", &len, &whole);
		rc = journal_fixture_open(&err);
		assert_true(rc == RC_OK || rc == RC_INVALID || rc == RC_UNSUPPORTED);
		assert_false(journal_play.wrong);
		damaged += rc != RC_OK;
		assert_true(rc != RC_OK || at >= JOURNAL_SEGMENT_HEAD); /* no crash does that */
		torn += rc == RC_OK && journal_play.found.torn > 0;
		journal_fixture_close();
		whole[at] ^= (uint8_t)(1U << at % 8);
		(void)last_segment("w", &len, &whole);
	}
	free(whole);
	assert_true(damaged > 100 && torn > 50);
}

static void a_damaged_journal_is_left_as_it_is(void **state)
{
	uint8_t *whole, *after;
	size_t len, len_after;
	struct err err;

	(void)state;
	assert_int_equal(journal_fixture_open(&err), RC_OK);
	journal_fixture_write_all(1, 2);
	journal_fixture_close();
	assert_int_equal(journal_fixture_open(&err), RC_OK);
	journal_fixture_close();
	victim = 1;
	(void)last_segment("r", &len, &whole);
	whole[JOURNAL_SEGMENT_HEAD + JOURNAL_RECORD_HEAD + 3] ^= 1;
	(void)last_segment("w", &len, &whole);
	assert_int_equal(journal_fixture_open(&err), RC_INVALID);
	assert_non_null(strstr(err.text, "damaged"));
	assert_non_null(strstr(err.text, journal_play.path[0]));
	(void)last_segment("r", &len_after, &after);
	assert_int_equal(len, len_after);
	assert_memory_equal(whole, after, len);
	free(whole);
	free(after);
}

/* Another directory, or another file, is there: what is written would not be found again. */
static void what_is_written_to_has_to_be_in_place(void **state)
{
	char path[SCRATCH_MAX + 64], name[JOURNAL_NAME_BYTES], other[SCRATCH_MAX + 16];
	struct err err;

	(void)state;
	assert_int_equal(journal_fixture_open(&err), RC_OK);
	journal_fixture_write_all(1, 2);
	(void)snprintf(other, sizeof(other), "%s.other", journal_play.path[0]);
	assert_int_equal(rename(journal_play.path[0], other), 0);
	assert_int_equal(journal_fixture_write(3, true, &err), RC_IO);
	assert_non_null(strstr(err.text, "the directory has been removed"));
	assert_non_null(strstr(err.text, journal_play.path[0]));
	assert_int_equal(rename(other, journal_play.path[0]), 0);
	journal_fixture_close();
	assert_int_equal(journal_fixture_open(&err), RC_OK);
	journal_segment_name(name, journal_play.found.next_sequence);
	(void)snprintf(path, sizeof(path), "%s/%s", journal_play.path[0], name);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(journal_fixture_write(journal_play.seen + 1, true, &err), RC_IO);
	assert_non_null(strstr(err.text, name));
}

static void segments_of_another_journal_are_left_alone(void **state)
{
	static const char name[] = "00000000000000ff.journal";
	uint8_t head[JOURNAL_SEGMENT_HEAD];
	char path[SCRATCH_MAX + 64];
	struct err err;
	int fd;

	(void)state;
	assert_int_equal(journal_fixture_open(&err), RC_OK);
	journal_fixture_write_all(1, 2);
	journal_fixture_close();
	(void)snprintf(path, sizeof(path), "%s/%s", journal_play.path[0], name);
	journal_put_segment(head, &(struct journal_segment){ 77, 0xff, JOURNAL_NUMBER_MAX });
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(write(fd, head, sizeof(head)), (ssize_t)sizeof(head));
	(void)close(fd);
	assert_int_equal(journal_fixture_open(&err), RC_REFUSED);
	assert_non_null(strstr(err.text, name));
	assert_non_null(strstr(err.text, "0000000000000001.journal"));
	assert_int_equal(unlink(path), 0); /* it is still there */
	assert_int_equal(journal_fixture_open(&err), RC_OK);
	assert_true(journal_play.seen == 2);
}

struct crafted {
	enum journal_kind kind;
	uint64_t sequence, epoch, batches;
};

/* A segment of such records, each with its right checksums. */
static void craft(uint64_t first, const struct crafted *records, size_t count)
{
	static uint8_t bytes[4096], payload[JOURNAL_BASE_BYTES + 64];
	char path[SCRATCH_MAX + 64], name[JOURNAL_NAME_BYTES];
	size_t used = JOURNAL_SEGMENT_HEAD, i;
	int fd;

	memset(bytes, 0, sizeof(bytes));
	journal_put_segment(bytes, &(struct journal_segment){ JOURNAL_NUMBER, first, 1 });
	for (i = 0; i < count; i++) {
		struct journal_record record = { .kind = records[i].kind,
						 .sequence = records[i].sequence,
						 .epoch = records[i].epoch,
						 .length = 24 };

		memset(payload, 0, sizeof(payload));
		if (record.kind == JOURNAL_COMMIT) {
			record.length = JOURNAL_COMMIT_BYTES;
			journal_put_commit(
				payload, &(struct journal_commit){ .batches = records[i].batches });
		}
		journal_put_record(bytes + used, JOURNAL_NUMBER, &record, payload);
		memcpy(bytes + used + JOURNAL_RECORD_HEAD, payload, record.length);
		used += journal_record_bytes(record.length);
	}
	(void)mkdir(journal_play.path[0], 0700);
	journal_segment_name(name, first);
	(void)snprintf(path, sizeof(path), "%s/%s", journal_play.path[0], name);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_int_equal(write(fd, bytes, used), (ssize_t)used);
	(void)close(fd);
}

static int scan_it(struct journal_found *found, struct err *err)
{
	const struct journal_dirs dirs = {
		.fd = { open(journal_play.path[0], O_RDONLY | O_DIRECTORY | O_CLOEXEC) }, .count = 1
	};
	const int rc = journal_scan(&dirs, 0, NULL, NULL, found, err);

	(void)close(dirs.fd[0]);
	return rc;
}

static void refuses(const struct crafted *records, size_t count, const char *why)
{
	struct journal_found found;
	struct err err = { 0 };

	journal_fixture_remove(0);
	craft(1, records, count);
	assert_int_equal(scan_it(&found, &err), RC_INVALID);
	if (strstr(err.text, why) == NULL)
		fail_msg("expected \"%s\": %s", why, err.text);
}

static void what_no_writer_writes_is_refused(void **state)
{
	const struct crafted begin = { JOURNAL_BEGIN, 1, 5, 0 };
	const struct crafted good[] = { begin,
					{ JOURNAL_BATCH, 2, 5, 0 },
					{ JOURNAL_COMMIT, 3, 5, 1 },
					{ JOURNAL_BEGIN, 4, 6, 0 },
					{ JOURNAL_BATCH, 5, 6, 0 } };
	struct journal_found found;
	struct err err;

	(void)state;
	craft(1, good, 5);
	assert_int_equal(scan_it(&found, &err), RC_OK);
	assert_true(found.next_sequence == 4 &&
		    found.records == 5); /* the open epoch does not count */
	assert_true(found.torn == 2 * journal_record_bytes(24));
	craft(9, &(struct crafted){ JOURNAL_BEGIN, 9, 7, 0 }, 1);
	assert_int_equal(scan_it(&found, &err), RC_INVALID);
	assert_non_null(strstr(err.text, "does not follow"));
	refuses((struct crafted[]){ begin, { JOURNAL_COMMIT, 3, 5, 0 } }, 2, "out of sequence");
	refuses((struct crafted[]){ begin, { JOURNAL_COMMIT, 2, 5, 1 } }, 2, "other batches");
	refuses((struct crafted[]){ begin, { JOURNAL_COMMIT, 2, 6, 0 } }, 2, "not open");
	refuses((struct crafted[]){ begin, { JOURNAL_BATCH, 2, 6, 0 } }, 2, "outside of its epoch");
	refuses((struct crafted[]){ begin,
				    { JOURNAL_COMMIT, 2, 5, 0 },
				    { JOURNAL_BEGIN, 3, 4, 0 },
				    { JOURNAL_COMMIT, 4, 4, 0 } },
		4, "not open");
}

/* Counting on from them would come to 0, or to what has another meaning. */
static void numbers_that_nobody_reaches_are_damage(void **state)
{
	static const uint64_t too_high[] = { JOURNAL_NUMBER_MAX + 1, UINT64_MAX - 1, UINT64_MAX };
	uint8_t head[JOURNAL_SEGMENT_HEAD];
	struct err err;
	size_t i, len;
	uint8_t *whole;

	(void)state;
	for (i = 0; i < sizeof(too_high) / sizeof(too_high[0]); i++) {
		journal_fixture_remove(0);
		craft(too_high[i], &(struct crafted){ JOURNAL_BEGIN, too_high[i], 5, 0 }, 1);
		assert_int_equal(journal_fixture_open(&err), RC_INVALID);
		journal_fixture_remove(0);
		craft(1, &(struct crafted){ JOURNAL_BEGIN, 1, 5, 0 }, 1);
		victim = 1;
		(void)last_segment("r", &len, &whole);
		journal_put_segment(head,
				    &(struct journal_segment){ JOURNAL_NUMBER, 1, too_high[i] });
		memcpy(whole, head, sizeof(head));
		(void)last_segment("w", &len, &whole);
		free(whole);
		assert_int_equal(journal_fixture_open(&err), RC_INVALID);
		assert_non_null(strstr(err.text, "values that cannot be"));
	}
}

static void segments_before_a_whole_base_can_go(void **state)
{
	unsigned removed;
	uint64_t bytes;
	struct err err;

	(void)state;
	assert_int_equal(journal_fixture_open(&err), RC_OK);
	journal_fixture_write_all(1, 18);
	journal_fixture_close();
	assert_int_equal(journal_fixture_open(&err), RC_OK);
	bytes = journal_bytes(journal_play.j);
	assert_int_equal(journal_trim(journal_play.j, journal_play.found.base, &removed, &err),
			 RC_OK);
	assert_true(removed >= 2 && journal_bytes(journal_play.j) < bytes);
	journal_fixture_write_all(19, 20);
	journal_fixture_close();
	assert_int_equal(journal_fixture_open(&err), RC_OK);
	assert_true(journal_play.seen == 20 && !journal_play.wrong && journal_play.found.base != 0);
	assert_int_equal(journal_trim(journal_play.j, UINT64_MAX, &removed, &err), RC_OK);
	assert_true(journal_bytes(journal_play.j) > 0); /* the one that is written to stays */
}

static void one_at_a_time_has_it_open(void **state)
{
	struct journal_found found;
	struct journal *second;
	struct err err;

	(void)state;
	assert_int_equal(journal_fixture_open(&err), RC_OK);
	assert_int_equal(journal_open(&second, &journal_play.place, 1, JOURNAL_SMALL, NULL, NULL,
				      &found, &err),
			 RC_REFUSED);
	assert_non_null(strstr(err.text, journal_play.path[0]));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, journal_fixture_begin, journal_fixture_end)
	const struct CMUnitTest tests[] = {
		TEST(what_was_written_is_read_again_and_written_on),
		TEST(what_a_disk_takes_piece_by_piece_is_whole),
		TEST(an_epoch_that_was_given_up_is_followed_by_another),
		TEST(killed_at_each_step_it_holds_what_was_acknowledged),
		TEST(a_power_cut_at_each_byte_leaves_what_was_acknowledged),
		TEST(flipped_bits_are_found),
		TEST(a_damaged_journal_is_left_as_it_is),
		TEST(what_is_written_to_has_to_be_in_place),
		TEST(segments_of_another_journal_are_left_alone),
		TEST(what_no_writer_writes_is_refused),
		TEST(numbers_that_nobody_reaches_are_damage),
		TEST(segments_before_a_whole_base_can_go),
		TEST(one_at_a_time_has_it_open),
	};

	(void)setenv("TMPDIR", "/dev/shm",
		     1); /* thousands of syncs, which need not be waited for */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
