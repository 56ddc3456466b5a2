/* The filter is run by an interpreter of the few instructions that it is made of; test_confine.c has the kernel run it. */
#include "replica/confine_filter.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/netlink.h>
#include <linux/seccomp.h>
#include <linux/sockios.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <cmocka.h>

#define OWN_PID 4711
#define THE_KEY UINT64_C(0x123456789abcdef0)
#define ALLOWED SECCOMP_RET_ALLOW
#define FAILS(reason) (SECCOMP_RET_ERRNO | (uint32_t)(reason))

static struct sock_filter filter[CONFINE_FILTER_MAX];
static size_t length;

static void compile(enum confine_whom whom, unsigned may)
{
	const struct confine_subject subject = {
		.whom = whom, .pid = OWN_PID, .key = THE_KEY, .may = may
	};

	length = confine_filter(filter, &subject);
	assert_in_range(length, 1, CONFINE_FILTER_MAX);
}

static size_t after_jump(const struct sock_filter *at, size_t next, bool yes)
{
	next += yes ? at->jt : at->jf;
	assert_true(next < length); /* as the kernel asks for */
	return next;
}

/* The kernel's answer to a call with these arguments. */
static uint32_t judge(const struct seccomp_data *data)
{
	uint32_t a = 0;
	size_t next = 0;

	for (;;) {
		const struct sock_filter *at = &filter[next];

		assert_true(next++ < length);
		switch (at->code) {
		case BPF_LD | BPF_W | BPF_ABS:
			assert_true(at->k % 4 == 0 && at->k < sizeof(*data));
			memcpy(&a, (const char *)data + at->k, sizeof(a));
			break;
		case BPF_JMP | BPF_JEQ | BPF_K:
			next = after_jump(at, next, a == at->k);
			break;
		case BPF_JMP | BPF_JGT | BPF_K:
			next = after_jump(at, next, a > at->k);
			break;
		case BPF_JMP | BPF_JSET | BPF_K:
			next = after_jump(at, next, (a & at->k) != 0);
			break;
		case BPF_RET | BPF_K:
			return at->k;
		default:
			fail_msg("instruction %zu has code 0x%x", next - 1, at->code);
		}
	}
}

static uint32_t call(long number, uint64_t first, uint64_t second, uint64_t third, uint64_t sixth)
{
	const struct seccomp_data data = { .nr = (int)number,
					   .arch = AUDIT_ARCH_X86_64,
					   .args = { first, second, third, 0, 0, sixth } };

	return judge(&data);
}

static void what_the_table_denies_is_denied_whatever_the_arguments(void **state)
{
	static const enum confine_whom all[] = { CONFINE_HYPERVISOR, CONFINE_STANDBY,
						 CONFINE_LISTENER };
	int number, reason;
	const char *why;
	size_t i;

	(void)state;
	for (size_t who = 0; who < 3; who++) {
		compile(all[who], 0);
		for (i = 0; confine_denied(i, all[who], &number, &reason, &why); i++) {
			assert_int_equal(call(number, 0, 0, 0, 0), FAILS(reason));
			assert_int_equal(call(number, OWN_PID, UINT64_MAX, CLONE_THREAD, THE_KEY),
					 FAILS(reason));
			assert_true(*why != '\0');
		}
		assert_true(i > 40);
	}
}

static void what_everybody_needs_is_allowed(void **state)
{
	static const long calls[] = {
		SYS_read,	SYS_write,   SYS_openat,    SYS_mmap,	      SYS_mprotect,
		SYS_ioctl,	SYS_futex,   SYS_ppoll,	    SYS_epoll_wait,   SYS_eventfd2,
		SYS_exit_group, SYS_sendmsg, SYS_recvmsg,   SYS_fallocate,    SYS_getpid,
		SYS_madvise,	SYS_fsync,   SYS_fdatasync, SYS_memfd_create, SYS_rt_sigaction,
		SYS_prctl,	SYS_accept4, SYS_unlink,    SYS_getrandom,    SYS_clock_gettime,
	};

	(void)state;
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		compile(CONFINE_HYPERVISOR, 0);
		assert_int_equal(call(calls[i], 0, 0, 0, 0), ALLOWED);
		compile(CONFINE_STANDBY, 0);
		assert_int_equal(call(calls[i], 0, 0, 0, 0), ALLOWED);
	}
}

static void other_abis_and_later_calls_do_not_exist(void **state)
{
	struct seccomp_data data = { .nr = SYS_getpid, .arch = AUDIT_ARCH_I386 };

	(void)state;
	compile(CONFINE_HYPERVISOR, 0);
	assert_int_equal(judge(&data), SECCOMP_RET_KILL_PROCESS);
	assert_int_equal(call(0x40000000 | SYS_read, 0, 0, 0, 0), FAILS(ENOSYS));
	assert_int_equal(call(0x40000000 | 520, 0, 0, 0, 0), FAILS(ENOSYS)); /* its execve() */
	assert_int_equal(call(463, 0, 0, 0, 0), FAILS(ENOSYS));
	assert_int_equal(call(-1, 0, 0, 0, 0), FAILS(ENOSYS));
}

static void only_who_has_the_key_executes_a_program(void **state)
{
	(void)state;
	compile(CONFINE_HYPERVISOR, 0);
	assert_int_equal(call(SYS_execve, 1, 2, 3, THE_KEY), ALLOWED);
	assert_int_equal(call(SYS_execve, 1, 2, 3, 0), FAILS(EPERM));
	assert_int_equal(call(SYS_execve, 1, 2, 3, (uint32_t)THE_KEY), FAILS(EPERM));
	assert_int_equal(call(SYS_execve, 1, 2, 3, THE_KEY ^ 1), FAILS(EPERM));
	assert_int_equal(call(SYS_execve, 1, 2, 3, THE_KEY >> 32 << 32), FAILS(EPERM));
	assert_int_equal(call(SYS_execveat, 1, 2, 3, THE_KEY), FAILS(EPERM));
	compile(CONFINE_LISTENER, 0);
	assert_int_equal(call(SYS_execve, 1, 2, 3, 0), FAILS(EPERM));
	assert_int_equal(call(SYS_execve, 1, 2, 3, THE_KEY), FAILS(EPERM));
	compile(CONFINE_STANDBY, 0);
	assert_int_equal(call(SYS_execve, 1, 2, 3, 0), ALLOWED); /* its QEMUs */
}

static void threads_are_made_and_no_processes(void **state)
{
	(void)state;
	compile(CONFINE_HYPERVISOR, 0);
	assert_int_equal(call(SYS_clone, CLONE_VM | CLONE_THREAD | CLONE_SIGHAND, 0, 0, 0),
			 ALLOWED);
	assert_int_equal(call(SYS_clone, CLONE_VM | CLONE_VFORK, 0, 0, 0), FAILS(EPERM));
	assert_int_equal(call(SYS_clone3, 0, 0, 0, 0), FAILS(ENOSYS));
	compile(CONFINE_STANDBY, 0);
	assert_int_equal(call(SYS_clone, CLONE_VM | CLONE_VFORK, 0, 0, 0), ALLOWED);
}

static void signals_and_limits_are_for_itself(void **state)
{
	static const long calls[] = { SYS_kill, SYS_tgkill, SYS_rt_sigqueueinfo,
				      SYS_rt_tgsigqueueinfo, SYS_prlimit64 };

	(void)state;
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		compile(CONFINE_HYPERVISOR, 0);
		assert_int_equal(call(calls[i], OWN_PID, OWN_PID + 1, 6, 0), ALLOWED);
		assert_int_equal(call(calls[i], 1, OWN_PID, 6, 0), FAILS(EPERM));
		assert_int_equal(call(calls[i], (uint32_t)-1, 9, 0, 0), FAILS(EPERM));
		assert_int_equal(call(calls[i], 0, 9, 0, 0),
				 calls[i] == SYS_prlimit64 ? ALLOWED : FAILS(EPERM));
		compile(CONFINE_STANDBY, 0);
		assert_int_equal(call(calls[i], 1, 9, 0, 0), ALLOWED);
	}
}

static void nobody_is_told_for_it_and_no_namespace_is_made(void **state)
{
	static const struct {
		long call;
		uint64_t command;
	} told[] = { { SYS_fcntl, F_SETOWN },
		     { SYS_fcntl, F_SETOWN_EX },
		     { SYS_fcntl, F_SETSIG },
		     { SYS_ioctl, FIOSETOWN },
		     { SYS_ioctl, SIOCSPGRP } };
	const uint64_t kvm_run = 0xae80;

	(void)state;
	for (size_t i = 0; i < sizeof(told) / sizeof(told[0]); i++) {
		compile(CONFINE_HYPERVISOR, 0);
		assert_int_equal(call(told[i].call, 3, told[i].command, OWN_PID, 0), FAILS(EPERM));
		assert_int_equal(call(told[i].call, 3, told[i].command + 0x100, 0, 0), ALLOWED);
	}
	assert_int_equal(call(SYS_ioctl, 3, kvm_run, 0, 0), ALLOWED);
	compile(CONFINE_STANDBY, 0);
	assert_int_equal(call(SYS_clone, SIGCHLD, 0, 0, 0), ALLOWED);
	assert_int_equal(call(SYS_clone, SIGCHLD | CLONE_NEWUSER | CLONE_NEWNET, 0, 0, 0),
			 FAILS(EPERM));
	assert_int_equal(call(SYS_clone3, 0, 0, 0, 0), FAILS(ENOSYS));
}

static uint32_t open_socket(uint64_t family, uint64_t protocol)
{
	return call(SYS_socket, family, SOCK_STREAM, protocol, 0);
}

static void sockets_are_unix_ones_and_what_was_asked_for(void **state)
{
	static const uint64_t never[] = { AF_PACKET, AF_VSOCK, AF_ALG, AF_BLUETOOTH, 44, 0, 99 };
	const uint32_t none = FAILS(EAFNOSUPPORT);

	(void)state;
	for (unsigned may = 0; may < 8; may++) {
		const uint32_t ip = (may & CONFINE_MAY_IP) != 0 ? ALLOWED : none;

		compile(CONFINE_HYPERVISOR, may);
		assert_int_equal(open_socket(AF_UNIX, 0), ALLOWED);
		assert_int_equal(open_socket(AF_INET, 0), ip);
		assert_int_equal(open_socket(AF_INET6, 0), ip);
		assert_int_equal(open_socket(AF_NETLINK, NETLINK_ROUTE), ip);
		assert_int_equal(open_socket(AF_NETLINK, NETLINK_KOBJECT_UEVENT),
				 (may & CONFINE_MAY_UEVENTS) != 0 ? ALLOWED : none);
		assert_int_equal(open_socket(AF_NETLINK, NETLINK_NETFILTER), none);
		for (size_t i = 0; i < sizeof(never) / sizeof(never[0]); i++)
			assert_int_equal(open_socket(never[i], 0), none);
	}
	compile(CONFINE_LISTENER, 0);
	assert_int_equal(open_socket(AF_PACKET, 0), ALLOWED);
	compile(CONFINE_STANDBY, 0);
	assert_int_equal(open_socket(AF_PACKET, 0), ALLOWED);
}

static void io_uring_is_for_who_was_told_to_use_it(void **state)
{
	(void)state;
	compile(CONFINE_HYPERVISOR, 0);
	assert_int_equal(call(SYS_io_uring_setup, 8, 0, 0, 0), FAILS(ENOSYS));
	compile(CONFINE_HYPERVISOR, CONFINE_MAY_IO_URING);
	assert_int_equal(call(SYS_io_uring_setup, 8, 0, 0, 0), ALLOWED);
	assert_int_equal(call(SYS_io_uring_enter, 8, 0, 0, 0), ALLOWED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_the_table_denies_is_denied_whatever_the_arguments),
		cmocka_unit_test(what_everybody_needs_is_allowed),
		cmocka_unit_test(other_abis_and_later_calls_do_not_exist),
		cmocka_unit_test(only_who_has_the_key_executes_a_program),
		cmocka_unit_test(threads_are_made_and_no_processes),
		cmocka_unit_test(signals_and_limits_are_for_itself),
		cmocka_unit_test(nobody_is_told_for_it_and_no_namespace_is_made),
		cmocka_unit_test(sockets_are_unix_ones_and_what_was_asked_for),
		cmocka_unit_test(io_uring_is_for_who_was_told_to_use_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
