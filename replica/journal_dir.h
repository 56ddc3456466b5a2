/*
 * What is done to the directory of one copy of a journal (journal_format.h). Blocking; of one thread at a time. Errors
 * begin with the directory.
 */
#ifndef REPLICA_JOURNAL_DIR_H
#define REPLICA_JOURNAL_DIR_H

#include "replica/journal_format.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define JOURNAL_PATH_MAX 512

/* Segments that do not have their names yet: one that is begun, copied, or replaced by the scrub. */
#define JOURNAL_BEGUN "begun.tmp"
#define JOURNAL_COPIED "copied.tmp"
#define JOURNAL_REPLACED "replaced.tmp"

struct journal_dir {
	char path[JOURNAL_PATH_MAX];
	int fd, lock;
	int segment; /* what is written to; -1: none */
	char name[JOURNAL_NAME_BYTES];
	uint64_t bytes; /* of it, as far as we know */
	/* The disk is full: whether something has been removed, so that the same may be tried again. NULL: nobody can. */
	bool (*make_room)(void *owner);
	void *owner;
};

int journal_dir_init(struct journal_dir *dir, const char *path, struct err *err);

/* Makes it if it is not there, locks it, and removes what a crash left without a name. RC_REFUSED: somebody else has it. */
int journal_dir_open(struct journal_dir *dir, struct err *err);
void journal_dir_close(struct journal_dir *dir);

/*
 * A new segment with that head, on stable storage; what there is of that number gives way. It is written to from now
 * on. `resume`: one that is there is written to, at its end.
 */
int journal_dir_begin(struct journal_dir *dir, uint64_t sequence,
		      const uint8_t head[JOURNAL_SEGMENT_HEAD], struct err *err);
int journal_dir_resume(struct journal_dir *dir, uint64_t sequence, struct err *err);
int journal_dir_write(struct journal_dir *dir, const uint8_t *data, size_t len, struct err *err);
/* What was written is on stable storage, in a file that is still there, and as long as it should be. */
int journal_dir_sync(struct journal_dir *dir, struct err *err);
/* The directory, and what is written to, is still there. */
int journal_dir_look(const struct journal_dir *dir, struct err *err);

/* It need not be there. It is gone for good after journal_dir_sync_names(). */
int journal_dir_remove(struct journal_dir *dir, uint64_t sequence, struct err *err);
/* A file without content; on stable storage. */
int journal_dir_mark(struct journal_dir *dir, const char *name, bool there, struct err *err);
int journal_dir_sync_names(struct journal_dir *dir, struct err *err);

/* The first so many bytes of a segment stay; and are on stable storage. */
int journal_dir_cut(struct journal_dir *dir, uint64_t sequence, uint64_t bytes, struct err *err);

#endif
