/*
 * What the health endpoint says: GET /healthz, GET /v1/status; and the operator's commands: POST
 * /v1/takeover, POST /v1/release. What of the past there is, is past_api.h's.
 *
 * Both roles fill the same record per instance; members that a role does not know stay negative or
 * empty and are left out of the JSON. /healthz is 200 while nothing needs an operator, 503 with the
 * reasons otherwise.
 */
#ifndef APPLIANCE_STATUS_H
#define APPLIANCE_STATUS_H

#include "appliance/config.h"
#include "appliance/past_query.h"
#include "appliance/rewound.h"
#include "appliance/virtual_addresses.h"
#include "net/http.h"
#include "net/link.h"
#include "replica/disk_capture.h"
#include "replica/journal_copies.h"

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>

#define STATUS_PAUSES 512 /* of the last epochs; median and 99th percentile are over these */

/* The last pauses of an instance. */
struct status_pauses {
	uint64_t ns[STATUS_PAUSES];
	uint64_t count; /* of all time */
};
void status_pause(struct status_pauses *pauses, uint64_t pause_ns);
/* The value below which `share` (0 to 1) of them lie, in ms; negative when there is none yet. */
double status_percentile(const struct status_pauses *pauses, double share);

/*
 * Numbers are left out when negative, texts when empty. What both roles know each knows from its
 * side: lag_ms is the age of the oldest epoch that is not committed (0: none) at the primary, that
 * of the newest one that is at the standby; pauses are QEMU's word at the primary, and at the
 * standby what the agent held the instance for, a little less. The standby has no interval.
 */
struct status_instance {
	const char *name, *state, *reason, *peer, *hypervisor;
	const char *besides; /* of the reason: what else an operator has to know */
	bool healthy;	     /* nothing for an operator to do */
	bool outdated;	     /* clients may have had answers that the epoch here does not know */
	bool protected_now;  /* a fault of the primary site would be survived, as of now */
	double term, epoch, epochs;
	double lag_ms, lag_bytes, interval_ms, pause_last_ms, pause_median_ms, pause_p99_ms;
	double wire_ratio, wire_bytes, pages, unchanged_pages;
	double disk_wire_bytes; /* of wire_bytes: of disks; at the primary */
	double copy_done_bytes, copy_total_bytes, copy_mib_s;
	const char *lease; /* of the primary's right to serve: tenure.h */
	double lease_ms;
	/*
	 * Frames of clients and of the instance that passed; waiting now; lost here; repeated; not taken,
	 * because they were too long or too short to be one.
	 */
	double frames_from_clients, frames_to_clients, frames_held, frames_dropped, frames_replayed;
	double frames_refused;
	double suspicion, detect_ms, activate_ms, resumed_epoch;
	/* The standby's journal (journaling.h): its state, ""; whether epochs wait for it; the last that
	 * is on stable storage; bytes there, on the way, and while it is read: read so far, in all. */
	const char *journal, *journal_problem;
	bool journal_durable;
	const struct journal_health *journal_health; /* NULL: not known */
	double journal_epoch, journal_bytes, journal_backlog, journal_read, journal_total;
	struct rewound_status
		rewound; /* of the standby's copy of an earlier epoch; state NULL: none */
	const struct config_nic *nics; /* with output_commit as the primary has it */
	size_t nnics;
	const struct disk_capture *disks; /* NULL: none are captured */
	size_t ndisks;
	const struct link *link;		   /* NULL: none */
	const struct virtual_addresses *addresses; /* the same */
};
void status_clear(struct status_instance *instance, const char *name);

struct status_source {
	const struct config *config;
	uint64_t started_ns;
	bool ending; /* the instances are not told of any more: that is not health */
	size_t (*count)(void *owner);
	void (*fill)(void *owner, size_t index, struct status_instance *instance);
	/* NULL: there is no witness; empty: it answers; else why it does not. */
	const char *(*witness)(void *owner);
	/* What is wrong with our certificate, now or soon; empty: nothing. */
	const char *(*certificate)(void *owner);
	/* NULL on a primary. Returns RC_OK once the takeover is under way. */
	int (*takeover)(void *owner, const char *instance, struct err *err);
	/* Lets go of what a takeover left here: see clone_release(), protection_release(). */
	int (*release)(void *owner, const char *instance, struct err *err);
	/* As clone.h says of an instance; NULL on a primary. */
	int (*history)(void *owner, const struct past_query *query, cJSON *object, struct err *err);
	int (*mark)(void *owner, const char *instance, const char *text, uint64_t *epoch,
		    struct err *err);
	int (*rewind)(void *owner, const char *instance, const char *target, bool serve,
		      struct err *err);
	int (*rewind_end)(void *owner, const char *instance, struct err *err);
	void *owner;
};

/* An http_handler; owner is a struct status_source. */
void status_handle(void *owner, const struct http_request *request, struct http_response *response);

#endif
