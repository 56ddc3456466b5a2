/*
 * Who was last told to have which name, since all there was had been read; and which of these are in doubt. No I/O.
 *
 * The kernel merges a report into an earlier one of the same change that nobody has read, and so out of its order; of an exchange of two
 * names it tells as of two renames; of the whiteout that a rename may leave behind, nothing. So what was told more than once of a
 * name, and each name that was renamed, has to be looked at in the end.
 */
#ifndef FS_WATCH_TOLD_H
#define FS_WATCH_TOLD_H

#include "appliance/base/buf.h"
#include "fs-watch/tree.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TOLD_NOBODY 0

struct told_name {
	uint64_t hash; /* of the name and its directory; 0: an empty slot */
	uint64_t who;  /* of its handle; TOLD_NOBODY: the name was told to be gone */
	bool is_dir;
	bool in_doubt;
};

struct told {
	struct told_name *slots;
	size_t nslots, count;
	struct buf doubts, moved;
};

struct told_doubt {
	struct tree_key dir;
	const char *name; /* valid until the next change */
};

uint64_t told_who(const struct tree_key *key);

/* False: no memory, or too many. */
bool told_set(struct told *told, const struct tree_key *dir, const char *name, uint64_t who,
	      bool is_dir, bool in_doubt);
/* NULL: nothing was told. */
const struct told_name *told_find(const struct told *told, const struct tree_key *dir,
				  const char *name);
/* A directory has moved. False: no memory. */
bool told_moved(struct told *told, const struct tree_key *key);

/* Those in doubt, and the directories that have moved, from *at = 0 on. False: that was all. */
bool told_next_doubt(const struct told *told, size_t *at, struct told_doubt *doubt);
bool told_next_moved(const struct told *told, size_t *at, struct tree_key *key);

void told_forget(struct told *told);
void told_free(struct told *told);

#endif
