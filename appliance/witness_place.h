/*
 * Where a configuration says that the witness is, as a text that can be compared: equal for the same
 * endpoints in whatever order and case. Both sites have to ask the same etcd, or it keeps nobody
 * from serving; different names for one cluster are not known to be that, and do not count as equal.
 */
#ifndef APPLIANCE_WITNESS_PLACE_H
#define APPLIANCE_WITNESS_PLACE_H

#include "appliance/config.h"
#include "replica/reservation.h"

/* The endpoints, separated by spaces; empty: no witness. The configuration is a checked one. */
void witness_place(char out[RESERVATION_WITNESS_MAX + 1], const struct config *config);

#endif
