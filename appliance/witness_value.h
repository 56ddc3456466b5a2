/*
 * What the witness keeps of an instance, in etcd, and under which keys. No I/O.
 *
 *   /understudy/NAME        {"term": 7, "server": "standby", "site": "busan", "claim": "..."}: who
 *                           serves, and since which term. It is never deleted: terms only grow.
 *   /understudy/NAME/lease  the same, attached to an etcd lease: there while that server has to
 *                           prove that it is alive, and gone with the lease. Nobody can claim the
 *                           instance meanwhile.
 *
 * NAME is the instance's, with everything but A-Z a-z 0-9 . _ - as %XX. "claim" is a random number
 * of the process that wrote the value: it knows its own again when an answer was lost.
 */
#ifndef APPLIANCE_WITNESS_VALUE_H
#define APPLIANCE_WITNESS_VALUE_H

#include "appliance/base/err.h"
#include "appliance/base/json_table.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WITNESS_KEY_MAX (3 * JSON_NAME_MAX + 32) /* with its NUL */
#define WITNESS_TEXT_MAX 256			 /* of a value; the longest has 180 bytes */
#define WITNESS_CLAIM_MAX 17			 /* 64 bits as hexadecimal digits and a NUL */
#define WITNESS_TERM_MAX (UINT64_C(1) << 53)	 /* what a JSON number holds exactly */
#define WITNESS_MARGIN 8 /* of a lease, 1/8 is not used: clocks that run at different speeds */

enum witness_server { WITNESS_PRIMARY, WITNESS_STANDBY, WITNESS_SERVERS };

struct witness_value {
	uint64_t term;
	enum witness_server server;
	char site[JSON_NAME_MAX + 1];
	char claim[WITNESS_CLAIM_MAX];
};

struct witness_keys {
	char key[WITNESS_KEY_MAX], lease[WITNESS_KEY_MAX];
};

/* RC_INVALID: a name that is empty or longer than JSON_NAME_MAX. */
int witness_value_keys(struct witness_keys *keys, const char *instance, struct err *err);

/* RC_INVALID: a term that is 0 or too large, or a site that is no name (JSON_NAME). */
int witness_value_print(char out[WITNESS_TEXT_MAX], const struct witness_value *value,
			struct err *err);
/* RC_INVALID: it is not one of ours. Unknown members are passed over; "claim" may be missing. */
int witness_value_parse(struct witness_value *value, const char *text, size_t len, struct err *err);

const char *witness_server_name(enum witness_server server); /* "primary", "standby" */

/* Until when a lease surely lasts that etcd gave for a request sent at `sent_ns`. */
uint64_t witness_lease_end(uint64_t sent_ns, uint32_t ttl_s);

#endif
