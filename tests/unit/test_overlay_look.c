/*
 * Layers as a storage driver has them, made by hand: what lower layers show, and what hides it. The attributes are those of mounts without
 * rights (user.overlay.*), which anybody can set.
 */
#include "fs-watch/overlay_look.h"

#include "appliance/base/mem.h"
#include "tests/unit/scratch.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cmocka.h>

static char top[SCRATCH_MAX];
static int driver;

/* All that is on the way, too. Ends with a slash: a directory. */
static void make(const char *path)
{
	char whole[512];
	int fd;

	(void)snprintf(whole, sizeof(whole), "%s/%s", top, path);
	for (char *slash = strchr(whole + strlen(top) + 1, '/'); slash != NULL;
	     slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		(void)mkdir(whole, 0755);
		*slash = '/';
	}
	if (whole[strlen(whole) - 1] == '/')
		return;
	fd = open(whole, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
	assert_true(fd >= 0);
	(void)close(fd);
}

static void mark(const char *path, const char *name, const char *value)
{
	char whole[512], key[64];

	(void)snprintf(whole, sizeof(whole), "%s/%s", top, path);
	(void)snprintf(key, sizeof(key), "user.overlay.%s", name);
	assert_int_equal(setxattr(whole, key, value, strlen(value), 0), 0);
}

static void put_link(const char *path, const char *to)
{
	char whole[512];

	(void)snprintf(whole, sizeof(whole), "%s/%s", top, path);
	assert_int_equal(symlink(to, whole), 0);
}

static int set_up(void **unused)
{
	static const char lower[] = "l/AAA:l/BBB";
	char path[512];
	FILE *file;

	(void)unused;
	if (scratch_make(top, "overlay") != 0)
		return -1;
	make("top/diff/");
	make("l/");
	make("a/diff/a-only");
	make("a/diff/both/of-a");
	make("b/diff/both/of-b");
	make("b/diff/b-only/deep/file");
	put_link("l/AAA", "../a/diff");
	put_link("l/BBB", "../b/diff");
	(void)snprintf(path, sizeof(path), "%s/top/lower", top);
	file = fopen(path, "w");
	if (file == NULL || fputs(lower, file) < 0 || fclose(file) != 0)
		return -1;
	driver = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return driver >= 0 ? 0 : -1;
}

static int tear_down(void **unused)
{
	char command[SCRATCH_MAX + 16];

	(void)unused;
	(void)close(driver);
	(void)snprintf(command, sizeof(command), "rm -rf %s", top);
	return system(command); /* NOLINT(cert-env33-c): the path is ours */
}

static bool is_lower(const char *path)
{
	char *lower = overlay_look_lower(driver, "top");
	bool is;

	assert_non_null(lower);
	is = overlay_look_is_lower(driver, "top", lower, path, false);
	mem_free(lower);
	return is;
}

static bool is_lower_redirected(const char *path)
{
	char *lower = overlay_look_lower(driver, "top");
	const bool is = overlay_look_is_lower(driver, "top", lower, path, true);

	mem_free(lower);
	return is;
}

static void test_the_lower_layers(void **unused)
{
	char *lower = overlay_look_lower(driver, "top");

	(void)unused;
	assert_non_null(lower);
	assert_string_equal(lower, "a/diff");
	assert_string_equal(lower + strlen("a/diff") + 1, "b/diff");
	assert_string_equal(lower + strlen("a/diff") + 1 + strlen("b/diff") + 1, "");
	mem_free(lower);
	assert_null(overlay_look_lower(driver, "a"));
	assert_true(is_lower("a-only"));
	assert_true(is_lower("both"));
	assert_true(is_lower("both/of-a"));
	assert_true(is_lower("both/of-b"));
	assert_true(is_lower("b-only/deep/file"));
	assert_false(is_lower("none"));
	assert_false(is_lower("both/none"));
	assert_false(is_lower("a-only/below-a-file"));
}

static void test_what_hides(void **unused)
{
	(void)unused;
	make("top/diff/b-only/deep/");
	assert_true(is_lower("b-only/deep/file"));
	mark("top/diff/b-only", "opaque", "y");
	assert_false(is_lower("b-only/deep/file"));
	assert_true(is_lower("b-only")); /* the name itself */
	make("b/diff/under/x");
	assert_true(is_lower("under/x"));
	make("a/diff/under/");
	mark("a/diff/under", "opaque", "y");
	assert_false(is_lower("under/x"));
	make("b/diff/gone");
	assert_true(is_lower("gone"));
	make("a/diff/gone");
	mark("a/diff/gone", "whiteout", "");
	assert_false(is_lower("gone"));
	make("b/diff/file/x");
	make("a/diff/file");
	assert_false(is_lower("file/x"));
}

/* An image is anybody's: no link in it leads out of it. */
static void test_no_link_is_followed(void **unused)
{
	(void)unused;
	put_link("a/diff/etc", "/etc");
	put_link("a/diff/up", "..");
	assert_false(is_lower("etc/passwd"));
	assert_false(is_lower("up/lower"));
	assert_true(is_lower("etc"));
	assert_false(is_lower("../lower"));
}

static void test_what_it_is(void **unused)
{
	(void)unused;
	make("top/diff/plain");
	make("top/diff/copy");
	mark("top/diff/copy", "origin", "x");
	make("top/diff/white");
	mark("top/diff/white", "whiteout", "");
	assert_int_equal(overlay_look_now(driver, "top", "plain"), OVERLAY_PLAIN);
	assert_int_equal(overlay_look_now(driver, "top", "copy"), OVERLAY_COPY);
	assert_int_equal(overlay_look_now(driver, "top", "white"), OVERLAY_WHITEOUT);
	assert_int_equal(overlay_look_now(driver, "top", "none"), OVERLAY_UNKNOWN);
	assert_int_equal(overlay_look_now(driver, "top", ""), OVERLAY_PLAIN);
	assert_int_equal(linkat(driver, "top/diff/copy", driver, "top/diff/other", 0), 0);
	assert_int_equal(overlay_look_now(driver, "top", "other"), OVERLAY_PLAIN);
}

static void test_whiteouts_are_devices(void **unused)
{
	(void)unused;
	if (mknodat(driver, "top/diff/device", S_IFCHR | 0600, 0) != 0)
		skip();
	assert_int_equal(overlay_look_now(driver, "top", "device"), OVERLAY_WHITEOUT);
}

static void test_a_directory_that_was_renamed(void **unused)
{
	(void)unused;
	make("b/diff/old/name/file");
	make("top/diff/new/");
	assert_false(is_lower_redirected("new/name/file"));
	mark("top/diff/new", "redirect", "/old");
	assert_true(is_lower_redirected("new/name/file"));
	assert_false(is_lower("new/name/file"));
	assert_false(is_lower_redirected("new/name/none"));
	make("top/diff/old/newer/");
	mark("top/diff/old/newer", "redirect", "name");
	assert_true(is_lower_redirected("old/newer/file"));
}

static void test_a_path_that_is_too_long(void **unused)
{
	char path[PATH_MAX + 64];

	(void)unused;
	for (size_t i = 0; i < sizeof(path); i++)
		path[i] = i % 2 == 0 ? 'x' : '/';
	path[sizeof(path) - 1] = '\0';
	assert_false(is_lower(path));
	assert_false(is_lower_redirected(path));
	assert_int_equal(overlay_look_now(driver, "top", path), OVERLAY_UNKNOWN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_lower_layers),
		cmocka_unit_test(test_what_hides),
		cmocka_unit_test(test_no_link_is_followed),
		cmocka_unit_test(test_what_it_is),
		cmocka_unit_test(test_whiteouts_are_devices),
		cmocka_unit_test(test_a_directory_that_was_renamed),
		cmocka_unit_test(test_a_path_that_is_too_long),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
