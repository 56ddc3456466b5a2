/*
 * The receiver: epochs as they come in, decoded on worker threads, committed in order, and put into the
 * journal, if there is one.
 *
 * Messages are queued and dealt with in their order: an epoch begins when the one before is
 * committed; batches of a checkpoint are decoded side by side, those of a first copy one by one (a
 * page may come twice); a commit waits for its batches. Memory for queued messages is bounded by
 * the credit that the owner grants: on_consumed() tells what may be granted again. What waits for the
 * journal's disk is bounded by journaling_options. All functions are the loop thread's.
 */
#ifndef REPLICA_RECEIVER_H
#define REPLICA_RECEIVER_H

#include "net/wire.h"
#include "replica/image.h"
#include "replica/journaling.h"

#include <uv.h>

struct receiver;

struct receiver_ops {
	/* It is in the image, and on stable storage where the journal says so. */
	void (*on_committed)(void *owner, uint64_t epoch,
			     uint64_t took_ns); /* since the commit message arrived */
	void (*on_fault)(void *owner, uint64_t epoch,
			 const struct err *err); /* the epoch is dropped, and what follows ignored
						    until receiver_drop() */
	void (*on_consumed)(void *owner, size_t bytes);
	/* As journaling_ops say. */
	void (*on_restored)(void *owner, uint64_t epoch, const struct journal_origin *origin,
			    bool behind, const struct err *why);
	void (*on_more)(void *owner);
};

/*
 * `image` stays the caller's and outlives the receiver. `journal`: NULL: none; with `restore` nothing is
 * to be received, and the image not to be touched, before on_restored.
 */
int receiver_create(struct receiver **receiver, uv_loop_t *loop, struct image *image,
		    const struct journaling_options *journal, const struct receiver_ops *ops,
		    void *owner, struct err *err);

/* Messages; an error is the peer's breach of the protocol. `batch` is copied. */
int receiver_begin(struct receiver *receiver, uint64_t epoch, const struct journal_origin *origin,
		   bool first_copy, struct err *err);
/* The rest of the one that receiver_keep() has kept. */
int receiver_resume(struct receiver *receiver, uint64_t epoch, struct err *err);
int receiver_batch(struct receiver *receiver, const uint8_t *batch, size_t len, struct err *err);
int receiver_end(struct receiver *receiver, uint64_t epoch, const struct wire_commit *commit,
		 struct err *err);

/*
 * No more is coming (connection lost, takeover): whole epochs are still committed, the
 * half-received one is dropped; on_idle (may be NULL) is called when that is done, at once if it is
 * already. `hurry`: without waiting for the journal: what is in the image is not all committed then, and on_committed, or
 * on_fault, follows when the journal says so.
 */
void receiver_drop(struct receiver *receiver, bool hurry, void (*on_idle)(void *owner));
/* The image is not theirs any more: nobody is told of the epochs that wait for the journal. */
void receiver_forget(struct receiver *receiver);
/*
 * The connection is lost: as receiver_drop(), but half a first copy is kept, as far as it came, for
 * receiver_resume(); until then it is open, and takes no message. receiver_drop() drops it.
 */
void receiver_keep(struct receiver *receiver, void (*on_idle)(void *owner));
bool receiver_has_kept(const struct receiver *receiver);
/* The first copy that is coming in or kept (0: none), and how many batches of it have come. */
uint64_t receiver_first_copy(const struct receiver *receiver, uint64_t *batches);

/* Nothing is open, queued or being worked on. */
bool receiver_is_idle(const struct receiver *receiver);

/*
 * Reads the image in a worker thread, for the owner: `work`, then, from the loop, `done`, always and also when it has been
 * dropped or closed meanwhile. Between epochs; one at a time. RC_STATE: not now.
 */
struct receiver_aside {
	void (*work)(void *owner, const struct image *image);
	void (*done)(void *owner);
	void *owner;
};
int receiver_aside(struct receiver *receiver, const struct receiver_aside *aside, struct err *err);

/* Encoded bytes waiting. */
size_t receiver_queued(const struct receiver *receiver);

/* NULL: there is none. */
struct journaling *receiver_journal(const struct receiver *receiver);

/* Waits for what runs, frees, then calls on_closed(owner), which need not be the owner of the ops.
 */
void receiver_close(struct receiver *receiver, void (*on_closed)(void *owner), void *owner);

#endif
