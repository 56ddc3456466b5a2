#include "appliance/base/buf.h"
#include "appliance/base/bytes.h"
#include "appliance/base/err.h"
#include "appliance/base/log.h"
#include "appliance/base/mem.h"
#include "appliance/base/near_miss.h"
#include "appliance/base/utf8.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/*
 * AddressSanitizer ends the program at an allocation that cannot be, unless told that this one
 * means it.
 */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "allocator_may_return_null=1";
}

/* ---- err ---- */

static void an_error_carries_its_code_and_every_layers_prefix(void **state)
{
	struct err err;

	(void)state;
	assert_int_equal(err_set(&err, RC_REFUSED, "no %s today", "service"), RC_REFUSED);
	assert_int_equal(err_prefix(&err, "instances[%d].", 2), RC_REFUSED);
	assert_int_equal(err_prefix(&err, "%s: ", "a.json"), RC_REFUSED);
	assert_int_equal(err.code, RC_REFUSED);
	assert_string_equal(err.text, "a.json: instances[2].no service today");
	assert_int_equal(err_append(&err, "; try %s", "later"), RC_REFUSED);
	assert_string_equal(err.text, "a.json: instances[2].no service today; try later");
}

static void a_system_error_ends_with_its_reason(void **state)
{
	struct err err;

	(void)state;
	assert_int_equal(err_system(&err, EACCES, "/root"), RC_IO);
	assert_memory_equal(err.text, "/root: Permission denied (user ", 31);
	assert_int_equal(err_system(&err, ENOENT, "/no/%s", "where"), RC_IO);
	assert_string_equal(err.text, "/no/where: No such file or directory");
}

static void an_error_text_is_cut_and_never_overflows(void **state)
{
	char long_text[2 * ERR_TEXT_MAX];
	struct err err;

	(void)state;
	memset(long_text, 'x', sizeof(long_text) - 1);
	long_text[sizeof(long_text) - 1] = '\0';
	(void)err_set(&err, RC_IO, "%s", long_text);
	assert_int_equal(strlen(err.text), ERR_TEXT_MAX - 1);
	(void)err_prefix(&err, "first: ");
	assert_int_equal(strlen(err.text), ERR_TEXT_MAX - 1);
	assert_memory_equal(err.text, "first: xxx", 10);
	(void)err_append(&err, "last");
	assert_int_equal(strlen(err.text), ERR_TEXT_MAX - 1);
	(void)err_system(&err, EIO, "%s", long_text);
	assert_int_equal(strlen(err.text), ERR_TEXT_MAX - 1);
}

static void every_code_has_a_name(void **state)
{
	(void)state;
	for (int i = 0; i < RC_COUNT; i++) {
		assert_non_null(err_name((enum rc)i));
		assert_string_not_equal(err_name((enum rc)i), "unknown");
	}
	assert_string_equal(err_name(RC_COUNT), "unknown");
	assert_string_equal(err_name(RC_REFUSED), "refused");
}

/* ---- buf ---- */

static void a_buffer_keeps_what_was_appended_in_order(void **state)
{
	static const uint8_t expected[] = { 1, 0x02, 0x01, 4, 3, 2, 1, 'n', '=', '7' };
	struct buf buf = { 0 };

	(void)state;
	assert_true(buf_append_u8(&buf, 1));
	assert_true(buf_append_le16(&buf, 0x0102));
	assert_true(buf_append_le32(&buf, 0x01020304));
	assert_true(buf_printf(&buf, "n=%d", 7));
	assert_int_equal(buf.len, sizeof(expected));
	assert_memory_equal(buf.data, expected, sizeof(expected));
	buf_free(&buf);
	assert_null(buf.data);
	assert_int_equal(buf.len, 0);
}

static void a_buffer_never_passes_its_limit(void **state)
{
	struct buf buf = { .limit = 10 };

	(void)state;
	assert_true(buf_append(&buf, "0123456789", 10));
	assert_false(buf_append_u8(&buf, 'x'));
	assert_true(buf.failed);
	assert_int_equal(buf.len, 10);
	assert_memory_equal(buf.data, "0123456789", 10);
	assert_null(buf_extend(&buf, SIZE_MAX));
	buf_reset(&buf);
	assert_false(buf.failed);
	assert_true(buf_append(&buf, "again", 5));
	buf_free(&buf);
}

static void a_failed_buffer_stays_failed_until_it_is_emptied(void **state)
{
	struct buf buf = { .limit = 4 };

	(void)state;
	assert_false(buf_printf(&buf, "%s", "too long"));
	assert_false(buf_append(&buf, "x", 1));
	assert_int_equal(buf.len, 0);
	buf_free(&buf);
}

static void consuming_moves_the_rest_to_the_front(void **state)
{
	struct buf buf = { 0 };

	(void)state;
	assert_true(buf_append(&buf, "headtail", 8));
	buf_consume(&buf, 4);
	assert_int_equal(buf.len, 4);
	assert_memory_equal(buf.data, "tail", 4);
	buf_consume(&buf, 4);
	assert_int_equal(buf.len, 0);
	buf_free(&buf);
}

static void a_buffer_without_memory_fails_and_loses_nothing(void **state)
{
	struct buf buf = { 0 };

	(void)state;
	assert_true(buf_append(&buf, "kept", 4));
	fault_arm(FAULT_ALLOC, 1);
	assert_null(buf_extend(&buf, 4096));
	assert_true(fault_fired(FAULT_ALLOC));
	fault_arm(FAULT_ALLOC, 0);
	assert_int_equal(buf.len, 4);
	assert_memory_equal(buf.data, "kept", 4);
	buf_free(&buf);
}

/* ---- bytes ---- */

static void a_cursor_never_runs_past_the_end(void **state)
{
	static const uint8_t data[] = { 1, 2, 3, 4, 5 };
	struct cursor cursor = cursor_of(data, sizeof(data));

	(void)state;
	assert_int_equal(cursor_be32(&cursor), 0x01020304);
	assert_int_equal(cursor_le16(&cursor), 0);
	assert_true(cursor.short_read);
	assert_int_equal(cursor_u8(&cursor),
			 0); /* once short, always short: a record is taken whole or not */
	assert_null(cursor_bytes(&cursor, 0));
}

/* ---- mem ---- */

static void an_allocation_whose_size_overflows_fails(void **state)
{
	size_t half = (size_t)1 << (sizeof(size_t) * 8 -
				    1); /* a variable: the compiler would see through a constant */

	(void)state;
	assert_null(mem_zalloc(half, 4));
}

static void zeroed_memory_is_zero_and_copies_are_copies(void **state)
{
	static const uint8_t zero[64];
	uint8_t *memory = mem_zalloc(8, 8);
	char *copy = mem_strdup("whole"), *part = mem_strndup("part of it", 4);

	(void)state;
	assert_memory_equal(memory, zero, sizeof(zero));
	assert_string_equal(copy, "whole");
	assert_string_equal(part, "part");
	mem_free(memory);
	mem_free(copy);
	mem_free(part);
	mem_free(NULL);
}

static void the_nth_allocation_fails_and_no_other(void **state)
{
	void *memory[4];

	(void)state;
	fault_arm(FAULT_ALLOC, 3);
	for (size_t i = 0; i < 4; i++)
		memory[i] = mem_alloc(8);
	assert_non_null(memory[0]);
	assert_non_null(memory[1]);
	assert_null(memory[2]);
	assert_non_null(memory[3]);
	assert_true(fault_fired(FAULT_ALLOC));
	fault_arm(FAULT_ALLOC, 0);
	assert_false(fault_fired(FAULT_ALLOC));
	for (size_t i = 0; i < 4; i++)
		mem_free(memory[i]);
}

static void old_memory_survives_a_reallocation_that_fails(void **state)
{
	char *memory = mem_strdup("still here");

	(void)state;
	fault_arm(FAULT_ALLOC, 1);
	assert_null(mem_realloc(memory, 1 << 20));
	assert_string_equal(memory, "still here");
	mem_free(memory);
}

/* ---- log ---- */

/* What one call writes to standard error. */
static size_t captured(char *out, size_t size, enum log_level level, const char *text)
{
	int ends[2], saved = dup(STDERR_FILENO);
	ssize_t len;

	assert_int_equal(pipe2(ends, O_NONBLOCK), 0);
	assert_int_equal(dup2(ends[1], STDERR_FILENO), STDERR_FILENO);
	log_write(level, "part", "%s", text);
	assert_int_equal(dup2(saved, STDERR_FILENO), STDERR_FILENO);
	len = read(ends[0], out, size - 1);
	(void)close(ends[0]);
	(void)close(ends[1]);
	(void)close(saved);
	out[len > 0 ? len : 0] = '\0';
	return len > 0 ? (size_t)len : 0;
}

static void a_log_line_has_time_level_part_and_text(void **state)
{
	char line[4096];

	(void)state;
	log_setup(LOG_LEVEL_INFO, false);
	assert_int_not_equal(captured(line, sizeof(line), LOG_LEVEL_WARN, "it happened"), 0);
	assert_int_equal(line[4], '-');
	assert_int_equal(line[10], 'T');
	assert_int_equal(line[23], 'Z');
	assert_non_null(strstr(line, "  warn   part: it happened\n"));
}

static void lines_below_the_level_are_not_written(void **state)
{
	char line[4096];

	(void)state;
	log_setup(LOG_LEVEL_WARN, false);
	assert_int_equal(captured(line, sizeof(line), LOG_LEVEL_INFO, "chatter"), 0);
	assert_int_not_equal(captured(line, sizeof(line), LOG_LEVEL_ERROR, "trouble"), 0);
	log_setup(LOG_LEVEL_INFO, false);
}

/* Whoever reads comes when the line is there to be written. */
static void a_line_waits_for_its_reader_where_it_is_told_to(void **state)
{
	static char full[1 << 16];
	int ends[2], status, saved = dup(STDERR_FILENO);
	char line[4096] = "";
	pid_t reader;

	(void)state;
	assert_int_equal(pipe2(ends, O_NONBLOCK), 0);
	while (write(ends[1], full, sizeof(full)) > 0)
		;
	assert_int_equal(dup2(ends[1], STDERR_FILENO), STDERR_FILENO);
	log_info("part", "nobody is here");
	reader = fork();
	if (reader == 0) {
		(void)usleep(20000);
		_exit(read(ends[0], full, sizeof(full)) > 0 ? 0 : 1);
	}
	log_wait(60000);
	log_info("part", "it waited");
	log_wait(0);
	assert_int_equal(dup2(saved, STDERR_FILENO), STDERR_FILENO);
	assert_int_equal(waitpid(reader, &status, 0), reader);
	assert_int_equal(status, 0);
	(void)close(saved);
	(void)close(ends[1]);
	while (read(ends[0], line, sizeof(line) - 1) > 0 && line[0] == '\0')
		;
	(void)close(ends[0]);
	assert_non_null(strstr(line, "part: it waited (1 lines before this one are lost"));
}

static void nobody_forges_a_line_or_a_colour(void **state)
{
	char line[4096];

	(void)state;
	log_setup(LOG_LEVEL_INFO, false);
	assert_int_not_equal(captured(line, sizeof(line), LOG_LEVEL_INFO, "a\nb\033[31mc\rd"), 0);
	assert_non_null(strstr(line, "a?b?[31mc?d\n"));
	assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
}

static void a_json_line_is_one_object_with_its_text_escaped(void **state)
{
	char line[4096];

	(void)state;
	log_setup(LOG_LEVEL_INFO, true);
	assert_int_not_equal(captured(line, sizeof(line), LOG_LEVEL_INFO, "say \"a\\b\""), 0);
	assert_int_equal(line[0], '{');
	assert_non_null(strstr(
		line, "\"level\":\"info\",\"part\":\"part\",\"text\":\"say \\\"a\\\\b\\\"\"}\n"));
	log_setup(LOG_LEVEL_INFO, false);
}

static void a_line_is_cut_at_its_limit_and_still_ends(void **state)
{
	char text[4 * LOG_LINE_MAX], line[4096];

	(void)state;
	memset(text, '"', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	for (int json = 0; json < 2; json++) {
		log_setup(LOG_LEVEL_INFO, json);
		assert_in_range(captured(line, sizeof(line), LOG_LEVEL_INFO, text),
				LOG_LINE_MAX - 1, 4095);
		assert_int_equal(line[strlen(line) - 1], '\n');
	}
	log_setup(LOG_LEVEL_INFO, false);
}

/* ---- near_miss ---- */

static void a_distance_counts_slips_of_the_finger(void **state)
{
	(void)state;
	assert_int_equal(near_miss_distance("status", "status"), 0);
	assert_int_equal(near_miss_distance("stauts", "status"), 1); /* swapped */
	assert_int_equal(near_miss_distance("statu", "status"), 1);  /* left out */
	assert_int_equal(near_miss_distance("statuus", "status"), 1);
	assert_int_equal(near_miss_distance("stapus", "status"), 1);
	assert_int_equal(near_miss_distance("", "pki"), 3);
	assert_int_equal(near_miss_distance("pki", ""), 3);
}

static void the_nearest_word_is_found_if_it_is_near_enough(void **state)
{
	static const char *const words[] = { "standby", "primary", "status" };
	struct near_miss close_one = near_miss_of("standbye"), far_one = near_miss_of("elephant");

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		near_miss_offer(&close_one, words[i]);
		near_miss_offer(&far_one, words[i]);
	}
	assert_string_equal(close_one.best, "standby");
	assert_null(far_one.best);
}

static void what_a_terminal_would_obey_becomes_a_question_mark(void **state)
{
	static const char *const cases[][2] = {
		{ "plain \xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80", NULL },
		{ "a\x1b[31m\x7f\n", "a?[31m??" },
		{ "\xc2\x80\xc2\x9b\xc2\x9f\xc2\xa0", "???\xc2\xa0" }, /* C1 */
		{ "\xd8\x9c\xe2\x80\x8e\xe2\x80\x8f\xe2\x80\xa8\xe2\x80\xae\xe2\x80\xac",
		  "??????" }, /* bidi */
		{ "\xe2\x81\xa5\xe2\x81\xa6\xe2\x81\xa9\xe2\x81\xaa",
		  "\xe2\x81\xa5??\xe2\x81\xaa" },
		{ "\x9b"
		  "31m\xff",
		  "?31m?" },						 /* no UTF-8 */
		{ "\xc0\xaf\xed\xa0\x80\xf4\x90\x80\x80", "?????????" }, /* nor this */
		{ "cut \xe2\x82", "cut ??" },
	};
	char text[64];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const char *plain = cases[i][1] != NULL ? cases[i][1] : cases[i][0];

		assert_int_equal(utf8_is_plain(cases[i][0]), cases[i][1] == NULL);
		(void)snprintf(text, sizeof(text), "%s", cases[i][0]);
		utf8_make_plain(text);
		assert_string_equal(text, plain);
		assert_true(utf8_is_plain(text));
	}
}

static void a_very_long_word_is_no_near_miss(void **state)
{
	char word[4 * NEAR_MISS_WORD_MAX];
	struct near_miss miss;

	(void)state;
	memset(word, 's', sizeof(word) - 1);
	word[sizeof(word) - 1] = '\0';
	miss = near_miss_of(word);
	near_miss_offer(&miss, "status");
	assert_null(miss.best);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_error_carries_its_code_and_every_layers_prefix),
		cmocka_unit_test(a_system_error_ends_with_its_reason),
		cmocka_unit_test(an_error_text_is_cut_and_never_overflows),
		cmocka_unit_test(every_code_has_a_name),
		cmocka_unit_test(a_buffer_keeps_what_was_appended_in_order),
		cmocka_unit_test(a_buffer_never_passes_its_limit),
		cmocka_unit_test(a_failed_buffer_stays_failed_until_it_is_emptied),
		cmocka_unit_test(consuming_moves_the_rest_to_the_front),
		cmocka_unit_test(a_buffer_without_memory_fails_and_loses_nothing),
		cmocka_unit_test(a_cursor_never_runs_past_the_end),
		cmocka_unit_test(an_allocation_whose_size_overflows_fails),
		cmocka_unit_test(zeroed_memory_is_zero_and_copies_are_copies),
		cmocka_unit_test(the_nth_allocation_fails_and_no_other),
		cmocka_unit_test(old_memory_survives_a_reallocation_that_fails),
		cmocka_unit_test(a_log_line_has_time_level_part_and_text),
		cmocka_unit_test(a_line_waits_for_its_reader_where_it_is_told_to),
		cmocka_unit_test(lines_below_the_level_are_not_written),
		cmocka_unit_test(nobody_forges_a_line_or_a_colour),
		cmocka_unit_test(a_json_line_is_one_object_with_its_text_escaped),
		cmocka_unit_test(a_line_is_cut_at_its_limit_and_still_ends),
		cmocka_unit_test(a_distance_counts_slips_of_the_finger),
		cmocka_unit_test(the_nearest_word_is_found_if_it_is_near_enough),
		cmocka_unit_test(a_very_long_word_is_no_near_miss),
		cmocka_unit_test(what_a_terminal_would_obey_becomes_a_question_mark),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
