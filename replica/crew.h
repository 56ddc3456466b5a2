/*
 * A few threads that do the same with one piece of bytes after another, side by side. For who reads pieces
 * in a thread of its own and has no loop.
 */
#ifndef REPLICA_CREW_H
#define REPLICA_CREW_H

#include "appliance/base/err.h"

#include <stddef.h>
#include <stdint.h>

struct crew;

/* `work` is called in the crew's threads, several at once; pieces have at most `most` bytes. */
int crew_open(struct crew **crew, size_t most,
	      void (*work)(void *owner, const uint8_t *data, size_t len), void *owner,
	      struct err *err);
/* A copy of a piece: waits while as many are under way as there is room for. */
void crew_put(struct crew *crew, const uint8_t *data, size_t len);
/* Until every piece is done. */
void crew_wait(struct crew *crew);
/* The same, then frees. NULL is fine. */
void crew_close(struct crew *crew);

#endif
