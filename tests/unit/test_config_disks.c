/* A disk of a standby's: a file's path or a block target. */
#include "tests/unit/config_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define DISKS(disks) STANDBY_WITH("", ", \"disks\": [" disks "]")
#define DISK(name, rest) "{\"name\": \"" name "\"" rest "}"
#define NBD "{\"driver\": \"nbd\", \"server\": {\"type\": \"unix\", \"path\": \"/s\"}}"

static void a_target_is_kept_as_it_is(void **state)
{
	(void)state;
	takes(CONFIG_STANDBY,
	      DISKS(DISK("a", ", \"target\": " NBD) "," DISK("b", ", \"path\": \"/b.raw\"")));
	assert_string_equal(config.instances[0].disks[0].target,
			    "{\"driver\":\"nbd\",\"server\":{\"type\":\"unix\",\"path\":\"/s\"}}");
	assert_null(config.instances[0].disks[0].path);
	assert_null(config.instances[0].disks[1].target);
	assert_string_equal(config.instances[0].disks[1].path, "/b.raw");
	config_free(&config);
}

static void a_disk_is_one_of_both(void **state)
{
	(void)state;
	refuses(CONFIG_STANDBY, DISKS(DISK("a", "")),
		"f.json: instances[0].disks[0]: missing: path, a raw image, or target, what QEMU is to open");
	refuses(CONFIG_STANDBY, DISKS(DISK("a", ", \"path\": \"/a\", \"target\": " NBD)),
		"f.json: instances[0].disks[0].target: there is a path as well: name one of them");
	refuses(CONFIG_STANDBY,
		DISKS(DISK("a", ", \"target\": " NBD) "," DISK("b", ", \"target\": " NBD)),
		"f.json: instances[0].disks[1].target: {\"driver\":\"nbd\",\"server\":{\"type\":\"unix\",\"path\":\"/s\"}}: the "
		"same image as instances[0].disks[0].target");
}

static void a_target_is_one_in_whatever_order(void **state)
{
	(void)state;
	refuses(CONFIG_STANDBY,
		DISKS(DISK("a", ", \"target\": " NBD) "," DISK(
			"b",
			", \"target\": {\"server\": {\"path\": \"/s\", \"type\": \"unix\"}, \"driver\": \"nbd\"}")),
		"f.json: instances[0].disks[1].target: {\"server\":{\"path\":\"/s\",\"type\":\"unix\"},\"driver\":\"nbd\"}: the "
		"same image as instances[0].disks[0].target");
	takes(CONFIG_STANDBY,
	      DISKS(DISK("a", ", \"target\": " NBD) "," DISK(
		      "b",
		      ", \"target\": {\"driver\": \"nbd\", \"export\": \"e\", \"server\": {\"type\": \"unix\", \"path\": \"/s\"}}")));
	config_free(&config);
}

static void what_is_no_target_is_told(void **state)
{
	(void)state;
	refuses(CONFIG_STANDBY, DISKS(DISK("a", ", \"target\": \"nbd://store/a\"")),
		"f.json: instances[0].disks[0].target: expected an object, found a string");
	refuses(CONFIG_STANDBY, DISKS(DISK("a", ", \"target\": {\"filename\": \"/dev/sdb\"}")),
		"f.json: instances[0].disks[0].target: a block target has a driver: {\"driver\": \"nbd\", ...}");
	refuses(CONFIG_STANDBY,
		DISKS(DISK("a", ", \"target\": {\"driver\": \"nbd\", \"node-name\": \"n\"}")),
		"f.json: instances[0].disks[0].target: a block target here has no node-name");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_target_is_kept_as_it_is),
		cmocka_unit_test(a_disk_is_one_of_both),
		cmocka_unit_test(a_target_is_one_in_whatever_order),
		cmocka_unit_test(what_is_no_target_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
