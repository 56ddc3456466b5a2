/*
 * Our side of a VRRP group against Debian's keepalived, which is at the other end of a cable, in a
 * namespace of its own, with the same group, interval and addresses.
 */
#include "appliance/base/clock.h"
#include "net/vrrp_speaker.h"
#include "tests/unit/netns_fixture.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define GROUP 51
#define INTERVAL 25 /* times 10 ms */
#define SPEAKS_MS 250
#define SILENCE_MS 902 /* three intervals and 156/256 of one, for priority 100 */
#define PATIENCE_MS 8000
#define VIP "192.0.2.77"
#define VIP6 "2001:db8::77"

static struct vrrp_speaker *speaker;
static struct err err;
static uv_loop_t loop;
static bool possible, active;
static unsigned changes;
static uint64_t changed_ns;
static char dir[64];
static pid_t keepalived = -1;

/* ---- keepalived -------------------------------------------------------------------------------*/

static void write_configuration(const char *addresses)
{
	char path[128];
	FILE *file;

	(void)snprintf(path, sizeof(path), "%s/conf", dir);
	file = fopen(path, "we");
	assert_non_null(file);
	(void)fprintf(file,
		      "global_defs {\n vrrp_version 3\n}\n"
		      "vrrp_instance guest {\n state MASTER\n interface cable\n"
		      " virtual_router_id %d\n priority 200\n advert_int 0.25\n"
		      " virtual_ipaddress {\n %s\n }\n"
		      " virtual_ipaddress_excluded {\n " VIP6 "/64\n }\n}\n",
		      GROUP, addresses);
	assert_int_equal(fclose(file), 0);
}

static void start_keepalived(void)
{
	char conf[80], log[80], parent[80], child[80];
	int fd;

	(void)snprintf(conf, sizeof(conf), "%s/conf", dir);
	(void)snprintf(log, sizeof(log), "%s/log", dir);
	(void)snprintf(parent, sizeof(parent), "%s/parent.pid", dir);
	(void)snprintf(child, sizeof(child), "%s/child.pid", dir);
	netns_fixture_there();
	keepalived = fork();
	if (keepalived == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGTERM); /* however this test ends */
		fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
		(void)dup2(fd, STDOUT_FILENO);
		(void)dup2(fd, STDERR_FILENO);
		(void)execlp("keepalived", "keepalived", "--dont-fork", "--log-console",
			     "--log-detail", "--vrrp", "-f", conf, "-p", parent, "-r", child,
			     (char *)NULL);
		_exit(127);
	}
	netns_fixture_here();
	assert_true(keepalived > 0);
}

static void stop_keepalived(void)
{
	if (keepalived <= 0)
		return;
	(void)kill(keepalived, SIGTERM);
	(void)waitpid(keepalived, NULL, 0);
	keepalived = -1;
}

/* It and its network are gone from one moment to the next, as when its machine dies. */
static void kill_keepalived(void)
{
	char parent[80], child[80], text[16] = "";
	FILE *file;

	(void)snprintf(parent, sizeof(parent), "%s/parent.pid", dir);
	(void)snprintf(child, sizeof(child), "%s/child.pid", dir);
	file = fopen(child, "re");
	assert_non_null(file);
	assert_non_null(fgets(text, sizeof(text), file));
	(void)fclose(file);
	(void)kill(keepalived, SIGSTOP); /* it must not start another child, nor say goodbye */
	assert_int_equal(kill((pid_t)strtol(text, NULL, 10), SIGKILL), 0);
	(void)kill(keepalived, SIGKILL);
	(void)waitpid(keepalived, NULL, 0);
	keepalived = -1;
	(void)unlink(parent);
	(void)unlink(child);
	netns_fixture_there();
	(void)netns_fixture_run("ip addr del " VIP "/24 dev cable; ip addr del " VIP6
				"/64 dev cable");
	netns_fixture_here();
}

/* ---- ours -------------------------------------------------------------------------------------*/

static void on_change(void *owner, bool now_active)
{
	(void)owner;
	active = now_active;
	changes++;
	changed_ns = clock_now_ns();
}

static const struct vrrp_speaker_ops ops = { on_change };

static void open_speaker(uint8_t priority, bool permitted)
{
	struct netlink_prefix addresses[2];
	struct vrrp_speaker_options options = { .device = "cable",
						.group = GROUP,
						.priority = priority,
						.interval = INTERVAL,
						.addresses = addresses,
						.address_count = 2 };

	assert_int_equal(netlink_prefix_parse(&addresses[0], VIP "/24", &err), RC_OK);
	assert_int_equal(netlink_prefix_parse(&addresses[1], VIP6 "/64", &err), RC_OK);
	assert_int_equal(vrrp_speaker_open(&speaker, &loop, &options, &ops, NULL, &err), RC_OK);
	vrrp_speaker_permit(speaker, permitted);
}

static void tick(uv_timer_t *timer)
{
	(void)timer;
}

/* The loop runs for a while, or until we are active, or not. */
static bool runs_until(unsigned ms, int expected)
{
	uint64_t end_ns = clock_now_ns() + ms * CLOCK_NS_PER_MS;
	uv_timer_t timer;

	(void)uv_timer_init(&loop, &timer);
	(void)uv_timer_start(&timer, tick, 5, 5);
	while (clock_now_ns() < end_ns && (int)active != expected)
		(void)uv_run(&loop, UV_RUN_ONCE);
	uv_close((uv_handle_t *)&timer, NULL);
	(void)uv_run(&loop, UV_RUN_NOWAIT);
	return (int)active == expected;
}

static void run_for(unsigned ms)
{
	(void)runs_until(ms, -1);
}

/* ---- what both see ----------------------------------------------------------------------------*/

static bool has_addresses(void)
{
	const char *shown = netns_fixture_run("ip -o addr show dev cable");

	return strstr(shown, " " VIP "/24 ") != NULL && strstr(shown, " " VIP6 "/64 ") != NULL;
}

static bool has_no_address(void)
{
	const char *shown = netns_fixture_run("ip -o addr show dev cable");

	return strstr(shown, " " VIP "/") == NULL && strstr(shown, " " VIP6 "/") == NULL;
}

/* The loop runs until keepalived has the addresses, or gave them up. */
static void keepalived_comes_to_have(bool addresses)
{
	unsigned i;
	bool so = false;

	for (i = 0; !so && i < PATIENCE_MS / 50; i++) {
		run_for(50);
		netns_fixture_there();
		so = addresses ? has_addresses() : has_no_address();
		netns_fixture_here();
	}
	if (!so)
		fail_msg("keepalived did not come to have %s addresses: %s",
			 addresses ? "the" : "no", netns_fixture_run("ip addr show cable"));
}

static int set_up(void **state)
{
	(void)state;
	active = false;
	changes = 0;
	possible = access("/usr/sbin/keepalived", X_OK) == 0 && netns_fixture_create();
	(void)strcpy(dir, "/tmp/understudy-vrrp-XXXXXX");
	if (mkdtemp(dir) == NULL || uv_loop_init(&loop) != 0)
		return -1;
	if (!possible)
		return 0;
	(void)setenv("PATH", "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 1);
	(void)netns_fixture_run("ip addr add 192.0.2.2/24 dev cable");
	netns_fixture_there();
	(void)netns_fixture_run("ip addr add 192.0.2.1/24 dev cable");
	netns_fixture_here();
	write_configuration(VIP "/24");
	return 0;
}

static int tear_down(void **state)
{
	static const char *const names[] = { "conf", "log", "parent.pid", "child.pid" };
	char path[128];
	size_t i;

	(void)state;
	if (speaker != NULL)
		vrrp_speaker_close(speaker);
	speaker = NULL;
	stop_keepalived();
	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		(void)snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
		(void)unlink(path);
	}
	(void)rmdir(dir);
	netns_fixture_remove();
	(void)uv_run(&loop, UV_RUN_DEFAULT);
	return uv_loop_close(&loop); /* no handle is left */
}

static void need_keepalived(void)
{
	if (!possible) {
		print_message("needed: keepalived, and root or user namespaces\n");
		skip();
	}
}

/* ---- claims -----------------------------------------------------------------------------------*/

static void a_lower_backup_is_silent_takes_over_and_gives_back(void **state)
{
	uint64_t killed_ns, took_ms;

	(void)state;
	need_keepalived();
	start_keepalived();
	keepalived_comes_to_have(true);
	open_speaker(100, true);
	run_for(5 * SPEAKS_MS);
	assert_int_equal(changes, 0);
	assert_true(vrrp_speaker_state(speaker)->other_is_there);
	assert_int_equal(vrrp_speaker_state(speaker)->other_priority, 200);
	assert_false(vrrp_speaker_state(speaker)->other_is_different);
	assert_true(has_no_address());

	killed_ns = clock_now_ns();
	kill_keepalived();
	assert_true(runs_until(PATIENCE_MS, true));
	took_ms = (changed_ns - killed_ns) / CLOCK_NS_PER_MS;
	assert_true(took_ms >= SILENCE_MS - SPEAKS_MS);
	assert_true(took_ms < SILENCE_MS + 1000); /* this machine may be busy */
	assert_true(has_addresses());

	start_keepalived();
	assert_true(runs_until(PATIENCE_MS, false));
	assert_true(has_no_address());
	keepalived_comes_to_have(true);
	run_for(5 * SPEAKS_MS);
	assert_int_equal(changes, 2);
}

static void when_keepalived_says_goodbye_only_the_skew_passes(void **state)
{
	uint64_t stopped_ns;

	(void)state;
	need_keepalived();
	start_keepalived();
	keepalived_comes_to_have(true);
	open_speaker(100, true);
	(void)kill(keepalived, SIGTERM);
	stopped_ns = clock_now_ns();
	assert_true(runs_until(PATIENCE_MS, true));
	assert_true(changed_ns - stopped_ns < SILENCE_MS * CLOCK_NS_PER_MS);
	assert_true(has_addresses());
}

static void a_higher_one_takes_the_addresses_when_permitted_and_gives_them_back(void **state)
{
	(void)state;
	need_keepalived();
	start_keepalived();
	open_speaker(250, false);
	keepalived_comes_to_have(true);
	run_for(5 * SPEAKS_MS);
	assert_int_equal(changes, 0);
	vrrp_speaker_permit(speaker, true);
	assert_true(active);
	assert_true(has_addresses());
	keepalived_comes_to_have(false);
	run_for(5 * SPEAKS_MS); /* it stays so */
	assert_int_equal(changes, 1);
	vrrp_speaker_permit(speaker, false);
	assert_true(has_no_address());
	keepalived_comes_to_have(true);
	assert_int_equal(changes, 2);
}

static void the_neighbour_learns_our_mac(void **state)
{
	struct netlink_device device;
	char expected[64];

	(void)state;
	need_keepalived();
	assert_int_equal(netlink_get(&device, "cable", &err), RC_OK);
	(void)snprintf(expected, sizeof(expected), VIP " lladdr %02x:%02x:%02x:%02x:%02x:%02x",
		       device.mac[0], device.mac[1], device.mac[2], device.mac[3], device.mac[4],
		       device.mac[5]);
	netns_fixture_there();
	(void)netns_fixture_run("ip neigh replace " VIP
				" dev cable lladdr 02:00:00:00:00:0a nud stale");
	netns_fixture_here();
	open_speaker(100, true);
	assert_true(runs_until(PATIENCE_MS, true));
	run_for(50);
	netns_fixture_there();
	assert_non_null(strstr(netns_fixture_run("ip neigh show dev cable"), expected));
	netns_fixture_here();
}

static void a_keepalived_with_other_addresses_does_not_listen_and_is_noticed(void **state)
{
	(void)state;
	need_keepalived();
	write_configuration(VIP "/24\n 192.0.2.78/24");
	start_keepalived();
	keepalived_comes_to_have(true);
	open_speaker(250, true);
	run_for(5 * SPEAKS_MS);
	assert_true(active);
	assert_true(vrrp_speaker_state(speaker)->other_is_different);
	netns_fixture_there();
	assert_true(has_addresses());
	netns_fixture_here();
}

int main(void)
{
#define CLAIM(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		CLAIM(a_lower_backup_is_silent_takes_over_and_gives_back),
		CLAIM(when_keepalived_says_goodbye_only_the_skew_passes),
		CLAIM(a_higher_one_takes_the_addresses_when_permitted_and_gives_them_back),
		CLAIM(the_neighbour_learns_our_mac),
		CLAIM(a_keepalived_with_other_addresses_does_not_listen_and_is_noticed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
