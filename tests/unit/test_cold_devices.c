/* Which devices were plugged in after the start. QEMU's answers are recorded of 10.0. */
#include "replica/cold_devices.h"

#include "appliance/base/json_text.h"
#include "replica/precheck.h"
#include "tests/unit/cmdline_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define FIRST_LIST 9 /* of precheck's questions; the other follows */

#define COLD                                                                               \
	"-drive\nfile=x.img,if=virtio\n-usb\n-device\nusb-tablet\n-device\n"               \
	"{\"driver\": \"virtio-rng-pci\", \"id\": \"j\"}\n-nic\nnone\n-vga\nstd\n-drive\n" \
	"file=y.img,if=none\n-usbdevice\ntablet\n-device\npcie-root-port,id=rp,multifunction=on"
#define DEVICE(name, type) ", {\"name\": \"" name "\", \"type\": \"child<" type ">\"}"
#define LIST(items) "[{\"name\": \"type\", \"type\": \"string\"}" items "]"
#define NAMED DEVICE("j", "virtio-rng-pci") DEVICE("rp", "pcie-root-port")
#define UNNAMED DEVICE("device[0]", "usb-tablet") DEVICE("device[1]", "virtio-blk-pci")
#define HOT_NAMED NAMED DEVICE("r1", "virtio-rng-pci")

static void take(struct precheck_facts *facts, size_t index, const char *answer)
{
	struct err err = { 0 };
	cJSON *reply = NULL;

	assert_int_equal(json_text_parse(&reply, answer, strlen(answer), &err), RC_OK);
	assert_true(precheck_take(facts, index, reply));
	cJSON_Delete(reply);
}

/* "" for none. */
static void added(const char *arguments, const char *named, const char *unnamed,
		  const char *expected)
{
	struct precheck_facts facts = {
		.major = 10,
		.micro = 13,
		.kvm = true,
		.has_colo = true,
		.has_ignore_shared = true,
		.has_events = true,
		.status = "running",
		.machine = "pc-i440fx-10.0",
		.default_ram_id = "pc.ram",
		.memory_bytes = MIB,
		.cpus = 1,
	};
	struct err err = { 0 };
	struct cmdline source;
	char text[1024];

	(void)snprintf(text, sizeof(text), "qemu\n%s", arguments);
	arguments_lines(&source, text);
	assert_int_equal(cold_devices_read(&facts.cold, &source, &err), RC_OK);
	take(&facts, FIRST_LIST, named);
	take(&facts, FIRST_LIST + 1, unnamed);
	assert_string_equal(facts.added, expected);
	assert_int_equal(precheck_verdict(&facts, &err),
			 *expected == '\0' ? RC_OK : RC_UNSUPPORTED);
	assert_non_null(strstr(err.text, expected));
	cold_devices_free(&facts.cold);
	cmdline_free(&source);
}

static void what_the_command_line_brings_passes(void **state)
{
	(void)state;
	added(COLD, LIST(NAMED), LIST(UNNAMED), "");
	added(COLD "\n-device\nvirtio-rng-pci,id=r1\n--device\nusb-kbd", LIST(HOT_NAMED),
	      LIST(UNNAMED DEVICE("device[2]", "usb-kbd")), "");
	added(COLD, LIST(", {\"name\": \"x\", \"type\": \"link<y>\"}"), LIST(""), "");
}

static void a_device_that_was_plugged_in_is_refused_by_its_name(void **state)
{
	(void)state;
	added(COLD, LIST(HOT_NAMED), LIST(UNNAMED), "r1 (virtio-rng-pci)");
	added(COLD, LIST(NAMED DEVICE("c1", "qemu64-x86_64-cpu")), LIST(UNNAMED),
	      "c1 (qemu64-x86_64-cpu)");
	added(COLD, LIST(NAMED), LIST(UNNAMED DEVICE("device[2]", "usb-kbd")),
	      "device[2] (usb-kbd)");
	/* One that was unplugged has left its number. */
	added(COLD, LIST(NAMED),
	      LIST(DEVICE("device[1]", "virtio-blk-pci") DEVICE("device[2]", "usb-kbd")),
	      "device[2] (usb-kbd)");
}

static void what_is_not_understood_is_not_refused(void **state)
{
	static const char *const sources[] = {
		"-readconfig\nfile",
		"-virtfs\nlocal,path=/x,mount_tag=m",
		"-no-such-option",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(sources) / sizeof(sources[0]); i++)
		added(sources[i], LIST(HOT_NAMED), LIST(UNNAMED), "");
}

static void what_is_no_command_line_is_told(void **state)
{
	struct cold_devices cold;
	struct cmdline source;
	struct err err = { 0 };

	(void)state;
	arguments_lines(&source, "qemu\n-usb\n-device\n{\"driver\": 1");
	assert_int_equal(cold_devices_read(&cold, &source, &err), RC_INVALID);
	assert_non_null(strstr(err.text, "-device (argument 2)"));
	cold_devices_free(&cold);
	cmdline_free(&source);
}

static void disks_that_may_be_devices_are_counted_as_such(void **state)
{
	(void)state;
	added("-hda\nx\n-drive\nfile=y", LIST(""), LIST(UNNAMED), "");
	added("x.img\n-cdrom\ny", LIST(""), LIST(UNNAMED), "");
	added("-drive\nfile=y,if=ide\n-hda\nx", LIST(""), LIST(UNNAMED),
	      "device[1] (virtio-blk-pci)");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_the_command_line_brings_passes),
		cmocka_unit_test(a_device_that_was_plugged_in_is_refused_by_its_name),
		cmocka_unit_test(what_is_not_understood_is_not_refused),
		cmocka_unit_test(what_is_no_command_line_is_told),
		cmocka_unit_test(disks_that_may_be_devices_are_counted_as_such),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
