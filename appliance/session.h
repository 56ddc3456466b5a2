/*
 * A capture session at the primary: one capture, its sender and its pace, from the first copy until
 * the capture ends.
 *
 * Epochs count on from what the standby has, so they only grow. While the connection is down no
 * checkpoint is taken: the instance runs without any pause and its changes merge in QEMU's dirty
 * log; on reconnection the session goes on where the standby stands, also inside its first copy
 * (session_resume()), or says that it cannot (false) and the owner opens another one.
 *
 * When the capture has ended, epochs that are whole may still wait here for room on the link. What
 * the standby can commit is worth a moment: session_close() gives them out first, for a limited
 * time; half an epoch is never worth any.
 */
#ifndef APPLIANCE_SESSION_H
#define APPLIANCE_SESSION_H

#include "appliance/config.h"
#include "appliance/epoch.h"
#include "appliance/status.h"
#include "net/link.h"
#include "replica/capture.h"
#include "replica/disk_find.h"
#include "replica/sender.h"

struct session;

struct session_ops {
	void (*on_captured)(void *owner,
			    uint64_t epoch); /* and the instance runs on; may be NULL */
	void (*on_committed)(void *owner, uint64_t epoch); /* acknowledged by the standby */
	bool (*may_run)(void *owner);			   /* as of capture.h */
	bool (*has_stopped)(void *owner);
	void (*on_lost)(
		void *owner,
		const struct err *err); /* then session_close(), which lets the instance go */
};

struct session_options {
	const struct config_instance *instance;
	uv_loop_t *loop;
	struct qmp *qmp;
	struct guardian *guardian;
	struct chunk_pool *pool;
	struct chunk_pool *disk_pool;	/* NULL: no disks */
	const struct disk_found *disks; /* as the instance's configuration lists them */
	uint64_t first_epoch;
	bool resync; /* ask for hashes and send what differs */
	struct capture_hooks hooks;
	bool (*may_capture)(void *owner); /* asked before each checkpoint but the first */
};

/* Starts the first copy over `link`, which is up. */
int session_open(struct session **session, const struct session_options *options, struct link *link,
		 uint64_t term, const struct session_ops *ops, void *owner, struct err *err);
uint64_t session_id(const struct session *session);
/* In force from now on: its frames carry it. */
void session_set_term(struct session *session, uint64_t term);

/* From QMP, whole. */
void session_event(struct session *session, const char *name, const cJSON *data, uint64_t time_us);

/* From the link. session_up(): a new connection, whose standby has this session up to peer_epoch.
 */
bool session_up(struct session *session, uint64_t peer_epoch);
/* The same inside the first copy, of which the standby has kept what it told. */
bool session_resume(struct session *session, const struct wire_received *received);
void session_down(struct session *session);
void session_room(struct session *session);
int session_received(struct session *session, const struct wire_received *received,
		     struct err *err);
/* A frame for the session: ACK, HASHES. */
int session_frame(struct session *session, const struct wire_header *header, const uint8_t *payload,
		  struct err *err);

/* may_capture() may have another answer now. */
void session_wake(struct session *session);
/* Something waits for the next commit: the checkpoint is taken as soon as its interval allows. */
void session_demand(struct session *session);

/* What of its sender epoch_plan() needs, and what the status shows. */
void session_query(const struct session *session, struct sender_state *state);
/* An epoch may be under way that the state does not tell of: what happens now is not in it. */
bool session_is_capturing(const struct session *session);
void session_status(const struct session *session, struct status_instance *status);

/*
 * Lets the instance go, at once, and frees; on_closed follows, after the whole epochs were given
 * to the link, if there is one, or `drain_ms` are over. Again with 0: without more of that.
 */
void session_close(struct session *session, uint32_t drain_ms, void (*on_closed)(void *owner));

#endif
