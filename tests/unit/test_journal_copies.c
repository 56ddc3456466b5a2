/*
 * A journal in several copies: whichever of them fail, at whatever open, write, sync or rename, and whichever are missing
 * afterwards, it holds the last epoch that was acknowledged as long as fewer than the quorum are missing; and copies that
 * come back become what the others are.
 */
#include "appliance/base/mem.h"
#include "tests/unit/journal_fixture.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define NEVER_MS (1 << 24)

static int begin(void **state)
{
	const int r = journal_fixture_begin(state);

	journal_play.place.count = 3;
	journal_play.place.quorum = 2;
	journal_play.place.retry_ms = NEVER_MS;
	journal_play.place.patient = true;
	return r;
}

static void disarm(void)
{
	unsigned place;
	int kind;

	for (kind = 0; kind < FAULT_KINDS; kind++) {
		for (place = 1; place < FAULT_PLACES; place++)
			fault_arm_at((enum fault_kind)kind, place, 0, false);
	}
}

static int end(void **state)
{
	disarm();
	return journal_fixture_end(state);
}

/* ---- files ------------------------------------------------------------------------------------ */

static size_t read_file(int dir, const char *name, uint8_t **bytes)
{
	int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
	struct stat st;
	size_t len;

	if (fd < 0)
		return SIZE_MAX;
	assert_int_equal(fstat(fd, &st), 0);
	len = (size_t)st.st_size;
	*bytes = malloc(len + 1);
	assert_int_equal(read(fd, *bytes, len), (ssize_t)len);
	(void)close(fd);
	return len;
}

/* What one has, the other has, byte for byte. */
static void has_all_of(unsigned copy, unsigned other)
{
	int left = open(journal_play.path[copy], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = opendir(journal_play.path[other]);
	struct dirent *entry;
	uint8_t *ours = NULL, *theirs = NULL;
	size_t len;

	while ((entry = readdir(dir)) != NULL) {
		if (entry->d_name[0] == '.' || strcmp(entry->d_name, "lock") == 0)
			continue;
		len = read_file(left, entry->d_name, &ours);
		if (len == SIZE_MAX)
			fail_msg("copy %u has no %s", copy, entry->d_name);
		assert_true(len == read_file(dirfd(dir), entry->d_name, &theirs));
		if (ours == NULL || theirs == NULL || memcmp(ours, theirs, len) != 0)
			fail_msg("%s differs in copies %u and %u", entry->d_name, copy, other);
		free(ours);
		free(theirs);
		ours = theirs = NULL;
	}
	(void)closedir(dir);
	(void)close(left);
}

static void are_the_same(void)
{
	has_all_of(0, 1);
	has_all_of(1, 0);
	has_all_of(1, 2);
	has_all_of(2, 1);
}

static void gone_name(unsigned copy, char out[SCRATCH_MAX + 16])
{
	(void)snprintf(out, SCRATCH_MAX + 16, "%s.gone", journal_play.path[copy]);
}

static void take_away(unsigned copy)
{
	char gone[SCRATCH_MAX + 16];

	gone_name(copy, gone);
	(void)rename(journal_play.path[copy], gone);
}

static void bring_back(unsigned copy)
{
	char gone[SCRATCH_MAX + 16];

	gone_name(copy, gone);
	if (access(gone, F_OK) != 0)
		return;
	journal_fixture_remove(copy);
	assert_int_equal(rename(gone, journal_play.path[copy]), 0);
}

static void print_path(unsigned copy, uint64_t segment, char out[SCRATCH_MAX + 64])
{
	char name[JOURNAL_NAME_BYTES];

	journal_segment_name(name, segment);
	(void)snprintf(out, SCRATCH_MAX + 64, "%s/%s", journal_play.path[copy], name);
}

static size_t get_file(unsigned copy, uint64_t segment, uint8_t **bytes)
{
	char path[SCRATCH_MAX + 64];

	print_path(copy, segment, path);
	return read_file(AT_FDCWD, path, bytes);
}

static void put_file(unsigned copy, uint64_t segment, const uint8_t *bytes, size_t len)
{
	char path[SCRATCH_MAX + 64];
	int fd;

	print_path(copy, segment, path);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_int_equal(write(fd, bytes, len), (ssize_t)len);
	(void)close(fd);
}

static void flip(unsigned copy, uint64_t segment, off_t at)
{
	char path[SCRATCH_MAX + 64];
	uint8_t byte;
	int fd;

	print_path(copy, segment, path);
	fd = open(path, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(pread(fd, &byte, 1, at), 1);
	byte ^= (uint8_t)(1U << at % 8);
	assert_int_equal(pwrite(fd, &byte, 1, at), 1);
	(void)close(fd);
}

/* ---- the journal ------------------------------------------------------------------------------ */

static void open_it(void)
{
	struct err err = { 0 };

	if (journal_fixture_open(&err) != RC_OK || journal_is_broken(journal_play.j, &err))
		fail_msg("%s", err.text);
	assert_false(journal_play.wrong);
	assert_true(journal_play.found.epoch == journal_play.seen);
}

static struct journal_health health_now(void)
{
	struct journal_health health;

	journal_health(journal_play.j, &health);
	return health;
}

static void wait_for_good(unsigned good)
{
	while (health_now().good < good)
		(void)usleep(1000);
}

static void all_become_the_same(void)
{
	wait_for_good(journal_play.place.count);
	journal_fixture_close();
	are_the_same();
}

/* ---- tests ------------------------------------------------------------------------------------ */

static void all_copies_are_the_same(void **state)
{
	unsigned copy;

	(void)state;
	open_it();
	wait_for_good(3);
	journal_fixture_write_all(1, 20);
	journal_fixture_close();
	are_the_same();
	for (copy = 0; copy < 3; copy++) {
		open_it();
		assert_true(journal_play.seen == 20 + copy && journal_play.found.missing == 0);
		journal_fixture_write_all(21 + copy, 21 + copy);
		all_become_the_same();
	}
}

/* A copy fails at some step and stays as it is then, another one too; so the writer ends. */
static void write_until_they_fail(enum fault_kind kind, unsigned long one, unsigned long other)
{
	struct err err;

	journal_play.acknowledged = journal_play.begun = 0;
	fault_arm_at(kind, 1, one, true);
	fault_arm_at(kind, 2, other, true);
	if (journal_fixture_open(&err) == RC_OK) {
		while (journal_play.begun < 12 &&
		       journal_fixture_write(journal_play.begun + 1, true, &err) == RC_OK)
			;
	}
	journal_fixture_close();
	disarm();
}

/* `missing`: a copy that is away at the next opening; 3: none is. */
static void what_was_acknowledged_is_there(unsigned missing)
{
	uint64_t last;

	take_away(missing);
	open_it();
	if (journal_play.seen < journal_play.acknowledged || journal_play.seen > journal_play.begun)
		fail_msg("epoch %llu, and %llu was acknowledged",
			 (unsigned long long)journal_play.seen,
			 (unsigned long long)journal_play.acknowledged);
	last = journal_play.seen + 3;
	journal_fixture_write_all(journal_play.seen + 1, last);
	journal_fixture_close();
	bring_back(missing);
	open_it();
	assert_true(journal_play.seen == last);
	all_become_the_same();
	open_it();
	assert_true(journal_play.seen == last);
	journal_fixture_close();
}

static void remove_all(void)
{
	unsigned copy;

	for (copy = 0; copy < 3; copy++)
		journal_fixture_remove(copy);
}

static void failed_at_each_step_they_hold_what_was_acknowledged(void **state)
{
	static const enum fault_kind kinds[] = { FAULT_OPEN, FAULT_WRITE, FAULT_FSYNC,
						 FAULT_RENAME };
	unsigned long nth, apart;
	size_t kind;

	(void)state;
	for (kind = 0; kind < sizeof(kinds) / sizeof(kinds[0]); kind++) {
		for (nth = 1; nth < 34; nth++) {
			for (apart = 0; apart < 4; apart++) {
				write_until_they_fail(kinds[kind], nth, nth + apart * apart);
				what_was_acknowledged_is_there((nth + apart) % 4);
				remove_all();
			}
			if (journal_play.begun == 12 && journal_play.acknowledged == 12)
				break;
		}
		assert_true(nth > 3);
	}
}

/* What nobody was told of stays behind on a copy that was away, and is longer than what came instead. */
static void an_old_end_does_not_win(void **state)
{
	unsigned round;

	(void)state;
	open_it();
	wait_for_good(3);
	journal_fixture_write_all(1, 3);
	fault_arm_at(FAULT_WRITE, 1, 1, true); /* only the third goes on */
	fault_arm_at(FAULT_WRITE, 2, 1, true);
	for (round = 4; round < 9; round++) {
		struct err err;

		(void)journal_fixture_write(round, false, &err);
	}
	journal_fixture_close();
	disarm();
	take_away(2);
	open_it();
	assert_true(journal_play.seen == 3);
	journal_fixture_write_all(4, 4);
	journal_fixture_close();
	bring_back(2);
	open_it();
	assert_true(journal_play.seen == 4);
	all_become_the_same();
}

static void what_is_rotten_in_one_is_read_from_another(void **state)
{
	uint8_t *first = NULL;
	uint64_t segment;
	size_t len;
	off_t at;

	(void)state;
	journal_play.segment_bytes = 600;
	open_it();
	wait_for_good(3);
	journal_fixture_write_all(1, 4);
	all_become_the_same();
	open_it();
	segment = journal_play.found.segment; /* the last one, which is repaired at once */
	assert_true(segment > 1);
	journal_fixture_close();
	len = get_file(0, 1, &first);
	for (at = 0; at < 300; at += 3) {
		flip((unsigned)at % 2, 1, at);
		flip(2, 1, 299 - at);
		flip(2, segment, at % 64);
		open_it();
		assert_true(journal_play.seen == 4);
		journal_fixture_close();
		put_file(0, 1, first, len); /* what of it was a head's is repaired already */
		put_file(1, 1, first, len);
		put_file(2, 1, first, len);
	}
	free(first);
}

static void a_copy_that_fails_is_repaired_while_the_others_go_on(void **state)
{
	uint64_t epoch = 0;
	struct journal_health health;

	(void)state;
	journal_play.place.retry_ms = 1;
	open_it();
	wait_for_good(3);
	journal_fixture_write_all(1, 5);
	fault_arm_at(FAULT_FSYNC, 2, 1, true);
	journal_fixture_write_all(6, 12);
	health = health_now();
	assert_true(health.good == 2 && health.copy[1].state != JOURNAL_COPY_GOOD);
	assert_non_null(strstr(health.copy[1].why, "fdatasync"));
	disarm();
	for (epoch = 13; health_now().good < 3; epoch++)
		journal_fixture_write_all(epoch, epoch);
	assert_true(health_now().repaired > 0);
	all_become_the_same();
}

static void a_directory_that_is_removed_is_made_again(void **state)
{
	uint64_t epoch;
	unsigned copy;

	(void)state;
	journal_play.place.retry_ms = 1;
	open_it();
	for (copy = 0, epoch = 1; copy < 3; copy++) {
		wait_for_good(3);
		journal_fixture_write_all(epoch, epoch + 5);
		epoch += 6;
		journal_fixture_remove(copy);
		do {
			journal_fixture_write_all(epoch, epoch);
			epoch++;
		} while (health_now().good == 3);
		while (health_now().good < 3) {
			journal_fixture_write_all(epoch, epoch);
			epoch++;
		}
	}
	all_become_the_same();
	open_it();
	assert_true(journal_play.seen == epoch - 1);
}

static void below_the_quorum_nothing_is_acknowledged(void **state)
{
	struct err err;

	(void)state;
	open_it();
	wait_for_good(3);
	journal_fixture_write_all(1, 5);
	fault_arm_at(FAULT_FSYNC, 1, 1, true);
	fault_arm_at(FAULT_WRITE, 3, 1, true);
	while (journal_fixture_write(journal_play.begun + 1, true, &err) == RC_OK)
		;
	assert_non_null(strstr(err.text, "below its quorum: 1 of 3"));
	assert_non_null(strstr(err.text, journal_play.path[0]));
	assert_true(journal_is_broken(journal_play.j, &err));
	journal_fixture_close();
	assert_int_equal(journal_fixture_open(&err), RC_OK); /* as long as the disks fail */
	assert_true(journal_is_broken(journal_play.j, &err));
	assert_true(journal_play.seen >= journal_play.acknowledged);
	journal_fixture_close();
	disarm();
	open_it();
	assert_true(journal_play.seen >= journal_play.acknowledged);
	all_become_the_same();
}

static void as_many_missing_as_acknowledge_are_told(void **state)
{
	(void)state;
	open_it();
	wait_for_good(3);
	journal_fixture_write_all(1, 5);
	journal_fixture_close();
	open_it();
	assert_true(journal_play.found.whole && journal_play.found.missing == 0);
	journal_fixture_close();
	journal_fixture_remove(1);
	open_it();
	assert_true(journal_play.found.whole && journal_play.found.missing == 1);
	all_become_the_same();
	journal_fixture_remove(0);
	journal_fixture_remove(2);
	open_it();
	assert_true(!journal_play.found.whole && journal_play.found.missing == 2);
	assert_true(journal_play.seen == 5);
}

static void another_journal_is_left_alone(void **state)
{
	struct journal_place place = journal_play.place;
	struct journal_health health;
	struct err err;

	(void)state;
	open_it();
	wait_for_good(3);
	journal_fixture_write_all(1, 5);
	all_become_the_same();
	journal_fixture_remove(1);
	journal_play.place =
		(struct journal_place){ .dirs = { journal_play.path[1] }, .count = 1, .quorum = 1 };
	assert_int_equal(journal_open(&journal_play.j, &journal_play.place, 77, JOURNAL_SMALL, NULL,
				      NULL, &journal_play.found, &err),
			 RC_OK);
	journal_fixture_write_all(1, 9);
	journal_fixture_close();
	journal_play.place = place;
	open_it();
	assert_true(journal_play.seen == 5);
	health = health_now();
	assert_true(health.good == 2 && health.copy[1].state == JOURNAL_COPY_FAILED);
	assert_non_null(strstr(health.copy[1].why, "another journal; move that away"));
	journal_fixture_write_all(6, 9);
	journal_fixture_close();
	journal_fixture_remove(2);
	assert_int_equal(journal_fixture_open(&err), RC_REFUSED);
	assert_non_null(strstr(err.text, "different journals"));
	assert_non_null(strstr(err.text, journal_play.path[0]));
	assert_non_null(strstr(err.text, journal_play.path[1]));
}

/* Nobody waits for it, and it does not take more memory than it may. */
static void a_copy_that_hangs_is_left_behind(void **state)
{
	static uint8_t batch[1 << 20];
	struct err err;
	unsigned i;

	(void)state;
	journal_play.segment_bytes = JOURNAL_SEGMENT_BYTES;
	open_it();
	wait_for_good(3);
	journal_fixture_write_all(1, 3);
	fault_hold(2, true);
	journal_fixture_write_all(4, 6);
	for (i = 0; i < (JOURNAL_LAG_BYTES >> 20) + 8; i++)
		assert_int_equal(journal_append(journal_play.j, JOURNAL_PAGES, 6, batch,
						sizeof(batch), &err),
				 RC_OK);
	assert_int_equal(journal_sync(journal_play.j, &err), RC_OK);
	assert_true(health_now().good == 2);
	assert_non_null(strstr(health_now().copy[1].why, "fell behind"));
	fault_hold(2, false);
	wait_for_good(3);
	journal_fixture_write_all(7, 9);
	journal_fixture_close();
	open_it();
	assert_true(journal_play.seen == 9);
	all_become_the_same();
}

/* Each bit of a closed segment, in one copy or the other; and the whole of it. */
static void the_scrub_finds_and_repairs_what_rots(void **state)
{
	uint64_t mended = 0;
	uint8_t *first = NULL;
	char path[SCRATCH_MAX + 64];
	size_t len, at;

	(void)state;
	journal_play.segment_bytes = 600;
	journal_play.place.scrub_ms = 1;
	open_it();
	wait_for_good(3);
	journal_fixture_write_all(1, 4);
	len = get_file(0, 1, &first);
	for (at = 0; at < len; at += 11) {
		flip(at % 3, 1, (off_t)at);
		while (health_now().mended == mended)
			(void)usleep(1000);
		mended++;
		assert_true(health_now().good == 3 && health_now().rotten == 0);
	}
	print_path(1, 1, path);
	assert_int_equal(unlink(path), 0);
	while (health_now().mended == mended)
		(void)usleep(1000);
	all_become_the_same();
	free(first);
}

static void what_no_copy_has_whole_is_told(void **state)
{
	unsigned removed;
	uint64_t epoch;
	struct err err;

	(void)state;
	journal_play.place.count = journal_play.place.quorum = 1;
	journal_play.segment_bytes = 600;
	journal_play.place.scrub_ms = 1;
	open_it();
	journal_fixture_write_all(1, 4);
	while (health_now().rounds < 2)
		(void)usleep(1000);
	assert_true(health_now().rotten == 0);
	flip(0, 1, 100);
	while (health_now().rotten != 1)
		(void)usleep(1000);
	assert_non_null(strstr(health_now().rot, "segment 0000000000000001, at 64: "));
	assert_non_null(strstr(health_now().rot, journal_play.path[0]));
	for (epoch = 5; epoch < 20; epoch++)
		journal_fixture_write_all(epoch, epoch);
	assert_int_equal(journal_trim(journal_play.j, journal_next_sequence(journal_play.j) - 1,
				      &removed, &err),
			 RC_OK);
	assert_true(health_now().rotten == 0);
}

static unsigned asked;

static bool make_room(void *owner)
{
	unsigned removed;
	struct err err;

	(void)owner;
	asked++;
	return journal_trim(journal_play.j, journal_play.found.base, &removed, &err) == RC_OK &&
	       removed > 0;
}

static void a_full_disk_of_one_takes_the_past_of_all(void **state)
{
	uint64_t first;

	(void)state;
	open_it();
	wait_for_good(3);
	journal_fixture_write_all(1, 18);
	journal_fixture_close();
	open_it();
	wait_for_good(3);
	first = journal_first_sequence(journal_play.j);
	journal_set_room(journal_play.j, make_room, NULL);
	asked = 0;
	fault_arm_at(FAULT_WRITE, 3, 2, false); /* which is an ENOSPC */
	while (asked == 0)
		journal_fixture_write_all(journal_play.acknowledged + 1,
					  journal_play.acknowledged + 1);
	assert_true(journal_first_sequence(journal_play.j) > first);
	journal_fixture_write_all(journal_play.acknowledged + 1, journal_play.acknowledged + 3);
	assert_true(health_now().good == 3);
	fault_arm_at(FAULT_WRITE, 3, 1, true); /* there is nothing to remove any more */
	journal_fixture_write_all(journal_play.acknowledged + 1, journal_play.acknowledged + 3);
	while (health_now().good == 3)
		;
	assert_non_null(strstr(health_now().copy[2].why, "No space left"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
	const struct CMUnitTest tests[] = {
		TEST(all_copies_are_the_same),
		TEST(failed_at_each_step_they_hold_what_was_acknowledged),
		TEST(an_old_end_does_not_win),
		TEST(what_is_rotten_in_one_is_read_from_another),
		TEST(a_copy_that_fails_is_repaired_while_the_others_go_on),
		TEST(a_directory_that_is_removed_is_made_again),
		TEST(below_the_quorum_nothing_is_acknowledged),
		TEST(as_many_missing_as_acknowledge_are_told),
		TEST(another_journal_is_left_alone),
		TEST(a_copy_that_hangs_is_left_behind),
		TEST(the_scrub_finds_and_repairs_what_rots),
		TEST(what_no_copy_has_whole_is_told),
		TEST(a_full_disk_of_one_takes_the_past_of_all),
	};

	(void)setenv("TMPDIR", "/dev/shm",
		     1); /* thousands of syncs, which need not be waited for */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
