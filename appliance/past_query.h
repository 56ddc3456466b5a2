/*
 * What is asked of an instance's past: the query of GET /v1/history, in both directions.
 *
 *   instance=NAME                                       its spans and marks
 *   instance=NAME&epochs[&from=WHEN][&to=WHEN][&limit=N]  its epochs, one by one: without from the last ones
 */
#ifndef APPLIANCE_PAST_QUERY_H
#define APPLIANCE_PAST_QUERY_H

#include "appliance/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAST_QUERY_LIMIT 1000	    /* epochs in a list by default: some screens, 100 KiB */
#define PAST_QUERY_TEXT_MAX 255	    /* a mark has 200 */
#define PAST_QUERY_PRINTED_MAX 2560 /* three for each byte */

struct past_query {
	uint32_t limit;
	char instance[PAST_QUERY_TEXT_MAX + 1];
	bool epochs;
	char from[PAST_QUERY_TEXT_MAX + 1], to[PAST_QUERY_TEXT_MAX + 1]; /* "": not given */
};

/* RC_INVALID: it is none, and why. */
int past_query_read(struct past_query *query, const char *text, struct err *err);
void past_query_print(char out[PAST_QUERY_PRINTED_MAX], const struct past_query *query);

#endif
