/*
 * What a power cut may leave of what was not synced: any of the blocks of a file, in whatever order the kernel wrote them back.
 * Of each such set of blocks what was acknowledged is there, and nothing else; but where it is known that more was
 * acknowledged than is before a hole, and where something else than a hole is before what can be read, the journal is damaged.
 */
#include "tests/unit/journal_fixture.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define BLOCK ((size_t)4096)
#define BYTES_MAX (BLOCK * 12)
#define LAST 10 /* epoch; with the next a base begins, and so a segment */

static uint8_t whole[BYTES_MAX], left[BYTES_MAX];
static size_t len, synced; /* bytes of the last segment; on the disk for sure */
static uint64_t claimed;

static void path_of_last(char path[SCRATCH_MAX + 64])
{
	char name[JOURNAL_NAME_BYTES];

	journal_segment_name(name, journal_play.found.next_sequence);
	(void)snprintf(path, SCRATCH_MAX + 64, "%s/%s", journal_play.path[0], name);
}

static size_t read_last(uint8_t *bytes)
{
	char path[SCRATCH_MAX + 64];
	ssize_t got;
	int fd;

	path_of_last(path);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	got = read(fd, bytes, BYTES_MAX);
	assert_true(got > 0 && got < (ssize_t)BYTES_MAX);
	(void)close(fd);
	return (size_t)got;
}

static void write_last(const char *path, const uint8_t *bytes, size_t count)
{
	const int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);

	assert_int_equal(write(fd, bytes, count), (ssize_t)count);
	(void)close(fd);
}

/* Pages of the image, between two epochs: a record longer than `extra` bytes. */
static void write_pages(uint32_t extra)
{
	static uint8_t pages[3 * BLOCK];
	struct err err;

	memset(pages, 0x5a, sizeof(pages));
	assert_int_equal(journal_append(journal_play.j, JOURNAL_PAGES, journal_play.begun, pages,
					extra, &err),
			 RC_OK);
}

/* Six epochs in a segment before; one more that was acknowledged, and what was only written, over several blocks. */
static void write_it(char path[SCRATCH_MAX + 64])
{
	static const uint32_t extra[] = { BLOCK + 700, 1900, 2 * BLOCK + 100 };
	struct err err;
	uint64_t epoch;

	journal_play.acknowledged = journal_play.begun = 0;
	journal_play.segment_bytes = JOURNAL_SEGMENT_BYTES;
	assert_int_equal(journal_fixture_open(&err), RC_OK);
	journal_fixture_write_all(1, 6);
	journal_fixture_close();
	assert_int_equal(journal_fixture_open(&err), RC_OK);
	path_of_last(path);
	journal_fixture_write_all(7, 7);
	synced = read_last(whole);
	claimed = journal_next_sequence(journal_play.j);
	for (epoch = 8; epoch <= LAST; epoch++) {
		write_pages(extra[epoch - 8]);
		assert_int_equal(journal_fixture_write(epoch, false, &err), RC_OK);
	}
	journal_fixture_close();
	len = read_last(whole);
}

/* Those blocks were written back; of the others there is what was synced. */
static void leave(const char *path, unsigned blocks, size_t count)
{
	size_t at;

	memset(left, 0, sizeof(left));
	memcpy(left, whole, synced);
	for (at = 0; at < len; at += BLOCK) {
		if ((blocks >> at / BLOCK & 1) != 0)
			memcpy(left + at, whole + at, len - at < BLOCK ? len - at : BLOCK);
	}
	write_last(path, left, count);
}

static bool is_ended(unsigned blocks)
{
	const unsigned all = (1U << (len + BLOCK - 1) / BLOCK) - 1;

	return (blocks & all) == all;
}

static void any_blocks_may_be_missing(void **state)
{
	char path[SCRATCH_MAX + 64];
	unsigned blocks, holes = 0;
	struct err err;

	(void)state;
	write_it(path);
	assert_true(len / BLOCK >= 4);
	for (blocks = 0; blocks <= 1U << (len + BLOCK - 1) / BLOCK; blocks++) {
		leave(path, blocks, len);
		if (journal_fixture_open(&err) != RC_OK)
			fail_msg("blocks %x of %zu bytes: %s", blocks, len, err.text);
		assert_true(journal_play.seen >= 7 && journal_play.seen <= LAST);
		assert_true(!is_ended(blocks) || journal_play.seen == LAST);
		assert_true(journal_play.found.epoch == journal_play.seen && !journal_play.wrong);
		holes += journal_play.found.torn > 0;
		journal_fixture_write_all(journal_play.seen + 1, journal_play.seen + 2);
		journal_fixture_close();
		assert_int_equal(journal_fixture_open(&err), RC_OK);
		assert_true(journal_play.seen == journal_play.acknowledged && !journal_play.wrong);
		journal_fixture_close();
		journal_fixture_remove(0);
		write_it(path);
	}
	assert_true(holes > 10);
}

static void is_damaged(void)
{
	struct err err;

	assert_int_equal(journal_fixture_open(&err), RC_INVALID);
	assert_non_null(strstr(err.text, "the journal is damaged: segment"));
	assert_non_null(strstr(err.text, "there are records behind it"));
}

static void what_was_acknowledged_is_not_missing_by_a_power_cut(void **state)
{
	char path[SCRATCH_MAX + 64];
	struct err err;

	(void)state;
	write_it(path);
	leave(path, 2, len);
	journal_play.place.reached =
		(struct journal_reached){ .journal = JOURNAL_NUMBER, .sequence = claimed + 1 };
	is_damaged();
	journal_play.place.reached.sequence = claimed;
	assert_int_equal(journal_fixture_open(&err), RC_OK);
	assert_true(journal_play.seen == 7 && journal_play.found.torn > 0);
}

static void one_of_another_journal_is_no_reason(void **state)
{
	char path[SCRATCH_MAX + 64];
	struct err err;

	(void)state;
	write_it(path);
	leave(path, 2, len);
	journal_play.place.reached =
		(struct journal_reached){ .journal = JOURNAL_NUMBER + 1, .sequence = UINT64_MAX };
	assert_int_equal(journal_fixture_open(&err), RC_OK);
}

static void what_is_not_zeroes_is_no_hole(void **state)
{
	char path[SCRATCH_MAX + 64];
	struct err err;
	size_t at;

	(void)state;
	write_it(path);
	for (at = JOURNAL_SEGMENT_HEAD; at < synced; at += 7) {
		memcpy(left, whole, len);
		left[at] ^= 4;
		write_last(path, left, len);
		if (journal_fixture_open(&err) != RC_OK) {
			is_damaged();
			continue;
		}
		assert_true(journal_play.seen == LAST); /* what is between records */
		journal_fixture_close();
		journal_fixture_remove(0);
		write_it(path);
	}
}

static void what_a_segment_follows_has_no_hole(void **state)
{
	char path[SCRATCH_MAX + 64];
	struct err err;

	(void)state;
	write_it(path);
	assert_int_equal(journal_fixture_open(&err), RC_OK);
	journal_fixture_close();
	leave(path, 2, len);
	is_damaged();
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, journal_fixture_begin, journal_fixture_end)
	const struct CMUnitTest tests[] = {
		TEST(any_blocks_may_be_missing),
		TEST(what_was_acknowledged_is_not_missing_by_a_power_cut),
		TEST(one_of_another_journal_is_no_reason),
		TEST(what_is_not_zeroes_is_no_hole),
		TEST(what_a_segment_follows_has_no_hole),
	};

	(void)setenv("TMPDIR", "/dev/shm", 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
