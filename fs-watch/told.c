#include "fs-watch/told.h"

#include "appliance/base/mem.h"

#include <string.h>
#include <xxhash.h>

#define SLOTS_MIN 256
#define NAMES_MAX ((size_t)1 << 20)
#define LIST_MAX ((size_t)256 << 20) /* bytes */

uint64_t told_who(const struct tree_key *key)
{
	return XXH64(key->bytes, key->len, 0) | 1;
}

static uint64_t hash_of(const struct tree_key *dir, const char *name)
{
	return XXH64(name, strlen(name), XXH64(dir->bytes, dir->len, 0)) | 1;
}

static struct told_name *slot_of(const struct told *told, uint64_t hash)
{
	size_t at = (size_t)(hash >> 1) & (told->nslots - 1);

	while (told->slots[at].hash != 0 && told->slots[at].hash != hash)
		at = (at + 1) & (told->nslots - 1);
	return &told->slots[at];
}

static bool grow(struct told *told)
{
	struct told larger = { .nslots = told->nslots > 0 ? told->nslots * 2 : SLOTS_MIN };

	if (told->count >= NAMES_MAX)
		return false;
	larger.slots = mem_zalloc(larger.nslots, sizeof(*larger.slots));
	if (larger.slots == NULL)
		return false;
	for (size_t i = 0; i < told->nslots; i++) {
		if (told->slots[i].hash != 0)
			*slot_of(&larger, told->slots[i].hash) = told->slots[i];
	}
	mem_free(told->slots);
	told->slots = larger.slots;
	told->nslots = larger.nslots;
	return true;
}

/* As it is in the lists: its length, its bytes. */
static bool append_key(struct buf *list, const struct tree_key *key)
{
	list->limit = LIST_MAX;
	return buf_append_u8(list, (uint8_t)key->len) && buf_append(list, key->bytes, key->len);
}

static bool next_key(const struct buf *list, size_t *at, struct tree_key *key)
{
	if (*at >= list->len)
		return false;
	key->len = list->data[*at];
	memcpy(key->bytes, list->data + *at + 1, key->len);
	*at += 1 + key->len;
	return true;
}

bool told_set(struct told *told, const struct tree_key *dir, const char *name, uint64_t who,
	      bool is_dir, bool in_doubt)
{
	const uint64_t hash = hash_of(dir, name);
	struct told_name *slot;
	bool listed, again;

	if (told->count >= told->nslots / 2 && !grow(told))
		return false;
	slot = slot_of(told, hash);
	again = slot->hash != 0;
	listed = again && slot->in_doubt;
	told->count += !again;
	*slot = (struct told_name){
		.hash = hash, .who = who, .is_dir = is_dir, .in_doubt = listed || again || in_doubt
	};
	return listed || !slot->in_doubt ||
	       (append_key(&told->doubts, dir) &&
		buf_append(&told->doubts, name, strlen(name) + 1));
}

const struct told_name *told_find(const struct told *told, const struct tree_key *dir,
				  const char *name)
{
	const struct told_name *slot = told->count > 0 ? slot_of(told, hash_of(dir, name)) : NULL;

	return slot != NULL && slot->hash != 0 ? slot : NULL;
}

bool told_moved(struct told *told, const struct tree_key *key)
{
	return append_key(&told->moved, key);
}

bool told_next_doubt(const struct told *told, size_t *at, struct told_doubt *doubt)
{
	if (!next_key(&told->doubts, at, &doubt->dir))
		return false;
	doubt->name = (const char *)told->doubts.data + *at;
	*at += strlen(doubt->name) + 1;
	return true;
}

bool told_next_moved(const struct told *told, size_t *at, struct tree_key *key)
{
	return next_key(&told->moved, at, key);
}

/* It keeps its memory, if that is little. */
void told_forget(struct told *told)
{
	if (told->nslots > SLOTS_MIN) {
		told_free(told);
		return;
	}
	if (told->count > 0)
		memset(told->slots, 0, told->nslots * sizeof(*told->slots));
	told->count = 0;
	buf_reset(&told->doubts);
	buf_reset(&told->moved);
}

void told_free(struct told *told)
{
	mem_free(told->slots);
	buf_free(&told->doubts);
	buf_free(&told->moved);
	*told = (struct told){ 0 };
}
