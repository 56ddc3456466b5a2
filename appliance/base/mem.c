#include "appliance/base/mem.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifdef UNDERSTUDY_FAULTS
#include <stdatomic.h>

static atomic_ulong countdown[FAULT_KINDS], countdown_at[FAULT_KINDS][FAULT_PLACES];
static atomic_bool fired[FAULT_KINDS], goes_on[FAULT_KINDS][FAULT_PLACES];
static atomic_bool holds[FAULT_PLACES];
static _Thread_local unsigned here;

void fault_arm(enum fault_kind kind, unsigned long nth)
{
	atomic_store(&fired[kind], false);
	atomic_store(&countdown[kind], nth);
}

void fault_arm_at(enum fault_kind kind, unsigned place, unsigned long nth, bool on)
{
	atomic_store(&fired[kind], false);
	atomic_store(&goes_on[kind][place], on);
	atomic_store(&countdown_at[kind][place], nth);
}

void fault_place(unsigned place)
{
	here = place;
}

void fault_hold(unsigned place, bool held)
{
	atomic_store(&holds[place], held);
}

static atomic_size_t most_written;

void fault_short(size_t most)
{
	atomic_store(&most_written, most);
}

size_t fault_clip(size_t wanted)
{
	const size_t most = atomic_load(&most_written);

	return most > 0 && most < wanted ? most : wanted;
}

static bool count_down(atomic_ulong *count, const atomic_bool *on)
{
	unsigned long left = atomic_load(count);

	if (left == 1 && on != NULL && atomic_load(on))
		return true;
	while (left > 0 && !atomic_compare_exchange_weak(count, &left, left - 1))
		;
	return left == 1;
}

bool fault_here(enum fault_kind kind)
{
	const bool fails =
		count_down(&countdown[kind], NULL) ||
		(here > 0 && count_down(&countdown_at[kind][here], &goes_on[kind][here]));

	while (atomic_load(&holds[here]))
		(void)usleep(1000);
	if (fails)
		atomic_store(&fired[kind], true);
	return fails;
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
