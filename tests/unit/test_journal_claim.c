/*
 * The claim that all that was acknowledged is in a journal: what is read back is what was made, nothing else counts, and
 * whatever fails, one that could be on the disk is known to be.
 */
#include "appliance/base/mem.h"
#include "replica/journal_claim.h"
#include "tests/unit/scratch.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define BYTES 48
#define JOURNAL 0x1122334455667788
#define OPENING 1700000000000

static char dir[SCRATCH_MAX], path[SCRATCH_MAX + 16];
static struct journal_claim claim;

static int begin(void **state)
{
	struct err err;

	(void)state;
	if (scratch_make(dir, "claim") != 0)
		return -1;
	(void)snprintf(path, sizeof(path), "%s/" JOURNAL_CLAIM_NAME, dir);
	return journal_claim_open(&claim, dir, &err);
}

static int end(void **state)
{
	(void)state;
	journal_claim_close(&claim);
	(void)unlink(path);
	(void)rmdir(path);
	return rmdir(dir);
}

static struct journal_reached reached(uint64_t journal, uint64_t opening, uint64_t next)
{
	return (struct journal_reached){
		.journal = journal, .sequence = next, .opening = opening, .copies = 3, .quorum = 2
	};
}

/* As a process finds it that begins now. */
static bool holds_of(uint64_t journal, uint64_t opening, uint64_t next)
{
	const struct journal_found journal_found = { .journal = journal,
						     .next_sequence = next,
						     .opening = opening };
	struct journal_claim found;
	struct err err;
	bool is;

	assert_int_equal(journal_claim_open(&found, dir, &err), RC_OK);
	is = journal_claim_holds(&found, &journal_found);
	journal_claim_close(&found);
	return is;
}

static bool holds(uint64_t journal, uint64_t next)
{
	return holds_of(journal, OPENING, next);
}

static void make(uint64_t journal, uint64_t segment, uint64_t next)
{
	const struct journal_reached says = reached(journal, OPENING, next);
	struct err err;

	assert_int_equal(journal_claim_make(&claim, &says, segment, &err), RC_OK);
}

static void it_says_of_one_journal_how_far_it_reached(void **state)
{
	struct stat st;
	struct err err;

	(void)state;
	assert_false(claim.stands || holds(JOURNAL, 100));
	make(JOURNAL, 1, 7);
	assert_true(holds(JOURNAL, 7) && holds(JOURNAL, 100) && !holds(JOURNAL, 6));
	assert_false(holds(JOURNAL + 1, 100));
	make(JOURNAL, 1, 9);
	make(JOURNAL, 8, 12);
	assert_true(holds(JOURNAL, 12) && !holds(JOURNAL, 11));
	make(JOURNAL + 1, 1, 3); /* another one, whose epochs are all there are */
	assert_true(holds(JOURNAL + 1, 3) && !holds(JOURNAL, 12));
	assert_true(stat(path, &st) == 0 && st.st_size == BYTES && (st.st_mode & 0777) == 0600);
	assert_int_equal(journal_claim_withdraw(&claim, &err), RC_OK);
	assert_true(!claim.stands && !holds(JOURNAL + 1, 3) && access(path, F_OK) != 0);
	make(JOURNAL, 1, 20);
	assert_true(holds(JOURNAL, 20));
	assert_int_equal(journal_claim_drop(dir, &err), RC_OK);
	assert_true(access(path, F_OK) != 0);
	assert_int_equal(journal_claim_drop(dir, &err), RC_OK);
}

/* A copy that was away may have written further in an opening that did not count. */
static void an_earlier_opening_is_none_of_it(void **state)
{
	(void)state;
	make(JOURNAL, 1, 7);
	assert_true(holds_of(JOURNAL, OPENING + 1, 7) && !holds_of(JOURNAL, OPENING - 1, 100));
}

static void it_tells_of_how_many_copies(void **state)
{
	struct journal_claim found;
	struct journal_reached says = reached(JOURNAL, OPENING, 7);
	struct err err;

	(void)state;
	make(JOURNAL, 1, 7);
	assert_int_equal(journal_claim_open(&found, dir, &err), RC_OK);
	says = journal_claim_reached(&found);
	journal_claim_close(&found);
	assert_true(says.copies == 3 && says.quorum == 2 && says.opening == OPENING);
	says.quorum = 4;
	assert_int_equal(journal_claim_make(&claim, &says, 1, &err), RC_OK);
	assert_false(holds(JOURNAL, 7));
}

static void one_that_goes_on_after_a_restart_is_raised_in_its_place(void **state)
{
	struct err err;

	(void)state;
	make(JOURNAL, 1, 7);
	journal_claim_close(&claim);
	assert_int_equal(journal_claim_open(&claim, dir, &err), RC_OK);
	assert_true(claim.stands && holds(JOURNAL, 7));
	make(JOURNAL, 7, 11);
	assert_true(holds(JOURNAL, 11) && !holds(JOURNAL, 10));
}

static void write_bytes(const uint8_t *bytes, size_t len)
{
	const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_int_equal(write(fd, bytes, len), (ssize_t)len);
	assert_int_equal(close(fd), 0);
}

/* As a power cut may leave it, or whoever writes there. */
static void what_is_torn_or_changed_claims_nothing(void **state)
{
	uint8_t bytes[BYTES + 1] = { 0 };
	const uint8_t zeroes[BYTES] = { 0 };
	unsigned i;
	int fd;

	(void)state;
	make(JOURNAL, 1, 7);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_int_equal(read(fd, bytes, BYTES), BYTES);
	assert_int_equal(close(fd), 0);
	for (i = 0; i < BYTES * 8; i++) {
		bytes[i / 8] ^= (uint8_t)(1U << i % 8);
		write_bytes(bytes, BYTES);
		assert_false(holds(JOURNAL, UINT64_MAX));
		bytes[i / 8] ^= (uint8_t)(1U << i % 8);
	}
	for (i = 0; i <= BYTES + 1; i++) {
		write_bytes(bytes, i);
		assert_int_equal(holds(JOURNAL, 7), i == BYTES);
	}
	for (i = 1; i < BYTES; i++) { /* a part of it was written over what was there */
		write_bytes(bytes, BYTES);
		fd = open(path, O_WRONLY | O_CLOEXEC);
		assert_int_equal(write(fd, zeroes, i), (ssize_t)i);
		assert_int_equal(close(fd), 0);
		assert_false(holds(JOURNAL, UINT64_MAX));
	}
}

static void what_cannot_be_read_or_is_no_file_stands_until_it_is_gone(void **state)
{
	const struct journal_reached says = reached(JOURNAL, OPENING, 7);
	struct err err;

	(void)state;
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_not_equal(journal_claim_drop(dir, &err), RC_OK);
	assert_non_null(strstr(err.text, path));
	assert_int_not_equal(journal_claim_make(&claim, &says, 1, &err), RC_OK);
	assert_true(claim.stands);
	assert_int_equal(rmdir(path), 0);
	assert_int_equal(journal_claim_withdraw(&claim, &err), RC_OK);
	assert_int_equal(symlink("/dev/null", path), 0);
	assert_false(holds(JOURNAL, 7));
	assert_int_equal(journal_claim_drop(dir, &err), RC_OK);
}

/* A life of a claim, until something fails. */
static bool live(struct err *err)
{
	static const struct {
		uint64_t segment, next;
	} steps[] = { { 1, 7 }, { 1, 9 }, { 9, 12 }, { 9, 15 } };
	struct journal_reached says;
	unsigned i;

	for (i = 0; i < sizeof(steps) / sizeof(*steps); i++) {
		says = reached(JOURNAL, OPENING, steps[i].next);
		if (journal_claim_make(&claim, &says, steps[i].segment, err) != RC_OK)
			return false;
	}
	return journal_claim_withdraw(&claim, err) == RC_OK;
}

/*
 * At each step of each call: what is found then is true of the journal (of that, and no longer than it is), and after a
 * failure it counts as being there until it has been removed and that has been synced.
 */
static void whatever_fails_nothing_false_is_claimed(void **state)
{
	static const enum fault_kind kinds[] = { FAULT_OPEN, FAULT_WRITE, FAULT_FSYNC,
						 FAULT_RENAME };
	unsigned long nth;
	unsigned kind, failures = 0;
	struct err err;
	bool lived;

	(void)state;
	for (kind = 0; kind < 4; kind++) {
		for (nth = 1, lived = false; !lived; nth++) {
			fault_arm(kinds[kind], nth);
			lived = live(&err);
			fault_arm(kinds[kind], 0);
			failures += !lived;
			assert_true(lived || claim.stands);
			if (access(path, F_OK) == 0) {
				assert_true(claim.stands);
				assert_false(holds(JOURNAL + 1, UINT64_MAX));
			} else {
				assert_false(holds(JOURNAL, UINT64_MAX));
			}
			assert_int_equal(journal_claim_withdraw(&claim, &err), RC_OK);
			assert_true(access(path, F_OK) != 0 && !claim.stands);
		}
	}
	/* open; four writes; syncs: two of the first, one of the new segment, one of the removal; the removal */
	assert_int_equal(failures, 1 + 4 + 4 + 1);
}

/* What was unlinked and not synced may be back after a power cut. */
static void a_removal_that_was_not_synced_is_none(void **state)
{
	struct err err;

	(void)state;
	make(JOURNAL, 1, 7);
	fault_arm(FAULT_FSYNC, 1);
	assert_int_equal(journal_claim_withdraw(&claim, &err), RC_IO);
	assert_true(access(path, F_OK) != 0 && claim.stands);
	fault_arm(FAULT_FSYNC, 1);
	assert_int_equal(journal_claim_withdraw(&claim, &err),
			 RC_IO); /* it asks for the sync again */
	fault_arm(FAULT_FSYNC, 0);
	assert_int_equal(journal_claim_withdraw(&claim, &err), RC_OK);
	assert_false(claim.stands);
}

/* Where another directory is put in its place, what is done is done where the claim is. */
static void it_is_withdrawn_where_it_was_made(void **state)
{
	char away[SCRATCH_MAX + 8];
	struct err err;

	(void)state;
	make(JOURNAL, 1, 7);
	(void)snprintf(away, sizeof(away), "%s.away", dir);
	assert_int_equal(rename(dir, away), 0);
	assert_int_equal(mkdir(dir, 0700), 0);
	assert_int_equal(journal_claim_withdraw(&claim, &err), RC_OK);
	assert_int_equal(rmdir(dir), 0);
	assert_int_equal(rename(away, dir), 0);
	assert_false(holds(JOURNAL, 7));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
	const struct CMUnitTest tests[] = {
		TEST(it_says_of_one_journal_how_far_it_reached),
		TEST(an_earlier_opening_is_none_of_it),
		TEST(it_tells_of_how_many_copies),
		TEST(one_that_goes_on_after_a_restart_is_raised_in_its_place),
		TEST(what_is_torn_or_changed_claims_nothing),
		TEST(what_cannot_be_read_or_is_no_file_stands_until_it_is_gone),
		TEST(whatever_fails_nothing_false_is_claimed),
		TEST(a_removal_that_was_not_synced_is_none),
		TEST(it_is_withdrawn_where_it_was_made),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
