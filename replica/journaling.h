/*
 * What of a standby's epochs goes to the journal, and when a copy of the whole image does.
 *
 *   state     the journal                                       becomes
 *   opening   is being read                                     bare, based, broken
 *   bare      is open, and nothing in it leads to the image     copying, broken
 *   copying   gets a copy of the image, and epochs; no older    based, bare, broken
 *             copy leads to them
 *   based     has all that it takes to bring back the image,    bare, broken
 *             up to the last epoch that is durable; now and
 *             then another copy is made beside it
 *   broken    cannot be written to; it is tried anew            opening
 *
 * Epochs wait for the disk in "based" only: before that nothing could be brought back, and a standby whose
 * disk is full or gone protects from memory, as one without a journal does, and says so. (The first opening they wait
 * for, too, so that none is acknowledged while the claim stands.) Before that, what the
 * journal holds of the past is given up: journal_past.h.
 *
 * That all acknowledged epochs are in the journal is claimed beside the term (journal_claim.h), and the claim withdrawn before
 * one is acknowledged that is not. As long as that fails, epochs are refused: the standby does not protect then, the
 * instance goes on, and nothing false is claimed later. Of what was brought back, or could not be because copies are missing, the claim stays
 * until the first epoch comes: the copies may come back before.
 *
 * The functions are the loop thread's, but for journaling_copy().
 */
#ifndef REPLICA_JOURNALING_H
#define REPLICA_JOURNALING_H

#include "replica/image.h"
#include "replica/journal_keeper.h"

#include <uv.h>

#define JOURNALING_COPY_BYTES (UINT64_C(256) << 20)
#define JOURNALING_COPY_BACKLOG ((size_t)4 << 20)
/* Between two rounds of the scrub: a small journal is not read all the time. */
#define JOURNALING_SCRUB_MS 5000
/* A copy that is away: nobody waits for it. */
#define JOURNALING_COPY_RETRY_MS 2000
/* An answer that takes a disk so long holds up who needs it, and is told. */
#define JOURNALING_SILENT_MS 5000
#define JOURNALING_RETRY_MS 10000 /* an operator makes room in minutes */

struct journaling;

struct journaling_ops {
	/* Asked for with `restore`, once: the image is at that epoch (0: none, and why, unless there is
	 * no journal yet). `behind`: later epochs were acknowledged, or may have been. */
	void (*on_restored)(void *owner, uint64_t epoch, const struct journal_origin *origin,
			    bool behind, const struct err *why);
	/* No commit up to and with that turn waits any more: it is durable, or cannot become so. */
	void (*on_settled)(void *owner, uint64_t turn);
	/* What on_restored has said is not all that the journal has: now a quorum of its copies is there, and it can be read again, by another one
	 * with `restore`. Nothing was committed meanwhile. */
	void (*on_more)(void *owner);
	/* Those that wait, and none that comes, may be acknowledged. */
	void (*on_refused)(void *owner, const struct err *err);
	/* There is room again, or a piece of the image can be copied. */
	void (*on_room)(void *owner);
};

struct journaling_options {
	const char *part;	    /* for the log; the caller's */
	const char *instance;	    /* its name; the caller's */
	const char *claim_dir;	    /* where the claim is: beside the term */
	struct journal_place place; /* patient, stop, on_wait: not set */
	uint64_t segment_bytes;
	size_t backlog_bytes;
	/* Another copy of the image is begun after so many bytes of epochs, and not before the epochs are
	 * twice the last copy: JOURNALING_COPY_BYTES. */
	uint64_t copy_bytes;
	/* It pauses while so much waits for the disk, which an epoch would find before it:
	 * JOURNALING_COPY_BACKLOG. */
	size_t copy_backlog;
	uint64_t retry_ms;	       /* JOURNALING_RETRY_MS; doubled while it does not help */
	struct history_limits history; /* of what was before */
	bool durable;		       /* an epoch counts when it is on stable storage */
	bool restore;		       /* the image is to be brought to what the journal holds */
};

/* `image` stays the caller's and outlives it; with `restore` it is not to be touched until on_restored. */
int journaling_open(struct journaling **journaling, uv_loop_t *loop, struct image *image,
		    const struct journaling_options *options, const struct journaling_ops *ops,
		    void *owner, struct err *err);

/* The image is not what the journal leads to any more. Who waits goes on waiting until that does no harm. */
void journaling_cut(struct journaling *journaling);

/* An epoch, between whose commit and the next one's beginning the image stands still. */
void journaling_begin(struct journaling *journaling, uint64_t epoch,
		      const struct journal_begin *begin);
/* `memory`, in which the batch lies, is taken. */
void journaling_batch(struct journaling *journaling, uint64_t epoch, const uint8_t *batch,
		      size_t len, void *memory);
enum journaling_counts { JOURNALING_NOW, JOURNALING_LATER, JOURNALING_NEVER };

/*
 * It is in the image, and counts now, or when on_settled says so of *turn; or `err` says why not. Turns grow, whatever the
 * sessions' epochs do.
 */
enum journaling_counts journaling_commit(struct journaling *journaling, uint64_t epoch,
					 const struct journal_commit *commit, uint64_t *turn,
					 struct err *err);

/* Batches should wait until on_room. */
bool journaling_is_full(const struct journaling *journaling);

/*
 * A piece of the image is to be copied, also when others wait for it to be done: then journaling_copy(),
 * on any thread, while no epoch is open, and journaling_copied() after it.
 */
bool journaling_wants_copy(const struct journaling *journaling, bool others_wait);
void journaling_copy(struct journaling *journaling);
void journaling_copied(struct journaling *journaling);

/*
 * The operator's mark: of the epoch that was committed last, *epoch. It is on stable storage moments later.
 * RC_STATE: nothing in the journal leads there.
 */
int journaling_mark(struct journaling *journaling, const char *text, uint64_t *epoch,
		    struct err *err);
/* As journal_keeper_history() and journal_keeper_pin(). False: it is not open. */
bool journaling_history(struct journaling *journaling,
			void (*look)(void *owner, const struct history *history), void *owner);
bool journaling_pin(struct journaling *journaling, uint64_t sequence);

struct journaling_status {
	const char *state;
	const char *
		problem; /* why it is broken, what a copy lacks, or that a disk does not answer; "" */
	bool durable;	 /* epochs wait for it, and get there */
	uint64_t bytes, backlog, epoch;	     /* epoch: the last durable one, 0: none in this life */
	uint64_t done, total;		     /* of reading it: bytes; total 0: not being read */
	const struct journal_health *health; /* of its copies; count 0: not known yet */
};
void journaling_status(const struct journaling *journaling, struct journaling_status *status);

/* Writes what it has; frees, then calls on_closed(owner). No other callback follows. */
void journaling_close(struct journaling *journaling, void (*on_closed)(void *owner), void *owner);

#endif
