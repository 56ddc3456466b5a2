/* The real QEMU becomes warm or says why not, and holds what it was given. */
#include "tests/unit/hypervisor_fixture.h"

#include "appliance/base/lock_file.h"
#include "tests/unit/unix_socket.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* Becoming warm ------------------------------------------------------------------------------ */

static void it_becomes_warm_and_ends_when_closed(void **state)
{
	char path[128];
	pid_t pid;

	NEED_QEMU();
	warm_derive("-m 16");
	assert_int_equal(warm_start_in(warm.run_dir), RC_OK);
	assert_string_equal(hypervisor_state(warm.hypervisor), "starting");
	assert_int_equal(warm.readies + warm.fails, 0); /* never from inside the call */
	warm_run();
	assert_int_equal(warm.readies, 1);
	assert_string_equal(hypervisor_state(warm.hypervisor), "warm");
	pid = hypervisor_pid(warm.hypervisor);
	assert_true(pid > 0 && warm_exists(pid));
	warm_close_it(false);
	assert_false(warm_exists(pid));
	assert_int_equal(errno, ESRCH);
	(void)snprintf(path, sizeof(path), "%s/" CMDLINE_QMP_NAME, warm.run_dir);
	assert_int_equal(access(path, F_OK), -1);
	assert_int_equal(warm.exits + warm.fails, 0);
}

static void it_tells_where_its_shared_blocks_lie(void **state)
{
	const struct activation_block *blocks;
	size_t count;

	NEED_QEMU();
	warm_derive(
		"-m 32 -smp 2 -object memory-backend-ram,id=m0,size=16M -object memory-backend-memfd,id=m1,size=16M "
		"-numa node,memdev=m0,cpus=0 -numa node,memdev=m1,cpus=1");
	warm_start();
	assert_int_equal(warm.readies, 1);
	blocks = hypervisor_blocks(warm.hypervisor, &count);
	assert_int_equal(count, 2);
	assert_string_equal(blocks[0].name, "m0");
	assert_int_equal(blocks[0].address, 0);
	assert_string_equal(blocks[1].name, "m1");
	assert_int_equal(blocks[1].address, 16 << 20);
}

static void what_qemu_has_against_the_instance_comes_in_its_words(void **state)
{
	NEED_QEMU();
	warm_derive("-m 16 -device no-such-device");
	warm_start();
	assert_int_equal(warm.fails, 1);
	assert_string_equal(hypervisor_state(warm.hypervisor), "ended");
	assert_non_null(
		strstr(warm.told.text, "'no-such-device' is not a valid device model name"));
	assert_null(strstr(warm.told.text, "qemu-system-x86_64: "));
}

static void memory_of_another_size_is_refused_in_its_words(void **state)
{
	NEED_QEMU();
	warm_derive("-m 16");
	warm.spec.backends[0].bytes = 32 << 20;
	warm_start();
	assert_int_equal(warm.fails, 1);
	assert_non_null(strstr(warm.told.text, "size"));
}

static void a_program_that_is_not_there_is_named(void **state)
{
	(void)state;
	warm_derive("-m 16");
	(void)snprintf(warm.qemu, sizeof(warm.qemu), "/no/such/qemu");
	(void)snprintf(warm.firmware, sizeof(warm.firmware), "/");
	assert_int_equal(warm_start_in(warm.run_dir), RC_IO);
	assert_non_null(strstr(warm.err.text, "/no/such/qemu"));
	warm.hypervisor = NULL;
}

static void a_program_that_is_no_qemu_is_told_by_its_end(void **state)
{
	(void)state;
	warm_derive("-m 16");
	(void)snprintf(warm.qemu, sizeof(warm.qemu), "/bin/false");
	(void)snprintf(warm.firmware, sizeof(warm.firmware), "/");
	warm_start();
	assert_int_equal(warm.fails, 1);
	assert_string_equal(warm.told.text, "false ended with status 1");
}

static void a_directory_too_long_for_a_socket_is_named(void **state)
{
	char where[200];

	(void)state;
	warm_derive("-m 16");
	(void)snprintf(where, sizeof(where), "%s/%090d", warm.dir, 0);
	assert_int_equal(warm_start_in(where), RC_LIMIT);
	assert_non_null(strstr(warm.err.text, "shorter directory"));
	assert_non_null(strstr(warm.err.text, warm.dir));
	warm.hypervisor = NULL;
}

static void one_that_dies_while_it_waits_is_reported(void **state)
{
	NEED_QEMU();
	warm_derive("-m 16");
	warm_start();
	assert_int_equal(kill(hypervisor_pid(warm.hypervisor), SIGKILL), 0);
	warm_run();
	assert_int_equal(warm.exits, 1);
	assert_non_null(strstr(warm.told.text, "signal 9"));
	assert_int_equal(hypervisor_pid(warm.hypervisor), 0);
}

static void one_that_finds_no_storage_for_its_memory_tells_where(void **state)
{
	NEED_QEMU();
	warm_derive("-m 16");
	warm_start();
	assert_int_equal(kill(hypervisor_pid(warm.hypervisor), SIGBUS), 0);
	warm_run();
	assert_int_equal(warm.exits, 1);
	assert_memory_equal(warm.told.text, "memory_dir: ", 12);
	assert_non_null(strstr(warm.told.text, warm.memory));
	assert_non_null(strstr(warm.told.text, "signal 7 (Bus error)"));
}

static void it_can_be_closed_at_any_moment_of_its_start(void **state)
{
	NEED_QEMU();
	warm_derive("-m 16");
	for (unsigned turns = 0; warm.readies == 0; turns += 1 + turns / 4) {
		assert_int_equal(warm_start_in(warm.run_dir), RC_OK);
		for (unsigned i = 0; i < turns && warm.readies == 0; i++)
			(void)uv_run(&warm.loop, UV_RUN_ONCE);
		hypervisor_close(warm.hypervisor, false, warm_on_closed);
		warm_run();
		assert_int_equal(warm.fails + warm.exits, 0);
	}
	assert_true(warm.closes > 3);
}

static int checks;

static void on_layout_checked(void *owner, const struct err *result)
{
	assert_ptr_equal(owner, &checks);
	checks++;
	warm.told = *result;
	uv_stop(&warm.loop);
}

/* Blocks of a pc as the warm one has them, or with another size for one. */
static void check_layout(const char *name, uint64_t bytes)
{
	static struct layout layout;

	memset(&layout, 0, sizeof(layout));
	assert_int_equal(layout_add(&layout, "pc.ram", 6, UINT64_C(16) << 20, &warm.err), RC_OK);
	assert_int_equal(layout_add(&layout, name, strlen(name), bytes, &warm.err), RC_OK);
	assert_int_equal(layout_finish(&layout, &warm.err), RC_OK);
	assert_int_equal(hypervisor_check_layout(warm.hypervisor, &layout, on_layout_checked,
						 &checks, &warm.err),
			 RC_OK);
	warm_run();
}

static void a_layout_that_it_cannot_take_is_found_out_while_it_is_warm(void **state)
{
	NEED_QEMU();
	warm_derive("-m 16 -vga std");
	warm_start();
	checks = 0;
	check_layout("pc.bios", 256 << 10);
	assert_int_equal(warm.told.code, RC_OK);
	check_layout("/rom@etc/acpi/tables", 1 << 20); /* can grow */
	assert_int_equal(warm.told.code, RC_OK);
	check_layout("/rom@etc/acpi/tables", 64 << 20);
	assert_int_equal(warm.told.code, RC_UNSUPPORTED);
	check_layout("0000:00:02.0/vga.vram", 8 << 20);
	assert_int_equal(warm.told.code, RC_UNSUPPORTED);
	assert_non_null(strstr(warm.told.text,
			       "0000:00:02.0/vga.vram has 8192 KiB in the instance and 16384 KiB"));
	check_layout("0000:00:09.0/virtio-net-pci.rom", 256 << 10);
	assert_int_equal(warm.told.code, RC_UNSUPPORTED);
	assert_non_null(strstr(warm.told.text, "devices added"));
	assert_int_equal(checks, 5);
}

/* What stays, and what was there before ------------------------------------------------------ */

static void what_it_inherits_it_holds_until_its_end(void **state)
{
	char path[96];
	int again;
	pid_t pid, holder;

	NEED_QEMU();
	(void)snprintf(path, sizeof(path), "%s/lock", warm.dir);
	assert_int_equal(lock_file_take(path, &warm.lock, &holder, &warm.err), RC_OK);
	warm_derive("-m 16");
	warm_start();
	pid = hypervisor_pid(warm.hypervisor);
	lock_file_name(warm.lock, pid);
	lock_file_let_go(warm.lock);
	warm_close_it(true);

	assert_int_equal(lock_file_take(path, &again, &holder, &warm.err), RC_STATE);
	assert_int_equal(holder, pid);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_int_equal(lock_file_take(path, &again, &holder, &warm.err), RC_OK);
	lock_file_let_go(again);
}

static void a_socket_that_nobody_listens_on_is_replaced(void **state)
{
	char path[108];
	int fd;

	NEED_QEMU();
	warm_derive("-m 16");
	assert_int_equal(mkdir(warm.run_dir, 0700), 0);
	(void)snprintf(path, sizeof(path), "%s/" CMDLINE_QMP_NAME, warm.run_dir);
	fd = unix_socket_bind(path);
	assert_int_equal(close(fd), 0);
	warm_start();
	assert_int_equal(warm.readies, 1);
}

#define CLAIM(test) cmocka_unit_test_setup_teardown(test, warm_setup, warm_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CLAIM(it_becomes_warm_and_ends_when_closed),
		CLAIM(it_tells_where_its_shared_blocks_lie),
		CLAIM(what_qemu_has_against_the_instance_comes_in_its_words),
		CLAIM(memory_of_another_size_is_refused_in_its_words),
		CLAIM(a_program_that_is_not_there_is_named),
		CLAIM(a_program_that_is_no_qemu_is_told_by_its_end),
		CLAIM(a_directory_too_long_for_a_socket_is_named),
		CLAIM(one_that_dies_while_it_waits_is_reported),
		CLAIM(one_that_finds_no_storage_for_its_memory_tells_where),
		CLAIM(it_can_be_closed_at_any_moment_of_its_start),
		CLAIM(a_layout_that_it_cannot_take_is_found_out_while_it_is_warm),
		CLAIM(what_it_inherits_it_holds_until_its_end),
		CLAIM(a_socket_that_nobody_listens_on_is_replaced),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
