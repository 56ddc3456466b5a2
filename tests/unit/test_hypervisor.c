/*
 * Against the real QEMU of this build, under emulation. A stream to activate comes from a QEMU as
 * well: one whose memory is a file migrates with x-ignore-shared, which is what activation.c writes
 * (its bytes are checked in test_activation.c, the whole way from a protected guest in the system
 * tests).
 */
#include "appliance/base/clock.h"
#include "appliance/base/mem.h"
#include "replica/hypervisor.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define QEMU_DIR "build/qemu"
#define PATIENCE_S 60 /* this machine may be busy with other tests */

static uv_loop_t loop;
static struct hypervisor *hypervisor;
static struct cmdline_spec spec;
static struct err err, told;
static char dir[64], run_dir[80], memory[80], qemu[256], firmware[256];
static int readies, fails, runs, exits, closes;
static uint64_t took;

static void on_closed(void *owner)
{
	assert_ptr_equal(owner, &loop);
	hypervisor = NULL;
	closes++;
	uv_stop(&loop);
}

static void on_ready(void *owner)
{
	assert_ptr_equal(owner, &loop);
	readies++;
	uv_stop(&loop);
}

static void on_failed(void *owner, const struct err *why)
{
	(void)owner;
	fails++;
	told = *why;
	uv_stop(&loop);
}

static void on_running(void *owner, uint64_t took_ns)
{
	(void)owner;
	runs++;
	took = took_ns;
	uv_stop(&loop);
}

static void on_exit_(void *owner, const struct err *why)
{
	(void)owner;
	exits++;
	told = *why;
	uv_stop(&loop);
}

static const struct hypervisor_ops ops = {
	.on_ready = on_ready,
	.on_failed = on_failed,
	.on_running = on_running,
	.on_exit = on_exit_,
};

static void on_patience(uv_timer_t *timer)
{
	(void)timer;
	fail_msg("nothing happened within %d s", PATIENCE_S);
}

/* Until a callback stops it. */
static void run(void)
{
	uv_timer_t patience;

	(void)uv_timer_init(&loop, &patience);
	(void)uv_timer_start(&patience, on_patience, PATIENCE_S * 1000, 0);
	(void)uv_run(&loop, UV_RUN_DEFAULT);
	uv_close((uv_handle_t *)&patience, NULL);
	(void)uv_run(&loop, UV_RUN_NOWAIT);
}

static bool has_qemu(void)
{
	const char *given = getenv("UNDERSTUDY_QEMU");

	(void)snprintf(qemu, sizeof(qemu), "%s",
		       given != NULL ? given : QEMU_DIR "/qemu-system-x86_64");
	(void)snprintf(firmware, sizeof(firmware), QEMU_DIR "/firmware");
	return access(qemu, X_OK) == 0 && access(firmware, R_OK) == 0;
}

static int setup(void **state)
{
	(void)state;
	readies = fails = runs = exits = closes = 0;
	memset(&told, 0, sizeof(told));
	(void)snprintf(dir, sizeof(dir), "/dev/shm/hypervisor-XXXXXX");
	if (mkdtemp(dir) == NULL || uv_loop_init(&loop) != 0)
		return -1;
	(void)snprintf(run_dir, sizeof(run_dir), "%s/run", dir);
	(void)snprintf(memory, sizeof(memory), "%s/memory", dir);
	return 0;
}

/* The files of a directory, then it. */
static void remove_all(const char *path)
{
	DIR *entries = opendir(path);
	struct dirent *entry;

	if (entries == NULL)
		return;
	while ((entry = readdir(entries)) != NULL)
		(void)unlinkat(dirfd(entries), entry->d_name, 0);
	(void)closedir(entries);
	(void)rmdir(path);
}

static int teardown(void **state)
{
	(void)state;
	if (hypervisor != NULL) {
		hypervisor_close(hypervisor, false, on_closed);
		run();
	}
	cmdline_spec_free(&spec);
	remove_all(run_dir);
	remove_all(dir);
	return uv_loop_close(&loop); /* every handle was closed */
}

/* One memory file a backend, `mib` each. */
static void make_memory(size_t mib)
{
	for (size_t i = 0; i < spec.nbackends; i++) {
		struct image_shared *backend = &spec.backends[i];
		int fd;

		(void)snprintf(backend->path, sizeof(backend->path), "%s%zu", memory, i);
		fd = open(backend->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
		assert_true(fd >= 0);
		assert_int_equal(ftruncate(fd, (off_t)(mib << 20)), 0);
		assert_int_equal(close(fd), 0);
	}
}

/* The instance's arguments, separated by spaces. */
static void derive(const char *args)
{
	char text[1024], *at = text, *word;
	struct cmdline source = { 0 };

	(void)snprintf(text, sizeof(text), "qemu -accel tcg -nodefaults %s", args);
	while ((word = strsep(&at, " ")) != NULL) {
		if (*word != '\0')
			assert_int_equal(cmdline_add(&source, word, &err), RC_OK);
	}
	assert_int_equal(cmdline_derive(&spec, &source, "pc-i440fx-10.0", "pc.ram",
					UINT64_C(16) << 20, &err),
			 RC_OK);
	(void)snprintf(spec.accel, sizeof(spec.accel), "tcg");
	cmdline_free(&source);
	make_memory(16);
}

static int start_in(const char *where)
{
	const struct hypervisor_options options = { .name = "vm1",
						    .program = qemu,
						    .firmware = firmware,
						    .accel = "auto",
						    .run_dir = where };

	return hypervisor_start(&hypervisor, &loop, &options, &spec, &ops, &loop, &err);
}

static void start(void)
{
	assert_int_equal(start_in(run_dir), RC_OK);
	run();
}

static void close_it(bool leave)
{
	hypervisor_close(hypervisor, leave, on_closed);
	hypervisor_close(hypervisor, leave, on_closed);
	run();
	assert_int_equal(closes, 1);
	closes = 0;
}

static bool exists(pid_t pid)
{
	return kill(pid, 0) == 0;
}

#define NEED_QEMU()                                                               \
	do {                                                                      \
		(void)state;                                                      \
		if (!has_qemu()) {                                                \
			print_message("no QEMU in " QEMU_DIR                      \
				      " (make qemu), none in UNDERSTUDY_QEMU\n"); \
			skip();                                                   \
		}                                                                 \
	} while (0)

/* A QEMU of the test's own, asked over a plain blocking socket ------------------------------- */

struct source {
	pid_t pid;
	FILE *qmp;
};

static void ask(const struct source *source, const char *command, const char *expected, char *line,
		size_t size)
{
	if (command != NULL)
		assert_true(dprintf(fileno(source->qmp), "%s\n", command) > 0);
	do
		assert_non_null(fgets(line, (int)size, source->qmp));
	while (strstr(line, expected) == NULL);
}

static void tell(const struct source *source, const char *command)
{
	char line[8192];

	ask(source, command, "\"return\"", line, sizeof(line));
}

static FILE *connect_to(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = -1;

	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	for (int i = 0; i < PATIENCE_S * 100; i++) {
		fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		assert_true(fd >= 0);
		if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
			return fdopen(fd, "r");
		(void)close(fd);
		(void)usleep(10000);
	}
	fail_msg("no QMP at %s", path);
	return NULL;
}

/* Runs a machine with the first backend's file as its memory. */
static void source_start(struct source *source, const char *qmp_path)
{
	char object[256], qmp[160], greeting[1024];

	(void)snprintf(object, sizeof(object),
		       "memory-backend-file,id=pc.ram,size=16M,share=on,mem-path=%s",
		       spec.backends[0].path);
	(void)snprintf(qmp, sizeof(qmp), "unix:%s,server=on,wait=off", qmp_path);
	source->pid = fork();
	assert_true(source->pid >= 0);
	if (source->pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG,
			    SIGKILL); /* a test that fails leaves nothing behind */
		(void)execl(qemu, qemu, "-accel", "tcg", "-nodefaults", "-display", "none", "-L",
			    firmware, "-machine", "pc-i440fx-10.0,memory-backend=pc.ram", "-m",
			    "16", "-serial", "null", "-object", object, "-qmp", qmp, (char *)NULL);
		_exit(127);
	}
	source->qmp = connect_to(qmp_path);
	ask(source, NULL, "QMP", greeting, sizeof(greeting));
	tell(source, "{\"execute\":\"qmp_capabilities\"}");
}

static void source_end(struct source *source)
{
	int status;

	tell(source,
	     "{\"execute\":\"quit\"}"); /* answered before it ends: a connection closed at once would not be read */
	assert_int_equal(waitpid(source->pid, &status, 0), source->pid);
	(void)fclose(source->qmp);
}

/* The stream of that machine, running or stopped, as a descriptor. */
static int make_stream(bool stopped)
{
	char qmp_path[100], path[100], command[256], line[8192];
	struct source source;
	int fd;

	(void)snprintf(qmp_path, sizeof(qmp_path), "%s/source.qmp", dir);
	(void)snprintf(path, sizeof(path), "%s/stream", dir);
	source_start(&source, qmp_path);
	tell(&source, "{\"execute\":\"migrate-set-capabilities\",\"arguments\":{\"capabilities\":"
		      "[{\"capability\":\"x-ignore-shared\",\"state\":true}]}}");
	(void)usleep(300000); /* some of the firmware's work */
	if (stopped)
		tell(&source, "{\"execute\":\"stop\"}");
	(void)snprintf(command, sizeof(command),
		       "{\"execute\":\"migrate\",\"arguments\":{\"uri\":\"file:%s\"}}", path);
	tell(&source, command);
	do {
		(void)usleep(10000);
		ask(&source, "{\"execute\":\"query-migrate\"}", "\"return\"", line, sizeof(line));
		assert_null(strstr(line, "\"failed\""));
	} while (strstr(line, "\"completed\"") == NULL);
	source_end(&source);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}

/* Becoming warm ------------------------------------------------------------------------------ */

static void it_becomes_warm_and_ends_when_closed(void **state)
{
	char path[128];
	pid_t pid;

	NEED_QEMU();
	derive("-m 16");
	assert_int_equal(start_in(run_dir), RC_OK);
	assert_string_equal(hypervisor_state(hypervisor), "starting");
	assert_int_equal(readies + fails, 0); /* never from inside the call */
	run();
	assert_int_equal(readies, 1);
	assert_string_equal(hypervisor_state(hypervisor), "warm");
	pid = hypervisor_pid(hypervisor);
	assert_true(pid > 0 && exists(pid));
	close_it(false);
	assert_false(exists(pid));
	assert_int_equal(errno, ESRCH);
	(void)snprintf(path, sizeof(path), "%s/" CMDLINE_QMP_NAME, run_dir);
	assert_int_equal(access(path, F_OK), -1);
	assert_int_equal(exits + fails, 0);
}

static void it_tells_where_its_shared_blocks_lie(void **state)
{
	const struct activation_block *blocks;
	size_t count;

	NEED_QEMU();
	derive("-m 32 -smp 2 -object memory-backend-ram,id=m0,size=16M -object memory-backend-memfd,id=m1,size=16M "
	       "-numa node,memdev=m0,cpus=0 -numa node,memdev=m1,cpus=1");
	start();
	assert_int_equal(readies, 1);
	blocks = hypervisor_blocks(hypervisor, &count);
	assert_int_equal(count, 2);
	assert_string_equal(blocks[0].name, "m0");
	assert_int_equal(blocks[0].address, 0);
	assert_string_equal(blocks[1].name, "m1");
	assert_int_equal(blocks[1].address, 16 << 20);
}

static void what_qemu_has_against_the_instance_comes_in_its_words(void **state)
{
	NEED_QEMU();
	derive("-m 16 -device no-such-device");
	start();
	assert_int_equal(fails, 1);
	assert_string_equal(hypervisor_state(hypervisor), "ended");
	assert_non_null(strstr(told.text, "'no-such-device' is not a valid device model name"));
	assert_null(strstr(told.text, "qemu-system-x86_64: "));
}

static void memory_of_another_size_is_refused_in_its_words(void **state)
{
	NEED_QEMU();
	derive("-m 16");
	spec.backends[0].bytes = 32 << 20;
	start();
	assert_int_equal(fails, 1);
	assert_non_null(strstr(told.text, "size"));
}

static void a_program_that_is_not_there_is_named(void **state)
{
	(void)state;
	derive("-m 16");
	(void)snprintf(qemu, sizeof(qemu), "/no/such/qemu");
	(void)snprintf(firmware, sizeof(firmware), "/");
	assert_int_equal(start_in(run_dir), RC_IO);
	assert_non_null(strstr(err.text, "/no/such/qemu"));
	hypervisor = NULL;
}

static void a_program_that_is_no_qemu_is_told_by_its_end(void **state)
{
	(void)state;
	derive("-m 16");
	(void)snprintf(qemu, sizeof(qemu), "/bin/false");
	(void)snprintf(firmware, sizeof(firmware), "/");
	start();
	assert_int_equal(fails, 1);
	assert_string_equal(told.text, "false ended with status 1");
}

static void a_directory_too_long_for_a_socket_is_named(void **state)
{
	char where[200];

	(void)state;
	derive("-m 16");
	(void)snprintf(where, sizeof(where), "%s/%090d", dir, 0);
	assert_int_equal(start_in(where), RC_LIMIT);
	assert_non_null(strstr(err.text, "shorter directory"));
	assert_non_null(strstr(err.text, dir));
	hypervisor = NULL;
}

static void one_that_dies_while_it_waits_is_reported(void **state)
{
	NEED_QEMU();
	derive("-m 16");
	start();
	assert_int_equal(kill(hypervisor_pid(hypervisor), SIGKILL), 0);
	run();
	assert_int_equal(exits, 1);
	assert_non_null(strstr(told.text, "signal 9"));
	assert_int_equal(hypervisor_pid(hypervisor), 0);
}

static void it_can_be_closed_at_any_moment_of_its_start(void **state)
{
	NEED_QEMU();
	derive("-m 16");
	for (unsigned turns = 0; readies == 0; turns += 1 + turns / 4) {
		assert_int_equal(start_in(run_dir), RC_OK);
		for (unsigned i = 0; i < turns && readies == 0; i++)
			(void)uv_run(&loop, UV_RUN_ONCE);
		hypervisor_close(hypervisor, false, on_closed);
		run();
		assert_int_equal(fails + exits, 0);
	}
	assert_true(closes > 3);
}

static int checks;

static void on_layout_checked(void *owner, const struct err *result)
{
	assert_ptr_equal(owner, &checks);
	checks++;
	told = *result;
	uv_stop(&loop);
}

/* Blocks of a pc as the warm one has them, or with another size for one. */
static void check_layout(const char *name, uint64_t bytes)
{
	static struct layout layout;

	memset(&layout, 0, sizeof(layout));
	assert_int_equal(layout_add(&layout, "pc.ram", 6, UINT64_C(16) << 20, &err), RC_OK);
	assert_int_equal(layout_add(&layout, name, strlen(name), bytes, &err), RC_OK);
	assert_int_equal(layout_finish(&layout, &err), RC_OK);
	assert_int_equal(hypervisor_check_layout(hypervisor, &layout, on_layout_checked, &checks,
						 &err),
			 RC_OK);
	run();
}

static void a_layout_that_it_cannot_take_is_found_out_while_it_is_warm(void **state)
{
	NEED_QEMU();
	derive("-m 16 -vga std");
	start();
	checks = 0;
	check_layout("pc.bios", 256 << 10);
	assert_int_equal(told.code, RC_OK);
	check_layout("/rom@etc/acpi/tables", 1 << 20); /* can grow */
	assert_int_equal(told.code, RC_OK);
	check_layout("/rom@etc/acpi/tables", 64 << 20);
	assert_int_equal(told.code, RC_UNSUPPORTED);
	check_layout("0000:00:02.0/vga.vram", 8 << 20);
	assert_int_equal(told.code, RC_UNSUPPORTED);
	assert_non_null(strstr(told.text,
			       "0000:00:02.0/vga.vram has 8192 KiB in the instance and 16384 KiB"));
	check_layout("0000:00:09.0/virtio-net-pci.rom", 256 << 10);
	assert_int_equal(told.code, RC_UNSUPPORTED);
	assert_non_null(strstr(told.text, "devices added"));
	assert_int_equal(checks, 5);
}

/* Activation --------------------------------------------------------------------------------- */

static void an_instance_runs_milliseconds_after_its_stream_came(void **state)
{
	int fd;

	NEED_QEMU();
	derive("-m 16 -serial null");
	fd = make_stream(false);
	start();
	assert_int_equal(readies, 1);
	assert_int_equal(hypervisor_activate(hypervisor, fd, &err), RC_OK);
	assert_string_equal(hypervisor_state(hypervisor), "activating");
	assert_int_equal(runs, 0);
	run();
	assert_int_equal(runs, 1);
	assert_string_equal(hypervisor_state(hypervisor), "running");
	assert_true(took > 0 && took < 5 * CLOCK_NS_PER_S);
	assert_int_equal(fcntl(fd, F_GETFD), -1); /* taken over */
}

static void an_instance_that_was_stopped_runs_all_the_same(void **state)
{
	int fd;

	NEED_QEMU();
	derive("-m 16 -serial null");
	fd = make_stream(true);
	start();
	assert_int_equal(hypervisor_activate(hypervisor, fd, &err), RC_OK);
	run();
	assert_int_equal(runs, 1);
}

static void a_stream_that_is_none_is_told_in_qemus_words(void **state)
{
	int fd;

	NEED_QEMU();
	derive("-m 16");
	start();
	fd = memfd_create("garbage", MFD_CLOEXEC);
	assert_int_equal(write(fd, "nonsense, and then some", 23), 23);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	assert_int_equal(hypervisor_activate(hypervisor, fd, &err), RC_OK);
	run();
	assert_int_equal(exits, 1);
	assert_int_equal(runs, 0);
	assert_non_null(strstr(told.text, "Not a migration stream"));
}

static void a_stream_of_another_machine_is_told_in_qemus_words(void **state)
{
	int fd;

	NEED_QEMU();
	derive("-m 16 -serial null");
	fd = make_stream(false);
	cmdline_spec_free(&spec);
	derive("-m 16"); /* its serial port is missing here */
	start();
	assert_int_equal(hypervisor_activate(hypervisor, fd, &err), RC_OK);
	run();
	assert_int_equal(exits, 1);
	assert_non_null(strstr(told.text, "serial"));
}

static void only_a_warm_one_is_activated_and_only_once(void **state)
{
	int fd;

	NEED_QEMU();
	derive("-m 16 -serial null");
	fd = make_stream(false);
	assert_int_equal(start_in(run_dir), RC_OK);
	assert_int_equal(hypervisor_activate(hypervisor, dup(fd), &err), RC_STATE);
	run();
	assert_int_equal(hypervisor_activate(hypervisor, dup(fd), &err), RC_OK);
	assert_int_equal(hypervisor_activate(hypervisor, fd, &err), RC_STATE);
	assert_non_null(strstr(err.text, "activating"));
	run();
	assert_int_equal(runs, 1);
}

/* Who was there before, and who stays -------------------------------------------------------- */

static void a_running_instance_stays_when_it_is_left_and_no_other_takes_its_place(void **state)
{
	pid_t pid;
	int fd;

	NEED_QEMU();
	derive("-m 16 -serial null");
	fd = make_stream(false);
	start();
	assert_int_equal(hypervisor_activate(hypervisor, fd, &err), RC_OK);
	run();
	assert_int_equal(runs, 1);
	pid = hypervisor_pid(hypervisor);
	close_it(true);
	assert_true(exists(pid));

	start();
	assert_int_equal(fails, 1);
	assert_int_equal(told.code, RC_STATE);
	assert_non_null(strstr(told.text, "already"));
	close_it(false);
	assert_true(exists(pid));
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void a_warm_one_that_was_left_makes_way(void **state)
{
	pid_t pid;

	NEED_QEMU();
	derive("-m 16");
	start();
	pid = hypervisor_pid(hypervisor);
	close_it(true);
	assert_true(exists(pid));

	start();
	assert_int_equal(readies, 2);
	assert_int_not_equal(hypervisor_pid(hypervisor), pid);
	assert_int_equal(waitpid(pid, NULL, 0), pid); /* it has ended: this does not wait */
}

static void a_socket_that_nobody_listens_on_is_replaced(void **state)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd;

	NEED_QEMU();
	derive("-m 16");
	assert_int_equal(mkdir(run_dir, 0700), 0);
	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s/" CMDLINE_QMP_NAME, run_dir);
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(close(fd), 0);
	start();
	assert_int_equal(readies, 1);
}

static void one_that_does_not_answer_is_left_alone(void **state)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd;

	NEED_QEMU();
	derive("-m 16");
	assert_int_equal(mkdir(run_dir, 0700), 0);
	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s/" CMDLINE_QMP_NAME, run_dir);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fd, 4), 0);
	start();
	assert_int_equal(fails, 1);
	assert_int_equal(told.code, RC_TIMEOUT);
	assert_non_null(strstr(told.text, CMDLINE_QMP_NAME));
	assert_int_equal(access(address.sun_path, F_OK), 0);
	assert_int_equal(close(fd), 0);
}

#define CLAIM(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

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
		CLAIM(it_can_be_closed_at_any_moment_of_its_start),
		CLAIM(a_layout_that_it_cannot_take_is_found_out_while_it_is_warm),
		CLAIM(an_instance_runs_milliseconds_after_its_stream_came),
		CLAIM(an_instance_that_was_stopped_runs_all_the_same),
		CLAIM(a_stream_that_is_none_is_told_in_qemus_words),
		CLAIM(a_stream_of_another_machine_is_told_in_qemus_words),
		CLAIM(only_a_warm_one_is_activated_and_only_once),
		CLAIM(a_running_instance_stays_when_it_is_left_and_no_other_takes_its_place),
		CLAIM(a_warm_one_that_was_left_makes_way),
		CLAIM(a_socket_that_nobody_listens_on_is_replaced),
		CLAIM(one_that_does_not_answer_is_left_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
