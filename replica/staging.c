/*
 * A page gets an entry when it comes, in order of arrival, and a slot of LAYOUT_PAGE bytes when
 * it has content: the first slots are memory, the rest are places in the file. A hash table over
 * the entries finds a page that comes again. The lock covers entries and table, not the copying
 * of pages.
 *
 * The file is written with pwrite(2), because a full disk must be an error and not a signal, and
 * read back in windows of consecutive slots. What was written is not trusted to come back: every
 * spilled page has its hash, and image.c verifies all of them before it changes anything.
 */
#include "replica/staging.h"

#include "appliance/base/mem.h"
#include "replica/delta.h"
#include "replica/layout.h"
#include "replica/zero_page.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define NO_SLOT UINT32_MAX
#define ENTRIES_MIN 1024    /* a small epoch's; more than these are given back between epochs */
#define ENTRY_COST 48	    /* bytes of an entry and its part of the table, at worst */
#define WINDOW ((size_t)64) /* slots read at once from the file: 256 KiB */
#define KEEP_DECAY 16	    /* memory kept shrinks by a sixteenth an epoch towards what is needed */

struct entry {
	uint32_t index : 31; /* layout.h: below 2^31 */
	uint32_t zero : 1;
	uint32_t slot; /* NO_SLOT: it never had content */
	uint64_t hash; /* of a spilled slot's content */
};

struct staging {
	pthread_mutex_t lock;
	struct entry *entries;
	uint32_t *table; /* entry's number + 1; a power of two, at most half full */
	size_t count, room, table_size;
	uint32_t slots;	       /* given out */
	uint32_t slots_memory; /* how many of them are memory */
	uint8_t *memory;
	uint32_t touched; /* slots of memory that have storage */
	uint32_t keep;	  /* slots that may keep it between epochs */
	char *spill_dir;
	int spill; /* -1: no file */
	uint8_t *window;
	uint32_t window_first, window_count; /* slots in it, counted from the file's first */
};

static_assert(2 * (sizeof(struct entry) + 2 * sizeof(uint32_t)) <= ENTRY_COST,
	      "both were doubled just now, at worst");

int staging_create(struct staging **out, size_t memory_bytes, const char *spill_dir,
		   struct err *err)
{
	struct staging *s = mem_zalloc(1, sizeof(*s));
	size_t slots = memory_bytes / (LAYOUT_PAGE + ENTRY_COST);
	void *memory;

	if (s == NULL)
		return err_nomem(err, "staging");
	s->spill = -1;
	s->slots_memory = slots > 0 ? (slots < NO_SLOT ? (uint32_t)slots : NO_SLOT - 1) : 1;
	pthread_mutex_init(&s->lock, NULL);
	s->spill_dir = mem_strdup(spill_dir);
	memory = fault_here(FAULT_ALLOC) ?
			 MAP_FAILED :
			 mmap(NULL, s->slots_memory * LAYOUT_PAGE, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (memory != MAP_FAILED)
		s->memory = memory;
	if (s->spill_dir == NULL || s->memory == NULL) {
		staging_destroy(s);
		return err_nomem(err, "staging");
	}
	madvise(s->memory, s->slots_memory * LAYOUT_PAGE, MADV_DONTDUMP);
	*out = s;
	return RC_OK;
}

static void close_spill(struct staging *s)
{
	if (s->spill >= 0)
		close(s->spill);
	s->spill = -1;
	mem_free(s->window);
	s->window = NULL;
	s->window_count = 0;
}

void staging_destroy(struct staging *s)
{
	if (s == NULL)
		return;
	close_spill(s);
	if (s->memory != NULL)
		munmap(s->memory, s->slots_memory * LAYOUT_PAGE);
	mem_free(s->entries);
	mem_free(s->table);
	mem_free(s->spill_dir);
	pthread_mutex_destroy(&s->lock);
	mem_free(s);
}

/* ---- finding entries ----------------------------------------------------------------------- */

static size_t place_of(const struct staging *s, uint32_t index)
{
	size_t place = (size_t)((index * UINT64_C(0x9E3779B97F4A7C15)) >> 32) & (s->table_size - 1);

	while (s->table[place] != 0 && s->entries[s->table[place] - 1].index != index)
		place = (place + 1) & (s->table_size - 1);
	return place;
}

/* Room for one more entry, and a table at most half full with it. */
static bool grow(struct staging *s)
{
	size_t room = s->room > 0 ? 2 * s->room : ENTRIES_MIN, i;
	struct entry *entries;
	uint32_t *table;

	if (s->count < s->room)
		return true;
	table = mem_zalloc(2 * room, sizeof(*table));
	entries = table != NULL ? mem_realloc(s->entries, room * sizeof(*entries)) : NULL;
	if (entries == NULL) {
		mem_free(table);
		return false;
	}
	mem_free(s->table);
	s->entries = entries;
	s->room = room;
	s->table = table;
	s->table_size = 2 * room;
	for (i = 0; i < s->count; i++)
		s->table[place_of(s, s->entries[i].index)] = (uint32_t)i + 1;
	return true;
}

/* The page's entry, new or not; NULL: no memory. */
static struct entry *entry_of(struct staging *s, uint32_t index)
{
	size_t place;

	if (!grow(s))
		return NULL;
	place = place_of(s, index);
	if (s->table[place] == 0) {
		s->entries[s->count] =
			(struct entry){ .index = index & 0x7fffffff, .slot = NO_SLOT };
		s->table[place] = (uint32_t)++s->count;
	}
	return &s->entries[s->table[place] - 1];
}

/* ---- the file ------------------------------------------------------------------------------ */

/* An unnamed file, where the file system can; else one whose name is taken away at once. */
static int open_spill(struct staging *s, struct err *err)
{
	char path[4096];
	int n;

	s->window = mem_alloc(WINDOW * LAYOUT_PAGE);
	if (s->window == NULL)
		return err_nomem(err, "staging: spill file");
	s->spill = open(s->spill_dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (s->spill >= 0)
		return RC_OK;
	n = snprintf(path, sizeof(path), "%s/.epoch-XXXXXX", s->spill_dir);
	if (n < 0 || (size_t)n >= sizeof(path))
		return err_set(err, RC_LIMIT, "staging: the spill directory's name is too long");
	s->spill = mkostemp(path, O_CLOEXEC);
	if (s->spill < 0 || unlink(path) != 0)
		return err_system(err, errno, "staging: a file in %s", s->spill_dir);
	return RC_OK;
}

static int write_spill(const struct staging *s, uint32_t slot, const uint8_t *data, struct err *err)
{
	off_t at = (off_t)(slot - s->slots_memory) * (off_t)LAYOUT_PAGE;
	size_t done = 0;
	ssize_t r;

	while (done < LAYOUT_PAGE) {
		r = fault_here(FAULT_WRITE) ?
			    (errno = ENOSPC, -1) :
			    pwrite(s->spill, data + done, LAYOUT_PAGE - done, at + (off_t)done);
		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			return err_system(err, r < 0 ? errno : ENOSPC,
					  "staging: writing to a file in %s", s->spill_dir);
		done += (size_t)r;
	}
	return RC_OK;
}

/* The content of a spilled slot, in the window. */
static int read_spill(struct staging *s, uint32_t slot, const uint8_t **data, struct err *err)
{
	uint32_t wanted = slot - s->slots_memory, most = s->slots - s->slots_memory - wanted;
	size_t len = (most < WINDOW ? most : WINDOW) * LAYOUT_PAGE, done = 0;
	ssize_t r;

	if (wanted < s->window_first || wanted - s->window_first >= s->window_count) {
		s->window_count = 0;
		while (done < len) {
			r = pread(s->spill, s->window + done, len - done,
				  (off_t)wanted * (off_t)LAYOUT_PAGE + (off_t)done);
			if (r < 0 && errno == EINTR)
				continue;
			if (r <= 0)
				return err_system(err, r < 0 ? errno : EIO,
						  "staging: reading a file in %s", s->spill_dir);
			done += (size_t)r;
		}
		s->window_first = wanted;
		s->window_count = (uint32_t)(len / LAYOUT_PAGE);
	}
	*data = s->window + (size_t)(wanted - s->window_first) * LAYOUT_PAGE;
	return RC_OK;
}

/* ---- what comes in ------------------------------------------------------------------------- */

/* Gives the page an entry, and a slot if it has content. */
static int reserve(struct staging *s, uint32_t index, bool zero, uint32_t *slot, struct err *err)
{
	struct entry *entry = entry_of(s, index);
	int rc = RC_OK;

	if (entry == NULL)
		return err_nomem(err, "staging");
	if (!zero && entry->slot == NO_SLOT) {
		if (s->slots >= s->slots_memory && s->spill < 0)
			rc = open_spill(s, err);
		if (rc != RC_OK)
			return rc;
		entry->slot = s->slots++;
	}
	entry->zero = zero;
	*slot = entry->slot;
	return RC_OK;
}

static int put_spilled(struct staging *s, uint32_t index, uint32_t slot, const uint8_t *data,
		       struct err *err)
{
	uint64_t hash = delta_content_hash(data);

	pthread_mutex_lock(&s->lock);
	s->entries[s->table[place_of(s, index)] - 1].hash = hash;
	pthread_mutex_unlock(&s->lock);
	return write_spill(s, slot, data, err);
}

int staging_put(struct staging *s, uint64_t index, const uint8_t *data, struct err *err)
{
	uint32_t slot = NO_SLOT;
	int rc;

	assert(index < LAYOUT_BYTES_MAX / LAYOUT_PAGE);
	pthread_mutex_lock(&s->lock);
	rc = reserve(s, (uint32_t)index, data == NULL, &slot, err);
	pthread_mutex_unlock(&s->lock);
	if (rc != RC_OK || data == NULL)
		return rc;
	if (slot >= s->slots_memory)
		return put_spilled(s, (uint32_t)index, slot, data, err);
	memcpy(s->memory + slot * LAYOUT_PAGE, data, LAYOUT_PAGE);
	return RC_OK;
}

static const uint8_t *read_slot(const struct staging *s, const struct entry *entry, uint8_t *room)
{
	const off_t at = (off_t)(entry->slot - s->slots_memory) * (off_t)LAYOUT_PAGE;
	ssize_t r;

	do
		r = pread(s->spill, room, LAYOUT_PAGE, at);
	while (r < 0 && errno == EINTR);
	return r == (ssize_t)LAYOUT_PAGE && delta_content_hash(room) == entry->hash ? room : NULL;
}

bool staging_get(struct staging *s, uint64_t index, uint8_t *room, const uint8_t **content)
{
	struct entry entry = { .slot = NO_SLOT };
	bool kept = false;
	size_t place;

	pthread_mutex_lock(&s->lock);
	if (s->count > 0) {
		place = place_of(s, (uint32_t)index);
		kept = s->table[place] != 0;
		if (kept)
			entry = s->entries[s->table[place] - 1];
	}
	pthread_mutex_unlock(&s->lock);
	if (!kept)
		return false;
	if (entry.zero)
		*content = zero_page;
	else if (entry.slot < s->slots_memory)
		*content = s->memory + entry.slot * LAYOUT_PAGE;
	else
		*content = read_slot(s, &entry, room);
	return true;
}

uint64_t staging_bytes(struct staging *s)
{
	uint64_t bytes;

	pthread_mutex_lock(&s->lock);
	bytes = s->slots * LAYOUT_PAGE + s->count * ENTRY_COST;
	pthread_mutex_unlock(&s->lock);
	return bytes;
}

/* ---- what goes out: by now nobody puts any more -------------------------------------------- */

int staging_verify(struct staging *s, struct err *err)
{
	const uint8_t *data;
	size_t i;
	int rc;

	for (i = 0; i < s->count; i++) {
		const struct entry *entry = &s->entries[i];

		if (entry->zero || entry->slot < s->slots_memory)
			continue;
		rc = read_spill(s, entry->slot, &data, err);
		if (rc != RC_OK)
			return rc;
		if (delta_content_hash(data) != entry->hash)
			return err_set(err, RC_IO,
				       "staging: a page came back from a file in %s altered",
				       s->spill_dir);
	}
	return RC_OK;
}

int staging_each(struct staging *s,
		 int (*page)(void *owner, uint64_t index, const uint8_t *data, struct err *err),
		 void *owner, struct err *err)
{
	size_t i;
	int rc = RC_OK;

	for (i = 0; rc == RC_OK && i < s->count; i++) {
		const struct entry *entry = &s->entries[i];
		const uint8_t *data = NULL;

		if (!entry->zero && entry->slot < s->slots_memory)
			data = s->memory + entry->slot * LAYOUT_PAGE;
		else if (!entry->zero)
			rc = read_spill(s, entry->slot, &data, err);
		if (rc == RC_OK)
			rc = page(owner, entry->index, data, err);
	}
	return rc;
}

int staging_each_index(struct staging *s,
		       int (*page)(void *owner, uint64_t index, const uint8_t *data,
				   struct err *err),
		       void *owner, struct err *err)
{
	size_t i;
	int rc = RC_OK;

	for (i = 0; rc == RC_OK && i < s->count; i++)
		rc = page(owner, s->entries[i].index, s->entries[i].zero ? NULL : s->memory, err);
	return rc;
}

void staging_reset(struct staging *s)
{
	uint32_t used;

	pthread_mutex_lock(&s->lock); /* against staging_bytes() */
	used = s->slots < s->slots_memory ? s->slots : s->slots_memory;
	close_spill(s);
	s->touched = used > s->touched ? used : s->touched;
	s->keep -= (s->keep + KEEP_DECAY - 1) / KEEP_DECAY;
	s->keep = used > s->keep ? used : s->keep;
	if (s->touched > s->keep) {
		madvise(s->memory + s->keep * LAYOUT_PAGE, (s->touched - s->keep) * LAYOUT_PAGE,
			MADV_DONTNEED);
		s->touched = s->keep;
	}
	if (s->room > ENTRIES_MIN) {
		mem_free(s->entries);
		mem_free(s->table);
		s->entries = NULL;
		s->table = NULL;
		s->room = s->table_size = 0;
	} else if (s->count > 0) {
		memset(s->table, 0, s->table_size * sizeof(*s->table));
	}
	s->count = 0;
	s->slots = 0;
	pthread_mutex_unlock(&s->lock);
}
