#include "replica/confine.h"

#include <ctype.h>
#include <errno.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BIT(capability) (UINT64_C(1) << (capability))

/*
 * By words of a command line, wherever they stand: it costs little to give a QEMU a right for the name of a file, since who writes
 * its arguments could ask for the device as well. What is named in an image's header only (a server with its backing file) is not
 * known here, and not given.
 */
static const struct need {
	const char *word;
	uint64_t capabilities;
	const char *why; /* it cannot be given: what it would need */
	unsigned may;
	bool is_key; /* only where a value follows it */
} needs_table[] = {
	{ "tap", .capabilities = BIT(CAP_NET_ADMIN) },	   /* one that exists, and is nobody's */
	{ "vfio-pci", .capabilities = BIT(CAP_IPC_LOCK) }, /* it writes to the guest's memory */
	{ "vfio-ap", .capabilities = BIT(CAP_IPC_LOCK) },
	{ "vfio-ccw", .capabilities = BIT(CAP_IPC_LOCK) },
	{ "vfio-platform", .capabilities = BIT(CAP_IPC_LOCK) },
	{ "vhost-vdpa", .capabilities = BIT(CAP_IPC_LOCK) },
	{ "vhost-vdpa-device-pci", .capabilities = BIT(CAP_IPC_LOCK) },
	{ "nvme", .capabilities = BIT(CAP_IPC_LOCK) }, /* as a disk's driver */
	{ "mem-lock", .capabilities = BIT(CAP_IPC_LOCK) },
	{ "scsi-generic", .capabilities = BIT(CAP_SYS_RAWIO) }, /* the guest's commands to a disk */
	{ "scsi-block", .capabilities = BIT(CAP_SYS_RAWIO) },
	{ "io_uring", .may = CONFINE_MAY_IO_URING }, /* aio= of a disk */
	{ "usb-host", .may = CONFINE_MAY_UEVENTS },
	{ "l2tpv3", .capabilities = BIT(CAP_NET_RAW), .may = CONFINE_MAY_IP }, /* beside TCP */
	/* Network back ends and serial ports, as options or as keys and types. */
	{ "user", .may = CONFINE_MAY_IP },
	{ "listen", .may = CONFINE_MAY_IP },
	{ "connect", .may = CONFINE_MAY_IP },
	{ "mcast", .may = CONFINE_MAY_IP },
	{ "inet", .may = CONFINE_MAY_IP },
	{ "host", .is_key = true, .may = CONFINE_MAY_IP },
	{ "tcp", .may = CONFINE_MAY_IP },
	{ "udp", .may = CONFINE_MAY_IP },
	{ "telnet", .may = CONFINE_MAY_IP },
	{ "tn3270", .may = CONFINE_MAY_IP },
	{ "websocket", .may = CONFINE_MAY_IP },
	/* Disks on a server, by driver or by URL. */
	{ "nbd", .may = CONFINE_MAY_IP },
	{ "rbd", .may = CONFINE_MAY_IP },
	{ "iscsi", .may = CONFINE_MAY_IP },
	{ "iser", .may = CONFINE_MAY_IP },
	{ "nfs", .may = CONFINE_MAY_IP },
	{ "ssh", .may = CONFINE_MAY_IP },
	{ "gluster", .may = CONFINE_MAY_IP },
	{ "http", .may = CONFINE_MAY_IP },
	{ "https", .may = CONFINE_MAY_IP },
	{ "ftp", .may = CONFINE_MAY_IP },
	{ "ftps", .may = CONFINE_MAY_IP },
	{ "sheepdog", .may = CONFINE_MAY_IP },
	{ "af-xdp", .why = "it loads a program into the kernel" },
};
#define NEEDS (sizeof(needs_table) / sizeof(needs_table[0]))

static bool is_of_word(char c)
{
	return isalnum((unsigned char)c) || c == '-' || c == '_';
}

/* Of a key=value, or of JSON. */
static bool is_key_until(const char *end)
{
	return *end == '=' || (end[0] == '"' && end[1 + strspn(end + 1, " ")] == ':');
}

static bool has_word(const char *text, const char *word, bool is_key)
{
	const size_t len = strlen(word);

	for (const char *at = strstr(text, word); at != NULL; at = strstr(at + 1, word)) {
		if ((at == text || !is_of_word(at[-1])) && !is_of_word(at[len]) &&
		    (!is_key || is_key_until(at + len)))
			return true;
	}
	return false;
}

int confine_needs(struct confine_needs *needs, char *const *args, struct err *err)
{
	*needs = (struct confine_needs){ 0 };
	for (; *args != NULL; args++) {
		for (size_t i = 0; i < NEEDS; i++) {
			if (!has_word(*args, needs_table[i].word, needs_table[i].is_key))
				continue;
			if (needs_table[i].why != NULL)
				return err_set(
					err, RC_UNSUPPORTED,
					"%s cannot be had in a QEMU that is confined, as %s; "
					"hypervisor.confine false does without",
					needs_table[i].word, needs_table[i].why);
			needs->capabilities |= needs_table[i].capabilities;
			needs->may |= needs_table[i].may;
		}
	}
	return RC_OK;
}

uint64_t confine_standby_capabilities(void)
{
	uint64_t all = BIT(CAP_NET_ADMIN) | /* taps, addresses, routes */
		       BIT(CAP_NET_RAW) |   /* announcements, VRRP, frames on devices */
		       BIT(CAP_NET_BIND_SERVICE) | BIT(CAP_KILL) |
		       BIT(CAP_DAC_OVERRIDE) | /* images and directories of other users */
		       BIT(CAP_FOWNER) | BIT(CAP_CHOWN) | BIT(CAP_FSETID) |
		       BIT(CAP_SYS_PTRACE) | /* who has an image open, as /proc tells */
		       BIT(CAP_SETUID) | BIT(CAP_SETGID) | /* hypervisors of another user */
		       BIT(CAP_SYS_NICE) | BIT(CAP_SYS_RESOURCE);

	for (size_t i = 0; i < NEEDS; i++)
		all |= needs_table[i].capabilities;
	return all;
}

/* Ambient ones go with those that are not permitted or inheritable any more. */
static int keep_capabilities(uint64_t keep)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

	if (syscall(SYS_capget, &header, data) != 0)
		return errno;
	for (int i = 0; i < _LINUX_CAPABILITY_U32S_3; i++) {
		const uint32_t mask = (uint32_t)(keep >> (32 * i));

		data[i].permitted &= mask;
		data[i].effective &= mask;
		data[i].inheritable &= mask;
	}
	return syscall(SYS_capset, &header, data) == 0 ? 0 : errno;
}

/* struct landlock_ruleset_attr as of ABI 6; the headers may be older. */
struct ruleset {
	uint64_t files, network, scoped;
};
#define SCOPE_SIGNAL UINT64_C(2)
#define SCOPES_SINCE 6

/*
 * A Landlock domain: from inside of one nobody looks into a process outside of it (/proc/PID/mem), be it of the same user, or
 * signals it. A domain has to forbid something, too: device files, which nobody here makes. Not every kernel has them. An errno, or 0.
 */
static int enter_domain(void)
{
	const long version =
		syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	const struct ruleset ruleset = {
		.files = LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_BLOCK,
		.scoped = version >= SCOPES_SINCE ? SCOPE_SIGNAL : 0,
	};
	long fd;
	int r = 0;

	if (version < 1)
		return 0;
	fd = syscall(SYS_landlock_create_ruleset, &ruleset, sizeof(ruleset), 0);
	if (fd < 0)
		return errno;
	if (syscall(SYS_landlock_restrict_self, (int)fd, 0) != 0)
		r = errno;
	(void)close((int)fd);
	return r;
}

int confine(const struct confine_subject *subject, uint64_t capabilities, struct err *err)
{
	struct sock_filter filter[CONFINE_FILTER_MAX];
	const struct sock_fprog program = {
		.len = (unsigned short)confine_filter(filter, subject),
		.filter = filter,
	};
	int r = keep_capabilities(capabilities);

	if (r != 0)
		return err_system(err, r, "giving up capabilities");
	/* Then root's execve() does not get them back either. */
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		return err_system(err, errno, "giving up new privileges");
	r = subject->whom != CONFINE_STANDBY ? enter_domain() : 0;
	if (r != 0)
		return err_system(err, r, "a domain of its own (Landlock)");
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) != 0)
		return err_system(err, errno, "a filter of system calls (seccomp)");
	return RC_OK;
}

int confine_listener(uint64_t capabilities, struct err *err)
{
	const struct confine_subject subject = { .whom = CONFINE_LISTENER,
						 .pid = (uint32_t)getpid() };

	return confine(&subject, capabilities, err);
}
