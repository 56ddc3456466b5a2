/*
 * For tests of the capture thread: the primary, which these functions play, on a socket pair, and
 * what the thread's owner saw.
 */
#ifndef TESTS_UNIT_COLO_SECONDARY_FIXTURE_H
#define TESTS_UNIT_COLO_SECONDARY_FIXTURE_H

#include "appliance/base/buf.h"
#include "replica/colo_secondary.h"
#include "tests/unit/stream_builder.h"

#include <stdatomic.h>

#define PAGES (BUILDER_RAM_PAGES + BUILDER_BIOS_PAGES)
#define FIRST_EPOCH 5

struct played {
	uv_loop_t loop;
	struct chunk_pool *pool;
	struct colo_secondary *secondary;
	int fd; /* the primary's end */
	struct buf bytes;
	uv_thread_t writer;
	atomic_bool written;
	bool writing;

	/* What the owner saw. */
	bool wait;	  /* it waits after the layout (set before played_start()) */
	bool keep_chunks; /* instead of giving them back */
	struct chunk *kept[64];
	size_t nkept;
	uint64_t ram_pages;
	unsigned layouts, epochs, requests, ended, closed;
	uint64_t chunks, pages; /* of the present epoch */
	struct capture_epoch last;
	struct err err;
	uint8_t first_byte[PAGES], state[2 << 20]; /* of each page; device state */
	atomic_uint holds, lets_go;
	atomic_bool stands; /* it may not run on after a checkpoint */
};

/* The one of the running test: set up and torn down for cmocka. */
extern struct played played;
int played_setup(void **state);
int played_teardown(void **state);
extern const struct colo_secondary_ops played_ops;

/* A thread with so large a pool on one end, the test on the other. */
void played_start(size_t pool_mib);
/* Ends the thread wherever it is, and proves that nothing is left. */
void played_stop(void);

/* Sends what is in played.bytes, from a thread of its own; the next begins empty. */
void played_send_bytes(void);
void played_finish_sending(void);
/* Runs the loop until *count is `wanted`. */
void played_run_until(const unsigned *count, unsigned wanted);
/* Waits for a message of the secondary's; sees that none comes. */
void played_receives(uint32_t message);
void played_receives_nothing(void);
/* The thread lets go just after its message. */
void played_lets_go(void);

/* Sends the device state of the first copy and lets the secondary know that QEMU is in COLO. */
void played_enter_colo(void);
void played_request(void);
/* A checkpoint of one page and `state_len` bytes of device state, after REQUEST and REPLY. */
void played_checkpoint(uint64_t page, uint8_t fill, size_t state_len);
/* The first copy of an empty machine, and its first checkpoint. */
void played_protect(void);

#endif
