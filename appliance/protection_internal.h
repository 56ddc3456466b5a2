/*
 * What the parts of a protection share: protection.c (its life, its link, its instance),
 * protection_session.c (capture sessions: when one begins, goes on or ends), protection_operator.c
 * (what its operator sees and does), protection_tell.c (what the standby is told of the instance) and
 * protection_state.c (what it says). Private to them.
 */
#ifndef APPLIANCE_PROTECTION_INTERNAL_H
#define APPLIANCE_PROTECTION_INTERNAL_H

#include "appliance/base/repeat.h"
#include "appliance/outlet.h"
#include "appliance/protection.h"
#include "appliance/protection_state.h"
#include "appliance/session.h"
#include "appliance/subject.h"

#define PROTECTION_RETRY_MS 500 /* after a capture that was lost, or an epoch that was not taken */
#define PROTECTION_RETRY_REFUSED_MS \
	5000 /* after a refusal: somebody has to change something first */

struct protection {
	struct protection_site site;
	const struct config_instance *config;
	char part[80]; /* for the log */
	enum protection_state state;
	char reason[ERR_TEXT_MAX];
	struct subject *subject;
	char *reservation;		     /* JSON, while the subject is fit */
	struct chunk_pool *pool, *disk_pool; /* disk_pool: NULL without disks */
	struct outlet *outlet;
	struct link *link;
	struct wire_hello peer;
	struct wire_received received; /* of a first copy, as this connection's standby told last */
	bool up, reserving, reserved;
	bool outdated; /* the reservation that was sent is not the one that is wanted now */
	bool spent; /* this connection has carried a session: another one needs another connection */
	unsigned losses;    /* attempts that failed, since the last commit */
	bool cooling;	    /* nothing is tried before the retry timer */
	struct repeat said; /* warnings, since it was protected last */
	/* Why the last of them failed, until there is a commit; or "". */
	char trouble[ERR_TEXT_MAX];
	/* Another standby answers than the one that may take over (tenure.h): it is turned away; or "". */
	char stranger[ERR_TEXT_MAX];
	uint64_t term, down_ns;
	struct session *session;
	bool session_closing;
	bool asked; /* on this connection, to yield, and not answered yet */
	bool told;  /* on this connection, that the standby serves, or has: `told_why` */
	char told_why[ERR_TEXT_MAX];
	bool gone;	       /* the instance is no more */
	bool adrift;	       /* its QMP connection is lost: whether it lives is not known yet */
	bool unreleased;       /* the session ended meanwhile, and the outlet was not told */
	uint64_t newest;       /* epoch of all sessions */
	bool tell_uncommitted; /* first of all, on any connection, until a later epoch is acknowledged */
	uint64_t uncommitted; /* newest epoch that has begun then */
	uv_timer_t retry;     /* looks again at what to do: advance() */
	bool stopping;
	unsigned open_parts;
	void (*on_stopped)(void *owner);
	void *stop_owner;
};

/* protection_state.c */

void protection_enter(struct protection *p, enum protection_state state, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* The same for what keeps the instance from being protected, as a warning: not over and over. */
void protection_warn(struct protection *p, enum protection_state state, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* An attempt to protect has failed, and why: the next one is due after that wait. */
void protection_failed(struct protection *p, enum protection_state state, uint64_t retry_ms,
		       const char *format, ...) __attribute__((format(printf, 4, 5)));

/* protection.c */

void protection_retry_in(struct protection *p, uint64_t ms);
/* What to do next, from whatever state we are in; called after everything that changes one. */
void protection_advance(struct protection *p);

/* What the instance sends leaves without epochs, once it is known that there is still somebody who sends. */
void protection_release_outlet(struct protection *p);

/* Nothing may be had from the standby; its connection, if there is one, stays until the next session. */
void protection_unreserve(struct protection *p);

/* The instance stands because we have stopped it: asked by subject and session. */
bool protection_has_stopped(void *owner);

/* protection_tell.c */

/* INSTANCE, if the standby is connected. */
void protection_tell(struct protection *p, enum wire_instance what, const char *text);
/* That, of an instance that no session captures, if it is known what became of it. */
void protection_tell_instance(struct protection *p);
/* The standby must not take over from an epoch that does not know what is answered from now on. */
void protection_tell_uncommitted(struct protection *p);

/* protection_operator.c */

/* YIELD: the standby's operator has ordered a takeover from that term. The answer, when it is due. */
void protection_yield(struct protection *p, uint64_t term);
void protection_answer_yield(struct protection *p);

/* protection_session.c */

/*
 * The instance is examined, as before every session: since the last time something may have been plugged in
 * that the replica would not have, and what ended the last session may stand in the way of the next. Nothing
 * is reserved until it is found fit.
 */
void protection_look_again(struct protection *p);
/* The standby is ready and says what it has. */
void protection_plan(struct protection *p, bool has_image, bool committed);
void protection_end_session(struct protection *p);
/* RECEIVED and FAULT. */
int protection_received(struct protection *p, uint64_t epoch, const uint8_t *payload, size_t len,
			struct err *err);
int protection_fault(struct protection *p, uint64_t epoch, const uint8_t *payload, size_t len,
		     struct err *err);
/*
 * By the witness's word this site serves without its standby, and its clients would wait for commits:
 * there is no session. protection_let_out(): ends the one there is, so that what waits leaves.
 */
bool protection_is_alone(const struct protection *p);
void protection_let_out(struct protection *p);
uint64_t protection_newest(const struct protection *p);
/*
 * What is lost is so because the instance is over, or QEMU shuts down, which cancels its migration and closes
 * its connections as if somebody had: nothing to warn of. It says that it shuts down.
 */
bool protection_is_ending(struct protection *p);
/* After a session that did not do, so long; more each time. */
uint64_t protection_backoff_ms(struct protection *p);

#endif
