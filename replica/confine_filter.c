/*
 * Theory of operation
 *
 * A list of what is denied, not of what is allowed: QEMU with all its devices, disk drivers and libraries makes calls that no list
 * of ours would have in full, and a replica that dies of one at a takeover is worse than what the list is there for. It names
 * the calls that give power over other processes, the kernel, the machine or who one is, and those that have often been a way
 * into the kernel and that nothing here uses. Calls that are newer than the list (NEWEST) do not exist for the process: programs
 * cope with an older kernel. Nor does the x32 ABI, by which all calls could be made under other numbers; a call of the 32-bit ABI, which
 * only foreign code makes, ends the process.
 *
 * A denied call fails (EPERM; ENOSYS where programs then use another one), so that QEMU says what it could not do.
 *
 * The filter is one comparison after the other. The kernel finds out once which calls it allows whatever their arguments, and
 * makes these without running it.
 */
#include "replica/confine_filter.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/netlink.h>
#include <linux/seccomp.h>
#include <linux/sockios.h>
#include <sched.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#ifndef SYS_quotactl_fd
#define SYS_quotactl_fd 443 /* not in musl 1.2.5 */
#endif

#define NEWEST 462 /* mseal, Linux 6.10 */
#define X32 0x40000000

#define QEMU CONFINE_HYPERVISOR
#define ALONE (CONFINE_HYPERVISOR | CONFINE_LISTENER) /* nobody else is theirs */
#define ALL (CONFINE_HYPERVISOR | CONFINE_STANDBY | CONFINE_LISTENER)

enum unless {
	NEVER,	      /* denied */
	THREAD,	      /* makes a thread */
	SELF,	      /* concerns the process itself */
	SELF_OR_ZERO, /* the same, and zero means itself */
	KEY,	      /* the subject's key is there */
	FAMILY,	      /* a socket of a kind that the subject has */
	NO_OWNER,     /* does not say whom the kernel sends which signal for a descriptor */
	NO_NAMESPACE, /* makes a process in the namespaces that there are */
	IO_URING,     /* the subject may */
};

struct rule {
	int call;
	unsigned whom;
	enum unless unless;
	int reason; /* errno */
	const char *why;
};

static const char programs[] = "runs or makes processes";
static const char others[] = "reaches into other processes";
static const char identity[] = "changes who one is";
static const char mounts[] = "changes file systems and namespaces";
static const char kernel[] = "changes the kernel";
static const char machine[] = "changes the machine's settings";
static const char surface[] = "is a way into the kernel that nobody here needs";

static const struct rule rules[] = {
	/* The one that a processor of KVM's makes all the time is looked for first. */
	{ SYS_ioctl, ALONE, NO_OWNER, EPERM, others },

	{ SYS_execve, QEMU, KEY, EPERM, programs },
	{ SYS_execve, CONFINE_LISTENER, NEVER, EPERM, programs },
	{ SYS_execveat, ALONE, NEVER, EPERM, programs },
	{ SYS_fork, ALONE, NEVER, EPERM, programs },
	{ SYS_vfork, ALONE, NEVER, EPERM, programs },
	{ SYS_clone, ALONE, THREAD, EPERM, programs },
	{ SYS_clone, CONFINE_STANDBY, NO_NAMESPACE, EPERM, mounts },
	{ SYS_clone3, ALL, NEVER, ENOSYS, programs }, /* its flags are in memory: clone() then */

	{ SYS_kill, ALONE, SELF, EPERM, others },
	{ SYS_tgkill, ALONE, SELF, EPERM, others },
	{ SYS_tkill, ALONE, NEVER, EPERM, others }, /* glibc's threads use tgkill() */
	{ SYS_rt_sigqueueinfo, ALONE, SELF, EPERM, others },
	{ SYS_rt_tgsigqueueinfo, ALONE, SELF, EPERM, others },
	{ SYS_fcntl, ALONE, NO_OWNER, EPERM,
	  others }, /* F_SETOWN and F_SETSIG together are kill() */
	{ SYS_prlimit64, ALONE, SELF_OR_ZERO, EPERM, others },
	{ SYS_sched_setscheduler, ALONE, SELF_OR_ZERO, EPERM, others },
	{ SYS_sched_setparam, ALONE, SELF_OR_ZERO, EPERM, others },
	{ SYS_sched_setattr, ALONE, SELF_OR_ZERO, EPERM, others },
	{ SYS_sched_setaffinity, ALONE, SELF_OR_ZERO, EPERM, others },
	{ SYS_setpriority, ALONE, NEVER, EPERM, others },
	{ SYS_ioprio_set, ALONE, NEVER, EPERM, others },
	{ SYS_pidfd_open, ALONE, NEVER, EPERM, others },
	{ SYS_pidfd_send_signal, ALONE, NEVER, EPERM, others },
	{ SYS_process_madvise, ALONE, NEVER, EPERM, others },
	{ SYS_process_mrelease, ALONE, NEVER, EPERM, others },
	{ SYS_move_pages, ALONE, NEVER, EPERM, others },
	{ SYS_migrate_pages, ALONE, NEVER, EPERM, others },
	{ SYS_ptrace, ALL, NEVER, EPERM, others },
	{ SYS_process_vm_readv, ALL, NEVER, EPERM, others },
	{ SYS_process_vm_writev, ALL, NEVER, EPERM, others },
	{ SYS_pidfd_getfd, ALL, NEVER, EPERM, others },
	{ SYS_kcmp, ALL, NEVER, EPERM, others },

	{ SYS_setuid, ALONE, NEVER, EPERM, identity },
	{ SYS_setgid, ALONE, NEVER, EPERM, identity },
	{ SYS_setreuid, ALONE, NEVER, EPERM, identity },
	{ SYS_setregid, ALONE, NEVER, EPERM, identity },
	{ SYS_setresuid, ALONE, NEVER, EPERM, identity },
	{ SYS_setresgid, ALONE, NEVER, EPERM, identity },
	{ SYS_setfsuid, ALONE, NEVER, EPERM, identity },
	{ SYS_setfsgid, ALONE, NEVER, EPERM, identity },
	{ SYS_setgroups, ALONE, NEVER, EPERM, identity },
	{ SYS_capset, ALONE, NEVER, EPERM, identity },
	{ SYS_personality, ALL, NEVER, EPERM, identity },

	{ SYS_mount, ALL, NEVER, EPERM, mounts },
	{ SYS_umount2, ALL, NEVER, EPERM, mounts },
	{ SYS_pivot_root, ALL, NEVER, EPERM, mounts },
	{ SYS_chroot, ALL, NEVER, EPERM, mounts },
	{ SYS_unshare, ALL, NEVER, EPERM, mounts },
	{ SYS_setns, ALL, NEVER, EPERM, mounts },
	{ SYS_open_tree, ALL, NEVER, EPERM, mounts },
	{ SYS_move_mount, ALL, NEVER, EPERM, mounts },
	{ SYS_mount_setattr, ALL, NEVER, EPERM, mounts },
	{ SYS_fsopen, ALL, NEVER, EPERM, mounts },
	{ SYS_fsconfig, ALL, NEVER, EPERM, mounts },
	{ SYS_fsmount, ALL, NEVER, EPERM, mounts },
	{ SYS_fspick, ALL, NEVER, EPERM, mounts },
	{ SYS_quotactl, ALL, NEVER, EPERM, mounts },
	{ SYS_quotactl_fd, ALL, NEVER, EPERM, mounts },
	{ SYS_open_by_handle_at, ALL, NEVER, EPERM, mounts },
	{ SYS_fanotify_init, ALL, NEVER, EPERM, mounts },

	{ SYS_init_module, ALL, NEVER, EPERM, kernel },
	{ SYS_finit_module, ALL, NEVER, EPERM, kernel },
	{ SYS_delete_module, ALL, NEVER, EPERM, kernel },
	{ SYS_create_module, ALL, NEVER, EPERM, kernel },
	{ SYS_kexec_load, ALL, NEVER, EPERM, kernel },
	{ SYS_kexec_file_load, ALL, NEVER, EPERM, kernel },
	{ SYS_bpf, ALL, NEVER, EPERM, kernel },

	{ SYS_reboot, ALL, NEVER, EPERM, machine },
	{ SYS_swapon, ALL, NEVER, EPERM, machine },
	{ SYS_swapoff, ALL, NEVER, EPERM, machine },
	{ SYS_acct, ALL, NEVER, EPERM, machine },
	{ SYS_settimeofday, ALL, NEVER, EPERM, machine },
	{ SYS_clock_settime, ALL, NEVER, EPERM, machine },
	{ SYS_adjtimex, ALL, NEVER, EPERM, machine },
	{ SYS_clock_adjtime, ALL, NEVER, EPERM, machine },
	{ SYS_sethostname, ALL, NEVER, EPERM, machine },
	{ SYS_setdomainname, ALL, NEVER, EPERM, machine },
	{ SYS_iopl, ALL, NEVER, EPERM, machine },
	{ SYS_ioperm, ALL, NEVER, EPERM, machine },
	{ SYS_vhangup, ALL, NEVER, EPERM, machine },
	{ SYS_syslog, ALL, NEVER, EPERM, machine },

	{ SYS_socket, QEMU, FAMILY, EAFNOSUPPORT, surface },
	{ SYS_io_uring_setup, ALONE, IO_URING, ENOSYS, surface },
	{ SYS_io_uring_enter, ALONE, IO_URING, ENOSYS, surface },
	{ SYS_io_uring_register, ALONE, IO_URING, ENOSYS, surface },
	{ SYS_userfaultfd, ALL, NEVER, ENOSYS, surface },
	{ SYS_perf_event_open, ALL, NEVER, EPERM, surface },
	{ SYS_add_key, ALL, NEVER, EPERM, surface },
	{ SYS_request_key, ALL, NEVER, EPERM, surface },
	{ SYS_keyctl, ALL, NEVER, EPERM, surface },
	{ SYS_modify_ldt, ALL, NEVER, EPERM, surface },
	{ SYS_uselib, ALL, NEVER, EPERM, surface },
	{ SYS_lookup_dcookie, ALL, NEVER, EPERM, surface },
	{ SYS_nfsservctl, ALL, NEVER, EPERM, surface },
	{ SYS__sysctl, ALL, NEVER, EPERM, surface },
};
#define RULES (sizeof(rules) / sizeof(rules[0]))

/* One filter that is being written; offsets of jumps are counted from behind the instruction. */
struct writer {
	struct sock_filter *out;
	size_t count;
};

static void put(struct writer *w, uint16_t code, uint32_t k, uint8_t yes, uint8_t no)
{
	assert(w->count < CONFINE_FILTER_MAX);
	w->out[w->count++] = (struct sock_filter){ code, yes, no, k };
}

static void load(struct writer *w, size_t offset)
{
	put(w, BPF_LD | BPF_W | BPF_ABS, (uint32_t)offset, 0, 0);
}

/* The halves of an argument: this machine's words begin with the lower one. */
static void load_argument(struct writer *w, unsigned which, bool upper)
{
	load(w, offsetof(struct seccomp_data, args) + 8 * which + (upper ? 4 : 0));
}

static void compare(struct writer *w, uint32_t value, uint8_t yes, uint8_t no)
{
	put(w, BPF_JMP | BPF_JEQ | BPF_K, value, yes, no);
}

static void result(struct writer *w, uint32_t value)
{
	put(w, BPF_RET | BPF_K, value, 0, 0);
}

static void allow(struct writer *w)
{
	result(w, SECCOMP_RET_ALLOW);
}

static void allow_key(struct writer *w, uint64_t key)
{
	load_argument(w, 5, false);
	compare(w, (uint32_t)key, 0, 3);
	load_argument(w, 5, true);
	compare(w, (uint32_t)(key >> 32), 0, 1);
	allow(w);
}

static void allow_if_equal(struct writer *w, uint32_t value)
{
	compare(w, value, 0, 1);
	allow(w);
}

/* QMP, and cards as a rule, are unix sockets; with IP, libc asks for addresses, and libusb hears of devices. */
static void allow_families(struct writer *w, unsigned may)
{
	size_t jump;

	load_argument(w, 0, false);
	allow_if_equal(w, AF_UNIX);
	if ((may & CONFINE_MAY_IP) != 0) {
		allow_if_equal(w, AF_INET);
		allow_if_equal(w, AF_INET6);
	}
	jump = w->count;
	compare(w, AF_NETLINK, 0, 0);
	load_argument(w, 2, false);
	if ((may & CONFINE_MAY_IP) != 0)
		allow_if_equal(w, NETLINK_ROUTE);
	if ((may & CONFINE_MAY_UEVENTS) != 0)
		allow_if_equal(w, NETLINK_KOBJECT_UEVENT);
	w->out[jump].jf = (uint8_t)(w->count - jump - 1);
}

#define NEW_NAMESPACE                                                                  \
	(CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | \
	 CLONE_NEWPID | CLONE_NEWNET)

/* Of fcntl()'s commands and ioctl()'s, whose numbers are far apart. */
static void allow_but_owner(struct writer *w)
{
	static const uint32_t commands[] = { F_SETOWN, F_SETOWN_EX, F_SETSIG, FIOSETOWN,
					     SIOCSPGRP };
	const uint8_t count = sizeof(commands) / sizeof(commands[0]);

	load_argument(w, 1, false);
	for (uint8_t i = 0; i < count; i++)
		compare(w, commands[i], (uint8_t)(count - i), 0);
	allow(w);
}

/* What of a rule's calls is allowed; the instruction behind it denies the rest. */
static void allow_unless(struct writer *w, enum unless unless,
			 const struct confine_subject *subject)
{
	switch (unless) {
	case THREAD:
		load_argument(w, 0, false);
		put(w, BPF_JMP | BPF_JSET | BPF_K, CLONE_THREAD, 0, 1);
		allow(w);
		break;
	case SELF_OR_ZERO:
		load_argument(w, 0, false);
		compare(w, 0, 1, 0);
		compare(w, subject->pid, 0, 1);
		allow(w);
		break;
	case SELF:
		load_argument(w, 0, false);
		allow_if_equal(w, subject->pid);
		break;
	case KEY:
		allow_key(w, subject->key);
		break;
	case FAMILY:
		allow_families(w, subject->may);
		break;
	case NO_OWNER:
		allow_but_owner(w);
		break;
	case NO_NAMESPACE:
		load_argument(w, 0, false);
		put(w, BPF_JMP | BPF_JSET | BPF_K, NEW_NAMESPACE, 1, 0);
		allow(w);
		break;
	case NEVER:
	case IO_URING:
		break;
	}
}

/* A call's number is in the accumulator, before and, where the rule is another call's, behind it. */
static void put_rule(struct writer *w, const struct rule *rule,
		     const struct confine_subject *subject)
{
	const size_t jump = w->count;

	compare(w, (uint32_t)rule->call, 0, 0);
	allow_unless(w, rule->unless, subject);
	result(w, SECCOMP_RET_ERRNO | (uint32_t)rule->reason);
	assert(w->count - jump - 1 <= UINT8_MAX);
	w->out[jump].jf = (uint8_t)(w->count - jump - 1);
}

static bool concerns(const struct rule *rule, const struct confine_subject *subject)
{
	return (rule->whom & subject->whom) != 0 &&
	       !(rule->unless == IO_URING && (subject->may & CONFINE_MAY_IO_URING) != 0);
}

size_t confine_filter(struct sock_filter out[CONFINE_FILTER_MAX],
		      const struct confine_subject *subject)
{
	struct writer w = { out, 0 };

	load(&w, offsetof(struct seccomp_data, arch));
	compare(&w, AUDIT_ARCH_X86_64, 1, 0);
	result(&w, SECCOMP_RET_KILL_PROCESS);
	load(&w, offsetof(struct seccomp_data, nr));
	put(&w, BPF_JMP | BPF_JGT | BPF_K, NEWEST, 0, 1); /* all of X32's as well */
	result(&w, SECCOMP_RET_ERRNO | ENOSYS);
	static_assert(NEWEST < X32, "its calls are greater");
	for (size_t i = 0; i < RULES; i++) {
		if (concerns(&rules[i], subject))
			put_rule(&w, &rules[i], subject);
	}
	allow(&w);
	return w.count;
}

bool confine_denied(size_t i, enum confine_whom whom, int *call, int *reason, const char **why)
{
	for (size_t at = 0; at < RULES; at++) {
		if ((rules[at].whom & (unsigned)whom) == 0 || rules[at].unless != NEVER || i-- > 0)
			continue;
		*call = rules[at].call;
		*reason = rules[at].reason;
		*why = rules[at].why;
		return true;
	}
	return false;
}
