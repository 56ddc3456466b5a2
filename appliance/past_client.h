/*
 * What the verbs ask of an instance's past.
 */
#ifndef APPLIANCE_PAST_CLIENT_H
#define APPLIANCE_PAST_CLIENT_H

#include "appliance/client.h"
#include "appliance/past_query.h"

/*
 * Asks until the list of epochs is read. EXIT_FINE, with the answer's text and what it is (buf_free(), cJSON_Delete() in any case); else
 * what was wrong has been said and the exit status is returned. `refused`: what is not to be then ("no list of epochs").
 */
int past_client_epochs(const struct command *command, const struct client_target *target,
		       const struct past_query *query, const char *refused, struct buf *answer,
		       cJSON **root);

/* An option's value into a query; false: it is too long. */
bool past_client_take(char out[PAST_QUERY_TEXT_MAX + 1], const char *value);

#endif
