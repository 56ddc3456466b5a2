#include "replica/accel.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void virtualization_is_a_whole_word_among_the_flags(void **state)
{
	(void)state;
	assert_true(accel_has_virtualization(
		"processor\t: 0\nflags\t\t: fpu vme vmx sse\nbugs\t: x\n"));
	assert_true(accel_has_virtualization("processor\t: 0\nflags\t\t: fpu svm\n"));
	assert_true(accel_has_virtualization("processor\t: 0\nflags\t\t: svm"));
	assert_false(accel_has_virtualization(
		"processor\t: 0\nflags\t\t: fpu svm_lock vmx_x xvmx\nvmx flags\t: vmx\n"));
	assert_false(
		accel_has_virtualization("processor\t: 0\nmodel name\t: vmx svm\nflags\t: fpu\n"));
	assert_false(accel_has_virtualization("processor\t: 0\nflags"));
	assert_false(accel_has_virtualization(""));
}

static void the_replica_gets_what_the_instance_has(void **state)
{
	static const struct {
		const char *wanted, *primary;
		bool has_kvm;
		const char *gets; /* NULL: refused */
	} cases[] = {
		{ "auto", "kvm", true, "kvm" },	 { "auto", "tcg", true, "tcg" },
		{ "auto", "tcg", false, "tcg" }, { "auto", "kvm", false, NULL },
		{ "auto", "", true, "kvm" },	 { "auto", "", false, "tcg" },
		{ "kvm", "tcg", true, "kvm" },	 { "kvm", "kvm", false, NULL },
		{ "tcg", "kvm", true, "tcg" },	 { "tcg", "kvm", false, "tcg" },
		{ "hax", "kvm", true, NULL },
	};
	const char *accel;
	struct err err;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int rc = accel_choose(&accel, cases[i].wanted, cases[i].primary, cases[i].has_kvm,
				      "no door", &err);

		assert_int_equal(rc == RC_OK, cases[i].gets != NULL);
		if (rc == RC_OK)
			assert_string_equal(accel, cases[i].gets);
	}
	assert_int_equal(accel_choose(&accel, "auto", "kvm", false, "no door", &err),
			 RC_UNSUPPORTED);
	assert_non_null(strstr(err.text, "no door"));
}

static void this_machine_has_kvm_or_a_reason_why_not(void **state)
{
	char why[ACCEL_WHY_MAX] = "";

	(void)state;
	if (!accel_has_kvm(why))
		assert_string_not_equal(why, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(virtualization_is_a_whole_word_among_the_flags),
		cmocka_unit_test(the_replica_gets_what_the_instance_has),
		cmocka_unit_test(this_machine_has_kvm_or_a_reason_why_not),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
