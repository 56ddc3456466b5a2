/*
 * Working memory for encoding and decoding: as many pieces as threads are at it at once, shared
 * by all instances, because getting 1 MiB from the system, which clears it, takes a tenth of the
 * time of the work done in it.
 */
#include "replica/delta_format.h"

#include "appliance/base/mem.h"
#include "replica/delta.h"

#include <pthread.h>

/* As many as work at once where one instance changes much; others get theirs afresh each time. */
#define SCRATCH_KEEP 4

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct delta_scratch *unused;
static unsigned count;

struct delta_scratch *delta_scratch_get(void)
{
	struct delta_scratch *scratch;

	pthread_mutex_lock(&lock);
	scratch = unused;
	if (scratch != NULL) {
		unused = scratch->next;
		count--;
	}
	pthread_mutex_unlock(&lock);
	if (scratch == NULL) {
		scratch = mem_alloc(sizeof(*scratch));
		if (scratch != NULL)
			LZ4_initStream(&scratch->lz4, sizeof(scratch->lz4));
	}
	return scratch;
}

void delta_scratch_put(struct delta_scratch *scratch)
{
	bool keep;

	pthread_mutex_lock(&lock);
	keep = count < SCRATCH_KEEP;
	if (keep) {
		scratch->next = unused;
		unused = scratch;
		count++;
	}
	pthread_mutex_unlock(&lock);
	if (!keep)
		mem_free(scratch);
}

void delta_trim(void)
{
	struct delta_scratch *scratch;

	pthread_mutex_lock(&lock);
	scratch = unused;
	unused = NULL;
	count = 0;
	pthread_mutex_unlock(&lock);
	while (scratch != NULL) {
		struct delta_scratch *next = scratch->next;

		mem_free(scratch);
		scratch = next;
	}
}
