/*
 * An NBD server of this project's in a thread of its own, whose clients may block: one disk in memory.
 */
#ifndef TESTS_UNIT_NBD_FIXTURE_H
#define TESTS_UNIT_NBD_FIXTURE_H

#include "net/nbd_server.h"
#include "tests/unit/scratch.h"

#include <stdatomic.h>

#define NBD_BYTES (4U << 20)

/* Between two requests, or without clients, the test's to look at and to change. */
extern struct nbd_fixture {
	uint8_t disk
		[NBD_BYTES]; /* of a whole MiB that begins with a zero the server says that it is a hole */
	uint64_t bytes; /* of the export; NBD_BYTES */
	atomic_uint flushes;
	_Atomic enum nbd_error error; /* of what changes the disk */
	_Atomic enum nbd_error flush_error;
	char socket[SCRATCH_MAX + 8];
	/* private */
	char dir[SCRATCH_MAX];
	uv_loop_t loop;
	uv_thread_t thread;
	uv_async_t stop;
	struct nbd_server *server;
	bool runs;
} nbd_fixture;

/* For cmocka: a disk of zeroes, and the server, whose export is "disk0". */
int nbd_fixture_setup(void **state);
int nbd_fixture_teardown(void **state);

void nbd_fixture_start(void);
void nbd_fixture_end(void);

#endif
