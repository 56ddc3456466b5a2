/* A written file system is read back here by the format; tests/system has another program read it. */
#include "appliance/iso9660.h"

#include "appliance/base/bytes.h"
#include "appliance/base/mem.h"
#include "appliance/volume.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define BLOCK 2048
#define ROOT 20

static struct err err;

static int write_files(struct buf *out, const struct iso9660_file *files, size_t count)
{
	*out = (struct buf){ .limit = 1 << 20 };
	return iso9660_write(out, "UNDERSTUDY", files, count, &err);
}

/* The record with that Rock Ridge name in the root directory. */
static const uint8_t *find_record(const struct buf *image, const char *name)
{
	const uint8_t *root = image->data + (size_t)ROOT * BLOCK;
	const size_t bytes = bytes_get_le32(root + 10);

	for (size_t at = 0; at < bytes;) {
		const uint8_t *record = root + at;

		if (record[0] == 0) { /* the block's rest */
			at = (at / BLOCK + 1) * BLOCK;
			continue;
		}
		assert_int_equal(record[0] % 2, 0);
		assert_true(at / BLOCK == (at + record[0] - 1) / BLOCK);
		for (size_t i = 33; i + 5 + strlen(name) <= record[0]; i++) {
			if (memcmp(record + i, "NM", 2) == 0 && record[i + 2] == 5 + strlen(name) &&
			    memcmp(record + i + 5, name, strlen(name)) == 0)
				return record;
		}
		at += record[0];
	}
	return NULL;
}

static void expect_file(const struct buf *image, const struct iso9660_file *file)
{
	const uint8_t *record = find_record(image, file->name);

	assert_non_null(record);
	assert_int_equal(bytes_get_le32(record + 10), file->len);
	assert_int_equal(bytes_get_be32(record + 14), file->len);
	assert_int_equal(bytes_get_le32(record + 2), bytes_get_be32(record + 6));
	assert_true((size_t)bytes_get_le32(record + 2) * BLOCK + file->len <= image->len);
	assert_memory_equal(image->data + (size_t)bytes_get_le32(record + 2) * BLOCK, file->data,
			    file->len);
}

static void every_file_is_there_by_its_name(void **state)
{
	static char large[5000];
	const struct iso9660_file files[] = { { "standby.key", "secret", 6 },
					      { "config.json", "{}", 2 },
					      { "a-b.c_d", large, sizeof(large) },
					      { "empty", "", 0 },
					      { "thirty-characters-and-no-more.", "x", 1 } };
	struct volume volume;
	struct buf image;

	(void)state;
	memset(large, 'l', sizeof(large));
	assert_int_equal(write_files(&image, files, 5), RC_OK);
	assert_int_equal(image.len % BLOCK, 0);
	assert_int_equal(bytes_get_le32(image.data + 16 * BLOCK + 80), image.len / BLOCK);
	for (size_t i = 0; i < 5; i++)
		expect_file(&image, &files[i]);
	volume_look(&volume, image.data, image.len);
	assert_string_equal(volume.type, "iso9660");
	assert_true(volume_is_named(&volume, "UNDERSTUDY"));
	buf_free(&image);
}

static void identifiers_are_in_order_and_a_directory_goes_on_in_the_next_block(void **state)
{
	static char names[ISO9660_FILES_MAX][16];
	struct iso9660_file files[ISO9660_FILES_MAX];
	const uint8_t *record, *before = NULL;
	struct buf image;

	(void)state;
	for (size_t i = 0; i < ISO9660_FILES_MAX; i++) {
		(void)snprintf(names[i], sizeof(names[i]), "file-%02zu.crt", ISO9660_FILES_MAX - i);
		files[i] = (struct iso9660_file){ names[i], names[i], 11 };
	}
	assert_int_equal(write_files(&image, files, ISO9660_FILES_MAX), RC_OK);
	for (size_t i = ISO9660_FILES_MAX; i > 0; i--) {
		expect_file(&image, &files[i - 1]);
		record = find_record(&image, names[i - 1]);
		assert_true(before == NULL ||
			    (before < record && memcmp(before + 33, record + 33, 13) < 0));
		before = record;
	}
	buf_free(&image);
}

static void the_same_files_give_the_same_bytes(void **state)
{
	const struct iso9660_file files[] = { { "b", "2", 1 }, { "a", "1", 1 } };
	struct buf one, other;

	(void)state;
	assert_int_equal(write_files(&one, files, 2), RC_OK);
	assert_int_equal(write_files(&other, files, 2), RC_OK);
	assert_int_equal(one.len, other.len);
	assert_memory_equal(one.data, other.data, one.len);
	buf_free(&one);
	buf_free(&other);
}

static void refuses(const struct iso9660_file *files, size_t count, enum rc code, const char *part)
{
	struct buf image;

	assert_int_equal(write_files(&image, files, count), code);
	assert_non_null(strstr(err.text, part));
	buf_free(&image);
}

static void names_that_cannot_be_are_refused(void **state)
{
	static const char *const wrong[] = {
		"", ".hidden", "a b", "a/b", "\303\244", "thirty-one-characters-are-many.x"
	};

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		refuses(&(struct iso9660_file){ wrong[i], "", 0 }, 1, RC_INVALID, wrong[i]);
	refuses((const struct iso9660_file[]){ { "a-b", "", 0 }, { "A_b", "", 0 } }, 2, RC_INVALID,
		"differ by case or punctuation only");
}

static void what_is_too_much_is_refused(void **state)
{
	static struct iso9660_file many[ISO9660_FILES_MAX + 1];
	static char large[1 << 20];

	(void)state;
	refuses(many, ISO9660_FILES_MAX + 1, RC_LIMIT, "at most 64");
	refuses(&(struct iso9660_file){ "a", large, sizeof(large) }, 1, RC_LIMIT, "too large");
}

static void without_memory_it_says_so(void **state)
{
	const struct iso9660_file file = { "a", "1", 1 };
	struct buf image;
	int rc;

	(void)state;
	for (unsigned long nth = 1;; nth++) {
		fault_arm(FAULT_ALLOC, nth);
		rc = write_files(&image, &file, 1);
		buf_free(&image);
		if (!fault_fired(FAULT_ALLOC))
			break;
		assert_int_equal(rc, RC_LIMIT);
	}
	fault_arm(FAULT_ALLOC, 0);
	assert_int_equal(rc, RC_OK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_file_is_there_by_its_name),
		cmocka_unit_test(
			identifiers_are_in_order_and_a_directory_goes_on_in_the_next_block),
		cmocka_unit_test(the_same_files_give_the_same_bytes),
		cmocka_unit_test(names_that_cannot_be_are_refused),
		cmocka_unit_test(what_is_too_much_is_refused),
		cmocka_unit_test(without_memory_it_says_so),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
