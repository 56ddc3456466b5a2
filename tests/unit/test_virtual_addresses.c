/* The groups of an instance: all are opened or none, and what is permitted is so for all. */
#include "appliance/base/clock.h"
#include "appliance/base/mem.h"
#include "appliance/virtual_addresses.h"
#include "tests/unit/netns_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define INTERVAL_MS 20
#define PATIENCE_MS 5000

static char cable[] = "cable", nosuch[] = "nosuch0", name[] = "vm1";
static char vip[] = "192.0.2.77/24", vip6[] = "2001:db8::77/64", other_vip[] = "192.0.2.78/24";
static char *first[] = { vip, vip6, NULL };
static char *second[] = { other_vip, NULL };
static char route[] = "198.51.100.0/24 via 192.0.2.1";
static char *routes[] = { route, NULL };
static struct config_vrrp groups[2];
static struct config_instance instance;
static struct virtual_addresses *addresses;
static struct err err;
static uv_loop_t loop;
static bool possible;

static int set_up(void **state)
{
	(void)state;
	groups[0] = (struct config_vrrp){ .device = cable,
					  .group = 51,
					  .priority = 100,
					  .interval_ms = INTERVAL_MS,
					  .preempt = true,
					  .addresses = first };
	groups[1] = groups[0];
	groups[1].group = 52;
	groups[1].addresses = second;
	groups[1].routes = routes;
	instance = (struct config_instance){ .name = name, .vrrp = groups, .nvrrp = 2 };
	addresses = NULL;
	possible = netns_fixture_create();
	if (uv_loop_init(&loop) != 0)
		return -1;
	(void)setenv("PATH", "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 1);
	if (possible)
		(void)netns_fixture_run("ip addr add 192.0.2.2/24 dev cable");
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	virtual_addresses_close(addresses);
	(void)uv_run(&loop, UV_RUN_DEFAULT);
	netns_fixture_remove();
	return uv_loop_close(&loop); /* no handle is left */
}

static void need_network(void)
{
	if (!possible) {
		print_message("needed: root or user namespaces\n");
		skip();
	}
}

static unsigned on_device(void)
{
	const char *shown = netns_fixture_run("ip -o addr show dev cable");

	return (strstr(shown, " 192.0.2.77/24 ") != NULL) +
	       (strstr(shown, " 2001:db8::77/64 ") != NULL) +
	       (strstr(shown, " 192.0.2.78/24 ") != NULL);
}

static void tick(uv_timer_t *timer)
{
	(void)timer;
}

/* The loop runs until the groups from 0 to `last` are in that state, or for PATIENCE_MS. */
static bool become(size_t last, enum vrrp_state expected)
{
	uint64_t end_ns = clock_now_ns() + PATIENCE_MS * CLOCK_NS_PER_MS;
	const struct config_vrrp *config;
	uv_timer_t timer;
	bool so = false;

	(void)uv_timer_init(&loop, &timer);
	(void)uv_timer_start(&timer, tick, 1, 1);
	while (!so && clock_now_ns() < end_ns) {
		(void)uv_run(&loop, UV_RUN_ONCE);
		so = virtual_addresses_state(addresses, 0, &config)->state == expected &&
		     virtual_addresses_state(addresses, last, &config)->state == expected;
	}
	uv_close((uv_handle_t *)&timer, NULL);
	(void)uv_run(&loop, UV_RUN_NOWAIT);
	return so;
}

/* ---- claims -----------------------------------------------------------------------------------*/

static void none_are_no_error(void **state)
{
	(void)state;
	instance.nvrrp = 0;
	assert_int_equal(virtual_addresses_open(&addresses, &loop, &instance, &err), RC_OK);
	assert_null(addresses);
	virtual_addresses_permit(NULL, true);
	virtual_addresses_announce(NULL);
	assert_null(virtual_addresses_state(NULL, 0, &(const struct config_vrrp *){ NULL }));
}

static bool is_routed(void)
{
	return strstr(netns_fixture_run("ip route"), route) != NULL;
}

static void they_are_here_exactly_while_it_is_permitted(void **state)
{
	const struct config_vrrp *config;

	(void)state;
	need_network();
	/* Of an earlier life, and of another configuration. */
	(void)netns_fixture_run(
		"ip addr add 192.0.2.78/24 dev cable; ip addr add 192.0.2.77/32 dev cable");
	assert_int_equal(virtual_addresses_open(&addresses, &loop, &instance, &err), RC_OK);
	assert_int_equal(on_device(), 0);
	assert_null(strstr(netns_fixture_run("ip -o addr show dev cable"), "192.0.2.77"));
	assert_non_null(virtual_addresses_state(addresses, 1, &config));
	assert_ptr_equal(config, &groups[1]);
	assert_null(virtual_addresses_state(addresses, 2, &config));
	virtual_addresses_permit(addresses, true);
	assert_true(become(1, VRRP_ACTIVE));
	assert_int_equal(on_device(), 3);
	assert_true(is_routed());
	virtual_addresses_permit(addresses, false);
	assert_true(become(1, VRRP_BACKUP));
	assert_int_equal(on_device(), 0);
	assert_false(is_routed());
	virtual_addresses_permit(addresses, true);
	assert_true(become(1, VRRP_ACTIVE));
	virtual_addresses_close(addresses);
	addresses = NULL;
	assert_int_equal(on_device(), 0);
}

static void one_whose_device_is_not_there_is_told_and_the_others_work(void **state)
{
	const struct config_vrrp *config;

	(void)state;
	need_network();
	groups[1].device = nosuch;
	assert_int_equal(virtual_addresses_open(&addresses, &loop, &instance, &err), RC_OK);
	assert_string_equal(virtual_addresses_fault(addresses),
			    "network device nosuch0: No such device");
	virtual_addresses_permit(addresses, true);
	assert_true(become(0, VRRP_ACTIVE));
	assert_int_equal(virtual_addresses_state(addresses, 1, &config)->state, VRRP_STOPPED);
}

static void one_that_cannot_be_opened_is_named_and_closes_the_others(void **state)
{
	(void)state;
	need_network();
	groups[1].interval_ms = 0;
	assert_int_equal(virtual_addresses_open(&addresses, &loop, &instance, &err), RC_INVALID);
	assert_non_null(strstr(err.text, "instance vm1: vrrp[1]: VRRP: "));
	assert_null(addresses);
}

static void every_failed_allocation_is_survived(void **state)
{
	int rc;

	(void)state;
	need_network();
	for (unsigned long n = 1;; n++) {
		fault_arm(FAULT_ALLOC, n);
		rc = virtual_addresses_open(&addresses, &loop, &instance, &err);
		if (!fault_fired(FAULT_ALLOC))
			break;
		assert_int_equal(rc, RC_NOMEM);
		assert_null(addresses);
	}
	fault_arm(FAULT_ALLOC, 0);
	assert_int_equal(rc, RC_OK);
}

int main(void)
{
#define CLAIM(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		CLAIM(none_are_no_error),
		CLAIM(they_are_here_exactly_while_it_is_permitted),
		CLAIM(one_whose_device_is_not_there_is_told_and_the_others_work),
		CLAIM(one_that_cannot_be_opened_is_named_and_closes_the_others),
		CLAIM(every_failed_allocation_is_survived),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
