/*
 * Which segments a journal has: in one directory, or in several that hold copies of it, some of which may have
 * been away for a time. Blocking; changes nothing.
 *
 * A copy that was away may hold records of an earlier opening that were never acknowledged, with numbers that a
 * later opening has given to others (journal_format.h, "Openings"). So what counts is: of the segments with
 * one number those of the latest opening; and none of an earlier opening behind the first segment of a later one in
 * which something was written. A file that has no head that can be, and is in fewer copies than hold what was acknowledged, is none.
 */
#ifndef REPLICA_JOURNAL_LIST_H
#define REPLICA_JOURNAL_LIST_H

#include "replica/journal_format.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define JOURNAL_COPIES_MAX 5

struct journal_dirs {
	int fd[JOURNAL_COPIES_MAX]; /* open directories; -1: that copy is away */
	unsigned count;
	uint64_t journal; /* the one that is meant, if any of them holds it; 0: what most hold */
	unsigned
		holders; /* what was acknowledged is in so many of them at least; 0: that is not known */
};

/* Those of a journal that are there, for reading. RC_IO: none. */
int journal_dirs_open(struct journal_dirs *dirs, const char *const *paths, unsigned count,
		      struct err *err);
void journal_dirs_close(struct journal_dirs *dirs);

/*
 * What is read of that file from now on is what its disk has: what waits to be written is written, and what the kernel keeps of it
 * is dropped. After a failed fdatasync() that is not the same: what was not written counts as clean, is read as if it
 * were there, and is gone with the next power cut. What this cannot do: drop what a file system keeps as still to be written (a
 * later sync writes it, or fails), or what a disk keeps in a cache of its own and could not flush.
 */
void journal_file_ask_disk(int fd);

struct journal_entry {
	uint64_t sequence, opening;
	uint64_t bytes; /* of the longest file */
	uint64_t
		bound; /* of the next segment of a later opening: records from there on are not this one's; UINT64_MAX */
	unsigned where; /* bit i: directory i has a file with this head */
	bool records;	/* something was written behind its head, in one of them */
	bool headless;	/* no directory has it with a head that can be */
};

struct journal_list {
	struct journal_entry *entries; /* in the order of their numbers */
	size_t count;
	uint64_t opening; /* the latest that any head tells of */
	unsigned unread;  /* bit i: directory i could not be read */
	unsigned tips;	  /* bit i: no directory has more of the last segment than directory i */
};

/* Of the heads in a directory; 0: there is none. RC_REFUSED: they are of several journals, and which. */
int journal_number_of(int dir, uint64_t *number, struct err *err);
/* What is meant, or else what most directories hold: *number, and what each does. False: as many hold another one. */
bool journal_list_elect(const struct journal_dirs *dirs, uint64_t numbers[JOURNAL_COPIES_MAX],
			uint64_t *number);

/* `journal`: only that one's segments; 0: of whatever is there. */
int journal_list_read(struct journal_list *list, const struct journal_dirs *dirs, uint64_t journal,
		      struct err *err);
/* All that one directory has, whether it counts or not. */
int journal_list_files(struct journal_list *list, int dir, struct err *err);
/*
 * Of these, the one that was written to last, 0: none. All others were synced before the next one was begun, or got their
 * names: only of this one the kernel may keep what is not on the disk.
 */
uint64_t journal_list_newest(const struct journal_list *files);
/* It is read from the disk from now on, in each of the directories that can be read. RC_OK: in one at least. */
int journal_dirs_ask_disk(const struct journal_dirs *dirs, struct err *err);
void journal_list_free(struct journal_list *list);

#endif
