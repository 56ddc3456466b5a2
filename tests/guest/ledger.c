#include "tests/guest/ledger.h"

#include "tests/guest/memory.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define ENTRIES_MAX ((size_t)1 << 18) /* 64 MiB, of which only what is written takes memory */

struct entry {
	char text[LEDGER_TEXT_MAX + 56]; /* a divisor of the page size */
};

static struct entry *entries;
static size_t count;

static void map_entries(void)
{
	void *at = mmap(NULL, ENTRIES_MAX * sizeof(*entries), PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (at == MAP_FAILED)
		give_up("the ledger");
	entries = at;
}

int ledger_append_answer(const char *text, char *to, size_t size)
{
	size_t len = strlen(text);

	if (len == 0 || len > LEDGER_TEXT_MAX)
		return snprintf(to, size, "error an entry has 1 to %d bytes\n", LEDGER_TEXT_MAX);
	if (count == ENTRIES_MAX)
		return snprintf(to, size, "error the ledger is full\n");
	if (entries == NULL)
		map_entries();
	memcpy(entries[count].text, text, len + 1);
	return snprintf(to, size, "%zu\n", ++count);
}

int ledger_entry_answer(const char *number, char *to, size_t size)
{
	char *end;
	unsigned long long n = strtoull(number, &end, 10);

	if (*number < '0' || *number > '9' || *end != '\0' || n == 0 || n > count)
		return snprintf(to, size, "error no such entry\n");
	return snprintf(to, size, "%s\n", entries[n - 1].text);
}
