/* What a configuration drive has on it, and which configurations are not for the appliance's image. */
#include "appliance/config_drive.h"

#include "appliance/base/files.h"
#include "appliance/base/mem.h"
#include "appliance/pki.h"
#include "appliance/preflight.h"
#include "appliance/volume.h"
#include "tests/unit/scratch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define PATH_SIZE (SCRATCH_MAX + 32)

static char dir[SCRATCH_MAX];
static char path[PATH_SIZE];
static struct preflight preflight;
static struct buf drive;
static struct err err;

static const char fine[] =
	"{\"site\": \"b\", \"http\": {\"listen\": \"0.0.0.0:7480\"}, \"link\": {\"listen\": \"0.0.0.0:7400\"}, "
	"\"tls\": {\"ca\": \"ca.crt\", \"cert\": \"standby.crt\", \"key\": \"standby.key\"}, "
	"\"state_dir\": \"/data/state\", "
	"\"hypervisor\": {\"program\": \"/bin/qemu-system-x86_64\", \"firmware\": \"/firmware\"}, "
	"\"machine\": {\"network\": [{\"name\": \"eth0\", \"addresses\": [\"192.0.2.2/24\"]}]}, "
	"\"instances\": [{\"name\": \"vm1\"}]}";

static int open_all(void **state)
{
	struct pki_request request = { .dir = dir,
				       .ca_days = 100,
				       .site_days = 100,
				       .names = { NULL, "a", "b" },
				       .now = time(NULL) };
	struct pki_made made[PKI_MEMBERS];

	(void)state;
	if (scratch_make(dir, "drive") != 0)
		return -1;
	(void)snprintf(path, sizeof(path), "%s/config.json", dir);
	return pki_make(&request, made, &err);
}

static int close_all(void **state)
{
	char command[PATH_SIZE];

	(void)state;
	(void)snprintf(command, sizeof(command), "rm -rf %s", dir);
	return system(command); /* NOLINT(cert-env33-c): a path of our own */
}

/* Runs it on `fine`, with `was` in it replaced by `is`. */
static int look(const char *was, const char *is)
{
	const char *at = strstr(fine, was);
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	assert_non_null(at);
	(void)fprintf(file, "%.*s%s%s", (int)(at - fine), fine, is, at + strlen(was));
	assert_int_equal(fclose(file), 0);
	return preflight_run_appliance(&preflight, path, &err);
}

static void expect(const struct buf *lines, const char *part)
{
	if (lines->len == 0 || memmem(lines->data, lines->len, part, strlen(part)) == NULL)
		fail_msg("expected \"%s\"; got:\n%.*s", part, (int)lines->len,
			 (const char *)lines->data);
	preflight_free(&preflight);
}

static bool has(const char *text)
{
	return memmem(drive.data, drive.len, text, strlen(text)) != NULL;
}

static void what_the_configuration_names_is_on_it_and_nothing_else(void **state)
{
	struct volume volume;

	(void)state;
	assert_int_equal(look("", ""), RC_OK);
	assert_int_equal(preflight.errors.len, 0);
	assert_int_equal(config_drive_make(&drive, dir, &preflight.config, &err), RC_OK);
	volume_look(&volume, drive.data, drive.len);
	assert_true(volume_is_named(&volume, CONFIG_DRIVE_LABEL));
	assert_true(has(fine) && has("config.json") && has("ca.crt") && has("standby.key"));
	assert_false(has("ca.key") || has("primary.crt") || has("primary.key"));
	files_free_secret(&drive);
	expect(&preflight.warnings, "http.listen: everybody who reaches 0.0.0.0:7480");
}

static void a_file_that_two_keys_name_is_on_it_once(void **state)
{
	const char *paths[CONFIG_DRIVE_FILES_MAX];

	(void)state;
	assert_int_equal(look("\"instances\"",
			      "\"witness\": {\"endpoints\": [\"https://192.0.2.9:2379\"], "
			      "\"ca\": \"ca.crt\"}, \"instances\""),
			 RC_OK);
	assert_int_equal(config_drive_named(&preflight.config, paths), 3);
	preflight_free(&preflight);
}

static void what_the_image_does_not_have_is_refused(void **state)
{
	(void)state;
	assert_int_equal(look("/bin/qemu", "/usr/bin/qemu"), RC_INVALID);
	expect(&preflight.errors, "hypervisor.program: /usr/bin/qemu-system-x86_64: the "
				  "appliance's is /bin/qemu-system-x86_64");
	assert_int_equal(look(", \"firmware\": \"/firmware\"", ""), RC_INVALID);
	expect(&preflight.errors, "hypervisor.firmware: absent");
	assert_int_equal(look("\"link\": {\"listen\": \"0.0.0.0:7400\"}",
			      "\"link\": {\"connect\": \"192.0.2.2:7400\"}"),
			 RC_INVALID);
	expect(&preflight.errors, "link.connect");
}

static void files_elsewhere_and_names_that_cannot_be_are_refused(void **state)
{
	char below[PATH_SIZE], other[PATH_SIZE];

	(void)state;
	assert_int_equal(look("\"ca.crt\"", "\"./ca.crt\""), RC_INVALID);
	expect(&preflight.errors, "has to be in the same directory");
	(void)snprintf(below, sizeof(below), "%s/a b.crt", dir);
	(void)snprintf(other, sizeof(other), "%s/ca.crt", dir);
	assert_int_equal(link(other, below), 0);
	assert_int_equal(look("\"ca.crt\"", "\"a b.crt\""), RC_INVALID);
	expect(&preflight.errors, "rename it");
}

static void a_network_that_the_machine_would_not_have_is_refused(void **state)
{
	(void)state;
	assert_int_equal(look("0.0.0.0:7400", "192.0.2.3:7400"), RC_INVALID);
	expect(&preflight.errors, "link.listen: 192.0.2.3:7400 is at no device of machine.network");
	assert_int_equal(look("0.0.0.0:7400", "192.0.2.2:7400"), RC_OK);
	preflight_free(&preflight);
	assert_int_equal(look("0.0.0.0:7480", "127.0.0.1:7480"), RC_INVALID);
	expect(&preflight.errors,
	       "http.listen: 127.0.0.1:7480 cannot be reached from outside of the appliance");
	assert_int_equal(look("0.0.0.0:7480", "unix:/run/us.http"), RC_INVALID);
	expect(&preflight.errors, "http.listen: unix:/run/us.http cannot be reached");
	assert_int_equal(look("0.0.0.0:7400", "[::1]:7400"), RC_INVALID);
	expect(&preflight.errors, "link.listen: [::1]:7400 cannot be reached");
	assert_int_equal(
		look("{\"name\": \"vm1\"}",
		     "{\"name\": \"vm1\", \"nics\": [{\"name\": \"net0\", \"tap\": \"t\", "
		     "\"bridge\": \"br0\"}], \"vrrp\": [{\"device\": \"br1\", \"group\": 1, "
		     "\"addresses\": [\"192.0.2.9/32\"]}]}"),
		RC_INVALID);
	assert_non_null(memmem(preflight.errors.data, preflight.errors.len,
			       "instances[0].nics[0]: br0 is no device", 38));
	expect(&preflight.errors, "instances[0].vrrp[0]: br1 is no device of machine.network");
}

static void a_key_that_others_may_read_is_refused(void **state)
{
	char key[PATH_SIZE];

	(void)state;
	(void)snprintf(key, sizeof(key), "%s/standby.key", dir);
	assert_int_equal(chmod(key, 0644), 0);
	assert_int_equal(look("", ""), RC_INVALID);
	expect(&preflight.errors, "chmod 600 it");
	assert_int_equal(chmod(key, 0600), 0);
}

static void what_would_not_outlive_a_restart_is_warned_of(void **state)
{
	(void)state;
	assert_int_equal(look("/data/state", "/run/state"), RC_OK);
	expect(&preflight.warnings, "state_dir: /run/state: is not below /data");
	assert_int_equal(look("{\"name\": \"vm1\"}",
			      "{\"name\": \"vm1\", \"journal\": {\"dir\": \"/run/j\"}, "
			      "\"disks\": [{\"name\": \"d\", \"path\": \"/run/d\"}]}"),
			 RC_OK);
	assert_non_null(memmem(preflight.warnings.data, preflight.warnings.len,
			       "instances[0].journal.dir: /run/j", 32));
	expect(&preflight.warnings, "instances[0].disks[0].path: /run/d");
	assert_int_equal(
		look("{\"name\": \"vm1\"}",
		     "{\"name\": \"vm1\", \"journal\": {\"copies\": [\"/data/a\", \"/dev/shm/b\"]}}"),
		RC_OK);
	expect(&preflight.warnings, "instances[0].journal.copies[1]: /dev/shm/b");
	assert_int_equal(
		look("{\"network\": [{\"name\": \"eth0\", \"addresses\": [\"192.0.2.2/24\"]}]}",
		     "{}"),
		RC_OK);
	expect(&preflight.warnings, "machine.network: absent");
}

static void where_nothing_can_be_written_is_refused(void **state)
{
	(void)state;
	assert_int_equal(look("/data/state", "/var/lib/understudy"), RC_INVALID);
	expect(&preflight.errors, "state_dir: /var/lib/understudy: nothing can be written there");
	assert_int_equal(look("\"site\"", "\"memory_dir\": \"/tmp/x\", \"site\""), RC_INVALID);
	expect(&preflight.errors, "memory_dir: /tmp/x: nothing can be written there");
	assert_int_equal(look("{\"name\": \"vm1\"}",
			      "{\"name\": \"vm1\", \"journal\": {\"dir\": \"/datax/j\"}, "
			      "\"disks\": [{\"name\": \"d\", \"path\": \"/srv/d\"}]}"),
			 RC_INVALID);
	assert_non_null(memmem(preflight.errors.data, preflight.errors.len,
			       "instances[0].journal.dir: /datax/j: nothing", 43));
	expect(&preflight.errors,
	       "instances[0].disks[0].path: /srv/d: nothing can be written there");
}

static void a_name_that_nobody_can_resolve_is_refused(void **state)
{
	(void)state;
	assert_int_equal(look("0.0.0.0:7480", "site-b:7480"), RC_INVALID);
	expect(&preflight.errors, "http.listen: site-b: the appliance has no name server to ask");
}

static void without_a_configuration_or_memory_it_says_so(void **state)
{
	int rc;

	(void)state;
	assert_int_equal(look("", ""), RC_OK);
	for (unsigned long nth = 1;; nth++) {
		fault_arm(FAULT_ALLOC, nth);
		rc = config_drive_make(&drive, dir, &preflight.config, &err);
		files_free_secret(&drive);
		if (!fault_fired(FAULT_ALLOC))
			break;
		assert_int_not_equal(rc, RC_OK);
	}
	fault_arm(FAULT_ALLOC, 0);
	assert_int_equal(rc, RC_OK);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(config_drive_make(&drive, dir, &preflight.config, &err), RC_IO);
	preflight_free(&preflight);
	assert_int_equal(preflight_run_appliance(&preflight, path, &err), RC_IO);
	expect(&preflight.errors, "config.json: No such file");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_the_configuration_names_is_on_it_and_nothing_else),
		cmocka_unit_test(a_file_that_two_keys_name_is_on_it_once),
		cmocka_unit_test(what_the_image_does_not_have_is_refused),
		cmocka_unit_test(files_elsewhere_and_names_that_cannot_be_are_refused),
		cmocka_unit_test(a_network_that_the_machine_would_not_have_is_refused),
		cmocka_unit_test(a_key_that_others_may_read_is_refused),
		cmocka_unit_test(what_would_not_outlive_a_restart_is_warned_of),
		cmocka_unit_test(where_nothing_can_be_written_is_refused),
		cmocka_unit_test(a_name_that_nobody_can_resolve_is_refused),
		cmocka_unit_test(without_a_configuration_or_memory_it_says_so),
	};

	return cmocka_run_group_tests(tests, open_all, close_all);
}
