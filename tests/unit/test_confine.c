/* In processes of the test's own the kernel does what confine.h says. */
#include "replica/child.h"
#include "replica/confine.h"
#include "replica/confine_process.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static struct err err, how;

/* Runs in a process of its own; 0, or what went wrong as a line of the test. */
static void in_a_process(int (*claim)(void))
{
	int status;
	const pid_t pid = fork();

	if (pid == 0)
		_exit(claim());
	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) != 0)
		fail_msg("no. %d of it is wrong", WEXITSTATUS(status));
}

static int confine_as(enum confine_whom whom, uint64_t capabilities)
{
	const struct confine_subject subject = { .whom = whom,
						 .pid = (uint32_t)getpid(),
						 .key = 7 };

	return confine(&subject, capabilities, &err);
}

static int try_all_denied(enum confine_whom whom)
{
	int number, reason;
	const char *why;

	if (confine_as(whom, 0) != RC_OK)
		return 255;
	for (size_t i = 0; confine_denied(i, whom, &number, &reason, &why); i++) {
		errno = 0;
		if (syscall(number, 0, 0, 0, 0, 0, 0) != -1 || errno != reason)
			return (int)i + 1;
	}
	return 0;
}

static int try_as_hypervisor(void)
{
	return try_all_denied(CONFINE_HYPERVISOR);
}

static int try_as_standby(void)
{
	return try_all_denied(CONFINE_STANDBY);
}

static int try_as_listener(void)
{
	return try_all_denied(CONFINE_LISTENER);
}

static void the_kernel_denies_what_the_table_says(void **state)
{
	(void)state;
	in_a_process(try_as_hypervisor);
	in_a_process(try_as_standby);
	in_a_process(try_as_listener);
}

static int try_the_rest(void)
{
	char program[] = "/bin/true", *args[] = { program, NULL };
	const pid_t parent = getppid();

	if (confine_as(CONFINE_HYPERVISOR, 0) != RC_OK)
		return 1;
	if (fork() != -1 || errno != EPERM)
		return 2;
	if (kill(parent, 0) != -1 || errno != EPERM || kill(getpid(), 0) != 0)
		return 3;
	if (socket(AF_PACKET, SOCK_RAW, 0) != -1 || errno != EAFNOSUPPORT ||
	    socket(AF_INET, SOCK_STREAM, 0) != -1 || socket(AF_UNIX, SOCK_STREAM, 0) < 0)
		return 4;
	(void)execve(program, args, environ);
	if (errno != EPERM)
		return 5;
	(void)syscall(SYS_execve, program, args, environ, 0, 0, UINT64_C(7)); /* the key */
	return 6;
}

static void with_the_key_one_program_is_executed_and_nothing_else(void **state)
{
	(void)state;
	in_a_process(try_the_rest);
}

static int capabilities_left(uint64_t keep)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct before[2], after[2];

	if (syscall(SYS_capget, &header, before) != 0 ||
	    confine_as(CONFINE_HYPERVISOR, keep) != RC_OK ||
	    syscall(SYS_capget, &header, after) != 0)
		return 1;
	for (int i = 0; i < 2; i++) {
		if (after[i].permitted != (before[i].permitted & (uint32_t)(keep >> (32 * i))) ||
		    after[i].effective != (before[i].effective & (uint32_t)(keep >> (32 * i))))
			return 2;
	}
	return 0;
}

static int keep_none(void)
{
	return capabilities_left(0);
}

static int keep_two(void)
{
	return capabilities_left(UINT64_C(1) << CAP_NET_ADMIN | UINT64_C(1) << CAP_SYSLOG);
}

static void of_the_capabilities_those_stay_that_are_said(void **state)
{
	(void)state;
	in_a_process(keep_none);
	in_a_process(keep_two);
}

/* Another one of the same user, which is confined as well, and whether its memory can be had. */
static int try_to_look_into_another(void)
{
	char path[64], byte = 0;
	int ready[2], over[2], fd;
	pid_t other;

	if (syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION) < 1)
		return 0; /* a kernel without */
	if (pipe(ready) != 0 || pipe(over) != 0 || (other = fork()) < 0)
		return 1;
	if (other == 0) {
		(void)close(over[1]);
		byte = confine_as(CONFINE_HYPERVISOR, 0) == RC_OK;
		(void)!write(ready[1], &byte, 1);
		(void)!read(over[0], &byte, 1); /* no signal of its parent's comes there */
		_exit(0);
	}
	(void)snprintf(path, sizeof(path), "/proc/%d/mem", (int)other);
	fd = read(ready[0], &byte, 1) == 1 && byte == 1 ? open(path, O_RDWR | O_CLOEXEC) : -1;
	if (fd < 0 || confine_as(CONFINE_HYPERVISOR, 0) != RC_OK)
		return 2;
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd >= 0 || errno != EACCES)
		return 3;
	return open("/proc/self/mem", O_RDWR | O_CLOEXEC) >= 0 ? 0 : 4;
}

static void one_does_not_look_into_another(void **state)
{
	(void)state;
	in_a_process(try_to_look_into_another);
}

static void needs(char *argument, uint64_t capabilities, unsigned may)
{
	char program[] = "qemu", *args[] = { program, argument, NULL };
	struct confine_needs is;

	assert_int_equal(confine_needs(&is, args, &err), RC_OK);
	assert_int_equal(is.capabilities, capabilities);
	assert_int_equal(is.may, may);
}

static void what_a_hypervisor_needs_is_in_its_arguments(void **state)
{
	const uint64_t net = UINT64_C(1) << CAP_NET_ADMIN, lock = UINT64_C(1) << CAP_IPC_LOCK;
	char program[] = "qemu", xdp[] = "af-xdp,id=n0,ifname=eth0";
	char *args[] = { program, xdp, NULL };
	struct confine_needs is;

	(void)state;
	needs((char[]){ "tap,id=n0,ifname=us-vm1,script=no,downscript=no" }, net, 0);
	needs((char[]){ "{\"type\":\"tap\",\"id\":\"n0\"}" }, net, 0);
	needs((char[]){ "dgram,id=taps,local.path=stap" }, 0, 0);
	needs((char[]){ "vfio-pci,sysfsdev=/sys/x" }, lock, 0);
	needs((char[]){ "mem-lock=on" }, lock, 0);
	needs((char[]){ "file=x.raw,aio=io_uring" }, 0, CONFINE_MAY_IO_URING);
	needs((char[]){ "usb-host,vendorid=1" }, 0, CONFINE_MAY_UEVENTS);
	needs((char[]){ "user,id=n0" }, 0, CONFINE_MAY_IP);
	needs((char[]){ "nbd://store/vm1" }, 0, CONFINE_MAY_IP);
	needs((char[]){ "host" }, 0, 0); /* of -cpu */
	needs((char[]){ "base=utc,clock=host" }, 0, 0);
	needs((char[]){ "socket,id=c0,host=192.0.2.1,port=1" }, 0, CONFINE_MAY_IP);
	needs((char[]){ "{\"driver\":\"quorum\",\"host\": \"192.0.2.1\"}" }, 0, CONFINE_MAY_IP);
	needs((char[]){ "{\"driver\":\"nbd\",\"server\":{\"type\":\"inet\"}}" }, 0, CONFINE_MAY_IP);
	needs((char[]){ "unix:/run/vm1/replica.qmp,server=on,wait=off" }, 0, 0);
	needs((char[]){ "file=/srv/users/hostile.raw,format=raw" }, 0, 0);
	needs((char[]){ "" }, 0, 0);
	assert_int_equal(confine_needs(&is, args, &err), RC_UNSUPPORTED);
	assert_non_null(strstr(err.text, "af-xdp"));
	assert_non_null(strstr(err.text, "hypervisor.confine"));
}

static void on_end(void *owner, const struct err *why)
{
	struct child **child = owner;

	how = *why;
	child_close(*child, false, NULL);
}

/* What a shell said that was started in such a way; it has to do with its own commands. */
static const char *said(const char *script)
{
	char sh[] = "/bin/sh", c[] = "-c", text[512];
	char *args[] = { sh, c, text, NULL };
	const struct child_options options = {
		.part = "test", .args = args, .cwd = "/tmp", .keep = -1, .confine = true
	};
	struct child *child;
	uv_loop_t loop;

	(void)snprintf(text, sizeof(text), "%s", script);
	assert_int_equal(uv_loop_init(&loop), 0);
	assert_int_equal(child_start(&child, &loop, &options, on_end, &child, &err), RC_OK);
	(void)uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&loop), 0);
	return how.text;
}

static void a_child_is_what_was_asked_for_and_confined(void **state)
{
	const char *is;

	(void)state;
	is = said(
		"while read -r name value; do case $name in CapPrm:|CapEff:|NoNewPrivs:|Seccomp:) "
		"echo \"$name$value\" >&2;; esac; done </proc/$$/status; exit 3");
	assert_string_equal(is, "sh ended with status 3: CapPrm:0000000000000000; "
				"CapEff:0000000000000000; NoNewPrivs:1; Seccomp:2");
	is = said("/bin/true; echo \"not $?\" >&2");
	assert_non_null(strstr(is, "sh ended with status"));
	assert_null(strstr(is, "not 0")); /* it could make no process for it */
	assert_string_equal(said("kill -TERM $$"), "sh was ended by signal 15 (Terminated)");
	assert_non_null(strstr(said("kill -0 $PPID"), "sh ended with status 1"));
}

static void a_program_that_is_not_there_is_named(void **state)
{
	char none[] = "/no/such/program", name[] = "no-such-program";
	char *args[] = { none, NULL };
	struct child_options options = {
		.part = "test", .args = args, .cwd = "/tmp", .keep = -1, .confine = true
	};
	struct child *child;
	uv_loop_t loop;

	(void)state;
	assert_int_equal(uv_loop_init(&loop), 0);
	assert_int_equal(child_start(&child, &loop, &options, on_end, &child, &err), RC_IO);
	assert_non_null(strstr(err.text, "/no/such/program: no such file"));
	args[0] = name; /* it is looked for by who becomes it */
	assert_int_equal(child_start(&child, &loop, &options, on_end, &child, &err), RC_OK);
	(void)uv_run(&loop, UV_RUN_DEFAULT);
	assert_string_equal(how.text, "no-such-program ended with status 127: "
				      "starting no-such-program: No such file or directory");
	assert_int_equal(uv_loop_close(&loop), 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_kernel_denies_what_the_table_says),
		cmocka_unit_test(with_the_key_one_program_is_executed_and_nothing_else),
		cmocka_unit_test(of_the_capabilities_those_stay_that_are_said),
		cmocka_unit_test(one_does_not_look_into_another),
		cmocka_unit_test(what_a_hypervisor_needs_is_in_its_arguments),
		cmocka_unit_test(a_child_is_what_was_asked_for_and_confined),
		cmocka_unit_test(a_program_that_is_not_there_is_named),
	};

	if (confine_process_is_one(argc, argv))
		confine_process_run(argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
