/* What the standby makes of an operator's list and of a peer's, and how a process's list is read. */
#include "tests/unit/cmdline_fixture.h"

#include "appliance/base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* The operator's own list -------------------------------------------------------------------- */

static int override(const char *text)
{
	struct cmdline args;
	int rc;

	cmdline_spec_free(&arguments_spec);
	arguments_lines(&args, text);
	rc = cmdline_override(&arguments_spec, args.args, "pc-q35-10.0", "pc.ram", 512 * MIB,
			      &arguments_err);
	cmdline_free(&args);
	return rc;
}

static void the_operators_list_is_taken_as_it_is_but_for_machine_and_memory(void **state)
{
	(void)state;
	assert_int_equal(
		override(
			"-machine\nq35,usb=off\n-serial\nfile:/var/log/vm\n-netdev\ntap,id=n,fd=3\n-vnc\n:1\n"
			"-qmp\nunix:/run/extra,server=on\n-no-shutdown\n-nodefaults"),
		RC_OK);
	assert_string_equal(
		arguments_joined(&arguments_spec.args),
		"-machine\npc-q35-10.0,usb=off,memory-backend=pc.ram\n-serial\nfile:/var/log/vm\n"
		"-netdev\ntap,id=n,fd=3\n-vnc\n:1\n-qmp\nunix:/run/extra,server=on\n-no-shutdown\n-nodefaults");
	assert_int_equal(arguments_spec.nbackends, 1);
	assert_int_equal(arguments_spec.backends[0].bytes, 512 * MIB);
}

static void without_a_display_of_the_operators_there_is_none(void **state)
{
	(void)state;
	assert_int_equal(override("-nodefaults"), RC_OK);
	assert_string_equal(arguments_joined(&arguments_spec.args),
			    "-machine\npc-q35-10.0,memory-backend=pc.ram\n-nodefaults\n" NONE);
	assert_int_equal(override("-nographic"), RC_OK);
	assert_string_equal(arguments_joined(&arguments_spec.args),
			    "-machine\npc-q35-10.0,memory-backend=pc.ram\n-nographic");
}

static void the_operator_cannot_set_what_is_the_standbys(void **state)
{
	static const char *const cases[] = {
		"-incoming\ndefer",  "-S",	   "-daemonize",    "-accel\nkvm", "-enable-kvm",
		"-M\nq35,accel=kvm", "-loadvm\nx", "-mem-path\n/x", "-preconfig"
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(override(cases[i]), RC_UNSUPPORTED);
		assert_non_null(strstr(arguments_err.text, "standby_arguments: "));
		assert_non_null(strstr(arguments_err.text, "the standby's own"));
	}
}

/* The standby's side ------------------------------------------------------------------------- */

static void the_standby_adds_its_own_and_escapes_paths(void **state)
{
	struct cmdline out;

	(void)state;
	assert_int_equal(arguments_derive_for("pc-i440fx-3.1",
					      "-nodefaults\n-M\npc,memory-backend=mem\n-object\n"
					      "memory-backend-memfd,id=mem,size=1M"),
			 RC_OK);
	(void)snprintf(arguments_spec.backends[0].path, sizeof(arguments_spec.backends[0].path),
		       "/dev/shm/a,b");
	assert_int_equal(cmdline_standby(&out, &arguments_spec, "/opt/qemu", "tcg", "/opt/fw",
					 "/run/c,d", &arguments_err),
			 RC_OK);
	assert_string_equal(
		arguments_joined(&out),
		"/opt/qemu\n-machine\npc-i440fx-3.1,memory-backend=mem\n-nodefaults\n" NONE "\n"
		"-object\nmemory-backend-file,id=mem,size=1048576,mem-path=/dev/shm/a,,b,share=on,"
		"prealloc=off,x-use-canonical-path-for-ramblock-id=on\n-accel\ntcg\n-L\n/opt/fw\n"
		"-qmp\nunix:/run/c,,d,server=on,wait=off\n-incoming\ndefer");
	cmdline_free(&out);
}

static void backends_are_found_in_qom_under_either_name(void **state)
{
	struct image_shared plain = { .name = "pc.ram" }, canonical = { .name = "/objects/mem" };
	char *path;

	(void)state;
	path = cmdline_backend_path(&plain);
	assert_string_equal(path, "/objects/pc.ram/pc.ram[0]");
	mem_free(path);
	path = cmdline_backend_path(&canonical);
	assert_string_equal(path, "/objects/mem/\\x2fobjects\\x2fmem[0]");
	mem_free(path);
}

static void a_peers_arguments_that_are_the_standbys_are_refused(void **state)
{
	static const char *const cases[] = {
		"-incoming\ntcp:0:1",
		"--daemonize",
		"-S",
		"-accel\nkvm",
		"-M\npc,accel=tcg",
		"-object\nmemory-backend-file,id=x,mem-path=/etc/passwd,size=1M",
		"-object\n{\"qom-type\":\"memory-backend-ram\",\"id\":\"x\",\"size\":4096}",
		"-mem-path\n/etc"
	};
	struct cmdline out;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		cmdline_spec_free(&arguments_spec);
		arguments_lines(&arguments_spec.args, cases[i]);
		assert_int_equal(cmdline_check(&arguments_spec, &arguments_err), RC_UNSUPPORTED);
		assert_int_equal(cmdline_standby(&out, &arguments_spec, "q", "tcg", NULL, "/q",
						 &arguments_err),
				 RC_UNSUPPORTED);
		assert_null(out.args);
	}
}

/* Reading a process's ------------------------------------------------------------------------ */

static void a_vector_is_read_with_its_empty_arguments(void **state)
{
	static const uint8_t bytes[] = "qemu\0\0-S";
	struct cmdline cmdline;

	(void)state;
	assert_int_equal(cmdline_parse(&cmdline, bytes, sizeof(bytes), &arguments_err), RC_OK);
	assert_int_equal(cmdline.count, 3);
	assert_string_equal(cmdline.args[0], "qemu");
	assert_string_equal(cmdline.args[1], "");
	assert_string_equal(cmdline.args[2], "-S");
	assert_null(cmdline.args[3]);
	cmdline_free(&cmdline);
	assert_int_equal(cmdline_parse(&cmdline, bytes, 4, &arguments_err),
			 RC_OK); /* its NUL was lost */
	assert_int_equal(cmdline.count, 1);
	assert_string_equal(cmdline.args[0], "qemu");
	cmdline_free(&cmdline);
}

static void no_bytes_too_many_and_too_many_arguments_are_refused(void **state)
{
	uint8_t *bytes = calloc(1, CMDLINE_BYTES_MAX + 1);
	struct cmdline cmdline;

	(void)state;
	assert_int_equal(cmdline_parse(&cmdline, bytes, 0, &arguments_err), RC_INVALID);
	assert_int_equal(cmdline_parse(&cmdline, bytes, CMDLINE_ARGS_MAX + 1, &arguments_err),
			 RC_LIMIT);
	assert_int_equal(cmdline_parse(&cmdline, bytes, CMDLINE_ARGS_MAX, &arguments_err), RC_OK);
	cmdline_free(&cmdline);
	memset(bytes, 'x', CMDLINE_BYTES_MAX);
	assert_int_equal(cmdline_parse(&cmdline, bytes, CMDLINE_BYTES_MAX + 1, &arguments_err),
			 RC_LIMIT);
	assert_null(cmdline.args);
	free(bytes);
}

static void our_own_command_line_is_read_from_proc_and_a_gone_process_is_said_to_be(void **state)
{
	struct cmdline cmdline;
	pid_t pid;

	(void)state;
	assert_int_equal(cmdline_of_pid(&cmdline, getpid(), &arguments_err), RC_OK);
	assert_non_null(strstr(cmdline.args[0], "test_cmdline"));
	cmdline_free(&cmdline);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_int_equal(cmdline_of_pid(&cmdline, pid, &arguments_err), RC_IO);
	assert_non_null(strstr(arguments_err.text, "/proc/"));
}

/* Faults ------------------------------------------------------------------------------------- */

#ifdef UNDERSTUDY_FAULTS
static void every_failing_allocation_is_an_error_and_leaks_nothing(void **state)
{
	static const char args[] =
		"-M\npc,usb=off,memory-backend=mem\n-object\nmemory-backend-ram,id=mem,size=1M\n-vnc\n:1\n"
		"-chardev\nsocket,id=a,path=/x/a,server=on\n-serial\nchardev:a\n-serial\nunix:/x/b,server\n"
		"-netdev\ndgram,id=n,local.type=unix,local.path=/l\n-audiodev\npa,id=s\n-chardev\npty,id=z\n-action\nshutdown=pause";
	struct cmdline out;
	bool fired = true;
	int rc;

	(void)state;
	for (unsigned long n = 1; fired; n++) {
		fault_arm(FAULT_ALLOC, n);
		cmdline_spec_free(&arguments_spec);
		{
			struct cmdline source;
			static char program[] = "qemu";
			char *argv[64] = { program }, *copy = strdup(args), *at = copy, *line;
			size_t count = 1;

			while ((line = strsep(&at, "\n")) != NULL)
				argv[count++] = line;
			source = (struct cmdline){ .args = argv, .count = count };
			rc = cmdline_derive(&arguments_spec, &source, "pc-i440fx-10.0", "pc.ram",
					    256 * MIB, &arguments_err);
			free(copy);
		}
		if (rc == RC_OK)
			rc = cmdline_standby(&out, &arguments_spec, "qemu", "tcg", NULL, "/q",
					     &arguments_err);
		fired = fault_fired(FAULT_ALLOC);
		fault_arm(FAULT_ALLOC, 0);
		assert_int_equal(rc, fired ? RC_NOMEM : RC_OK);
		if (rc == RC_OK)
			cmdline_free(&out);
	}
}
#endif

#define CLAIM(test) cmocka_unit_test_teardown(test, arguments_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CLAIM(the_operators_list_is_taken_as_it_is_but_for_machine_and_memory),
		CLAIM(without_a_display_of_the_operators_there_is_none),
		CLAIM(the_operator_cannot_set_what_is_the_standbys),
		CLAIM(the_standby_adds_its_own_and_escapes_paths),
		CLAIM(backends_are_found_in_qom_under_either_name),
		CLAIM(a_peers_arguments_that_are_the_standbys_are_refused),
		CLAIM(a_vector_is_read_with_its_empty_arguments),
		CLAIM(no_bytes_too_many_and_too_many_arguments_are_refused),
		CLAIM(our_own_command_line_is_read_from_proc_and_a_gone_process_is_said_to_be),
#ifdef UNDERSTUDY_FAULTS
		CLAIM(every_failing_allocation_is_an_error_and_leaks_nothing),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
