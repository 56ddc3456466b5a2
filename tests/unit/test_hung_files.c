/*
 * A disk's image in a file system that does not answer (one of FUSE's whose server says nothing): the loop, which is every instance's, does not wait
 * for it.
 */
#include "appliance/base/mem.h"
#include "appliance/clone_internal.h"
#include "tests/unit/clock_fixture.h"
#include "tests/unit/netns_fixture.h"
#include "tests/unit/scratch.h"

#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define TURN_MS 100
#define RESERVATION                                                                       \
	"{\"arguments\":[\"-machine\",\"pc-i440fx-10.0,memory-backend=pc.ram\"],"         \
	"\"backends\":[{\"name\":\"pc.ram\",\"bytes\":1048576}],"                         \
	"\"qemu\":{\"version\":\"10.0.13\",\"package\":\"\"},\"accel\":\"tcg\","          \
	"\"machine\":\"pc-i440fx-10.0\",\"cpus\":1,\"memory_bytes\":1048576,\"nics\":[]," \
	"\"disks\":[{\"name\":\"system\",\"bytes\":1048576}],\"without_standby\":\"continue\"}"

static char dir[SCRATCH_MAX], hung[SCRATCH_MAX + 8], memory[32];
static char path[SCRATCH_MAX + 32], name[] = "vm1", disk_name[] = "system",
				    program[SCRATCH_MAX + 16], accel[] = "tcg";
static struct config_disk disk = { .name = disk_name, .path = path };
static const struct config_instance instance = {
	.name = name, .disks = &disk, .ndisks = 1, .standby_staging_mib = 64
};
static const struct config config = { .site = name, .hypervisor = program, .accel = accel };
static int server; /* of the file system */
static uv_loop_t loop;
static struct seat *seat;
static struct err err;
static char said[ERR_TEXT_MAX]; /* to the reservation; "": nothing yet */
static bool turned, closed;

static int on_making(void *owner, const struct reservation *reservation, struct err *why)
{
	(void)owner;
	(void)reservation;
	(void)why;
	return RC_OK;
}

static void on_reserved(void *owner, const char *error, const char *image)
{
	(void)owner;
	(void)image;
	(void)snprintf(said, sizeof(said), "%s", error != NULL ? error : "it stands");
}

static void on_unseated(void *owner, const struct err *why)
{
	(void)owner;
	(void)why;
}

static const struct seat_ops ops = { .on_making = on_making,
				     .on_reserved = on_reserved,
				     .on_unseated = on_unseated };

static bool hang(void)
{
	char options[96];

	if (!netns_fixture_create() || unshare(CLONE_NEWNS) != 0 ||
	    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
		return false;
	server = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	(void)snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=0,group_id=0",
		       server);
	return server >= 0 && mount("hung", hung, "fuse", MS_NOSUID | MS_NODEV, options) == 0;
}

static int set_up(void **state)
{
	(void)state;
	(void)snprintf(memory, sizeof(memory), "/dev/shm/hung-XXXXXX");
	if (scratch_make(dir, "hung-files") != 0 || mkdtemp(memory) == NULL)
		return -1;
	(void)snprintf(hung, sizeof(hung), "%s/hung", dir);
	(void)snprintf(path, sizeof(path), "%s/system.raw", hung);
	return mkdir(hung, 0700) != 0 || uv_loop_init(&loop) != 0;
}

static void on_closed(void *owner)
{
	(void)owner;
	closed = true;
}

static int tear_down(void **state)
{
	char kept[sizeof(dir) + 32];

	(void)state;
	*said = '\0';
	turned = false;
	if (seat != NULL)
		seat_close(seat, on_closed);
	(void)uv_run(&loop, UV_RUN_DEFAULT);
	assert_true(seat == NULL || closed);
	seat = NULL;
	closed = false;
	(void)umount2(hung, MNT_DETACH);
	netns_fixture_remove();
	(void)snprintf(kept, sizeof(kept), "rm -r %s %s", dir, memory);
	assert_int_equal(system(kept), 0); /* NOLINT(cert-env33-c): the tests' own command */
	return uv_loop_close(&loop);
}

static void on_turn(uv_timer_t *timer)
{
	turned = true;
	uv_close((uv_handle_t *)timer, NULL);
}

static void need_hang(void)
{
	if (!hang()) {
		print_message("no file system of FUSE can be mounted here\n");
		skip();
	}
}

static void reserve(void)
{
	assert_int_equal(seat_create(&seat, &loop, &config, &instance, dir, dir, memory, &ops, NULL,
				     &err),
			 RC_OK);
	assert_int_equal(
		seat_reserve(seat, (const uint8_t *)RESERVATION, strlen(RESERVATION), &err), RC_OK);
}

static void a_reservation_that_waits_for_its_disk_holds_up_nobody(void **state)
{
	uv_timer_t timer;

	(void)state;
	need_hang();
	reserve();
	(void)uv_timer_init(&loop, &timer);
	(void)uv_timer_start(&timer, on_turn, TURN_MS, 0);
	while (!turned)
		(void)uv_run(&loop, UV_RUN_ONCE);
	assert_string_equal(said, "");
	assert_null(seat_image(seat));
	(void)close(server);
	while (*said == '\0')
		(void)uv_run(&loop, UV_RUN_ONCE);
	assert_non_null(strstr(said, path));
}

/* A QEMU that says nothing. */
static void make_program(void)
{
	static const char text[] = "#!/bin/sh\nexec sleep 1000\n";
	int fd;

	(void)snprintf(program, sizeof(program), "%s/program", dir);
	fd = open(program, O_WRONLY | O_CREAT | O_CLOEXEC, 0700);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	(void)close(fd);
}

static void a_look_at_disks_that_is_not_answered_is_told_until_it_is(void **state)
{
	struct clone *c = mem_zalloc(1, sizeof(*c));

	(void)state;
	make_program();
	reserve();
	while (seat_image(seat) == NULL)
		(void)uv_run(&loop, UV_RUN_ONCE);
	c->loop = &loop;
	c->instance = &instance;
	c->seat = seat;
	assert_int_equal(workers_open(&c->workers, &loop, 1, &err), RC_OK);
	need_hang();
	clone_disks_tick(c);
	clone_disks_tick(c);
	assert_int_equal(clone_disks_check(c, &err), RC_OK);
	clock_fixture_pass(10000);
	clone_disks_tick(c);
	assert_int_equal(clone_disks_check(c, &err), RC_STATE);
	assert_non_null(strstr(err.text, "does not answer"));
	(void)close(server);
	assert_int_equal(umount2(hung, MNT_DETACH), 0);
	while (clone_disks_check(c, &err) != RC_OK) {
		(void)uv_run(&loop, UV_RUN_ONCE);
		clone_disks_tick(c);
	}
	while (c->disks.busy)
		(void)uv_run(&loop, UV_RUN_ONCE);
	workers_close(c->workers);
	mem_free(c);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
		TEST(a_reservation_that_waits_for_its_disk_holds_up_nobody),
		TEST(a_look_at_disks_that_is_not_answered_is_told_until_it_is),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
