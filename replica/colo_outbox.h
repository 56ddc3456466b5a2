/*
 * From the capture thread to the loop: the layout, chunks, the end of their epoch, the request for
 * the next checkpoint, the end; delivered in this order. There is one place for each, and a list
 * for chunks: the capture thread begins an epoch only on the loop's word, which comes after
 * everything of the epoch before was delivered. So handing over needs no memory.
 */
#ifndef REPLICA_COLO_OUTBOX_H
#define REPLICA_COLO_OUTBOX_H

#include "replica/capture.h"
#include "replica/chunk_list.h"

struct colo_secondary_ops;
struct colo_outbox;

/*
 * What arrives is given to `ops` on the loop's thread; chunks that nobody takes go back to their pool.
 */
int colo_outbox_create(struct colo_outbox **outbox, uv_loop_t *loop,
		       const struct colo_secondary_ops *ops, void *owner, struct err *err);

/* The capture thread's. `chunks` is empty afterwards. */
void colo_outbox_layout(struct colo_outbox *outbox, const struct layout *layout);
void colo_outbox_chunks(struct colo_outbox *outbox, struct chunk_list *chunks);
void colo_outbox_epoch(struct colo_outbox *outbox, struct chunk_list *chunks,
		       const struct capture_epoch *epoch);
void colo_outbox_request(struct colo_outbox *outbox);
void colo_outbox_ended(struct colo_outbox *outbox, const struct err *err);

/* The loop's. Nothing is delivered any more; also from inside a delivery. */
void colo_outbox_mute(struct colo_outbox *outbox);
/*
 * When the capture thread has ended: frees, then on_closed (may be NULL) with `owner` follows on
 * the loop.
 */
void colo_outbox_close(struct colo_outbox *outbox, void (*on_closed)(void *owner), void *owner);

#endif
