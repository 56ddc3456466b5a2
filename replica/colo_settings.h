/*
 * QEMU's migration settings while we capture, and how to put back what we found. Pure: QEMU's
 * answers in, arguments of commands out.
 *
 * Capabilities: x-colo, events and auto-converge on, every other off, so that the stream is the one
 * that colo_stream.h describes whatever an operator or libvirt has set for migrations of their own.
 * Parameters: those in colo_settings.c, as far as this QEMU has them.
 *
 * x-colo found on is the trace of an agent that was killed: nobody else leaves it on. Then the
 * other values found may be that agent's too, and QEMU's own defaults are what is put back.
 */
#ifndef REPLICA_COLO_SETTINGS_H
#define REPLICA_COLO_SETTINGS_H

#include "appliance/base/err.h"

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>

struct colo_settings {
	uint64_t copy_bytes_s; /* bandwidth limit of the first copy, 0: none */
	uint64_t downtime_ms;
};

/*
 * Arguments for a command, to have it our way and to undo that; NULL: nothing to change. The
 * caller's, for cJSON_Delete().
 */
struct colo_settings_change {
	cJSON *ours, *theirs;
};

/* From the answer of query-migrate-capabilities, for migrate-set-capabilities. */
int colo_settings_capabilities(const cJSON *reply, struct colo_settings_change *change,
			       bool *leftover, struct err *err);

/* From the answer of query-migrate-parameters, for migrate-set-parameters. */
int colo_settings_parameters(const cJSON *reply, const struct colo_settings *settings,
			     bool leftover, struct colo_settings_change *change, struct err *err);

#endif
