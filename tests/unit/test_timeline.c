/* Events in files that follow each other: what is changed or missing is found, and what could not be written is told of. */
#include "appliance/base/files.h"
#include "appliance/base/mem.h"
#include "fs-watch/timeline.h"
#include "fs-watch/timeline_files.h"
#include "tests/unit/scratch.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[SCRATCH_MAX];
static struct err err;

static int setup(void **state)
{
	(void)state;
	return scratch_make(dir, "timeline");
}

static int teardown(void **state)
{
	DIR *stream = opendir(dir);
	const struct dirent *entry;

	(void)state;
	while ((entry = readdir(stream)) != NULL)
		(void)unlinkat(dirfd(stream), entry->d_name, 0);
	(void)closedir(stream);
	return rmdir(dir);
}

static struct timeline *open_one(uint64_t file_bytes, unsigned files)
{
	const struct timeline_limits limits = { .file_bytes = file_bytes, .files = files };
	struct timeline *timeline;

	assert_int_equal(timeline_open(&timeline, dir, &limits, &err), RC_OK);
	return timeline;
}

static int add(struct timeline *timeline, const char *path)
{
	const struct watch_event event = { .kind = WATCH_CREATE,
					   .time_ns = UINT64_C(1795961000123456789),
					   .path = path };

	return timeline_add(timeline, "/srv", &event, &err);
}

static struct timeline_found verified(int expected)
{
	struct timeline_found found;

	assert_int_equal(timeline_verify(dir, &found, &err), expected);
	return found;
}

/* Of file `sequence`, its text, which the caller frees. */
static struct buf text_of(uint64_t sequence)
{
	char path[SCRATCH_MAX + 40], name[TIMELINE_NAME_BYTES];
	struct buf text = { .limit = 1 << 20 };

	timeline_files_name(name, sequence);
	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	assert_int_equal(files_read(&text, AT_FDCWD, path, FILES_PLAIN, &err), RC_OK);
	return text;
}

static void put_text(uint64_t sequence, const void *data, size_t len)
{
	char name[TIMELINE_NAME_BYTES];

	timeline_files_name(name, sequence);
	assert_int_equal(files_replace(dir, name, data, len, &err), RC_OK);
}

static void a_line_has_all_of_an_event_whatever_bytes_its_names_are(void **state)
{
	struct timeline *timeline = open_one(1 << 20, 5);
	const struct watch_event event = { .kind = WATCH_RENAME,
					   .time_ns = UINT64_C(1795961000123456789),
					   .path = "b\"\n\xff",
					   .from = "a",
					   .is_dir = true,
					   .scanned = true };
	struct buf text;

	(void)state;
	assert_int_equal(timeline_add(timeline, "web", &event, &err), RC_OK);
	assert_int_equal(timeline_close(timeline, &err), RC_OK);
	text = text_of(1);
	assert_non_null(
		strstr((const char *)text.data,
		       " {\"time\":\"2026-11-29T14:03:20.123456789Z\",\"kind\":\"rename\",\"tree\":"
		       "\"web\",\"path\":\"b\\\"\\u000a\xef\xbf\xbd\",\"path_hex\":\"62220aff\","
		       "\"from\":\"a\",\"dir\":true,\"scanned\":true}\n"));
	buf_free(&text);
}

static void files_follow_each_other_over_processes_and_the_oldest_go(void **state)
{
	struct timeline *timeline;
	struct timeline_found found;

	(void)state;
	for (unsigned life = 0; life < 3; life++) {
		timeline = open_one(400, 4);
		for (unsigned i = 0; i < 20; i++) {
			assert_int_equal(add(timeline, "some/path"), RC_OK);
			assert_int_equal(timeline_flush(timeline, &err), RC_OK);
		}
		assert_int_equal(timeline_close(timeline, &err), RC_OK);
		found = verified(RC_OK);
		assert_true(found.files <= 4 && found.lines > 8 && !found.torn);
	}
}

static void every_changed_byte_and_every_missing_line_is_found(void **state)
{
	struct timeline *timeline = open_one(1 << 20, 5);
	struct buf text;
	char *second;
	size_t len;

	(void)state;
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(add(timeline, "p"), RC_OK);
	assert_int_equal(timeline_close(timeline, &err), RC_OK);
	text = text_of(1);
	for (size_t i = 0; i < text.len; i++) {
		text.data[i] ^= 1;
		put_text(1, text.data, text.len);
		if (i + 1 < text.len) /* a line without its end is torn */
			(void)verified(RC_INVALID);
		text.data[i] ^= 1;
	}
	second = strchr((char *)text.data, '\n') + 1;
	len = (size_t)(strchr(second, '\n') + 1 - second);
	memmove(second, second + len, text.len - (size_t)(second + len - (char *)text.data));
	put_text(1, text.data, text.len - len);
	(void)verified(RC_INVALID);
	assert_non_null(strstr(err.text, "timeline-0000000000000001.log: line 2: "));
	buf_free(&text);
}

static void a_missing_file_and_a_torn_end_are_told(void **state)
{
	char path[SCRATCH_MAX + 40], name[TIMELINE_NAME_BYTES];
	struct timeline *timeline = open_one(200, 10);
	struct timeline_found found;
	struct buf text;

	(void)state;
	for (unsigned i = 0; i < 6; i++) {
		assert_int_equal(add(timeline, "p"), RC_OK);
		assert_int_equal(timeline_flush(timeline, &err), RC_OK);
	}
	assert_int_equal(timeline_close(timeline, &err), RC_OK);
	found = verified(RC_OK);
	assert_true(found.files > 2);
	text = text_of(found.files);
	put_text(found.files, text.data, text.len - 3);
	assert_true(verified(RC_OK).torn);
	timeline = open_one(200, 10);
	assert_int_equal(add(timeline, "p"), RC_OK);
	assert_int_equal(timeline_close(timeline, &err), RC_OK);
	assert_true(verified(RC_OK).files == found.files + 1);
	timeline_files_name(name, 2);
	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	assert_int_equal(unlink(path), 0);
	(void)verified(RC_INVALID);
	assert_non_null(strstr(err.text, "does not follow"));
	buf_free(&text);
}

/* Each allocation, open, write and fsync fails once, also in the middle of what it writes. */
static void what_could_not_be_written_is_told_of_and_the_rest_is_right(void **state)
{
	struct timeline *timeline;
	unsigned failed;
	bool fired;

	(void)state;
	for (unsigned kind = FAULT_ALLOC; kind <= FAULT_FSYNC; kind++) {
		fired = true;
		for (unsigned long n = 1; fired; n++) {
			timeline = open_one(300, 3);
			failed = 0;
			fault_short(kind == FAULT_WRITE ? 7 : 0);
			fault_arm((enum fault_kind)kind, n);
			for (unsigned i = 0; i < 8; i++) {
				failed += add(timeline, "some/path") != RC_OK;
				failed += timeline_flush(timeline, &err) != RC_OK;
			}
			fired = fault_fired((enum fault_kind)kind);
			fault_arm((enum fault_kind)kind, 0);
			fault_short(0);
			failed += timeline_close(timeline, &err) != RC_OK;
			assert_true(fired == (failed > 0));
			(void)verified(RC_OK);
		}
	}
}

static void a_line_says_how_many_are_left_out(void **state)
{
	struct timeline *timeline = open_one(1 << 20, 3);
	struct buf text;

	(void)state;
	assert_int_equal(add(timeline, "one"), RC_OK);
	assert_int_equal(timeline_flush(timeline, &err), RC_OK);
	assert_int_equal(add(timeline, "two"), RC_OK);
	assert_int_equal(add(timeline, "three"), RC_OK);
	fault_arm(FAULT_WRITE, 1);
	assert_int_equal(timeline_flush(timeline, &err), RC_IO);
	assert_int_equal(add(timeline, "four"), RC_OK);
	assert_int_equal(timeline_close(timeline, &err), RC_OK);
	assert_int_equal(verified(RC_OK).lines, 4);
	text = text_of(1);
	assert_non_null(strstr((const char *)text.data, " {\"left_out\":2}\n"));
	assert_null(strstr((const char *)text.data, "three"));
	buf_free(&text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
		TEST(a_line_has_all_of_an_event_whatever_bytes_its_names_are),
		TEST(files_follow_each_other_over_processes_and_the_oldest_go),
		TEST(every_changed_byte_and_every_missing_line_is_found),
		TEST(a_missing_file_and_a_torn_end_are_told),
		TEST(a_line_says_how_many_are_left_out),
		TEST(what_could_not_be_written_is_told_of_and_the_rest_is_right),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
