#include "appliance/init_data.h"

#include "appliance/base/bytes.h"
#include "appliance/base/mem.h"
#include "appliance/config.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#define MIB ((off_t)1 << 20)
#define EMPTY_BYTES (3 * MIB)
#define DISK_BYTES (64 * MIB)

static struct err err;

/* ---- two files: an empty file system, of which nothing but the superblock is real, and a disk ---- */

static void put(int fd, off_t at, const void *data, size_t len)
{
	assert_int_equal(pwrite(fd, data, len, at), (ssize_t)len);
}

static void put_superblock_at(int fd, off_t at, const char *label, uint32_t blocks)
{
	uint8_t superblock[DATA_EXT4_BYTES] = { 0 };

	bytes_put_le32(superblock + 0x4, blocks);
	bytes_put_le32(superblock + 0x18, 2); /* 4096 bytes */
	bytes_put_le16(superblock + 0x38, 0xef53);
	(void)strncpy((char *)superblock + 0x78, label, 16);
	put(fd, at, superblock, sizeof(superblock));
}

static void put_superblock(int fd, const char *label, uint32_t blocks)
{
	put_superblock_at(fd, DATA_EXT4_AT, label, blocks);
}

static int file(off_t bytes)
{
	const int fd = memfd_create("disk", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, bytes), 0);
	return fd;
}

static int empty_file_system(void)
{
	const int fd = file(EMPTY_BYTES);

	put_superblock(fd, CONFIG_DATA_LABEL, EMPTY_BYTES / 4096);
	put(fd, 4096, "descriptors", 11);
	put(fd, MIB + 8192, "bitmaps", 7);
	return fd;
}

static enum data_kind kind_of(int disk, off_t bytes)
{
	const int empty = empty_file_system();
	struct data_ext4 ext4;
	const enum data_kind kind = data_look(disk, (uint64_t)bytes, empty, &ext4);

	(void)close(empty);
	return kind;
}

/* ---- what a disk is -------------------------------------------------------------------------------- */

static void
a_disk_of_zeroes_is_empty_and_one_byte_at_either_end_or_where_it_would_be_written_makes_it_foreign(
	void **state)
{
	static const off_t places[] = { 0,	    510, MIB - 1, DISK_BYTES - MIB, DISK_BYTES - 1,
					2 * MIB + 5 };
	int disk = file(DISK_BYTES);

	(void)state;
	assert_int_equal(kind_of(disk, DISK_BYTES), DATA_EMPTY);
	(void)close(disk);
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		disk = file(DISK_BYTES);
		put(disk, places[i], "x", 1);
		assert_int_equal(kind_of(disk, DISK_BYTES), DATA_FOREIGN);
		(void)close(disk);
	}
}

/* Whatever has been written to it without any signature: a look at 256 places finds a MiB of 64. */
static void what_lies_in_the_middle_of_it_is_found(void **state)
{
	char text[4096];

	(void)state;
	memset(text, 'x', sizeof(text));
	for (off_t from = 8 * MIB; from < 56 * MIB; from += 8 * MIB) {
		const int disk = file(DISK_BYTES);

		for (off_t at = from; at < from + MIB; at += (off_t)sizeof(text))
			put(disk, at, text, sizeof(text));
		assert_int_equal(kind_of(disk, DISK_BYTES), DATA_FOREIGN);
		(void)close(disk);
	}
}

static void an_ext4_is_ours_by_its_label_alone(void **state)
{
	int disk = file(DISK_BYTES);

	(void)state;
	put_superblock(disk, "SOMEBODY", 100);
	assert_int_equal(kind_of(disk, DISK_BYTES), DATA_FOREIGN);
	put_superblock(disk, CONFIG_DATA_LABEL, 100);
	assert_int_equal(kind_of(disk, DISK_BYTES), DATA_OURS);
	put(disk, DISK_BYTES - 1, "x", 1);
	assert_int_equal(kind_of(disk, DISK_BYTES), DATA_OURS);
	(void)close(disk);
}

static void one_whose_superblock_is_gone_is_ours_by_the_copy_of_it(void **state)
{
	const off_t bytes = 200 * MIB, copy = 128 * MIB;
	const int disk = file(bytes);

	(void)state;
	put(disk, 4096, "descriptors, another's than an empty one has", 44);
	put_superblock_at(disk, copy, "SOMEBODY", 100);
	assert_int_equal(kind_of(disk, bytes), DATA_FOREIGN);
	put_superblock_at(disk, copy, CONFIG_DATA_LABEL, 100);
	assert_int_equal(kind_of(disk, bytes), DATA_DAMAGED);
	put(disk, 510, "\x55\xaa", 2);
	assert_int_equal(kind_of(disk, bytes), DATA_FOREIGN);
	put(disk, 510, "\0", 2);
	put_superblock(disk, "SOMEBODY", 100);
	assert_int_equal(kind_of(disk, bytes), DATA_FOREIGN);
	put_superblock(disk, CONFIG_DATA_LABEL, 100);
	assert_int_equal(kind_of(disk, bytes), DATA_OURS);
	(void)close(disk);
}

static void one_without_room_for_the_file_system_is_too_small(void **state)
{
	const int disk = file(DISK_BYTES);

	(void)state;
	assert_int_equal(kind_of(disk, EMPTY_BYTES - 4096), DATA_SMALL);
	assert_int_equal(kind_of(disk, 512), DATA_SMALL);
	assert_int_equal(kind_of(disk, EMPTY_BYTES), DATA_EMPTY);
	(void)close(disk);
}

static void one_that_is_shorter_than_it_says_cannot_be_read(void **state)
{
	const int disk = file(EMPTY_BYTES);

	(void)state;
	assert_int_equal(kind_of(disk, DISK_BYTES), DATA_UNREADABLE);
	(void)close(disk);
}

static void a_superblock_says_how_large_the_file_system_is_and_that_it_has_errors(void **state)
{
	uint8_t superblock[DATA_EXT4_BYTES] = { 0 };
	struct data_ext4 ext4;

	(void)state;
	assert_false(data_ext4_parse(&ext4, superblock));
	bytes_put_le16(superblock + 0x38, 0xef53);
	bytes_put_le32(superblock + 0x4, 7);
	bytes_put_le32(superblock + 0x150, 1); /* counts with a feature only */
	memset(superblock + 0x78, 'L', 16);
	assert_true(data_ext4_parse(&ext4, superblock));
	assert_int_equal(ext4.bytes, 7 * 1024);
	assert_false(ext4.errors);
	assert_int_equal(strlen(ext4.label), 16);
	bytes_put_le32(superblock + 0x60, 0x80);
	bytes_put_le16(superblock + 0x3a, 2);
	assert_true(data_ext4_parse(&ext4, superblock));
	assert_int_equal(ext4.bytes, ((UINT64_C(1) << 32) + 7) * 1024);
	assert_true(ext4.errors);
	bytes_put_le32(superblock + 0x18, 6);
	memset(superblock + 0x150, 0xff, 4);
	assert_true(data_ext4_parse(&ext4, superblock));
	assert_true(ext4.bytes == UINT64_MAX);
	bytes_put_le32(superblock + 0x18, 7);
	assert_false(data_ext4_parse(&ext4, superblock));
}

/* ---- preparing ------------------------------------------------------------------------------------- */

static void assert_same(int disk, int empty)
{
	static char a[EMPTY_BYTES], b[EMPTY_BYTES];

	assert_int_equal(pread(disk, a, sizeof(a), 0), sizeof(a));
	assert_int_equal(pread(empty, b, sizeof(b), 0), sizeof(b));
	assert_memory_equal(a, b, sizeof(a));
}

static void an_empty_disk_gets_the_file_system(void **state)
{
	const int disk = file(DISK_BYTES), empty = empty_file_system();

	(void)state;
	assert_int_equal(data_prepare(disk, empty, &err), RC_OK);
	assert_same(disk, empty);
	assert_int_equal(kind_of(disk, DISK_BYTES), DATA_OURS);
	(void)close(disk);
	(void)close(empty);
}

/* At any write or flush it may be over: the disk is empty then, and can be prepared; or it is ready. */
static void a_preparation_that_was_cut_short_is_begun_again(void **state)
{
	static const enum fault_kind kinds[] = { FAULT_WRITE, FAULT_FSYNC };
	unsigned cuts = 0;

	(void)state;
	fault_short(50000); /* some writes are cut, too */
	for (size_t k = 0; k < 2; k++) {
		for (unsigned long n = 1;; n++) {
			const int disk = file(DISK_BYTES), empty = empty_file_system();
			bool fired;

			fault_arm(kinds[k], n);
			(void)data_prepare(disk, empty, &err);
			fired = fault_fired(kinds[k]);
			fault_arm(kinds[k], 0);
			if (fired) {
				const enum data_kind kind = kind_of(disk, DISK_BYTES);

				assert_true(kind == DATA_EMPTY ||
					    (kinds[k] == FAULT_FSYNC && kind == DATA_OURS));
				assert_int_equal(err.code, RC_IO);
				cuts++;
			}
			assert_int_equal(data_prepare(disk, empty, &err), RC_OK);
			assert_same(disk, empty);
			(void)close(disk);
			(void)close(empty);
			if (!fired)
				break;
		}
	}
	fault_short(0);
	assert_true(cuts > 20);
}

/* ---- which one ------------------------------------------------------------------------------------- */

static enum data_choice choose(const char *wanted, size_t *which, size_t count,
			       const struct data_disk *disks)
{
	err.text[0] = '\0';
	return data_choose(disks, count, wanted, which, &err);
}

#define DISK(n, s, k)                                        \
	{                                                    \
		.name = (n), .serial = (s), .kind = DATA_##k \
	}
#define TAKEN(n, s, k)                                                      \
	{                                                                   \
		.name = (n), .serial = (s), .kind = DATA_##k, .taken = true \
	}

#define READ_ONLY(n, s, k)                                                      \
	{                                                                       \
		.name = (n), .serial = (s), .kind = DATA_##k, .read_only = true \
	}

static void the_disk_with_our_label_is_taken_whatever_else_there_is(void **state)
{
	const struct data_disk disks[] = { DISK("vda", "", FOREIGN), DISK("vdb", "", EMPTY),
					   DISK("vdc", "", OURS), DISK("vdd", "", UNREADABLE) };
	size_t which = 0;

	(void)state;
	assert_int_equal(choose(NULL, &which, 4, disks), DATA_TAKE);
	assert_int_equal(which, 2);
}

static void two_with_our_label_are_refused_with_both_their_names(void **state)
{
	const struct data_disk disks[] = { DISK("vda", "", OURS), DISK("vdb", "S1", OURS) };
	size_t which = 0;

	(void)state;
	assert_int_equal(choose(NULL, &which, 2, disks), DATA_REFUSE);
	assert_string_equal(
		err.text,
		"more than one disk has the label UNDERSTUDY-DATA; machine.data says which it is; "
		"/dev/vda has our label; /dev/vdb (serial number S1) has our label");
}

static void the_only_empty_one_is_prepared_and_of_two_none(void **state)
{
	const struct data_disk disks[] = { DISK("vda", "", FOREIGN), TAKEN("vdb", "", EMPTY),
					   DISK("vdc", "", EMPTY), DISK("vdd", "", EMPTY) };
	size_t which = 0;

	(void)state;
	assert_int_equal(choose(NULL, &which, 3, disks), DATA_PREPARE);
	assert_int_equal(which, 2);
	assert_int_equal(choose(NULL, &which, 4, disks), DATA_NONE);
	assert_non_null(strstr(err.text, "more than one empty disk"));
	assert_non_null(strstr(err.text, "/dev/vdb is an instance's"));
}

static void what_is_on_a_disk_is_never_written_over(void **state)
{
	const struct data_disk disks[] = {
		DISK("vda", "S1", FOREIGN),   DISK("vdb", "S2", SMALL),
		TAKEN("vdc", "S3", EMPTY),    READ_ONLY("vdd", "S4", EMPTY),
		READ_ONLY("vde", "S5", OURS), DISK("vdf", "S6", UNREADABLE)
	};
	const char *const wanted[] = { "S1", "/dev/vda", "S2", "S3", "S4", "S5", "S6", "/dev/vdf" };
	size_t which = 0;

	(void)state;
	assert_int_equal(choose(NULL, &which, 4, disks), DATA_NONE);
	assert_non_null(strstr(err.text, "there is no data disk; /dev/vda"));
	assert_non_null(strstr(err.text, "/dev/vdd (serial number S4) is read-only"));
	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
		assert_int_equal(choose(wanted[i], &which, 6, disks), DATA_REFUSE);
	assert_int_equal(choose(NULL, &which, 0, disks), DATA_NONE);
	assert_string_equal(err.text, "there is no data disk");
}

/* Memory in its place, or an empty disk, would have forgotten who serves. */
static void one_that_is_the_data_disk_or_may_be_but_cannot_be_used_is_not_done_without(void **state)
{
	const struct data_disk read_only[] = { DISK("vda", "", EMPTY), READ_ONLY("vdb", "", OURS) };
	const struct data_disk unreadable[] = { DISK("vda", "", EMPTY),
						DISK("vdb", "", UNREADABLE) };
	const struct data_disk damaged[] = { DISK("vda", "", EMPTY), DISK("vdb", "", DAMAGED) };
	const struct data_disk instances[] = { DISK("vda", "", EMPTY),
					       TAKEN("vdb", "", UNREADABLE) };
	const struct data_disk both[] = { READ_ONLY("vda", "", OURS), DISK("vdb", "", OURS) };
	size_t which = 0;

	(void)state;
	assert_int_equal(choose(NULL, &which, 2, read_only), DATA_REFUSE);
	assert_non_null(strstr(err.text, "the data disk cannot be written to; /dev/vda is empty; "
					 "/dev/vdb has our label, and is read-only"));
	assert_int_equal(choose(NULL, &which, 2, unreadable), DATA_REFUSE);
	assert_non_null(strstr(err.text, "may be one that cannot be read"));
	assert_non_null(strstr(err.text, "/dev/vdb cannot be read"));
	assert_int_equal(choose(NULL, &which, 2, damaged), DATA_REFUSE);
	assert_non_null(strstr(err.text, "the data disk is damaged"));
	assert_non_null(
		strstr(err.text, "/dev/vdb is ours, and damaged; mend it on another machine"));
	assert_int_equal(choose("/dev/vda", &which, 2, unreadable), DATA_PREPARE);
	assert_int_equal(choose(NULL, &which, 2, instances), DATA_PREPARE);
	assert_int_equal(which, 0);
	assert_int_equal(choose(NULL, &which, 2, both), DATA_REFUSE);
	assert_non_null(strstr(err.text, "more than one disk has the label"));
}

/* Between two copies of a data disk, or it and an empty one, not the order decides in which they appear. */
static void one_that_nobody_has_named_is_taken_after_others_had_their_time(void **state)
{
	(void)state;
	for (int starting = 0; starting < 2; starting++) {
		assert_int_equal(data_settled_ms(DATA_TAKE, true, true, starting), 0);
		assert_int_equal(data_settled_ms(DATA_PREPARE, true, true, starting), 0);
		for (int needed = 0; needed < 2; needed++) {
			assert_true(data_settled_ms(DATA_TAKE, false, needed, starting) > 0);
			assert_true(data_settled_ms(DATA_PREPARE, false, needed, starting) > 0);
		}
	}
	assert_true(data_settled_ms(DATA_PREPARE, false, false, true) >
		    data_settled_ms(DATA_TAKE, false, false, true));
}

/* Whatever is needed, and by what. */
static void one_that_is_late_is_waited_for_and_only_while_the_machine_starts(void **state)
{
	static const enum data_choice choices[] = { DATA_NONE, DATA_REFUSE };

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		for (int needed = 0; needed < 2; needed++) {
			assert_true(data_settled_ms(choices[i], false, needed, true) > 0);
			assert_int_equal(data_settled_ms(choices[i], false, needed, false), 0);
		}
		assert_true(data_settled_ms(choices[i], false, true, true) >
			    data_settled_ms(choices[i], false, false, true));
	}
}

static void the_one_that_is_named_and_no_other_is_taken(void **state)
{
	const struct data_disk disks[] = { DISK("vda", "S1", OURS), DISK("vdb", "S2", EMPTY),
					   DISK("vdc", "S3", EMPTY), DISK("vdd", "S3", OURS),
					   DISK("vde", "", EMPTY) };
	size_t which = 9;

	(void)state;
	assert_int_equal(choose("S2", &which, 5, disks), DATA_PREPARE);
	assert_int_equal(which, 1);
	assert_int_equal(choose("/dev/vdd", &which, 5, disks), DATA_TAKE);
	assert_int_equal(which, 3);
	assert_int_equal(choose("S3", &which, 5, disks), DATA_REFUSE);
	assert_non_null(strstr(err.text, "machine.data: there is more than one disk S3"));
	assert_int_equal(choose("S4", &which, 5, disks), DATA_REFUSE);
	assert_non_null(strstr(err.text, "machine.data: there is no disk S4"));
	assert_int_equal(choose("/dev/vd", &which, 5, disks), DATA_REFUSE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			a_disk_of_zeroes_is_empty_and_one_byte_at_either_end_or_where_it_would_be_written_makes_it_foreign),
		cmocka_unit_test(what_lies_in_the_middle_of_it_is_found),
		cmocka_unit_test(an_ext4_is_ours_by_its_label_alone),
		cmocka_unit_test(one_whose_superblock_is_gone_is_ours_by_the_copy_of_it),
		cmocka_unit_test(one_without_room_for_the_file_system_is_too_small),
		cmocka_unit_test(one_that_is_shorter_than_it_says_cannot_be_read),
		cmocka_unit_test(
			a_superblock_says_how_large_the_file_system_is_and_that_it_has_errors),
		cmocka_unit_test(an_empty_disk_gets_the_file_system),
		cmocka_unit_test(a_preparation_that_was_cut_short_is_begun_again),
		cmocka_unit_test(the_disk_with_our_label_is_taken_whatever_else_there_is),
		cmocka_unit_test(two_with_our_label_are_refused_with_both_their_names),
		cmocka_unit_test(the_only_empty_one_is_prepared_and_of_two_none),
		cmocka_unit_test(what_is_on_a_disk_is_never_written_over),
		cmocka_unit_test(
			one_that_is_the_data_disk_or_may_be_but_cannot_be_used_is_not_done_without),
		cmocka_unit_test(one_that_nobody_has_named_is_taken_after_others_had_their_time),
		cmocka_unit_test(one_that_is_late_is_waited_for_and_only_while_the_machine_starts),
		cmocka_unit_test(the_one_that_is_named_and_no_other_is_taken),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
