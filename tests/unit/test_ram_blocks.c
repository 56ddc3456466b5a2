#include "replica/ram_blocks.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* As QEMU 10.0 and, without the last column, older ones write it. */
static const char table[] =
	"              Block Name    PSize              Offset               Used              Total"
	"                HVA  RO\r\n"
	"                  pc.ram    4 KiB  0x0000000000000000 0x0000000010000000 0x0000000010000000 "
	"0x00007f0e10000000  rw\r\n"
	"    /rom@etc/acpi/tables    4 KiB  0x0000000010100000 0x0000000000020000 0x0000000000200000 "
	"0x00007f0e0fc00000  ro\r\n"
	"0000:00:03.0/virtio-net-pci.rom    4 KiB  0x0000000010060000 0x0000000000040000 "
	"0x0000000000040000 0x00007f0e0fb00000\r\n";

static struct err err;

static int check(const char *text, const char *name, uint64_t bytes)
{
	static struct layout layout;

	memset(&layout, 0, sizeof(layout));
	assert_int_equal(layout_add(&layout, name, strlen(name), bytes, &err), RC_OK);
	assert_int_equal(layout_finish(&layout, &err), RC_OK);
	return ram_blocks_check(text, &layout, &err);
}

static void equal_sizes_are_fit(void **state)
{
	(void)state;
	assert_int_equal(check(table, "pc.ram", 256 << 20), RC_OK);
	assert_int_equal(check(table, "0000:00:03.0/virtio-net-pci.rom", 256 << 10), RC_OK);
}

static void only_firmware_tables_may_have_another_size_up_to_their_total(void **state)
{
	(void)state;
	assert_int_equal(check(table, "/rom@etc/acpi/tables", 4096), RC_OK);
	assert_int_equal(check(table, "/rom@etc/acpi/tables", 2 << 20), RC_OK);
	assert_int_equal(check(table, "/rom@etc/acpi/tables", (2 << 20) + 4096), RC_UNSUPPORTED);
	assert_int_equal(check(table, "0000:00:03.0/virtio-net-pci.rom", 128 << 10),
			 RC_UNSUPPORTED);
	assert_non_null(strstr(err.text, "128 KiB in the instance and 256 KiB"));
}

static void a_block_that_is_missing_is_named(void **state)
{
	static const char *const tables[] = { table, "", "\n", "nonsense", "pc 4 KiB 0x0 0x0" };

	(void)state;
	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
		assert_int_equal(check(tables[i], "pc", 4096), RC_UNSUPPORTED);
		assert_non_null(strstr(err.text, "RAM block pc (4 KiB)"));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(equal_sizes_are_fit),
		cmocka_unit_test(only_firmware_tables_may_have_another_size_up_to_their_total),
		cmocka_unit_test(a_block_that_is_missing_is_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
