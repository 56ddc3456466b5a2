/* Where process 1 takes its configuration from; all that it looks at is in a directory here. */
#include "appliance/init_internal.h"

#include "appliance/machine_problems.h"
#include "tests/unit/scratch.h"
#include "tests/unit/volumes.h"

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

#define PATH_SIZE (SCRATCH_MAX + 64)

static char dir[SCRATCH_MAX];
static char fw_cfg[PATH_SIZE], image[PATH_SIZE], drives[PATH_SIZE], mounted[PATH_SIZE],
	config[PATH_SIZE];
static const struct init_places at = { .fw_cfg = fw_cfg,
				       .image = image,
				       .list = drives,
				       .devices = drives,
				       .drive = mounted,
				       .config = config };
static struct err err;
static char said[8192]; /* in the log */

static void name(char out[PATH_SIZE], const char *part, bool make)
{
	(void)snprintf(out, PATH_SIZE, "%s/%s", dir, part);
	if (make)
		assert_int_equal(mkdir(out, 0700), 0);
}

static int set_up(void **state)
{
	(void)state;
	if (scratch_make(dir, "config") != 0)
		return -1;
	name(fw_cfg, "fw_cfg", true);
	name(image, "image", true);
	name(drives, "drives", true);
	name(mounted, "mounted", false);
	name(config, "config", false);
	return 0;
}

static int tear_down(void **state)
{
	char command[PATH_SIZE];

	(void)state;
	(void)snprintf(command, sizeof(command), "rm -rf %s", dir);
	return system(command); /* NOLINT(cert-env33-c): a path of our own */
}

static const char *path_of(const char *place, const char *file)
{
	static char path[2 * PATH_SIZE];

	(void)snprintf(path, sizeof(path), "%s/%s", place, file);
	return path;
}

static void put(const char *place, const char *file, const void *data, size_t len)
{
	FILE *stream = fopen(path_of(place, file), "w");

	assert_non_null(stream);
	assert_int_equal(fwrite(data, 1, len, stream), len);
	assert_int_equal(fclose(stream), 0);
}

static void put_text(const char *place, const char *file, const char *text)
{
	put(place, file, text, strlen(text));
}

/* As the kernel shows it. */
static void put_fw_cfg(const char *file, const char *text)
{
	char raw[64];

	assert_int_equal(mkdir(path_of(fw_cfg, file), 0700), 0);
	(void)snprintf(raw, sizeof(raw), "%s/raw", file);
	put_text(fw_cfg, raw, text);
}

static void put_drive(const char *device)
{
	static uint8_t bytes[VOLUMES_BYTES];

	volumes_put_iso9660(bytes, CONFIG_DRIVE_LABEL);
	put(drives, device, bytes, sizeof(bytes));
}

/* What the log says of it is in `said`. */
static int find(void)
{
	int before = dup(2), log, rc;
	ssize_t len;

	log = open(path_of(dir, "log"), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(before >= 0 && log >= 0 && dup2(log, 2) == 2);
	rc = init_config_find(&at, &err);
	assert_int_equal(dup2(before, 2), 2);
	(void)close(before);
	len = pread(log, said, sizeof(said) - 1, 0);
	said[len > 0 ? len : 0] = '\0';
	(void)close(log);
	return rc;
}

static void expect(const char *file, const char *text)
{
	FILE *stream = fopen(path_of(config, file), "r");
	struct stat st;
	char is[64];

	assert_non_null(stream);
	is[fread(is, 1, sizeof(is) - 1, stream)] = '\0';
	assert_int_equal(fstat(fileno(stream), &st), 0);
	assert_int_equal(fclose(stream), 0);
	assert_string_equal(is, text);
	assert_int_equal(st.st_mode & 07777, 0600);
}

static void expect_none(const char *file)
{
	assert_int_equal(access(path_of(config, file), F_OK), -1);
}

static void expect_said(const char *text)
{
	if (strstr(said, text) == NULL)
		fail_msg("no \"%s\" in:\n%s", text, said);
}

static void fw_cfg_comes_first_and_what_is_passed_over_is_told(void **state)
{
	struct stat st;

	(void)state;
	put_fw_cfg("config.json", "of fw_cfg");
	put_fw_cfg("standby.key", "secret");
	put_text(image, "config.json", "of the image");
	put_text(image, "ca.crt", "of the image");
	put_drive("sr0");
	assert_int_equal(find(), RC_OK);
	expect("config.json", "of fw_cfg");
	expect("standby.key", "secret");
	expect_none("ca.crt");
	expect_said("configuration from fw_cfg");
	expect_said("the configuration in the image is not used: fw_cfg has one");
	expect_said("the configuration in sr0 is not used: fw_cfg has one");
	assert_null(strstr(said, "secret"));
	assert_int_equal(stat(config, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
}

static void all_comes_from_the_place_that_has_the_configuration(void **state)
{
	(void)state;
	put_fw_cfg("standby.key", "of fw_cfg");
	put_text(image, "config.json", "of the image");
	assert_int_equal(find(), RC_OK);
	expect("config.json", "of the image");
	expect_none("standby.key");
	expect_said("configuration from the image");
	assert_null(strstr(said, "not used"));
}

static void what_is_no_file_or_too_large_is_left_out(void **state)
{
	static char large[CONFIG_FILE_MAX + 1];

	(void)state;
	put_text(image, "config.json", "{}");
	put(image, "large", large, sizeof(large));
	put_text(image, ".hidden", "x");
	assert_int_equal(mkdir(path_of(image, "directory"), 0700), 0);
	assert_int_equal(mkfifo(path_of(image, "pipe"), 0600), 0);
	assert_int_equal(symlink("/etc/passwd", path_of(image, "link")), 0);
	put_text(image, "ca.crt", "ca");
	assert_int_equal(find(), RC_OK);
	expect("ca.crt", "ca");
	expect_none("large");
	expect_none("directory");
	expect_none("pipe");
	expect_none("link");
	expect_none(".hidden");
	expect_said("configuration in the image: large: longer than 1048576 bytes");
	expect_said("link: is a symbolic link; put the file itself there");
	assert_null(strstr(said, "directory"));
}

static void a_configuration_that_cannot_be_read_is_an_error(void **state)
{
	static char large[CONFIG_FILE_MAX + 1];

	(void)state;
	put(image, "config.json", large, sizeof(large));
	assert_int_equal(find(), RC_LIMIT);
	assert_non_null(strstr(err.text, "config.json: longer than 1048576 bytes"));
}

/* A link may lead nowhere. */
static void a_configuration_that_is_no_file_is_an_error_that_says_what_to_do(void **state)
{
	(void)state;
	assert_int_equal(symlink("of-site-b.json", path_of(image, "config.json")), 0);
	assert_int_equal(find(), RC_INVALID);
	assert_string_equal(
		err.text,
		"configuration in the image: config.json: is a symbolic link; put the file itself there");
	assert_int_equal(unlink(path_of(image, "config.json")), 0);
	assert_int_equal(mkdir(path_of(image, "config.json"), 0700), 0);
	assert_int_equal(find(), RC_UNSUPPORTED);
	assert_string_equal(err.text,
			    "configuration in the image: config.json: is no file; put one there");
}

static void a_place_with_very_many_files_is_told(void **state)
{
	char file[32];

	(void)state;
	put_text(image, "config.json", "{}");
	for (unsigned i = 0; i < 65; i++) {
		(void)snprintf(file, sizeof(file), "file%u", i);
		put_text(image, file, "x");
	}
	assert_int_equal(find(), RC_OK);
	expect("config.json", "{}");
	expect_said("more than 64 files");
}

static void without_any_it_says_where_one_could_be(void **state)
{
	(void)state;
	assert_int_equal(find(), RC_STATE);
	assert_non_null(strstr(err.text, "opt/understudy/config.json"));
	assert_non_null(strstr(err.text, "labelled UNDERSTUDY"));
}

static void a_drive_that_cannot_be_mounted_is_named(void **state)
{
	(void)state;
	put_drive("vdb"); /* a file, which is no block device */
	assert_int_equal(find(), RC_IO);
	assert_non_null(strstr(err.text, "configuration drive vdb: mounting it (iso9660): "));
	assert_non_null(strstr(err.text, "; make it anew (understudy config-drive)"));
	put_drive("vdc");
	assert_int_equal(find(), RC_REFUSED);
	assert_non_null(strstr(err.text, "two drives"));
}

static void of_a_wrong_one_all_that_is_wrong_is_told_and_what_is_right_is_read(void **state)
{
	struct buf problems = { 0 }, none = { 0 };
	struct config read;
	char path[PATH_SIZE + 16], kept[PATH_SIZE + 16], text[LOG_LINE_MAX];
	size_t at_line = 0;
	struct err ignored;

	(void)state;
	(void)snprintf(path, sizeof(path), "%s/config.json", image);
	(void)snprintf(kept, sizeof(kept), "%s/problems", dir);
	assert_int_equal(init_config_read(&read, path, &none, &err), RC_IO);
	assert_int_equal(none.len, 0);
	config_free(&read);
	put_text(image, "config.json",
		 "{\"hypervizor\": {}, \"machine\": {\"hostname\": \"b\", \"dnss\": []}}");
	assert_int_equal(init_config_read(&read, path, &problems, &err), RC_INVALID);
	assert_string_equal(read.hostname, "b");
	machine_problems_keep(kept);
	machine_problems_add(&problems);
	machine_problems_keep(NULL);
	buf_free(&problems);
	config_free(&read);
	assert_int_equal(machine_problems_read(&problems, kept, &ignored), RC_OK);
	assert_true(machine_problems_next(&problems, &at_line, text));
	assert_string_equal(
		text, err.text); /* the trouble that has it as its reason leaves it out then */
	assert_non_null(strstr(text, "config.json: "));
	assert_non_null(strstr((const char *)problems.data, "hypervizor"));
	assert_non_null(strstr((const char *)problems.data, "machine.dnss"));
	buf_free(&problems);
}

static void of_a_right_one_it_is_told_what_nobody_outside_could_reach(void **state)
{
	static const char text[] =
		"{\"site\": \"b\", \"http\": {\"listen\": \"127.0.0.1:7480\"}, \"link\": {\"listen\": \"%s\"}, "
		"\"tls\": {\"ca\": \"ca.crt\", \"cert\": \"b.crt\", \"key\": \"b.key\"}, "
		"\"state_dir\": \"/data/state\", \"hypervisor\": {\"program\": \"/bin/qemu-system-x86_64\"}, "
		"\"instances\": [{\"name\": \"vm1\"}]}";
	static const char *const listen[] = { "0.0.0.0:7400", "[::1]:7400" };
	char path[PATH_SIZE + 16], file[1024];
	struct buf problems;
	struct config read;

	(void)state;
	(void)snprintf(path, sizeof(path), "%s/config.json", image);
	for (size_t i = 0; i < 2; i++) {
		problems = (struct buf){ 0 };
		(void)snprintf(file, sizeof(file), text, listen[i]);
		put_text(image, "config.json", file);
		assert_int_equal(init_config_read(&read, path, &problems, &err), RC_OK);
		assert_true(buf_append_u8(&problems, 0));
		assert_non_null(strstr(
			(const char *)problems.data,
			"config.json: http.listen: 127.0.0.1:7480 cannot be reached from outside"));
		assert_int_equal(strstr((const char *)problems.data,
					"link.listen: [::1]:7400 cannot be reached") != NULL,
				 i == 1);
		buf_free(&problems);
		config_free(&read);
	}
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(fw_cfg_comes_first_and_what_is_passed_over_is_told),
		TEST(all_comes_from_the_place_that_has_the_configuration),
		TEST(what_is_no_file_or_too_large_is_left_out),
		TEST(a_configuration_that_cannot_be_read_is_an_error),
		TEST(a_configuration_that_is_no_file_is_an_error_that_says_what_to_do),
		TEST(a_place_with_very_many_files_is_told),
		TEST(without_any_it_says_where_one_could_be),
		TEST(a_drive_that_cannot_be_mounted_is_named),
		TEST(of_a_wrong_one_all_that_is_wrong_is_told_and_what_is_right_is_read),
		TEST(of_a_right_one_it_is_told_what_nobody_outside_could_reach),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
