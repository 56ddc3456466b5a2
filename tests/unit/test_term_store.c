/*
 * The term on the disk: what is valid, that a file is the old or the new one whatever fails, and
 * that the newest record wins.
 */
#include "appliance/base/bytes.h"
#include "appliance/base/files.h"
#include "appliance/base/mem.h"
#include "appliance/term_store.h"
#include "tests/unit/scratch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include <cmocka.h>

static const enum fault_kind faults[] = { FAULT_OPEN, FAULT_WRITE, FAULT_FSYNC, FAULT_RENAME };
#define FAULTS (sizeof(faults) / sizeof(faults[0]))

static struct {
	uv_loop_t loop;
	char dir[SCRATCH_MAX], path[SCRATCH_MAX + 16], temporary[SCRATCH_MAX + 32];
	struct term_store *store;
	struct term_record record, kept;
	struct err err, result;
	int keeps, closes;
} t;

static void on_kept(void *owner, const struct term_record *record, const struct err *result)
{
	assert_ptr_equal(owner, &t);
	t.kept = record != NULL ? *record : (struct term_record){ 0 };
	t.result = *result;
	t.keeps++;
}

static void on_closed(void *owner)
{
	assert_ptr_equal(owner, &t);
	t.store = NULL;
	t.closes++;
}

static int setup(void **state)
{
	(void)state;
	memset(&t, 0, sizeof(t));
	assert_int_equal(scratch_make(t.dir, "term"), 0);
	(void)snprintf(t.path, sizeof(t.path), "%s/term", t.dir);
	(void)snprintf(t.temporary, sizeof(t.temporary), "%s.tmp", t.path);
	assert_int_equal(uv_loop_init(&t.loop), 0);
	return 0;
}

static int teardown(void **state)
{
	size_t i;

	(void)state;
	for (i = 0; i < FAULTS; i++)
		fault_arm(faults[i], 0);
	fault_arm(FAULT_ALLOC, 0);
	if (t.store != NULL)
		term_store_close(t.store, on_closed, &t);
	(void)uv_run(&t.loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&t.loop), 0);
	(void)unlink(t.path);
	(void)unlink(t.temporary);
	assert_int_equal(rmdir(t.dir), 0);
	return 0;
}

static int open_store(void)
{
	return term_store_open(&t.store, &t.loop, t.dir, &t.record, on_kept, &t, &t.err);
}

static void close_store(void)
{
	term_store_close(t.store, on_closed, &t);
	(void)uv_run(&t.loop, UV_RUN_DEFAULT);
	assert_null(t.store);
}

static void keep(uint64_t term, uint64_t epoch)
{
	const struct term_record record = { term, TERM_TOOK_OVER, epoch, t.record.identity, "a" };

	term_store_keep(t.store, &record);
}

static void await_keeps(int count)
{
	while (t.keeps < count)
		(void)uv_run(&t.loop, UV_RUN_ONCE);
}

/* What a process that starts now would read. */
static struct term_record read_again(void)
{
	struct term_store *store;
	struct term_record record;

	assert_int_equal(term_store_open(&store, &t.loop, t.dir, &record, on_kept, &t, &t.err),
			 RC_OK);
	term_store_close(store, NULL, NULL);
	return record;
}

/* The record ----------------------------------------------------------------------------------- */

static void a_record_comes_back_as_it_was(void **state)
{
	static const struct term_record records[] = {
		{ 1, TERM_STANDS_BY, 0, 1, "" },
		{ 2, TERM_TOOK_OVER, 1, 2, "" }, /* read from an older version */
		{ 77, TERM_PROTECTS, UINT64_MAX, UINT64_MAX, "a" },
		{ 78, TERM_UNFINISHED, 9, 3,
		  "a-site-whose-name-is-as-long-as-a-name-can-be-0123456789-abcdefg" },
		{ TERM_MAX, TERM_STANDS_BY, 0, 4, "" },
	};
	uint8_t bytes[TERM_RECORD_BYTES];
	struct term_record again;
	struct err err;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(records) / sizeof(records[0]); i++) {
		term_record_encode(&records[i], bytes);
		assert_int_equal(term_record_decode(&again, bytes, sizeof(bytes), &err), RC_OK);
		assert_int_equal(again.term, records[i].term);
		assert_int_equal(again.kind, records[i].kind);
		assert_int_equal(again.epoch, records[i].epoch);
		assert_int_equal(again.identity, records[i].identity);
		assert_string_equal(again.site, records[i].site);
	}
}

static void any_changed_bit_and_any_other_length_is_noticed(void **state)
{
	const struct term_record record = { 5, TERM_TOOK_OVER, 1234, 7, "a" };
	uint8_t bytes[TERM_RECORD_BYTES + 1] = { 0 };
	struct term_record again;
	struct err err;
	size_t i;

	(void)state;
	term_record_encode(&record, bytes);
	for (i = 0; i < (size_t)TERM_RECORD_BYTES * 8; i++) {
		bytes[i / 8] ^= (uint8_t)(1U << (i % 8));
		assert_int_equal(term_record_decode(&again, bytes, TERM_RECORD_BYTES, &err),
				 RC_INVALID);
		bytes[i / 8] ^= (uint8_t)(1U << (i % 8));
	}
	for (i = 0; i <= sizeof(bytes); i++)
		assert_int_equal(term_record_decode(&again, bytes, i, &err),
				 i == TERM_RECORD_BYTES ? RC_OK : RC_INVALID);
}

/* One field of a valid record changed, its hash made right. */
static int decode_with(size_t offset, uint64_t value, size_t size)
{
	const struct term_record record = { 5, TERM_TOOK_OVER, 1234, 7, "a" };
	uint8_t bytes[TERM_RECORD_BYTES], le[8];
	struct term_record again;
	struct err err;

	term_record_encode(&record, bytes);
	bytes_put_le64(le, value);
	memcpy(bytes + offset, le, size);
	bytes_put_le64(bytes + 104, XXH64(bytes, 104, 0));
	return term_record_decode(&again, bytes, sizeof(bytes), &err);
}

/* A record of 40 bytes, as versions 1 and 2 have it. */
static int decode_old(uint16_t version, uint16_t kind, struct term_record *again)
{
	const struct term_record record = { 5, TERM_TOOK_OVER, 1234, 7, "a" };
	uint8_t bytes[TERM_RECORD_BYTES];
	struct err err;

	term_record_encode(&record, bytes);
	bytes_put_le16(bytes + 8, version);
	bytes_put_le16(bytes + 10, kind);
	bytes_put_le64(bytes + 32, XXH64(bytes, 32, 0));
	return term_record_decode(again, bytes, 40, &err);
}

static void values_that_cannot_be_are_refused_even_with_a_right_hash(void **state)
{
	(void)state;
	assert_int_equal(decode_with(16, 6, 8), RC_OK);
	assert_int_equal(decode_with(0, 0, 8), RC_INVALID);	/* magic */
	assert_int_equal(decode_with(8, 0, 2), RC_UNSUPPORTED); /* version */
	assert_int_equal(decode_with(8, 4, 2), RC_UNSUPPORTED);
	assert_int_equal(decode_with(8, 2, 2), RC_INVALID);  /* too long for that one */
	assert_int_equal(decode_with(10, 0, 2), RC_INVALID); /* no kind */
	assert_int_equal(decode_with(10, 5, 2), RC_INVALID); /* nor this one */
	assert_int_equal(decode_with(10, 1, 2), RC_INVALID); /* stands by, with an epoch */
	assert_int_equal(decode_with(12, 1, 4), RC_INVALID); /* not zero */
	assert_int_equal(decode_with(16, 0, 8), RC_INVALID); /* no term */
	assert_int_equal(decode_with(16, TERM_MAX + 1, 8), RC_INVALID); /* beyond all */
	assert_int_equal(decode_with(24, 0, 8), RC_INVALID);		/* took over from nothing */
	assert_int_equal(decode_with(32, 0, 8), RC_INVALID);		/* nobody */
	assert_int_equal(decode_with(40, '\n', 1), RC_INVALID);
	assert_int_equal(decode_with(42, 'a', 1), RC_INVALID); /* behind the site's end */
	assert_int_equal(decode_with(40, 0, 1), RC_OK);
}

static void a_record_of_the_first_version_is_read_and_has_two_kinds(void **state)
{
	struct term_record record;

	(void)state;
	assert_int_equal(decode_old(1, TERM_TOOK_OVER, &record), RC_OK);
	assert_int_equal(decode_old(1, TERM_PROTECTS, &record), RC_INVALID);
	assert_int_equal(decode_old(1, TERM_UNFINISHED, &record), RC_INVALID);
}

static void a_record_of_an_older_version_names_nobody(void **state)
{
	struct term_record record;

	(void)state;
	assert_int_equal(decode_old(2, TERM_PROTECTS, &record), RC_OK);
	assert_int_equal(record.identity, 0);
	assert_string_equal(record.site, "");
	assert_int_equal(decode_old(3, TERM_PROTECTS, &record), RC_INVALID); /* too short */
}

/* The store ------------------------------------------------------------------------------------ */

static void a_new_store_stands_by_with_the_first_term_and_is_on_the_disk(void **state)
{
	struct stat st;

	(void)state;
	assert_int_equal(open_store(), RC_OK);
	assert_int_equal(t.record.term, 1);
	assert_int_equal(t.record.kind, TERM_STANDS_BY);
	assert_int_equal(t.record.epoch, 0);
	assert_int_equal(stat(t.path, &st), 0);
	assert_int_equal(st.st_size, TERM_RECORD_BYTES);
	assert_int_equal(st.st_mode & 0777, 0600);
}

/* By it a primary knows this standby again, and one that has lost its directory not. */
static void a_store_keeps_its_identity_and_a_new_one_has_another(void **state)
{
	uint64_t first;

	(void)state;
	assert_int_equal(open_store(), RC_OK);
	first = t.record.identity;
	assert_int_not_equal(first, 0);
	close_store();
	assert_int_equal(open_store(), RC_OK);
	assert_int_equal(t.record.identity, first);
	close_store();
	assert_int_equal(unlink(t.path), 0);
	assert_int_equal(open_store(), RC_OK);
	assert_int_not_equal(t.record.identity, 0);
	assert_int_not_equal(t.record.identity, first);
}

static void what_was_kept_is_there_for_the_next_process(void **state)
{
	(void)state;
	assert_int_equal(open_store(), RC_OK);
	keep(2, 100);
	assert_int_equal(t.keeps, 0);
	await_keeps(1);
	assert_int_equal(t.result.code, RC_OK);
	assert_int_equal(t.kept.term, 2);
	close_store();
	assert_int_equal(open_store(), RC_OK);
	assert_int_equal(t.record.term, 2);
	assert_int_equal(t.record.epoch, 100);
}

static void of_many_only_the_newest_has_to_be_written(void **state)
{
	uint64_t term;

	(void)state;
	assert_int_equal(open_store(), RC_OK);
	for (term = 2; term <= 50; term++)
		keep(term, term);
	await_keeps(2);
	assert_int_equal(t.kept.term, 50);
	assert_int_equal(read_again().term, 50);
}

static void closing_waits_until_the_newest_is_on_the_disk(void **state)
{
	(void)state;
	assert_int_equal(open_store(), RC_OK);
	keep(2, 100);
	keep(3, 100);
	close_store();
	assert_int_equal(t.closes, 1);
	assert_int_equal(t.keeps, 0);
	assert_int_equal(read_again().term, 3);
}

static void damaged_files_are_refused_naming_file_and_remedy(void **state)
{
	static const char *const contents[] = {
		"", "x", "USTDTERM",
		"0123456789012345678901234567890123456789", /* as long as a record */
		"01234567890123456789012345678901234567890123456789"
	};
	FILE *f;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(contents) / sizeof(contents[0]); i++) {
		f = fopen(t.path, "w");
		assert_non_null(f);
		assert_true(fputs(contents[i], f) >= 0);
		assert_int_equal(fclose(f), 0);
		assert_int_not_equal(open_store(), RC_OK);
		assert_non_null(strstr(t.err.text, t.path));
		assert_non_null(strstr(t.err.text, "restore it, or remove it"));
		assert_int_not_equal(term_store_look(t.dir, &t.err), RC_OK);
		assert_non_null(strstr(t.err.text, t.path));
	}
}

static void a_look_makes_nothing_and_says_what_an_opening_would(void **state)
{
	char none[SCRATCH_MAX + 16];

	(void)state;
	(void)snprintf(none, sizeof(none), "%s/none", t.dir);
	assert_int_equal(term_store_look(none, &t.err), RC_OK);
	assert_int_not_equal(access(none, F_OK), 0);
	assert_int_equal(term_store_look(t.dir, &t.err), RC_OK);
	assert_int_not_equal(access(t.path, F_OK), 0);
	fault_arm(FAULT_WRITE, 1); /* no room for one */
	assert_int_equal(term_store_look(t.dir, &t.err), RC_IO);
	assert_int_equal(open_store(), RC_OK);
	fault_arm(FAULT_WRITE, 1); /* none is needed */
	assert_int_equal(term_store_look(t.dir, &t.err), RC_OK);
	assert_false(fault_fired(FAULT_WRITE));
}

static void a_directory_that_others_may_write_to_is_refused(void **state)
{
	(void)state;
	assert_int_equal(chmod(t.dir, 0777), 0);
	assert_int_equal(open_store(), RC_REFUSED);
	assert_non_null(strstr(t.err.text, "chmod 700 it"));
	assert_int_equal(term_store_look(t.dir, &t.err), RC_REFUSED);
}

/* Written through, it would have left a file at a place that is not ours. */
static void a_link_in_place_of_the_directory_is_refused_before_anything_is_written(void **state)
{
	char link[SCRATCH_MAX + 16], none[SCRATCH_MAX + 16];

	(void)state;
	(void)snprintf(link, sizeof(link), "%s.link", t.dir);
	(void)snprintf(none, sizeof(none), "%s/none", t.dir);
	assert_int_equal(symlink(t.dir, link), 0);
	assert_int_equal(term_store_open(&t.store, &t.loop, link, &t.record, on_kept, &t, &t.err),
			 RC_REFUSED);
	assert_non_null(strstr(t.err.text, link));
	assert_non_null(strstr(t.err.text, "is a symbolic link"));
	assert_int_not_equal(access(t.path, F_OK), 0);
	assert_int_equal(term_store_look(link, &t.err), RC_REFUSED);
	assert_int_equal(unlink(link), 0);
	assert_int_equal(symlink(none, link), 0);
	assert_int_equal(term_store_look(link, &t.err), RC_REFUSED);
	assert_int_equal(unlink(link), 0);
}

static void what_is_no_file_is_refused(void **state)
{
	(void)state;
	assert_int_equal(mkdir(t.path, 0700), 0);
	assert_int_equal(open_store(), RC_REFUSED);
	assert_int_equal(rmdir(t.path), 0);
	assert_int_equal(symlink("/etc/passwd", t.path), 0);
	assert_int_not_equal(open_store(), RC_OK);
	assert_non_null(strstr(t.err.text, t.path));
}

/* What trying says: NULL, nothing (then a record can be kept); that a record fails is the same. */
static void expect_place(const char *why)
{
	t.keeps = 0;
	term_store_try(t.store);
	(void)uv_run(&t.loop, UV_RUN_DEFAULT);
	assert_int_equal(t.keeps, why == NULL ? 0 : 1);
	if (why != NULL) {
		assert_int_equal(t.kept.term, 0); /* of no record */
		assert_non_null(strstr(t.result.text, t.dir));
		assert_non_null(strstr(t.result.text, why));
	}
	t.keeps = 0;
	keep(9, 9);
	await_keeps(1);
	assert_int_equal(t.kept.term, 9);
	assert_int_equal(t.result.code == RC_OK, why == NULL);
}

static void a_directory_that_is_gone_or_another_one_is_noticed_without_writing(void **state)
{
	char away[SCRATCH_MAX + 16];

	(void)state;
	(void)snprintf(away, sizeof(away), "%s.away", t.dir);
	assert_int_equal(open_store(), RC_OK);
	expect_place(NULL);
	assert_int_equal(rename(t.dir, away), 0);
	expect_place("No such file or directory");
	assert_int_equal(mkdir(t.dir, 0700), 0);
	expect_place("is not the directory that this standby began with");
	assert_int_not_equal(access(t.path, F_OK), 0);
	assert_int_equal(rmdir(t.dir), 0);
	assert_int_equal(symlink(away, t.dir), 0);
	expect_place("is not the directory that this standby began with");
	assert_int_equal(unlink(t.dir), 0);
	assert_int_equal(rename(away, t.dir), 0);
	expect_place(NULL);
	/* Removed, not renamed: the next one must not pass for it by getting its number. */
	assert_int_equal(unlink(t.path), 0);
	assert_int_equal(rmdir(t.dir), 0);
	assert_int_equal(mkdir(t.dir, 0700), 0);
	expect_place("is not the directory that this standby began with");
}

static void one_that_may_not_be_written_to_any_more_is_noticed(void **state)
{
	(void)state;
	if (geteuid() == 0)
		skip(); /* whom no mode keeps out; a file system that is read-only: test_state_dir.py */
	assert_int_equal(open_store(), RC_OK);
	assert_int_equal(chmod(t.dir, 0500), 0);
	expect_place("Permission denied");
	assert_int_equal(chmod(t.dir, 0700), 0);
	expect_place(NULL);
}

static void a_record_that_comes_while_it_looks_is_kept(void **state)
{
	(void)state;
	assert_int_equal(open_store(), RC_OK);
	term_store_try(t.store);
	keep(3, 3);
	term_store_try(t.store);
	close_store();
	assert_int_equal(read_again().term, 3);
}

/*
 * Each kind of failure, at each place: told, and the file is the old or the new one. Only a failure
 * after the rename may leave the new one.
 */
static void whatever_fails_the_file_is_the_old_or_the_new_one(void **state)
{
	static const unsigned long places[FAULTS] = { 2, 1, 2, 1 };
	struct term_record found;
	unsigned long n;
	uint64_t term;
	size_t i;

	(void)state;
	assert_int_equal(open_store(), RC_OK);
	for (i = 0, term = 1; i < FAULTS; i++) {
		for (n = 1;; n++) {
			t.keeps = 0;
			fault_arm(faults[i], n);
			keep(++term, 7);
			await_keeps(1);
			fault_arm(faults[i], 0);
			if (t.result.code == RC_OK)
				break;
			assert_non_null(strstr(t.result.text, t.dir));
			found = read_again();
			assert_true(found.term == term || found.term == term - 1);
			assert_true(found.term == term - 1 || n == 2);
			assert_int_not_equal(access(t.temporary, F_OK), 0);
			if (found.term != term)
				term--;
		}
		assert_int_equal(n, places[i] + 1);
		assert_int_equal(read_again().term, term);
	}
}

static void a_store_that_cannot_be_written_is_known_at_the_start(void **state)
{
	size_t i;

	(void)state;
	for (i = 0; i < FAULTS; i++) {
		(void)unlink(t.path);
		fault_arm(faults[i], 1);
		assert_int_equal(open_store(), RC_IO);
		assert_non_null(strstr(t.err.text, t.dir));
		fault_arm(faults[i], 0);
	}
}

static void without_memory_it_says_so(void **state)
{
	unsigned long n;

	(void)state;
	for (n = 1;; n++) {
		fault_arm(FAULT_ALLOC, n);
		if (open_store() == RC_OK)
			break;
		assert_int_equal(t.err.code, RC_NOMEM);
	}
	assert_true(n > 1);
}

int main(void)
{
#define CLAIM(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_record_comes_back_as_it_was),
		cmocka_unit_test(any_changed_bit_and_any_other_length_is_noticed),
		cmocka_unit_test(values_that_cannot_be_are_refused_even_with_a_right_hash),
		cmocka_unit_test(a_record_of_the_first_version_is_read_and_has_two_kinds),
		cmocka_unit_test(a_record_of_an_older_version_names_nobody),
		CLAIM(a_new_store_stands_by_with_the_first_term_and_is_on_the_disk),
		CLAIM(a_store_keeps_its_identity_and_a_new_one_has_another),
		CLAIM(what_was_kept_is_there_for_the_next_process),
		CLAIM(of_many_only_the_newest_has_to_be_written),
		CLAIM(closing_waits_until_the_newest_is_on_the_disk),
		CLAIM(damaged_files_are_refused_naming_file_and_remedy),
		CLAIM(a_look_makes_nothing_and_says_what_an_opening_would),
		CLAIM(a_directory_that_others_may_write_to_is_refused),
		CLAIM(a_link_in_place_of_the_directory_is_refused_before_anything_is_written),
		CLAIM(what_is_no_file_is_refused),
		CLAIM(a_directory_that_is_gone_or_another_one_is_noticed_without_writing),
		CLAIM(one_that_may_not_be_written_to_any_more_is_noticed),
		CLAIM(a_record_that_comes_while_it_looks_is_kept),
		CLAIM(whatever_fails_the_file_is_the_old_or_the_new_one),
		CLAIM(a_store_that_cannot_be_written_is_known_at_the_start),
		CLAIM(without_memory_it_says_so),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
