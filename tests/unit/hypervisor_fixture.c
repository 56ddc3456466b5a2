#include "tests/unit/hypervisor_fixture.h"

#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

struct warm warm;

void warm_on_closed(void *owner)
{
	assert_ptr_equal(owner, &warm.loop);
	warm.hypervisor = NULL;
	warm.closes++;
	uv_stop(&warm.loop);
}

static void on_ready(void *owner)
{
	assert_ptr_equal(owner, &warm.loop);
	warm.readies++;
	uv_stop(&warm.loop);
}

static void on_failed(void *owner, const struct err *why)
{
	(void)owner;
	warm.fails++;
	warm.told = *why;
	uv_stop(&warm.loop);
}

static void on_running(void *owner, uint64_t took_ns)
{
	(void)owner;
	warm.runs++;
	warm.took = took_ns;
	uv_stop(&warm.loop);
}

static void on_exit_(void *owner, const struct err *why)
{
	(void)owner;
	warm.exits++;
	warm.told = *why;
	uv_stop(&warm.loop);
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

void warm_run(void)
{
	uv_timer_t patience;

	(void)uv_timer_init(&warm.loop, &patience);
	(void)uv_timer_start(&patience, on_patience, PATIENCE_S * 1000, 0);
	(void)uv_run(&warm.loop, UV_RUN_DEFAULT);
	uv_close((uv_handle_t *)&patience, NULL);
	(void)uv_run(&warm.loop, UV_RUN_NOWAIT);
}

bool warm_has_qemu(void)
{
	const char *given = getenv("UNDERSTUDY_QEMU");

	(void)snprintf(warm.qemu, sizeof(warm.qemu), "%s",
		       given != NULL ? given : QEMU_DIR "/qemu-system-x86_64");
	(void)snprintf(warm.firmware, sizeof(warm.firmware), QEMU_DIR "/firmware");
	return access(warm.qemu, X_OK) == 0 && access(warm.firmware, R_OK) == 0;
}

int warm_setup(void **state)
{
	(void)state;
	warm.readies = warm.fails = warm.runs = warm.exits = warm.closes = 0;
	memset(&warm.told, 0, sizeof(warm.told));
	warm.lock = -1;
	(void)snprintf(warm.dir, sizeof(warm.dir), "/dev/shm/hypervisor-XXXXXX");
	if (mkdtemp(warm.dir) == NULL || uv_loop_init(&warm.loop) != 0)
		return -1;
	(void)snprintf(warm.run_dir, sizeof(warm.run_dir), "%s/run", warm.dir);
	(void)snprintf(warm.memory, sizeof(warm.memory), "%s/memory", warm.dir);
	return 0;
}

static int remove_one(const char *path, const struct stat *stat, int kind, struct FTW *where)
{
	(void)stat;
	(void)kind;
	(void)where;
	return remove(path);
}

int warm_teardown(void **state)
{
	(void)state;
	if (warm.hypervisor != NULL) {
		hypervisor_close(warm.hypervisor, false, warm_on_closed);
		warm_run();
	}
	cmdline_spec_free(&warm.spec);
	if (nftw(warm.dir, remove_one, 8, FTW_DEPTH | FTW_PHYS) != 0)
		return -1;		  /* a test must not leave anything in shared memory */
	return uv_loop_close(&warm.loop); /* every handle was closed */
}

/* One memory file a backend, `mib` each. */
static void make_memory(size_t mib)
{
	for (size_t i = 0; i < warm.spec.nbackends; i++) {
		struct image_shared *backend = &warm.spec.backends[i];
		int fd;

		(void)snprintf(backend->path, sizeof(backend->path), "%s%zu", warm.memory, i);
		fd = open(backend->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
		assert_true(fd >= 0);
		assert_int_equal(ftruncate(fd, (off_t)(mib << 20)), 0);
		assert_int_equal(close(fd), 0);
	}
}

void warm_derive(const char *args)
{
	char text[1024], *at = text, *word;
	struct cmdline source = { 0 };

	(void)snprintf(text, sizeof(text), "qemu -accel tcg -nodefaults %s", args);
	while ((word = strsep(&at, " ")) != NULL) {
		if (*word != '\0')
			assert_int_equal(cmdline_add(&source, word, &warm.err), RC_OK);
	}
	assert_int_equal(cmdline_derive(&warm.spec, &source, "pc-i440fx-10.0", "pc.ram",
					UINT64_C(16) << 20, &warm.err),
			 RC_OK);
	(void)snprintf(warm.spec.accel, sizeof(warm.spec.accel), "tcg");
	cmdline_free(&source);
	make_memory(16);
}

int warm_start_in(const char *where)
{
	const struct hypervisor_options options = { .name = "vm1",
						    .program = warm.qemu,
						    .firmware = warm.firmware,
						    .accel = "auto",
						    .run_dir = where,
						    .lock = warm.lock };

	return hypervisor_start(&warm.hypervisor, &warm.loop, &options, &warm.spec, &ops,
				&warm.loop, &warm.err);
}

void warm_start(void)
{
	assert_int_equal(warm_start_in(warm.run_dir), RC_OK);
	warm_run();
}

static void on_cleared(void *owner, const struct err *result)
{
	assert_ptr_equal(owner, &warm.loop);
	warm.predecessor = NULL;
	warm.told = *result;
	uv_stop(&warm.loop);
}

void warm_clear(void)
{
	char path[HYPERVISOR_PATH_MAX];

	assert_int_equal(hypervisor_qmp_path(path, warm.run_dir, &warm.err), RC_OK);
	assert_int_equal(predecessor_clear(&warm.predecessor, &warm.loop, "test", path, on_cleared,
					   &warm.loop, &warm.err),
			 RC_OK);
	warm_run();
	assert_null(warm.predecessor);
}

void warm_close_it(bool leave)
{
	hypervisor_close(warm.hypervisor, leave, warm_on_closed);
	hypervisor_close(warm.hypervisor, leave, warm_on_closed);
	warm_run();
	assert_int_equal(warm.closes, 1);
	warm.closes = 0;
}

bool warm_exists(pid_t pid)
{
	return kill(pid, 0) == 0;
}
