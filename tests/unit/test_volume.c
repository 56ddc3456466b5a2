#include "appliance/volume.h"

#include "tests/unit/volumes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static uint8_t bytes[VOLUMES_BYTES];
static struct volume volume;

static int set_up(void **state)
{
	(void)state;
	memset(bytes, 0, sizeof(bytes));
	return 0;
}

/* As who reads a device does it. */
static void look(void)
{
	volume_look(&volume, bytes, VOLUME_HEAD);
	if (volume.root_len == 0)
		return;
	assert_true(volume.root_at + volume.root_len <= sizeof(bytes));
	volume_look_root(&volume, bytes + volume.root_at, volume.root_len);
}

static void an_iso_9660_label_is_read_without_its_spaces(void **state)
{
	(void)state;
	volumes_put_iso9660(bytes, "UNDERSTUDY");
	look();
	assert_string_equal(volume.type, "iso9660");
	assert_string_equal(volume.label, "UNDERSTUDY");
	volumes_put_iso9660(bytes, "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345");
	look();
	assert_string_equal(volume.label, "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345");
}

static void a_fat_label_is_read_from_the_boot_sector(void **state)
{
	(void)state;
	volumes_put_fat16(bytes, "UNDERSTUDY", NULL);
	look();
	assert_string_equal(volume.type, "vfat");
	assert_string_equal(volume.label, "UNDERSTUDY");
	memset(bytes, 0, sizeof(bytes));
	volumes_put_fat32(bytes, "UNDERSTUDY", NULL);
	look();
	assert_string_equal(volume.label, "UNDERSTUDY");
}

static void the_label_in_the_root_directory_counts_more(void **state)
{
	(void)state;
	volumes_put_fat16(bytes, "NO NAME", "understudy");
	look();
	assert_string_equal(volume.label, "understudy");
	assert_true(volume_is_named(&volume, "UNDERSTUDY"));
	memset(bytes, 0, sizeof(bytes));
	volumes_put_fat32(bytes, "UNDERSTUDY", "OTHER");
	look();
	assert_string_equal(volume.label, "OTHER");
	assert_false(volume_is_named(&volume, "UNDERSTUDY"));
}

static void without_its_signature_a_boot_sector_has_no_label(void **state)
{
	(void)state;
	volumes_put_fat16(bytes, "UNDERSTUDY", NULL);
	bytes[38] = 0x28;
	look();
	assert_string_equal(volume.label, "");
}

static void expect_neither(size_t len)
{
	volume_look(&volume, bytes, len);
	assert_null(volume.type);
	assert_int_equal(volume.root_len, 0);
	assert_false(volume_is_named(&volume, ""));
}

static void all_else_is_neither(void **state)
{
	/* Where, and what cannot stand there in a boot sector. */
	static const struct {
		size_t at;
		uint8_t value;
	} wrong[] = { { 0, 0 },	 { 510, 0 }, { 511, 0 }, { 12, 0 }, { 11, 1 },
		      { 13, 0 }, { 13, 3 },  { 14, 0 },	 { 16, 0 }, { 16, 3 } };

	(void)state;
	expect_neither(0);
	expect_neither(VOLUME_HEAD);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		volumes_put_fat16(bytes, "UNDERSTUDY", NULL);
		bytes[wrong[i].at] = wrong[i].value;
		expect_neither(VOLUME_HEAD);
	}
	volumes_put_fat16(bytes, "UNDERSTUDY", NULL);
	expect_neither(511);
	memset(bytes, 0, sizeof(bytes));
	volumes_put_iso9660(bytes, "UNDERSTUDY");
	expect_neither(VOLUME_HEAD - 1);
}

static void a_root_directory_that_is_cut_short_or_full_has_no_label(void **state)
{
	uint8_t root[65];

	(void)state;
	memset(root, 1, sizeof(root)); /* attributes without that of a label */
	volume = (struct volume){ .type = "vfat", .label = "AS IT WAS" };
	volume_look_root(&volume, root, sizeof(root));
	volume_look_root(&volume, root, 0);
	assert_string_equal(volume.label, "AS IT WAS");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(an_iso_9660_label_is_read_without_its_spaces, set_up),
		cmocka_unit_test_setup(a_fat_label_is_read_from_the_boot_sector, set_up),
		cmocka_unit_test_setup(the_label_in_the_root_directory_counts_more, set_up),
		cmocka_unit_test_setup(without_its_signature_a_boot_sector_has_no_label, set_up),
		cmocka_unit_test_setup(all_else_is_neither, set_up),
		cmocka_unit_test(a_root_directory_that_is_cut_short_or_full_has_no_label),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
