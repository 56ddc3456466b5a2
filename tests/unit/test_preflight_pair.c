/* Whether both sites' files go together. */
#include "tests/unit/preflight_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define TLS "\"tls\": {\"ca\": \"c\", \"cert\": \"c\", \"key\": \"c\"}"
#define PRIMARY(site, port, more, rest)                                               \
	"{\"site\": \"" site "\", " TLS ", \"link\": {\"connect\": \"b.example:" port \
	"\"}, \"instances\": [{\"name\": \"vm1\", \"qmp\": \"/q\"" more "}]" rest "}"
#define STANDBY(port, more, rest)                                                                 \
	"{\"site\": \"b\", " TLS ", \"state_dir\": \"s\", \"hypervisor\": {\"program\": \"q\"}, " \
	"\"link\": {\"listen\": \"0.0.0.0:" port "\"}, \"instances\": [{\"name\": \"vm1\"" more   \
	"}" rest "]}"
#define NIC(name) \
	", \"nics\": [{\"name\": \"" name "\", \"socket\": \"/s\", \"qemu_socket\": \"/t\"}]"
#define TAP(name) ", \"nics\": [{\"name\": \"" name "\", \"tap\": \"us0\"}]"

enum what { ERRORS, WARNINGS };

/* From either file. */
static void pair(const char *primary, const char *standby, enum what what, const char *expected)
{
	struct config peer;
	struct err err;

	for (enum config_role role = CONFIG_PRIMARY; role <= CONFIG_STANDBY; role++) {
		const char *other = role == CONFIG_PRIMARY ? standby : primary;

		preflight_fixture_read(role, role == CONFIG_PRIMARY ? primary : standby);
		assert_int_equal(config_parse(&peer, 1 - role, "p.json", "/", other, strlen(other),
					      &err),
				 RC_OK);
		assert_int_equal(preflight_pair(&preflight, &peer, &err),
				 what == ERRORS && expected != NULL ? RC_INVALID : RC_OK);
		config_free(&peer);
		preflight_fixture_expect(what == ERRORS ? &preflight.errors : &preflight.warnings,
					 expected);
	}
}

static void what_fits_is_taken(void **state)
{
	(void)state;
	pair(PRIMARY("a", "1", "", ""), STANDBY("1", "", ""), ERRORS, NULL);
	pair(PRIMARY("a", "1", NIC("n"), ""), STANDBY("1", TAP("n"), ""), WARNINGS, NULL);
}

static void heartbeats_are_compared_with_the_other_sites_patience(void **state)
{
	(void)state;
	/* The defaults are 50 and 300. */
	pair("{\"site\": \"a\", " TLS
	     ", \"link\": {\"connect\": \"b.example:1\", \"heartbeat_ms\": 150, "
	     "\"detect_ms\": 600}, \"instances\": [{\"name\": \"vm1\", \"qmp\": \"/q\"}]}",
	     STANDBY("1", "", ""), ERRORS,
	     "link.heartbeat_ms of the primary is 150, and link.detect_ms of the standby 300");
}

static void sites_have_names_of_their_own(void **state)
{
	(void)state;
	pair(PRIMARY("b", "1", "", ""), STANDBY("1", "", ""), ERRORS, "site: both are \"b\"");
}

static void ports_are_compared(void **state)
{
	(void)state;
	pair(PRIMARY("a", "2", "", ""), STANDBY("1", "", ""), WARNINGS,
	     "the primary connects to port 2, the standby listens on 1");
}

static void an_instance_needs_its_standby(void **state)
{
	static const char two[] = "{\"site\": \"a\", " TLS ", \"link\": {\"connect\": \"b:1\"}, "
				  "\"instances\": [{\"name\": \"vm1\", \"qmp\": \"/q\"}, "
				  "{\"name\": \"vm2\", \"qmp\": \"/r\"}]}";

	(void)state;
	pair(two, STANDBY("1", "", ""), ERRORS, "instance vm2: not in the standby's file");
	pair(PRIMARY("a", "1", "", ""), STANDBY("1", "", ", {\"name\": \"vm2\"}"), WARNINGS,
	     "instance vm2: only in the standby's file");
}

static void network_cards_have_the_same_names(void **state)
{
	(void)state;
	pair(PRIMARY("a", "1", NIC("n"), ""), STANDBY("1", "", ""), ERRORS,
	     "network card (nics) n is not in the standby's file");
	pair(PRIMARY("a", "1", "", ""), STANDBY("1", TAP("n"), ""), ERRORS,
	     "network card (nics) n is not in the primary's file");
}

static void disks_have_the_same_names(void **state)
{
	(void)state;
	pair(PRIMARY("a", "1", ", \"disks\": [{\"name\": \"d\", \"device\": \"v\"}]", ""),
	     STANDBY("1", "", ""), ERRORS, "disk (disks) d is not in the standby's file");
	pair(PRIMARY("a", "1", "", ""),
	     STANDBY("1", ", \"disks\": [{\"name\": \"d\", \"path\": \"/d\"}]", ""), ERRORS,
	     "disk (disks) d is not in the primary's file");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_fits_is_taken),
		cmocka_unit_test(sites_have_names_of_their_own),
		cmocka_unit_test(ports_are_compared),
		cmocka_unit_test(an_instance_needs_its_standby),
		cmocka_unit_test(network_cards_have_the_same_names),
		cmocka_unit_test(disks_have_the_same_names),
		cmocka_unit_test(heartbeats_are_compared_with_the_other_sites_patience),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
