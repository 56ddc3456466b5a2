/*
 * What the parts of a clone share: clone.c (its life and connection), clone_takeover.c (who serves:
 * the decision, the term on the disk, activation, the replica of an earlier life), clone_doubt.c (whether
 * another one may serve), clone_epochs.c (what the primary sends), clone_past.c (earlier epochs), clone_listing.c (a list of them), clone_back.c (going live from one), clone_recall.c (what the journal brings back), clone_disks.c (whether its disks are where they should be) and
 * clone_status.c (what it says of itself). Private to them.
 */
#ifndef APPLIANCE_CLONE_INTERNAL_H
#define APPLIANCE_CLONE_INTERNAL_H

#include "appliance/aftermath.h"
#include "appliance/base/repeat.h"
#include "appliance/base/workers.h"
#include "appliance/claimant.h"
#include "appliance/clone.h"
#include "appliance/doubt.h"
#include "appliance/epoch_figures.h"
#include "appliance/failover.h"
#include "appliance/gateway.h"
#include "appliance/hashes.h"
#include "appliance/listing.h"
#include "appliance/rewound.h"
#include "appliance/seat.h"
#include "appliance/term_store.h"
#include "appliance/virtual_addresses.h"
#include "replica/image_take.h"
#include "replica/survivor.h"

#define CLONE_FAILED_TEXT "a takeover of this instance is under way or has failed here"

/* clone_back.c's */
struct clone_back {
	struct clone *clone;
	struct workers_job job;
	struct image *image; /* the replica's, */
	const struct image *from;
	struct image_take *take;
	bool working, copying;
	bool given_up; /* the last epoch is, for the rewound copy's */
	struct err err;
	struct err why; /* the takeover fails */
};

/* clone_disks.c's */
struct clone_disks {
	struct clone *clone;
	struct workers_job job;
	struct disk_place places[LAYOUT_DISKS_MAX];
	size_t count;
	bool busy, again;
	bool looked; /* since a takeover was decided */
	bool hurried;
	uint64_t began_ns;
	struct err err;
	struct repeat repeat;
	char problem[ERR_TEXT_MAX]; /* "": QEMU would find them */
	void (*on_closed)(void *owner);
};

struct clone {
	uv_loop_t *loop;
	const struct config *config;
	const struct config_instance *instance;
	char part[80];			/* for the log */
	char dir[400], memory_dir[400]; /* this process's own, and the image's */
	char run_dir[400];		/* QEMU's */
	struct failover failover;
	char reason[ERR_TEXT_MAX];
	/* Why an attempt to protect failed, until there is a commit; or "". */
	char trouble[ERR_TEXT_MAX];
	/* Why there was no warm QEMU when one was started last, until there is; or "". */
	char unseated[ERR_TEXT_MAX];
	struct repeat faults; /* epochs that failed, since one was committed */
	uv_timer_t tick;

	struct seat *seat;
	struct gateway *gateway;	     /* NULL: none */
	struct virtual_addresses *addresses; /* NULL: none */
	struct claimant *claimant;	     /* NULL: no witness */
	struct etcd *etcd;		     /* the witness's; NULL: none */

	/* Whether another one may serve. */
	struct doubt doubt;
	uint64_t holder_look_ns; /* when `held` is looked at next */
	pid_t holder;
	bool held;     /* the replica's memory, by a process of which nothing is known: `holder` */
	bool doubting; /* the witness was asked for that, and for nothing else since */
	char doubt_text[ERR_TEXT_MAX];	   /* "": nothing is in the way */
	char peer_site[WIRE_NAME_MAX + 1]; /* of the primary that is or was connected last */
	char origin[WIRE_NAME_MAX + 1];	   /* of the committed epoch's */
	char rival[WIRE_NAME_MAX + 1];	   /* that was refused for it; "": none was */

	/* Connection. */
	struct link *link;
	bool link_up, link_closing, draining;
	bool laid_out;	     /* this connection has told its layout: one session per connection */
	bool layout_refused; /* with laid_out: what follows on this connection is of no use */
	bool fenced;	     /* this connection was told that it is superseded */
	bool terms;	     /* its primary has WIRE_FEATURE_TERMS, */
	bool receipts;	     /* and WIRE_FEATURE_RECEIPTS */
	enum failover_event_type said; /* on it, of the instance; FAILOVER_TICK: nothing */
	char said_why[ERR_TEXT_MAX];   /* in its words, */
	uint64_t said_epoch;	       /* the newest epoch that was known then */
	uint64_t outdated_ns;	       /* since when the epoch is; 0: it is not */
	uint64_t back_ns;	  /* it ended to be made anew at once: until then silence is none */
	uint64_t session;	  /* the committed epoch's */
	uint64_t pending_session; /* the one that is coming in */
	uint64_t copy_term;	  /* in which its first copy began */
	size_t untold;		  /* bytes of it that came since RECEIVED told of it */
	struct hashes hashes;	  /* wanted by a primary that resynchronises */
	uint64_t newest;	  /* epoch of this session that has begun to come in */
	struct epoch_figures figures;

	uint64_t recalled_term;	 /* as of when the journal had been read */
	struct rewound *rewound; /* an earlier epoch's copy; NULL: none */
	void (*on_rewound_closed)(void *owner);
	struct workers *workers; /* of `disks` and of `back`, one each */
	struct clone_disks disks;
	struct listing *listing; /* of its epochs, for who asked for `listed`; NULL: none */
	struct clone_back back;
	struct past_query listed;
	bool rewound_closing; /* the former copy */

	/* clone_recall.c's: */
	bool more; /* the journal may have later epochs than the one that it has brought back */
	char unread
		[ERR_TEXT_MAX]; /* why it has brought nothing back; "": it has, or there is none */

	/* Takeover. */
	bool drained;	  /* the receiver is idle: the image will not change any more */
	bool kept;	  /* the term of this takeover is on the disk */
	bool silent;	  /* `survivor` does not answer */
	uint64_t kept_ns; /* how long that took, from the decision */
	uint64_t activate_ns, resumed_epoch;
	/* Why the replica may find no room for its memory; "": it has some. */
	char cramped[ERR_TEXT_MAX];
	uint64_t room_look_ns; /* when that is looked at next */
	struct repeat cramps;
	struct survivor *survivor; /* the replica of an earlier life, or the search for it */

	/* The term on the disk. */
	struct term_store *store;
	struct term_record record; /* what is there, or on its way */
	bool store_broken;	   /* the last attempt failed: `store_error` */
	char store_error[ERR_TEXT_MAX];
	struct repeat unkept;
	struct repeat claims[2]; /* in the log: to be unattended, to claim */
	uint64_t store_look_ns;	 /* when it is tried again, or where it is is looked at */

	bool stopping;
	unsigned open_parts;
	void (*on_part_closed)(void *owner);
	void (*on_stopped)(void *owner);
	void *stop_owner;
};

/* clone.c */

/* A frame to the primary, with our term; false when it could not be sent. */
bool clone_tell(struct clone *c, uint16_t type, uint64_t epoch, const void *payload, size_t len);
/* The answer to a reservation, as of seat_ops. */
void clone_on_reserved(void *owner, const char *error, const char *image);
/* The first copy has ended before it was whole, and why: not healthy until there is a commit. */
void clone_copy_ended(struct clone *c);
/* Until what has come is committed, or dropped, no other connection is taken: it would be told of more than that. */
void clone_drain(struct clone *c);
/* If this standby has served: says so, once per connection. */
void clone_tell_superseded(struct clone *c);

/* clone_doubt.c */

/* Where the replica's QEMU has its sockets: below c->dir, or where a version before this one has left one. */
void clone_doubt_run_dir(struct clone *c);
void clone_doubt_open(struct clone *c);
void clone_doubt_tick(struct clone *c);
void clone_doubt_answer(struct clone *c, enum claimant_answer answer);
/* The operator lets go of another one that the witness tells of; false: there is none. */
bool clone_doubt_release(struct clone *c);
/* A primary may be let in. */
bool clone_is_clear(const struct clone *c);
/* It may not, and that does not pass by itself: `doubt_text`. */
bool clone_in_doubt(const struct clone *c);

/* clone_takeover.c */

/* Reads what an earlier life left on the disk. To undo it before there is a seat:
 * term_store_close(). */
int clone_takeover_open(struct clone *c, uv_loop_t *loop, struct err *err);
/* Parts that clone_takeover_close() will close: so many calls of on_part_closed. */
#define CLONE_TAKEOVER_PARTS 2
void clone_takeover_close(struct clone *c, void (*on_part_closed)(void *owner));

/* Looks for the replica of an earlier life, if there should be one. */
void clone_seek(struct clone *c);

void clone_decide(struct clone *c, enum failover_event_type type, uint64_t epoch);
/* `event` needs type, and what that type has; the rest is filled. */
void clone_decide_event(struct clone *c, struct failover_event event,
			struct failover_update *update);
/* The reason that the status shows, and what is left of the past. */
void clone_say(struct clone *c, const char *text);

/* Puts on the disk what should be there: so that what is wrong there is known in time. */
void clone_keep(struct clone *c);
/* A failure to do so is tried again now and then, and one that is to be expected is looked for. */
void clone_keep_again(struct clone *c);

/* The witness's answer: as claimant_ops. */
void clone_on_answer(void *owner, enum claimant_answer answer, uint64_t term);

/* Goes on with a takeover when everything that it needs is there. */
void clone_activate(struct clone *c);

void clone_on_warm(void *owner);
void clone_on_running(void *owner, uint64_t took_ns);
void clone_on_activation_failed(void *owner, bool spoiled, const struct err *err);
/* There is nothing that could be activated. */
void clone_on_unseated(void *owner, const struct err *err);
void clone_on_ended(void *owner, const struct err *err);

/* clone_past.c */

/* Ends a rewound copy, if there is one; calls on_past_closed(c), perhaps at once. */
void clone_past_close(struct clone *c, void (*on_past_closed)(void *owner));
/* The copy is of no use any more: its end begins. */
void clone_past_drop(struct clone *c);
/* The replica cannot be written to, and why: an isolated copy may have taken what it wants for. */
void clone_past_yield(struct clone *c, const struct err *err);
void clone_past_status(const struct clone *c, struct status_instance *status);

/* `look` at what of the past there is. */
int clone_past_look(struct clone *c, void (*look)(void *owner, const struct history *history),
		    void *owner, struct err *err);
/* What an operator calls a moment. */
int clone_past_find(struct clone *c, const char *target, struct history_place *place,
		    struct err *err);

/* clone_listing.c */

int clone_epochs(struct clone *c, const struct past_query *query, cJSON *object, struct err *err);
void clone_listing_close(struct clone *c, void (*on_listing_closed)(void *owner));

/* clone_back.c */

/* RC_STATE: going live would be refused now. */
int clone_back_check(const struct clone *c, struct err *err);
/* As rewound_options say. */
void clone_back_on_ready(void *owner);
/* The image is what the takeover was ordered from; else that begins, and clone_activate() follows. */
bool clone_back_is_through(struct clone *c);
/* A takeover fails, and `err` is why. True: when a worker, which has the image, is done. */
bool clone_back_defers(struct clone *c, const struct err *err);
/* The epoch that is to be served is only in the rewound copy's image: the next takeover takes it from there. */
bool clone_back_is_owed(const struct clone *c);
/* After a change of the state. */
void clone_back_follow(struct clone *c, const char *reason);

/* clone_disks.c */

void clone_disks_tick(struct clone *c);
/* The next tick looks. */
void clone_disks_hurry(struct clone *c);
/* For a takeover: `looked`, and clone_activate(). */
void clone_disks_look(struct clone *c);
/* RC_STATE: QEMU would not find the disks of the replica. */
int clone_disks_check(const struct clone *c, struct err *err);
void clone_disks_close(struct clone *c, void (*on_disks_closed)(void *owner));

/* clone_epochs.c */

int clone_on_frame(void *owner, const struct wire_header *header, const uint8_t *payload,
		   struct err *err);
void clone_tell_hashes(void *owner);
/* How much of a first copy has come, if one is coming in, or kept of an earlier connection. */
void clone_tell_received(struct clone *c);

void clone_on_forgotten(void *owner);
void clone_on_committed(void *owner, uint64_t epoch, uint64_t took_ns);
void clone_on_fault(void *owner, uint64_t epoch, const struct err *err);
void clone_on_consumed(void *owner, size_t bytes);

/* clone_recall.c */

void clone_on_restored(void *owner, uint64_t epoch, const struct journal_origin *origin,
		       bool behind, const struct err *why);
void clone_on_more(void *owner);
/* Reads the journal once more, if that is due and does no harm. */
void clone_recall_tick(struct clone *c);
/* What of the epoch here an operator has to know, and the state does not say; "": nothing. */
const char *clone_recall_problem(const struct clone *c);

#endif
