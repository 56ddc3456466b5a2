/*
 * For tests of a warm QEMU against the real one of this build, under emulation: one on a loop, and
 * what its owner was told.
 */
#ifndef TESTS_UNIT_HYPERVISOR_FIXTURE_H
#define TESTS_UNIT_HYPERVISOR_FIXTURE_H

#include "replica/hypervisor.h"
#include "replica/predecessor.h"

#include <sys/types.h>

#define QEMU_DIR "build/qemu"
#define PATIENCE_S 60 /* this machine may be busy with other tests */

/* Of the running test. */
struct warm {
	uv_loop_t loop;
	struct hypervisor *hypervisor;
	struct predecessor *predecessor;
	int lock; /* that QEMU inherits; -1: none */
	struct cmdline_spec spec;
	struct err err, told; /* of a call; by a callback */
	char dir[64], run_dir[80], memory[80], qemu[256], firmware[256];
	int readies, fails, runs, exits, closes; /* calls of each callback */
	uint64_t took;				 /* from on_running */
};
extern struct warm warm;

/* Set up and torn down for cmocka; the latter proves that every handle was closed. */
int warm_setup(void **state);
int warm_teardown(void **state);

/* Finds the QEMU: each test that needs it begins with this, and is skipped without it. */
bool warm_has_qemu(void);
#define NEED_QEMU()                                                               \
	do {                                                                      \
		(void)state;                                                      \
		if (!warm_has_qemu()) {                                           \
			print_message("no QEMU in " QEMU_DIR                      \
				      " (make qemu), none in UNDERSTUDY_QEMU\n"); \
			skip();                                                   \
		}                                                                 \
	} while (0)

/* The instance's arguments, separated by spaces, and its memory files. */
void warm_derive(const char *args);
/* Starts; its RC. */
int warm_start_in(const char *where);
/* Starts in run_dir, and until the owner is told something. */
void warm_start(void);
/* Makes way for it in run_dir, and until the owner is told how that went: `told`. */
void warm_clear(void);
/* Runs the loop until a callback stops it. */
void warm_run(void);
/* For hypervisor_close(). */
void warm_on_closed(void *owner);
/* Closes, twice. */
void warm_close_it(bool leave);
bool warm_exists(pid_t pid);

#endif
