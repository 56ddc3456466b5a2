/* Room for a memory image: what is refused at once, what is only told, and what an error says. */
#include "replica/image_room.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MIB (UINT64_C(1) << 20)

static void a_full_directory_is_refused_with_what_is_needed_and_free(void **state)
{
	struct err err;
	bool tight;

	(void)state;
	assert_int_equal(image_room_judge("/m/vm1", 8192 * MIB, 0, 100 * MIB, &tight, &err),
			 RC_LIMIT);
	assert_string_equal(err.text,
			    "memory_dir: /m/vm1: no room for the instance's memory: 8192 MiB "
			    "needed, 100 MiB free");
	assert_int_equal(image_room_judge("/m", MIB, 0, 0, &tight, &err), RC_LIMIT);
}

static void images_are_sparse_so_less_than_the_whole_is_only_told(void **state)
{
	struct err err;
	bool tight;

	(void)state;
	assert_int_equal(image_room_judge("/m", 8192 * MIB, 0, 128 * MIB, &tight, &err), RC_OK);
	assert_true(tight);
	assert_int_equal(image_room_judge("/m", 8192 * MIB, 0, 8192 * MIB, &tight, &err), RC_OK);
	assert_false(tight);
}

static void what_is_stored_already_needs_no_room(void **state)
{
	struct err err;
	bool tight;

	(void)state;
	assert_int_equal(image_room_judge("/m", 256 * MIB, 256 * MIB, 0, &tight, &err), RC_OK);
	assert_false(tight);
	assert_int_equal(image_room_judge("/m", 256 * MIB, 192 * MIB, 0, &tight, &err), RC_LIMIT);
	assert_non_null(strstr(err.text, "64 MiB needed, 0 MiB free"));
}

static void a_failed_write_tells_directory_and_sizes(void **state)
{
	struct err err;

	(void)state;
	assert_int_equal(image_room_error("/m/pc%2eram", ENOSPC, 256 * MIB, 60 * MIB, &err), RC_IO);
	assert_non_null(strstr(err.text, "memory_dir: /m/pc%2eram: 60 of 256 MiB stored"));
	assert_non_null(strstr(err.text, "No space left on device"));
}

static void no_file_system_has_room_for_everything(void **state)
{
	struct err err;

	(void)state;
	assert_int_equal(image_room_check("/", UINT64_MAX, 0, &err), RC_LIMIT);
	assert_int_equal(image_room_check("/", 4096, 4096, &err), RC_OK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_full_directory_is_refused_with_what_is_needed_and_free),
		cmocka_unit_test(images_are_sparse_so_less_than_the_whole_is_only_told),
		cmocka_unit_test(what_is_stored_already_needs_no_room),
		cmocka_unit_test(a_failed_write_tells_directory_and_sizes),
		cmocka_unit_test(no_file_system_has_room_for_everything),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
