/* What an engine says of a container becomes what its small VM is told; what does not come along is named. */
#include "appliance/container_config.h"
#include "appliance/container_inspect.h"

#include "appliance/base/json_text.h"
#include "appliance/base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

/* Docker 20.10's, but for what nobody reads here. */
static const char web[] =
	"{\"Path\": \"/entry.sh\", \"Args\": [\"nginx\", \"-g\", \"daemon off;\"],"
	" \"Config\": {\"Hostname\": \"web1\", \"User\": \"33:44\", \"Env\": [\"A=b c\", \"D=\"], \"WorkingDir\": \"/srv\"},"
	" \"HostConfig\": {\"Dns\": [\"10.0.0.53\"], \"NetworkMode\": \"lan\", \"Devices\": [{\"PathOnHost\": \"/dev/snd\"}],"
	" \"CapAdd\": null, \"Tmpfs\": {\"/tmp\": \"\"}},"
	" \"Mounts\": [{\"Type\": \"bind\", \"Destination\": \"/data\"}],"
	" \"NetworkSettings\": {\"Networks\": {"
	"\"lan\": {\"IPAddress\": \"10.0.0.5\", \"IPPrefixLen\": 24, \"Gateway\": \"10.0.0.1\", \"GlobalIPv6Address\": \"2001:db8::5\","
	" \"GlobalIPv6PrefixLen\": 64, \"IPv6Gateway\": \"\"},"
	"\"other\": {\"IPAddress\": \"10.1.0.5\", \"IPPrefixLen\": 16, \"Gateway\": \"10.1.0.1\"}}}}";

static struct container_config config;
static struct buf json, left_out;
static struct err err;

static int inspect(const char *answer)
{
	cJSON *root = NULL;
	int rc;

	buf_free(&json);
	buf_free(&left_out);
	assert_int_equal(json_text_parse(&root, answer, strlen(answer), &err), RC_OK);
	rc = container_inspect(&json, &left_out, root, &err);
	cJSON_Delete(root);
	return rc;
}

static void its_small_vm_is_told_the_same(void **state)
{
	(void)state;
	assert_int_equal(inspect(web), RC_OK);
	assert_int_equal(container_config_parse(&config, (const char *)json.data, json.len, &err),
			 RC_OK);
	assert_string_equal(config.hostname, "web1");
	assert_string_equal(config.command[0], "/entry.sh");
	assert_string_equal(config.command[3], "daemon off;");
	assert_null(config.command[4]);
	assert_string_equal(config.environment[0], "A=b c");
	assert_string_equal(config.environment[1], "D=");
	assert_string_equal(config.user, "33:44");
	assert_string_equal(config.directory, "/srv");
	assert_string_equal(config.addresses[0], "10.0.0.5/24");
	assert_string_equal(config.addresses[1], "2001:db8::5/64");
	assert_string_equal(config.addresses[2], "10.1.0.5/16");
	assert_null(config.addresses[3]);
	assert_string_equal(config.routes[0], "default via 10.0.0.1");
	assert_null(config.routes[1]);
	assert_string_equal(config.dns[0], "10.0.0.53");
	container_config_free(&config);
}

static void what_does_not_come_along_is_named(void **state)
{
	(void)state;
	assert_int_equal(inspect(web), RC_OK);
	assert_true(buf_append_u8(&left_out, 0));
	assert_string_equal((const char *)left_out.data,
			    "the volume at /data\nthe tmpfs at /tmp\na device of the host "
			    "(HostConfig.Devices)\n");
}

static void one_of_which_nothing_is_said_runs_as_root_at_the_top(void **state)
{
	(void)state;
	assert_int_equal(inspect("{\"Path\": \"/a\", \"Args\": [], \"Config\": {}}"), RC_OK);
	assert_int_equal(container_config_parse(&config, (const char *)json.data, json.len, &err),
			 RC_OK);
	assert_string_equal(config.user, "0");
	assert_null(config.addresses);
	assert_int_equal(left_out.len, 0);
	container_config_free(&config);
}

static void another_answer_is_refused(void **state)
{
	(void)state;
	assert_int_equal(inspect("{\"message\": \"No such container: x\"}"), RC_INVALID);
	assert_int_equal(inspect("[]"), RC_INVALID);
	assert_int_equal(inspect("{\"Path\": 7, \"Config\": {}}"), RC_INVALID);
}

static void without_memory_it_is_an_error(void **state)
{
	bool fired = true;
	cJSON *root = NULL;

	(void)state;
	assert_int_equal(json_text_parse(&root, web, strlen(web), &err), RC_OK);
	for (unsigned long n = 1; fired; n++) {
		buf_free(&json);
		buf_free(&left_out);
		fault_arm(FAULT_ALLOC, n);
		(void)container_inspect(&json, &left_out, root, &err);
		fired = fault_fired(FAULT_ALLOC);
		fault_arm(FAULT_ALLOC, 0);
		assert_true(!fired || err.code == RC_NOMEM);
	}
	cJSON_Delete(root);
	buf_free(&json);
	buf_free(&left_out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(its_small_vm_is_told_the_same),
		cmocka_unit_test(what_does_not_come_along_is_named),
		cmocka_unit_test(one_of_which_nothing_is_said_runs_as_root_at_the_top),
		cmocka_unit_test(another_answer_is_refused),
		cmocka_unit_test(without_memory_it_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
