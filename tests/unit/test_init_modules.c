#include "appliance/init_modules.h"
#include "tests/unit/scratch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static bool wanted(const char *names, const char *devices, size_t len)
{
	struct buf list = { 0 };
	char text[256];
	bool yes;

	(void)snprintf(text, sizeof(text), "%s", names);
	assert_true(buf_append(&list, devices, len));
	yes = init_modules_wanted(text, &list);
	buf_free(&list);
	return yes;
}

static void a_driver_is_wanted_for_any_device_that_has_one_of_its_names(void **state)
{
	static const char devices[] = "pci:v00008086d00007010sv00001AF4sd00001100bc01sc01i80\0"
				      "virtio:d00000001v00001AF4\0"
				      "cpu:type:x86,ven0002fam0019mod0001:feature:,0000,0085,00C2";

	(void)state;
	assert_true(wanted("virtio:d00000001v*", devices, sizeof(devices)));
	assert_false(wanted("virtio:d00000008v*", devices, sizeof(devices)));
	assert_true(wanted("pci:v*d1sv* pci:v00008086d00007010sv*sd*bc*sc*i*", devices,
			   sizeof(devices)));
	assert_true(wanted("cpu:type:x86,ven*fam*mod*:feature:*0085*", devices, sizeof(devices)));
	assert_false(wanted("cpu:type:x86,ven*fam*mod*:feature:*00C0*", devices, sizeof(devices)));
	assert_false(
		wanted("virtio:d00000001", devices, sizeof(devices))); /* not a part of a name */
	assert_false(wanted("", devices, sizeof(devices)));
	assert_false(wanted("virtio:*", "", 0));
}

static void devices_of_all_buses_are_told_and_none_is_no_error(void **state)
{
	char dir[SCRATCH_MAX], command[1024];
	struct buf devices = { 0 };
	struct err err;

	(void)state;
	assert_int_equal(scratch_make(dir, "modules"), 0);
	(void)snprintf(
		command, sizeof(command),
		"cd %s && mkdir -p bus/pci/devices/0 bus/pci/devices/1 bus/acpi/devices/x && "
		"echo pci:v1 >bus/pci/devices/0/modalias && echo acpi:VMBUS: >bus/acpi/devices/x/modalias",
		dir);
	assert_int_equal(system(command), 0); /* NOLINT(cert-env33-c): a path of our own */
	assert_int_equal(init_modules_devices(&devices, dir, &err), RC_OK);
	assert_int_equal(devices.len, sizeof("pci:v1") + sizeof("acpi:VMBUS:"));
	assert_memory_equal(devices.data, "pci:v1\0acpi:VMBUS:", devices.len);
	buf_free(&devices);
	devices.limit = 1;
	assert_int_equal(init_modules_devices(&devices, dir, &err), RC_LIMIT);
	buf_free(&devices);
	devices = (struct buf){ 0 };
	(void)snprintf(command, sizeof(command), "rm -rf %s", dir);
	assert_int_equal(system(command), 0); /* NOLINT(cert-env33-c): a path of our own */
	assert_int_equal(init_modules_devices(&devices, dir, &err), RC_OK);
	assert_int_equal(devices.len, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_driver_is_wanted_for_any_device_that_has_one_of_its_names),
		cmocka_unit_test(devices_of_all_buses_are_told_and_none_is_no_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
