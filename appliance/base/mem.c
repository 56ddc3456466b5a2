#include "appliance/base/mem.h"

#include <stdlib.h>
#include <string.h>

#ifdef UNDERSTUDY_FAULTS
#include <stdatomic.h>

static atomic_ulong countdown[FAULT_KINDS];
static atomic_bool fired[FAULT_KINDS];

void fault_arm(enum fault_kind kind, unsigned long nth)
{
	atomic_store(&fired[kind], false);
	atomic_store(&countdown[kind], nth);
}

bool fault_here(enum fault_kind kind)
{
	unsigned long left = atomic_load(&countdown[kind]);

	while (left > 0 && !atomic_compare_exchange_weak(&countdown[kind], &left, left - 1))
		;
	if (left == 1)
		atomic_store(&fired[kind], true);
	return left == 1;
}

bool fault_fired(enum fault_kind kind)
{
	return atomic_load(&fired[kind]);
}
#endif

void *mem_alloc(size_t size)
{
	if (fault_here(FAULT_ALLOC))
		return NULL;
	return malloc(size > 0 ? size : 1);
}

void *mem_zalloc(size_t count, size_t size)
{
	if (fault_here(FAULT_ALLOC))
		return NULL;
	return calloc(count > 0 ? count : 1, size > 0 ? size : 1);
}

void *mem_realloc(void *old, size_t size)
{
	if (fault_here(FAULT_ALLOC))
		return NULL;
	return realloc(old, size > 0 ? size : 1);
}

char *mem_strndup(const char *text, size_t len)
{
	char *copy = mem_alloc(len + 1);

	if (copy != NULL) {
		memcpy(copy, text, len);
		copy[len] = '\0';
	}
	return copy;
}

char *mem_strdup(const char *text)
{
	return mem_strndup(text, strlen(text));
}

void mem_free(void *memory)
{
	free(memory);
}
