/*
 * Theory of operation
 *
 * Two processes: one asks on all devices and takes what comes, which is anybody's on their networks, and has given up what that does
 * not need (confine.h); the other starts it again should it end. What a device has stays then, and is known to the next one, in
 * memory that they share: it gets the same address as a rule, and else puts another one in its place. A client knows only of leases that it
 * has got itself, so that an address is taken away when its time is over is not left to it.
 */
#include "appliance/base/clock.h"
#include "appliance/base/log.h"
#include "appliance/dhcp_device.h"
#include "appliance/init_internal.h"
#include "appliance/options.h"
#include "appliance/verb.h"
#include "net/dhcp_client.h"
#include "replica/confine.h"

#include <errno.h>
#include <limits.h>
#include <linux/capability.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define PART "dhcp"
#define AGAIN_MS 5000 /* a device that was not there, or down; a process that ended */

struct devices {
	struct dhcp_device device[CONFIG_DEVICES_MAX];
	size_t count;
};

struct asking {
	struct devices *devices;			 /* shared */
	struct dhcp_client *clients[CONFIG_DEVICES_MAX]; /* NULL: not yet */
	struct pollfd polled[CONFIG_DEVICES_MAX];
};

/* ---- the process that asks --------------------------------------------------------------------------------- */

/* True: none has to be tried again. */
static bool open_clients(struct asking *asking)
{
	bool all = true;
	struct err err;

	for (size_t i = 0; i < asking->devices->count; i++) {
		if (asking->clients[i] != NULL)
			continue;
		if (dhcp_client_open(&asking->clients[i], asking->devices->device[i].config->name,
				     dhcp_device_change, &asking->devices->device[i],
				     &err) == RC_OK)
			asking->polled[i].fd = dhcp_client_fd(asking->clients[i]);
		else
			log_error(PART, "%s", err.text);
		all = all && asking->clients[i] != NULL;
	}
	return all;
}

static void work(struct asking *asking)
{
	struct err err;

	for (size_t i = 0; i < asking->devices->count; i++) {
		if (asking->clients[i] == NULL || asking->polled[i].revents == 0 ||
		    dhcp_client_work(asking->clients[i], &err) == RC_OK)
			continue;
		log_error(PART, "%s", err.text);
		dhcp_client_close(asking->clients[i]);
		asking->clients[i] = NULL;
		asking->polled[i].fd = -1;
	}
}

/* How long may be waited: until a lease runs out, or a client is to be opened. */
static int timeout_ms(const struct devices *devices, bool all)
{
	uint64_t wait_ms = all ? INT_MAX : AGAIN_MS;
	const uint64_t now_ns = clock_now_ns();

	for (size_t i = 0; i < devices->count; i++) {
		const uint64_t end_ns = dhcp_device_end_ns(&devices->device[i]);
		const uint64_t left_ms =
			end_ns > now_ns ? (end_ns - now_ns) / CLOCK_NS_PER_MS + 1 : 0;

		wait_ms = left_ms < wait_ms ? left_ms : wait_ms;
	}
	return (int)wait_ms;
}

static void ask(struct devices *devices) __attribute__((noreturn));

static void ask(struct devices *devices)
{
	/* Addresses and routes, frames, and the client's port. */
	const uint64_t rights = UINT64_C(1) << CAP_NET_ADMIN | UINT64_C(1) << CAP_NET_RAW |
				UINT64_C(1) << CAP_NET_BIND_SERVICE;
	struct asking asking = { .devices = devices };
	uint64_t open_ns = 0; /* when those that are not open are tried again */
	bool all = false;
	struct err err;

	if (confine_listener(rights, &err) != RC_OK) {
		log_error(PART, "%s", err.text);
		_exit(EXIT_FAILED);
	}
	for (size_t i = 0; i < devices->count; i++)
		asking.polled[i] = (struct pollfd){ .fd = -1, .events = POLLIN };
	for (;;) {
		if (!all && clock_now_ns() >= open_ns) {
			all = open_clients(&asking);
			open_ns = clock_now_ns() + AGAIN_MS * CLOCK_NS_PER_MS;
		}
		if (poll(asking.polled, devices->count, timeout_ms(devices, all)) > 0)
			work(&asking);
		for (size_t i = 0; i < devices->count; i++) {
			dhcp_device_end(&devices->device[i], clock_now_ns());
			all = all && asking.clients[i] != NULL;
		}
	}
}

/* ---- the one that starts it again ---------------------------------------------------------------------------- */

/* NULL: there is no memory. */
static struct devices *find_devices(const struct config *config)
{
	struct devices *devices = mmap(NULL, sizeof(*devices), PROT_READ | PROT_WRITE,
				       MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (devices == MAP_FAILED)
		return NULL;
	for (size_t i = 0; i < config->ndevices; i++) {
		if (config->devices[i].dhcp && config->devices[i].name != NULL)
			devices->device[devices->count++] =
				(struct dhcp_device){ .config = &config->devices[i],
						      .name_servers = config->dns == NULL };
	}
	return devices;
}

static void keep_asking(struct devices *devices) __attribute__((noreturn));

static void keep_asking(struct devices *devices)
{
	int status;
	pid_t pid;

	for (;;) {
		pid = fork();
		if (pid == 0) {
			(void)prctl(PR_SET_PDEATHSIG, SIGTERM);
			ask(devices);
		}
		while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
			;
		log_error(PART, "%s; again in %d s",
			  pid > 0 ? "the process that asks has ended" : strerror(errno),
			  AGAIN_MS / 1000);
		(void)usleep(AGAIN_MS * 1000);
	}
}

/* Of one that is wrong, what can be read: the machine is to be reached, and say so. */
static int read_config(struct config *config, const char *path, struct err *err)
{
	struct buf problems = { 0 };
	const int rc = init_config_read(config, path, &problems, err);
	const bool is_wrong = problems.len > 0;

	buf_free(&problems);
	return is_wrong ? RC_OK : rc;
}

int verb_dhcp(int argc, char **argv)
{
	const char *path = NULL;
	const struct option options[] = {
		{ .name = "config", .value = "FILE", .text = &path, .doc = "a standby's" },
	};
	const struct command command = {
		.synopsis = "dhcp --config FILE",
		.about =
			"Asks for an address on each device of machine.network that has \"dhcp\", sets it, with its routes and name\n"
			"servers, and extends it: what process 1 of the appliance's image runs.",
		.options = options,
		.count = 1,
	};
	struct devices *devices;
	struct config config;
	struct err err;
	int status;

	if (!options_parse(&command, argc, argv, &status))
		return status;
	if (path == NULL)
		return options_wrong(&command, "--config is needed");
	if (read_config(&config, path, &err) != RC_OK)
		return options_failed(err.text);
	devices = find_devices(&config);
	if (devices == NULL)
		return options_failed("dhcp: there is no memory");
	keep_asking(devices);
}
