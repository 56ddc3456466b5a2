/* What is found out before a daemon starts: errors keep it from starting, warnings do not. */
#include "appliance/preflight_internal.h"

#include "appliance/base/mem.h"
#include "appliance/pki.h"
#include "appliance/state_dir.h"
#include "net/vrrp_socket.h"
#include "tests/unit/scratch.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[SCRATCH_MAX];
static char path[SCRATCH_MAX + 16];
static size_t usual; /* warnings of any standby here: one whose files are on a tmpfs */
static struct preflight preflight;
static struct err err;

static const char primary[] =
	"{\"site\": \"a\", \"http\": {\"listen\": \"127.0.0.1:1\"}, \"link\": {\"connect\": \"192.0.2.7:7400\"}, "
	"\"tls\": {\"ca\": \"ca.crt\", \"cert\": \"primary.crt\", \"key\": \"primary.key\"}, "
	"\"instances\": [{\"name\": \"vm1\", \"qmp\": \"vm1.qmp\"}]}";
static const char standby[] =
	"{\"site\": \"b\", \"http\": {\"listen\": \"127.0.0.1:1\"}, \"link\": {\"listen\": \"0.0.0.0:7400\"}, "
	"\"tls\": {\"ca\": \"ca.crt\", \"cert\": \"standby.crt\", \"key\": \"standby.key\"}, "
	"\"state_dir\": \"state\", \"hypervisor\": {\"program\": \"/bin/true\"}, \"memory_dir\": \"/dev/shm\", "
	"\"instances\": [{\"name\": \"vm1\"}]}";

/* Runs it on `text`, with `was` in it replaced by `is`. */
static int run(const char *text, const char *was, const char *is)
{
	const char *at = strstr(text, was);
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	assert_non_null(at);
	(void)fprintf(file, "%.*s%s%s", (int)(at - text), text, is, at + strlen(was));
	assert_int_equal(fclose(file), 0);
	return preflight_run(&preflight, NULL, path, &err);
}

static void expect_lines(const struct buf *lines, size_t count, const char *part)
{
	size_t at = 0, n = 0;
	bool found = count == 0;
	const char *line;
	int len;

	while ((line = preflight_line(lines, &at, &len)) != NULL) {
		n++;
		assert_memory_equal(line, path, strlen(path));
		found = found || memmem(line, (size_t)len, part, strlen(part)) != NULL;
	}
	if (n != count || !found)
		fail_msg("expected %zu line(s), \"%s\" among them; got:\n%.*s", count, part,
			 (int)lines->len, (const char *)lines->data);
}

/* The one error, with its key, its path and what to do. */
static void expect_error(const char *text, const char *was, const char *is, const char *part)
{
	assert_int_equal(run(text, was, is), RC_INVALID);
	expect_lines(&preflight.errors, 1, part);
	preflight_free(&preflight);
}

static void what_is_in_order_passes(void **state)
{
	(void)state;
	assert_int_equal(run(standby, "", ""), RC_OK);
	expect_lines(&preflight.errors, 0, "");
	expect_lines(&preflight.warnings, usual, "state_dir");
	assert_int_equal(preflight.config.role, CONFIG_STANDBY);
	preflight_free(&preflight);
}

static void what_may_come_later_is_a_warning(void **state)
{
	(void)state;
	assert_int_equal(run(primary, "", ""), RC_OK);
	expect_lines(&preflight.warnings, 1, "instances[0].qmp: ");
	preflight_free(&preflight);
	assert_int_equal(run(standby, "\"vm1\"", "\"vm1\", \"takeover\": \"automatic\""), RC_OK);
	expect_lines(&preflight.warnings, usual + 1, "could serve at once");
	preflight_free(&preflight);
	assert_int_equal(run(standby, "127.0.0.1:1", "0.0.0.0:1"), RC_OK);
	expect_lines(&preflight.warnings, usual + 1, "may read the status and order a takeover");
	preflight_free(&preflight);
}

static void a_network_device_may_come_later(void **state)
{
	int fd;

	(void)state;
	if (vrrp_socket_create(&fd, &err) != RC_OK) {
		print_message("needed: CAP_NET_RAW\n");
		skip();
	}
	(void)close(fd);
	assert_int_equal(run(standby, "{\"name\": \"vm1\"}",
			     "{\"name\": \"vm1\", \"vrrp\": [{\"device\": \"nosuch0\", "
			     "\"group\": 1, \"addresses\": [\"192.0.2.7/24\"]}]}"),
			 RC_OK);
	expect_lines(
		&preflight.warnings, usual + 1,
		"instances[0].vrrp[0].device: network device nosuch0: No such device; until it "
		"is there the group is stopped");
	preflight_free(&preflight);
}

static void a_replicas_memory_belongs_into_memory(void **state)
{
	char said[SCRATCH_MAX + 64];

	(void)state;
	if (usual > 0)
		skip(); /* they are, here */
	(void)snprintf(said, sizeof(said), "memory_dir: %s: is neither on a tmpfs nor", dir);
	assert_int_equal(run(standby, "/dev/shm", dir), RC_OK);
	expect_lines(&preflight.warnings, 1, said);
	preflight_free(&preflight);
}

static void who_may_not_is_told_by_name(void **state)
{
	char text[PREFLIGHT_REMEDY_MAX];

	(void)state;
	assert_string_equal(preflight_remedy(text, ENOENT, "make it"), "make it");
	assert_non_null(strstr(preflight_remedy(text, EACCES, "make it"), ") may not: let it"));
	if (geteuid() == 0)
		assert_memory_equal(text, "user root (0)", 13);
}

static void a_wrong_certificate_is_an_error(void **state)
{
	(void)state;
	expect_error(standby, "\"cert\": \"standby.crt\", \"key\": \"standby.key\"",
		     "\"cert\": \"primary.crt\", \"key\": \"primary.key\"",
		     "primary.crt: its subject says OU=primary");
	expect_error(standby, "standby.key", "primary.key", "the key is not the certificate's");
	expect_error(standby, "standby.crt", "nothing.crt",
		     "nothing.crt: No such file or directory; `understudy pki` makes it");
	expect_error(primary, "primary.key", "../etc", "tls.key: ");
	expect_error(
		standby, "\"site\"",
		"\"witness\": {\"endpoints\": [\"https://e:1\"], \"ca\": \"nothing.crt\"}, \"site\"",
		"witness.ca: ");
	expect_error(
		standby, "\"site\"",
		"\"witness\": {\"endpoints\": [\"https://e:1\"], \"ca\": \"ca.key\"}, \"site\"",
		"ca.key: no certificate (PEM)");
}

static int make_certificates(const char *where, time_t now)
{
	const struct pki_request request = { .dir = where,
					     .ca_days = PKI_CA_DAYS,
					     .site_days = PKI_SITE_DAYS,
					     .names = { [PKI_PRIMARY] = "a", [PKI_STANDBY] = "b" },
					     .now = now };
	struct pki_made made[PKI_MEMBERS];

	return pki_make(&request, made, &err);
}

static void remove_certificates(const char *where)
{
	char name[SCRATCH_MAX + 64];

	for (enum pki_member i = PKI_CA; i < PKI_MEMBERS; i++) {
		(void)snprintf(name, sizeof(name), "%s/%s.crt", where, pki_member_name(i));
		(void)unlink(name);
		(void)snprintf(name, sizeof(name), "%s/%s.key", where, pki_member_name(i));
		(void)unlink(name);
	}
}

/* The daemons start, since what they serve needs them; who asks is told. */
static void a_certificate_out_of_its_time_is_an_error_for_who_asks_only(void **state)
{
	static const struct {
		int64_t made; /* days from now */
		const char *part;
	} cases[] = { { -PKI_SITE_DAYS - 2, "the certificate has expired" },
		      { 2, "the authority's certificate is not valid yet" } };
	char where[SCRATCH_MAX + 16];

	(void)state;
	(void)snprintf(where, sizeof(where), "%s/times", dir);
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(make_certificates(where, time(NULL) + cases[i].made * 86400),
				 RC_OK);
		assert_int_equal(
			run(primary,
			    "\"ca.crt\", \"cert\": \"primary.crt\", \"key\": \"primary.key\"",
			    "\"times/ca.crt\", \"cert\": \"times/primary.crt\", \"key\": \"times/primary.key\""),
			RC_OK);
		expect_lines(&preflight.errors, 0, "");
		expect_lines(&preflight.warnings, 1, "qmp");
		assert_int_equal(preflight_look(&preflight, &err), RC_INVALID);
		expect_lines(&preflight.errors, 1, cases[i].part);
		preflight_free(&preflight);
		remove_certificates(where);
	}
	assert_int_equal(rmdir(where), 0);
}

static void a_pipe_in_place_of_a_file_is_refused_without_waiting(void **state)
{
	char fifo[SCRATCH_MAX + 16];

	(void)state;
	(void)snprintf(fifo, sizeof(fifo), "%s/fifo", dir);
	assert_int_equal(mkfifo(fifo, 0600), 0);
	expect_error(standby, "ca.crt", "fifo", "tls.ca: ");
	assert_int_equal(preflight_run(&preflight, NULL, fifo, &err), RC_REFUSED);
	assert_non_null(strstr(err.text, "is no regular file"));
	preflight_free(&preflight);
	assert_int_equal(unlink(fifo), 0);
}

static void what_is_missing_or_of_another_kind_is_an_error(void **state)
{
	(void)state;
	expect_error(standby, "/bin/true", "/nowhere/qemu",
		     "hypervisor.program: /nowhere/qemu: No such file or directory; install QEMU");
	expect_error(standby, "/bin/true", "/proc",
		     "hypervisor.program: /proc: is no regular file");
	expect_error(standby, "/bin/true\"", "/bin/true\", \"firmware\": \"/bin/true\"",
		     "hypervisor.firmware: /bin/true: is no directory");
	expect_error(standby, "\"/dev/shm\"", "\"/nowhere\"", "memory_dir: /nowhere");
	expect_error(standby, "\"state\"", "\"ca.crt\"", "ca.crt: is no directory");
	expect_error(standby, "\"state\"", "\"/nowhere/state\"",
		     "state_dir: /nowhere/state: cannot be made: No such file or directory");
	expect_error(primary, "\"vm1.qmp\"", "\"ca.crt\"", "is no socket");
}

static void a_full_state_dir_keeps_nobody_from_starting_who_was_there_before(void **state)
{
	char there[SCRATCH_MAX + 16];

	(void)state;
	(void)snprintf(there, sizeof(there), "%s/state", dir);
	assert_int_equal(mkdir(there, 0700), 0);
	fault_arm(FAULT_WRITE, 1);
	assert_int_equal(run(standby, "", ""), RC_OK);
	expect_lines(&preflight.warnings, 1, "No space left on device; make room");
	preflight_free(&preflight);
	assert_int_equal(rmdir(there), 0);
	fault_arm(FAULT_WRITE, 1);
	expect_error(standby, "", "", "state_dir: ");
}

static void a_term_that_cannot_be_read_is_an_error(void **state)
{
	char there[SCRATCH_MAX + 16], instance[SCRATCH_MAX + 32], term[SCRATCH_MAX + 48];
	FILE *file;

	(void)state;
	(void)snprintf(there, sizeof(there), "%s/state", dir);
	(void)snprintf(instance, sizeof(instance), "%s/vm1", there);
	(void)snprintf(term, sizeof(term), "%s/term", instance);
	assert_int_equal(mkdir(there, 0700), 0);
	assert_int_equal(mkdir(instance, 0700), 0);
	assert_int_equal(run(standby, "", ""), RC_OK);
	preflight_free(&preflight);
	file = fopen(term, "w");
	assert_non_null(file);
	assert_int_equal(fclose(file), 0);
	expect_error(standby, "", "", "vm1/term: ");
	assert_int_equal(unlink(term), 0);
	assert_int_equal(rmdir(instance), 0);
	assert_int_equal(rmdir(there), 0);
}

static void every_error_is_found_at_once(void **state)
{
	(void)state;
	assert_int_equal(run(standby, "\"program\": \"/bin/true\"}, \"memory_dir\": \"/dev/shm\"",
			     "\"program\": \"/no\"}, \"memory_dir\": \"/nowhere\""),
			 RC_INVALID);
	expect_lines(&preflight.errors, 2, "memory_dir");
	preflight_free(&preflight);
	assert_int_equal(run(standby, "\"site\": \"b\"", "\"siet\": \"b\""), RC_INVALID);
	expect_lines(&preflight.errors, 2, "siet: unknown key; did you mean \"site\"?");
	preflight_free(&preflight);
}

static void a_role_that_cannot_be_told_is_asked_for(void **state)
{
	const enum config_role role = CONFIG_PRIMARY;

	(void)state;
	assert_int_equal(run("{}", "", ""), RC_STATE);
	assert_false(preflight.role_known);
	assert_int_equal(preflight.errors.len, 0);
	preflight_free(&preflight);
	assert_int_equal(preflight_run(&preflight, &role, path, &err), RC_INVALID);
	assert_true(preflight.role_known && preflight.errors.len > 0);
	preflight_free(&preflight);
}

static int setup(void **state)
{
	bool lasting, full;

	(void)state;
	if (scratch_make(dir, "preflight") != 0 ||
	    state_dir_try(dir, &lasting, &full, &err) != RC_OK)
		return -1;
	usual = lasting ? 0 : 1;
	(void)snprintf(path, sizeof(path), "%s/c.json", dir);
	return make_certificates(dir, time(NULL));
}

static int teardown(void **state)
{
	(void)state;
	remove_certificates(dir);
	(void)unlink(path);
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_in_order_passes),
		cmocka_unit_test(what_may_come_later_is_a_warning),
		cmocka_unit_test(a_network_device_may_come_later),
		cmocka_unit_test(a_replicas_memory_belongs_into_memory),
		cmocka_unit_test(who_may_not_is_told_by_name),
		cmocka_unit_test(a_wrong_certificate_is_an_error),
		cmocka_unit_test(a_certificate_out_of_its_time_is_an_error_for_who_asks_only),
		cmocka_unit_test(a_pipe_in_place_of_a_file_is_refused_without_waiting),
		cmocka_unit_test(what_is_missing_or_of_another_kind_is_an_error),
		cmocka_unit_test(a_full_state_dir_keeps_nobody_from_starting_who_was_there_before),
		cmocka_unit_test(a_term_that_cannot_be_read_is_an_error),
		cmocka_unit_test(every_error_is_found_at_once),
		cmocka_unit_test(a_role_that_cannot_be_told_is_asked_for),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
