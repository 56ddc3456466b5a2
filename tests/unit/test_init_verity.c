/* What the initramfs says of the root file system, and what the kernel's device-mapper is told by it. */
#include "appliance/init_verity.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define ROOT "1e598188b8286840187be7928210a3f9f4e589ad09fff78cfd9052beb736d860"

static struct init_verity verity;
static struct err err;

static void test_the_table_names_partition_blocks_and_root(void **state)
{
	char table[INIT_VERITY_WORDS];

	(void)state;
	assert_int_equal(init_verity_parse(&verity, ROOT " 2816", &err), RC_OK);
	assert_string_equal(verity.root, ROOT);
	init_verity_table(table, &verity, "/dev/vda3");
	assert_string_equal(table, "1 /dev/vda3 /dev/vda3 4096 4096 2816 2816 sha256 " ROOT " -");
}

static void test_what_is_no_digest_is_refused(void **state)
{
	static const char *const wrong[] = { "",
					     "2816",
					     ROOT,
					     ROOT " ",
					     ROOT " 0",
					     ROOT " x",
					     ROOT "0 2816",
					     "g" ROOT " 2816",
					     "1E598188 2816" };

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_int_equal(init_verity_parse(&verity, wrong[i], &err), RC_INVALID);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_table_names_partition_blocks_and_root),
		cmocka_unit_test(test_what_is_no_digest_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
