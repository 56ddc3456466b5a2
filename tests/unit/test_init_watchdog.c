/* A pipe with a name is the watchdog. */
#include "appliance/init_watchdog.h"

#include "tests/unit/scratch.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[SCRATCH_MAX], path[SCRATCH_MAX + 16];
static int end = -1;

/* What it has been told since the last time. */
static const char *heard(void)
{
	static char text[64];
	const ssize_t n = read(end, text, sizeof(text) - 1);
	ssize_t i;

	text[n > 0 ? n : 0] = '\0';
	for (i = 0; i < n; i++)
		text[i] = text[i] == '\0' ? '.' : text[i];
	return text;
}

static void it_is_told_before_its_time_is_over_and_not_more_often(void **state)
{
	struct init_watchdog watchdog;
	uint64_t now_ms;

	(void)state;
	init_watchdog_open(&watchdog, path, 1000);
	assert_string_equal(heard(), ".");
	for (now_ms = 1000; now_ms < watchdog.due_ms; now_ms += 100)
		init_watchdog_tell(&watchdog, now_ms);
	assert_string_equal(heard(), "");
	assert_true(now_ms > 1500 && now_ms < 1000 + INIT_WATCHDOG_S * 1000 / 2);
	init_watchdog_tell(&watchdog, now_ms);
	init_watchdog_tell(&watchdog, now_ms + 1);
	assert_string_equal(heard(), ".");
	init_watchdog_close(&watchdog);
	assert_string_equal(heard(), "V");
}

static void where_there_is_none_nothing_is_due(void **state)
{
	struct init_watchdog watchdog;

	(void)state;
	init_watchdog_open(&watchdog, NULL, 1000);
	assert_true(watchdog.due_ms == UINT64_MAX);
	init_watchdog_open(&watchdog, "/nowhere/watchdog0", 1000);
	assert_true(watchdog.due_ms == UINT64_MAX);
	init_watchdog_tell(&watchdog, UINT64_MAX);
	init_watchdog_close(&watchdog);
	assert_true(watchdog.due_ms == UINT64_MAX);
}

static int set_up(void **state)
{
	(void)state;
	if (scratch_make(dir, "watchdog") != 0)
		return -1;
	(void)snprintf(path, sizeof(path), "%s/pipe", dir);
	if (mkfifo(path, 0600) != 0)
		return -1;
	end = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	return end >= 0 ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	(void)close(end);
	(void)unlink(path);
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_is_told_before_its_time_is_over_and_not_more_often),
		cmocka_unit_test(where_there_is_none_nothing_is_due),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
