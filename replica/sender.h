/*
 * The sender: captured epochs on their way to the standby, in order, kept until they are
 * acknowledged.
 *
 * Chunks go through the encoder; batches wait here for credit. What is encoded and not acknowledged
 * is bounded by the in-flight budget: beyond it chunks stay unencoded, the pool runs dry and the
 * capture waits. After a lost connection everything unacknowledged is sent again from the epoch
 * after the standby's last one. The batches of a first copy are kept until the standby says that it
 * has received them, so it goes on from there; with a standby that does not say so they are not kept
 * (they would be the whole memory), and a connection lost during a first copy ends the session.
 *
 * The transport is two functions; nothing here knows about the network. All functions are the loop
 * thread's.
 */
#ifndef REPLICA_SENDER_H
#define REPLICA_SENDER_H

#include "net/wire.h"
#include "replica/capture.h"
#include "replica/encoder.h"

struct sender;

struct sender_ops {
	/* False: no room now; sender_room() will be called. */
	bool (*begin)(void *owner, uint64_t epoch, enum wire_epoch kind);
	bool (*commit)(void *owner, uint64_t epoch, const struct wire_commit *commit);
	/* True: `data` stays valid until release(context), which comes when it is sent or the
	 * connection is gone. */
	bool (*batch)(void *owner, uint64_t epoch, const uint8_t *data, size_t len,
		      void (*release)(void *context), void *context);
	/* The session cannot go on (no memory, encoder trouble). */
	void (*failed)(void *owner, const struct err *err);
};

/*
 * One sender per capture session: epochs count from first_epoch, which is the first copy. `held`:
 * nothing is encoded before sender_learned() (hashes of a resync are still coming). Starts
 * disconnected.
 */
int sender_create(struct sender **sender, uv_loop_t *loop, uint64_t pages, size_t cache_bytes,
		  size_t inflight_bytes, uint64_t first_epoch, bool held,
		  const struct sender_ops *ops, void *owner, struct err *err);
void sender_learn(struct sender *sender, uint64_t first, const uint64_t *hashes, size_t count);
void sender_learned(struct sender *sender);
bool sender_is_held(const struct sender *sender);
/* The standby tells what it has received of the first copy (RECEIVED). Before anything is sent. */
void sender_expect_receipts(struct sender *sender);

/* From the capture. */
void sender_chunk(struct sender *sender, struct chunk *chunk);
void sender_epoch(struct sender *sender, const struct capture_epoch *epoch);

/* From the connection. sender_up(): the standby has everything up to peer_epoch; false: we cannot
 * go on from there. */
bool sender_up(struct sender *sender, uint64_t peer_epoch);
void sender_down(struct sender *sender);
/*
 * Of the first copy. sender_received(): the standby has so many batches in all; false: it is mistaken.
 * sender_resume(): instead of sender_up(), for a standby that has so many of it; false: not from there.
 */
bool sender_received(struct sender *sender, uint64_t epoch, uint64_t batches);
bool sender_resume(struct sender *sender, uint64_t epoch, uint64_t batches);
void sender_room(struct sender *sender);
/* False: nothing of that number is on its way (the standby is mistaken). *took_ns: since the end of
 * its capture. */
bool sender_ack(struct sender *sender, uint64_t epoch, uint64_t *took_ns);

struct sender_state {
	uint64_t oldest_kept;	 /* first epoch that can be sent again, 0: none */
	uint64_t newest;	 /* last epoch whose capture has ended; first_epoch - 1: none yet */
	uint64_t acknowledged;	 /* last one; first_epoch - 1: none yet */
	uint32_t unacknowledged; /* whole epochs captured and not acknowledged */
	uint64_t bytes;		 /* encoded and not acknowledged */
	uint64_t
		lag_ns; /* age of the oldest captured and unacknowledged epoch at now_ns, 0: none */
	bool full;	/* the in-flight budget is used up */
	bool first_copy; /* the first copy is not yet acknowledged */
	bool resumable;	 /* and it can go on with another connection */
	struct delta_stats stats;
};
void sender_query(const struct sender *sender, uint64_t now_ns, struct sender_state *state);

/* Returns all chunks and frees; on_closed follows on the loop. The connection must be down (or have
 * released every batch). */
void sender_close(struct sender *sender, void (*on_closed)(void *owner));

#endif
