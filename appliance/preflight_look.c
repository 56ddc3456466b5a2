/*
 * What only `understudy check` looks at, because it takes time, is noticed by others, or is no reason
 * for a daemon not to start: whether the certificate is valid now, whether hypervisor.program is a QEMU that will do, whether a journal's
 * directory and disks' images can be had, whether anybody listens at a QMP socket, and whether a VRRP group's
 * device has an address beside the group's. The daemons find all this out by themselves and go on trying.
 */
#include "appliance/preflight_internal.h"

#include "appliance/base/clock.h"
#include "appliance/base/mem.h"
#include "appliance/state_dir.h"
#include "net/netlink.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define VERSION_WAIT_MS 5000 /* a QEMU says it in some 50 ms; one on a slow disk takes seconds */
#define VERSION_BANNER "QEMU emulator version "
#define VERSION_MAJOR 7 /* the oldest that has been tried is 7.2 */
#define VERSION_MINOR 2

#define ADDRESSES_MAX 256 /* of one device that are looked at */

/* The child's side. */
static void become(char *program, int out) __attribute__((noreturn));

static void become(char *program, int out)
{
	char version[] = "--version";
	char *const arguments[] = { program, version, NULL };
	const int null = open("/dev/null", O_RDWR);

	if (setpgid(0, 0) == 0 && null >= 0 && dup2(null, 0) == 0 && dup2(out, 1) == 1 &&
	    dup2(null, 2) == 2)
		(void)execv(program, arguments);
	_exit(127);
}

/* What it prints, until it ends it or the time is over; false: it was over. */
static bool listen_to(int out, char *text, size_t size)
{
	const uint64_t end_ns = clock_now_ns() + VERSION_WAIT_MS * CLOCK_NS_PER_MS;
	struct pollfd poller = { .fd = out, .events = POLLIN };
	size_t len = 0;
	uint64_t now_ns;
	ssize_t r = 1;

	while (r > 0 && len < size - 1) {
		now_ns = clock_now_ns();
		if (now_ns >= end_ns ||
		    poll(&poller, 1, (int)((end_ns - now_ns) / CLOCK_NS_PER_MS + 1)) == 0)
			return false;
		r = read(out, text + len, size - 1 - len);
		len += r > 0 ? (size_t)r : 0;
	}
	text[len] = '\0';
	return true;
}

/* With whatever it has started: a shell script's commands. */
static void end(pid_t child)
{
	(void)kill(-child, SIGKILL);
	(void)kill(child, SIGKILL);
	while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
		;
}

/* NULL, or why it will not do. */
static const char *judge_version(const char *text)
{
	const char *at = text + sizeof(VERSION_BANNER) - 1;
	char *dot;
	long major, minor;

	if (strncmp(text, VERSION_BANNER, sizeof(VERSION_BANNER) - 1) != 0)
		return "`--version` does not answer as a QEMU does";
	major = strtol(at, &dot, 10);
	minor = *dot == '.' ? strtol(dot + 1, NULL, 10) : 0;
	if (major < VERSION_MAJOR || (major == VERSION_MAJOR && minor < VERSION_MINOR))
		return "is an older QEMU than 7.2";
	return NULL;
}

static void check_program(struct preflight *preflight)
{
	static const char remedy[] =
		"name a qemu-system-x86_64 of the primary's version or newer, 7.2 at least";
	char *program = preflight->config.hypervisor;
	const char *why;
	char text[256];
	int pipe_fds[2];
	bool heard;
	pid_t child;

	if (access(program, X_OK) != 0 || pipe2(pipe_fds, O_CLOEXEC) != 0)
		return; /* said already */
	child = fork();
	if (child == 0)
		become(program, pipe_fds[1]);
	(void)close(pipe_fds[1]);
	heard = child > 0 && listen_to(pipe_fds[0], text, sizeof(text));
	(void)close(pipe_fds[0]);
	if (child < 0)
		return;
	end(child);
	why = heard ? judge_version(text) : "`--version` is not answered within 5 s";
	if (why != NULL)
		preflight_error(preflight, "hypervisor.program: %s: %s; %s", program, why, remedy);
}

/* A standby whose journal's disk is away starts: the replica that serves needs its gateway. */
static void check_journal_dir(struct preflight *preflight, size_t index, const char *key,
			      const char *path)
{
	bool lasting, full;
	struct err err;

	if (state_dir_try(path, &lasting, &full, &err) == RC_OK) {
		if (!lasting)
			preflight_warning(
				preflight,
				"instances[%zu].journal.%s: %s: is on a tmpfs; the journal would be gone when the "
				"machine restarts, which is what it is for",
				index, key, path);
	} else if (full) {
		preflight_warning(preflight, "instances[%zu].journal.%s: %s; make room", index, key,
				  err.text);
	} else {
		preflight_error(
			preflight,
			"instances[%zu].journal.%s: %s; name a directory of ours on a disk, or make the one "
			"above it",
			index, key, err.text);
	}
}

/* The device of a directory, or of the one above it where it is not there yet. */
static bool device_of(const char *path, dev_t *device)
{
	char *above = config_directory(path);
	struct stat st = { 0 };
	const bool known = stat(path, &st) == 0 || (above != NULL && stat(above, &st) == 0);

	mem_free(above);
	*device = st.st_dev;
	return known;
}

/* Copies on one disk are lost with it. */
static void check_devices(struct preflight *preflight, size_t index, char *const *copies)
{
	dev_t one, other;
	size_t i, j;

	for (i = 0; copies[i] != NULL; i++) {
		for (j = 0; j < i && device_of(copies[i], &one); j++) {
			if (!device_of(copies[j], &other) || one != other)
				continue;
			preflight_warning(
				preflight,
				"instances[%zu].journal.copies: %.150s is on the same file system as %.150s: what "
				"that loses, both lose; give each copy a disk of its own",
				index, copies[i], copies[j]);
			break;
		}
	}
}

static void check_journal(struct preflight *preflight, size_t index)
{
	const struct config_instance *instance = &preflight->config.instances[index];
	char *const *copies = instance->journal_copies;

	/* Without a word of it, it is below state_dir, which has been looked at, or there is none. */
	if (instance->journal_dir != NULL)
		check_journal_dir(preflight, index, "dir", instance->journal_dir);
	for (size_t i = 0; copies != NULL && copies[i] != NULL; i++)
		check_journal_dir(preflight, index, "copies", copies[i]);
	if (copies != NULL)
		check_devices(preflight, index, copies);
}

static bool is_virtual(const struct config *config, const char *device,
		       const struct netlink_prefix *address)
{
	struct netlink_prefix prefix;
	struct err ignored;

	for (size_t i = 0; i < config->ninstances; i++) {
		for (size_t j = 0; j < config->instances[i].nvrrp; j++) {
			const struct config_vrrp *group = &config->instances[i].vrrp[j];

			for (size_t k = 0;
			     strcmp(group->device, device) == 0 && group->addresses[k] != NULL;
			     k++) {
				if (netlink_prefix_parse(&prefix, group->addresses[k], &ignored) ==
					    RC_OK &&
				    prefix.version == address->version &&
				    memcmp(prefix.ip, address->ip, sizeof(prefix.ip)) == 0)
					return true;
			}
		}
	}
	return false;
}

/* The group would stay stopped: that is told while it runs, too, and then nothing is taken off. */
static void check_group(struct preflight *preflight, size_t instance, size_t group)
{
	const char *name = preflight->config.instances[instance].vrrp[group].device;
	struct netlink_prefix list[ADDRESSES_MAX];
	char text[NETLINK_PREFIX_TEXT] = "";
	struct netlink_device device;
	size_t count = 0;
	struct err err;

	if (netlink_get(&device, name, &err) != RC_OK ||
	    netlink_addresses(list, ADDRESSES_MAX, &count, device.index, &err) != RC_OK)
		return; /* said already */
	for (size_t i = 0; i < count && i < ADDRESSES_MAX && list[i].version == 4; i++) {
		if (!is_virtual(&preflight->config, name, &list[i]))
			return;
		netlink_prefix_print(text, &list[i]);
	}
	if (*text != '\0')
		preflight_error(
			preflight,
			"instances[%zu].vrrp[%zu].addresses: %s has no other IPv4 address than %s: it needs one "
			"of its own; name here only what is at no machine of itself",
			instance, group, name, text);
}

static void check_qmp(struct preflight *preflight, size_t index)
{
	const char *path = preflight->config.instances[index].qmp;
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	char hint[PREFLIGHT_REMEDY_MAX];
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	(void)snprintf(at.sun_path, sizeof(at.sun_path), "%s", path);
	/* A full queue (EAGAIN) has somebody behind it; what is not there was said already. */
	if (fd >= 0 && connect(fd, (const struct sockaddr *)&at, sizeof(at)) != 0 &&
	    (errno == ECONNREFUSED || errno == EACCES))
		preflight_warning(preflight, "instances[%zu].qmp: %s: %s; %s", index, path,
				  errno == EACCES ? strerror(errno) : "nobody listens there",
				  preflight_remedy(hint, errno,
						   "is its QEMU running? An old one left it"));
	if (fd >= 0)
		(void)close(fd);
}

int preflight_look(struct preflight *preflight, struct err *err)
{
	const size_t before = preflight->errors.len;

	preflight_check_time(preflight);
	if (preflight->config.role == CONFIG_STANDBY)
		check_program(preflight);
	for (size_t i = 0; i < preflight->config.ninstances; i++) {
		if (preflight->config.role == CONFIG_PRIMARY) {
			check_qmp(preflight, i);
			continue;
		}
		check_journal(preflight, i);
		preflight_check_disks(preflight, i);
		for (size_t j = 0; j < preflight->config.instances[i].nvrrp; j++)
			check_group(preflight, i, j);
	}
	if (preflight->errors.failed || preflight->warnings.failed)
		return err_nomem(err, preflight->name);
	return preflight->errors.len == before ?
		       RC_OK :
		       err_set(err, RC_INVALID, "%s: not usable as it is", preflight->name);
}
