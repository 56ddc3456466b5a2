/*
 * A list of epochs that somebody asks for over HTTP: read in a thread of its own with less than its share of the processors, while who
 * asked asks again.
 */
#ifndef APPLIANCE_LISTING_H
#define APPLIANCE_LISTING_H

#include "replica/journal_epochs.h"

#include <uv.h>

struct listing;

/* `options` is copied, with its directory. */
int listing_open(struct listing **listing, uv_loop_t *loop,
		 const struct journal_epochs_options *options, struct err *err);
/* NULL: it is being read. *rc: what came of that, with `err`; the list is the listing's. */
const struct journal_epochs *listing_result(const struct listing *listing, int *rc,
					    struct err *err);
/* It was read, and whoever asked for it has not come for it for seconds: it may be closed for somebody else's. */
bool listing_is_left(const struct listing *listing);
/* Cancels it if it is being read; frees, then calls on_closed (may be NULL), perhaps at once. */
void listing_close(struct listing *listing, void (*on_closed)(void *owner), void *owner);

#endif
