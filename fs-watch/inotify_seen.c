#include "fs-watch/inotify_seen.h"

#include "appliance/base/mem.h"

#include <string.h>
#include <xxhash.h>

#define SLOTS_MIN 1024
#define TAKEN_OUT 1

enum mark { DIRECTORY, TOLD, EXPECTED };

/* Never one of the two that mean something else: those are even, but for TAKEN_OUT, which has a chance of 2 to the -62. */
static uint64_t hash_of(int dir, const char *name, enum mark mark)
{
	const uint64_t seed = (uint64_t)(unsigned)dir << 2 | mark;

	return XXH64(name, strlen(name), seed) | 2;
}

static uint64_t *slot_of(const struct inotify_seen *seen, uint64_t hash)
{
	size_t at = (size_t)(hash >> 2) & (seen->nslots - 1);

	while (seen->slots[at] != 0 && seen->slots[at] != hash)
		at = (at + 1) & (seen->nslots - 1);
	return &seen->slots[at];
}

static bool grow(struct inotify_seen *seen)
{
	struct inotify_seen larger = { .nslots = seen->nslots > 0 ? seen->nslots * 2 : SLOTS_MIN };

	larger.slots = mem_zalloc(larger.nslots, sizeof(*larger.slots));
	if (larger.slots == NULL)
		return false;
	for (size_t i = 0; i < seen->nslots; i++) {
		if (seen->slots[i] > TAKEN_OUT) {
			*slot_of(&larger, seen->slots[i]) = seen->slots[i];
			larger.count++;
		}
	}
	mem_free(seen->slots);
	*seen = larger;
	return true;
}

static void put(struct inotify_seen *seen, uint64_t hash)
{
	uint64_t *slot;

	if (seen->count >= seen->nslots / 2 && !grow(seen))
		return;
	slot = slot_of(seen, hash);
	seen->count += *slot == 0;
	*slot = hash;
}

static bool has(const struct inotify_seen *seen, uint64_t hash)
{
	return seen->nslots > 0 && *slot_of(seen, hash) == hash;
}

static bool take(struct inotify_seen *seen, uint64_t hash)
{
	if (!has(seen, hash))
		return false;
	*slot_of(seen, hash) = TAKEN_OUT;
	return true;
}

void inotify_seen_dir(struct inotify_seen *seen, int dir)
{
	put(seen, hash_of(dir, "", DIRECTORY));
}

void inotify_seen_found(struct inotify_seen *seen, int dir, const char *name)
{
	put(seen, hash_of(dir, name, TOLD));
	put(seen, hash_of(dir, name, EXPECTED));
}

bool inotify_seen_made(struct inotify_seen *seen, int dir, const char *name)
{
	if (!has(seen, hash_of(dir, "", DIRECTORY)))
		return true;
	if (take(seen, hash_of(dir, name, EXPECTED)))
		return false;
	put(seen, hash_of(dir, name, TOLD));
	return true;
}

bool inotify_seen_gone(struct inotify_seen *seen, int dir, const char *name)
{
	if (!has(seen, hash_of(dir, "", DIRECTORY)))
		return true;
	(void)take(seen, hash_of(dir, name, EXPECTED));
	return take(seen, hash_of(dir, name, TOLD));
}

void inotify_seen_forget(struct inotify_seen *seen)
{
	mem_free(seen->slots);
	*seen = (struct inotify_seen){ 0 };
}
