/*
 * The reservation of a seat, kept in the replica's directory for the next life of this process.
 */
#ifndef APPLIANCE_SEAT_KEPT_H
#define APPLIANCE_SEAT_KEPT_H

#include "appliance/base/buf.h"
#include "appliance/base/err.h"

/* The JSON as it came. `json` has its limit, and is to be freed in any case. */
int seat_kept_read(struct buf *json, const char *dir, struct err *err);
/* What is there already needs no room. */
int seat_kept_write(const char *dir, const char *wanted, struct err *err);

#endif
