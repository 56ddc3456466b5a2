/*
 * Theory of operation
 *
 * The modules are loaded; from here on the kernel needs nothing more, and whoever breaks into a process must get no further. So
 * what the kernel offers beyond what the standby and its hypervisors use is switched off, and with the last setting of the table
 * no module can be loaded any more. Some of these are the kernel's defaults; they are written all the same, since defaults
 * change. Each is read back. One that could not be made is told and is no reason to stop: a standby that is a little less
 * hardened is worth more than none.
 *
 * A network device has settings of its own, beginning with what "default" has when it appears; "all" does not replace them. So
 * they are made for each directory there is.
 *
 * Last of all these places are made read-only: that they are root's alone does not keep out who has broken into a process of root's that
 * has given up its capabilities. What the standby and the DHCP client write stays: settings of network devices, and of unix sockets.
 *
 * Not here: rp_filter, since with several ways to a peer a standby may rightly hear what it would answer by another one.
 */
#include "appliance/init_internal.h"

#include "appliance/base/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#define PATH_BYTES 512
#define VALUE_BYTES 64

struct setting {
	const char *name; /* below the root, or below a device's directory */
	const char *value;
};

static const struct setting settings[] = {
	/* Addresses and messages of the kernel help who looks for a way in. */
	{ "kernel/kptr_restrict", "2" },
	{ "kernel/dmesg_restrict", "1" },
	{ "kernel/randomize_va_space", "2" },
	{ "vm/mmap_min_addr", "65536" },
	/* Parts of the kernel that nobody here uses. */
	{ "kernel/unprivileged_bpf_disabled", "1" },
	{ "net/core/bpf_jit_harden", "2" },
	{ "kernel/perf_event_paranoid", "3" },
	{ "kernel/io_uring_disabled", "2" },
	{ "kernel/kexec_load_disabled", "1" },
	{ "kernel/sysrq", "0" },
	{ "vm/unprivileged_userfaultfd", "0" },
	{ "user/max_user_namespaces", "0" },
	/* No process looks into another one, be it root's. */
	{ "kernel/yama/ptrace_scope", "3" },
	/* A core would hold keys and a guest's memory; the program named here does not exist. */
	{ "kernel/core_pattern", "|/none" },
	{ "fs/suid_dumpable", "0" },
	/* Files that others have put in the way. */
	{ "fs/protected_hardlinks", "1" },
	{ "fs/protected_symlinks", "1" },
	{ "fs/protected_fifos", "2" },
	{ "fs/protected_regular", "2" },
	/* It is no router. */
	{ "net/ipv4/ip_forward", "0" },
	{ "net/ipv4/icmp_echo_ignore_broadcasts", "1" },
	{ "net/ipv4/tcp_syncookies", "1" },
	/* After all others. */
	{ "kernel/modules_disabled", "1" },
};

/* Nobody on the network says by which way something goes. */
static const struct setting ipv4_device[] = {
	{ "accept_redirects", "0" },
	{ "secure_redirects", "0" },
	{ "send_redirects", "0" },
	{ "accept_source_route", "0" },
};
static const struct setting ipv6_device[] = {
	{ "forwarding", "0" },
	{ "accept_redirects", "0" },
	{ "accept_source_route", "0" },
};

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

/* The kernel takes a value in one write and gives it in one read, with a newline. */
static int write_value(const char *path, const char *value, char is[VALUE_BYTES])
{
	const int fd = open(path, O_RDWR | O_CLOEXEC);
	ssize_t n = -1;
	int reason = errno;

	is[0] = '\0';
	if (fd < 0)
		return reason;
	if (write(fd, value, strlen(value)) < 0)
		reason = errno;
	else
		reason = 0;
	if (lseek(fd, 0, SEEK_SET) == 0)
		n = read(fd, is, VALUE_BYTES - 1);
	is[n > 0 ? n : 0] = '\0';
	is[strcspn(is, "\n")] = '\0';
	(void)close(fd);
	return reason;
}

static void set(struct init_hardened *done, const char *directory, const struct setting *setting)
{
	char path[PATH_BYTES], is[VALUE_BYTES];
	int reason;

	(void)snprintf(path, sizeof(path), "%s/%s", directory, setting->name);
	reason = write_value(path, setting->value, is);
	done->all++;
	if (strcmp(is, setting->value) == 0) /* also where it could not be changed any more */
		done->made++;
	else
		log_error(INIT_PART, "%s is \"%s\", not \"%s\"%s%s", path, is, setting->value,
			  reason != 0 ? ": " : "", reason != 0 ? strerror(reason) : "");
}

/* A kernel without that protocol has no such directory. */
static void set_devices(struct init_hardened *done, const char *root, const char *protocol,
			const struct setting *of_device, size_t count)
{
	char path[PATH_BYTES], device[PATH_BYTES];
	struct dirent *entry;
	DIR *dir;

	(void)snprintf(path, sizeof(path), "%s/net/%s/conf", root, protocol);
	dir = opendir(path);
	while (dir != NULL && (entry = readdir(dir)) != NULL) {
		if (entry->d_name[0] == '.' || snprintf(device, sizeof(device), "%s/%s", path,
							entry->d_name) >= (int)sizeof(device))
			continue;
		for (size_t i = 0; i < count; i++)
			set(done, device, &of_device[i]);
	}
	if (dir != NULL)
		(void)closedir(dir);
}

struct init_hardened init_harden(const char *root)
{
	struct init_hardened done = { 0 };

	set_devices(&done, root, "ipv4", ipv4_device, COUNT(ipv4_device));
	set_devices(&done, root, "ipv6", ipv6_device, COUNT(ipv6_device));
	for (size_t i = 0; i < COUNT(settings); i++)
		set(&done, root, &settings[i]);
	log_info(INIT_PART, "%u of %u settings of the kernel are as they should be", done.made,
		 done.all);
	return done;
}

/* ---- read-only ------------------------------------------------------------------------------------ */

/* In an order in which what stays writable comes behind what it is in. */
static const struct place {
	const char *name;
	bool writable;
} places[] = {
	{ "proc/sys", false },
	{ "proc/sys/net/ipv4/conf", true },
	{ "proc/sys/net/ipv6/conf", true },
	{ "proc/sys/net/unix", true },
	{ "proc/acpi", false },
	{ "proc/bus", false },
	{ "proc/fs", false },
	{ "proc/irq", false },
	{ "proc/mtrr", false },
	{ "proc/sysrq-trigger", false },
	{ "sys", false },
};

/* `flags`: 0 makes it a mount of its own. A place that this kernel does not have is as it should be. */
static bool remount(const char *root, const struct place *place, unsigned long flags)
{
	char path[PATH_BYTES];

	(void)snprintf(path, sizeof(path), "%s/%s", root, place->name);
	if (access(path, F_OK) != 0 || mount(path, path, NULL, MS_BIND | flags, NULL) == 0)
		return true;
	log_error(INIT_PART, "%s cannot be made read-only: %s", path, strerror(errno));
	return false;
}

bool init_seal(const char *root)
{
	const unsigned long read_only = MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC;
	const size_t count = COUNT(places);
	bool all = true;

	for (size_t i = 0; i < count; i++)
		all = remount(root, &places[i], 0) && all;
	for (size_t i = 0; i < count; i++) /* a mount is like the one that it was made from */
		all = (places[i].writable || remount(root, &places[i], read_only)) && all;
	if (all)
		log_info(INIT_PART, "the kernel's settings are read-only");
	return all;
}
