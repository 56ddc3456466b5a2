/*
 * What the two halves of the copies share: the caller's (journal_copies.c), and the thread of each copy
 * (journal_copy.c). All is under the mutex, but for a copy's directory, which is its thread's.
 */
#ifndef REPLICA_JOURNAL_COPIES_INTERNAL_H
#define REPLICA_JOURNAL_COPIES_INTERNAL_H

#include "appliance/base/repeat.h"
#include "replica/journal_copies.h"

#include <uv.h>

enum step_kind { STEP_BEGIN, STEP_WRITE, STEP_SYNC, STEP_REMOVE, STEP_NAMES };

struct step {
	struct step *next;
	enum step_kind kind;
	uint64_t ticket;	    /* 1 for the first */
	uint64_t sequence, opening; /* of a segment: BEGIN, REMOVE */
	struct buf data;	    /* WRITE */
	unsigned refs;		    /* copies that it waits for */
};

struct copy {
	struct journal_copies *owner;
	unsigned index;
	struct journal_dir dir; /* its thread's, once there is one */
	int readable;		/* the directory, for others; -1: it is away */
	bool foreign;		/* it holds another journal */
	bool seen;		/* what it holds was, at the opening */
	bool threaded;
	enum journal_copy_state state;
	struct err why;
	struct repeat said;
	/* what it is given: from `next` on, if it is attached; else up to `until` */
	bool attached;
	struct step *next;
	uint64_t done, until; /* tickets */
	uint64_t lag;	      /* bytes that wait */
	bool full, granted; /* its disk is, and waits for an answer; which is, that there is room */
	uint64_t writing, suspect; /* sequence of the segment; that could not be written; 0: none */
	uint64_t retry_ns;
	unsigned failures;
	uint64_t since_ns; /* it is at the same step since; 0: at none */
	bool silent;	   /* for too long, which is told */
};

struct journal_copies {
	struct journal_place place;
	struct copy copy[JOURNAL_COPIES_MAX];
	uv_mutex_t mutex;
	uv_cond_t changed, ends; /* anything; that it is to stop */
	unsigned users;		 /* threads, and the caller */
	bool stop, abandoned, serving;
	uint64_t waited_ns; /* when that was told last */
	bool begun;	    /* the first segment of this opening, on a quorum */
	bool complete;	    /* at the opening no copy was missing */
	uint64_t journal;
	struct journal_file *files;
	size_t nfiles;
	uint64_t next; /* before the first step: number of the segment to come */
	_Atomic uint64_t first;
	uint64_t ticket;
	struct step *last; /* NULL: nobody waits for it any more */
	bool (*make_room)(void *owner);
	void *room_owner;
	uint64_t repaired;
	struct {
		uint64_t rounds, done, mended;
		uint64_t rotten;   /* sequence of a segment; 0: none */
		bool seen, failed; /* in this round: that; and what follows */
		char why[ERR_TEXT_MAX];
		char unmended[ERR_TEXT_MAX]; /* "": none */
	} scrub;
};

/* One step in one directory. */
int copies_do(const struct journal_copies *copies, struct journal_dir *dir, const struct step *step,
	      struct err *err);
/* Copies whose disks are full are told whether there is room now. The mutex is held, and let go of meanwhile. */
void copies_serve(struct journal_copies *copies);
void copies_unref(struct journal_copies *copies, struct step *step);
/* No further step waits for it. */
void copies_detach(struct copy *copy);
unsigned copies_good(const struct journal_copies *copies);
/* RC_IO: what is wrong with those that are not good. The mutex is held. */
int copies_below(const struct journal_copies *copies, struct err *err);
/* The mutex is held; the last one who leaves frees all. */
void copies_leave(struct journal_copies *copies);

/* Directories of the others, which stay open for a while; to be given back after an error, too. The mutex is held. */
int copies_lend(const struct copy *copy, struct journal_dirs *others, struct err *err);
void copies_give_back(struct journal_dirs *others);

/* A copy's thread, and the scrub's. */
void copies_run(void *copy);
void copies_scrub(void *copies);

#endif
