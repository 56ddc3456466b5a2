/*
 * The wire format between a primary's agent and a standby's appliance, byte by byte. Little-endian.
 *
 * Frame = header, then payload:
 *    0  u32  payload length, within the type's limits
 *    4  u16  type (enum wire_type)
 *    6  u16  flags: bit 0 "more follows", on BATCH only; the other bits are 0
 *    8  u64  term: of who serves, as the sender knows it
 *   16  u64  epoch, where the type has one, else 0
 *   24  payload
 *
 * A delta batch is larger than what a heartbeat should have to wait for, so it travels as
 * fragments: BATCH frames of the same term and epoch, each but the last with "more follows".
 * Frames of other types may come between the fragments of a batch, fragments of another batch may
 * not.
 *
 * HELLO is the first frame in both directions, the dialler's first; its layout never changes
 * between versions:
 *    0  8 bytes "UNDRSTDY"
 *    8  u16  lowest, u16 highest protocol version spoken, 1 or more; the connection uses the
 *            highest that both speak
 *   12  u32  flags, 0
 *   16  u64  features wanted (WIRE_FEATURE_*); what both want is on
 *   24  u8   role: 1 primary's agent, 2 standby
 *   25  7 bytes 0
 *   32  u64  session: a random number per capture session, 0: none yet. A standby tells the one its
 *            image belongs to
 *   40  u64  committed epoch of that session
 *   48  u8   length of the site's name, name; u8 length of the instance's name, name (each 1 to 64
 *            bytes, printable ASCII)
 *   then, only of a standby whose primary wants WIRE_FEATURE_IDENTITY: u64 which standby it is, for this
 *            instance (term_record.h); never 0
 *
 * A frame is valid if and only if (1) its type is known, (2) its flags are those that the type
 * has, (3) its length is within the type's limits, (4) it is HELLO exactly if it is the sender's
 * first, or REFUSE, (5) the sender's role may send that type (wire_allowed()), (6) a fragment
 * continues the batch that is open, if one is, and the batch stays within WIRE_BATCH_MAX.
 */
#ifndef NET_WIRE_H
#define NET_WIRE_H

#include "appliance/base/buf.h"
#include "appliance/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WIRE_VERSION_LOWEST 1
#define WIRE_VERSION_HIGHEST 1
#define WIRE_FEATURE_BEACON UINT64_C(1) /* heartbeats as datagrams too (beacon_format.h) */
#define WIRE_FEATURE_TIMES UINT64_C(2)	/* COMMIT may have its times */
/* YIELD is known; the frames of a session carry the term in force, and the standby refuses a lower one */
#define WIRE_FEATURE_TERMS UINT64_C(4)
#define WIRE_FEATURE_IDENTITY UINT64_C(8) /* the standby's HELLO tells which one it is */
/* The standby says RECEIVED, and a copy that was cut short goes on (WIRE_EPOCH_REST). */
#define WIRE_FEATURE_RECEIPTS UINT64_C(16)
#define WIRE_FEATURES                                                                            \
	(WIRE_FEATURE_BEACON | WIRE_FEATURE_TIMES | WIRE_FEATURE_TERMS | WIRE_FEATURE_IDENTITY | \
	 WIRE_FEATURE_RECEIPTS)
#define WIRE_HEADER ((size_t)24)
#define WIRE_NAME_MAX 64
#define WIRE_TEXT_MAX 1000		     /* of a reason: two or three log lines */
#define WIRE_JSON_MAX ((size_t)256 << 10)    /* RESERVE: a long QEMU command line has some 20 KiB */
#define WIRE_LAYOUT_MAX ((size_t)64 << 10)   /* 128 RAM blocks with the longest names: 35 KiB */
#define WIRE_HASHES_MAX 8192		     /* in one frame: 64 KiB, the hashes of 32 MiB */
#define WIRE_FRAGMENT_MAX ((size_t)64 << 10) /* of a batch: what a heartbeat may have to wait for */
#define WIRE_RECEIPT_BYTES ((size_t)256 << 10) /* less than a primary keeps at least: 1 MiB */
#define WIRE_NICS_MAX 8			       /* network cards of one instance */
#define WIRE_BATCH_MAX ((size_t)1280 << 10) /* put together: 1 MiB of pages that did not compress */

enum wire_role { WIRE_ROLE_PRIMARY = 1, WIRE_ROLE_STANDBY = 2 };

enum wire_type {
	WIRE_HELLO = 1,
	WIRE_REFUSE,	/* both: u16 enum wire_reason, text; then the sender closes */
	WIRE_HEARTBEAT, /* both: u64 sequence, u64 sender's clock ns, u64 the last such clock
			     received (0: none), u64 ns since that was received, u64 lease: the standby
			     lets the primary serve for so many ns from that clock on (0: not) */
	WIRE_CREDIT,	/* standby: u64 bulk payload bytes that may have been sent in all since this
			     connection began; never less than before */
	WIRE_RESERVE,	/* primary: JSON, what the standby needs to start the replica's QEMU */
	WIRE_RESERVED,	/* standby: JSON, the answer (reservation.h) */
	WIRE_LAYOUT,	/* primary: u64 session that this begins, then the layout (layout.h) */
	WIRE_WANT_HASHES, /* primary: empty; answered with HASHES */
	WIRE_HASHES,	  /* standby: u64 first page, u32 count, u32 1 if last, u64 hashes[count] */
	WIRE_EPOCH,	  /* primary: begins epoch of the header; u8 kind: 1 full copy (or resync),
			     2 checkpoint, 3 the rest of the full copy of which RECEIVED told on this
			     connection: what it has received counts, and its batches go on from there */
	WIRE_BATCH,  /* primary: one delta batch, or a fragment of it; the only bulk type, counted
			     against credit */
	WIRE_COMMIT, /* primary: ends the epoch: u64 batches, u64 pages, u64 hash, u32 device state
			length, u32 0; and only where both ends want WIRE_FEATURE_TIMES, at 32: u64 ns
			from the end of its capture to this frame, u64 ns for which the agent held the
			instance. Nothing is decided by these two: they are for the standby's status */
	WIRE_ACK,    /* standby: header's epoch is committed; u64 ns it took from COMMIT */
	WIRE_FAULT,  /* standby: header's epoch cannot be committed; u16 rc, text. The primary
			     resyncs */
	WIRE_INSTANCE,	 /* primary: u16 enum wire_instance, text: what became of the instance after
			    the header's epoch, the newest that has begun; goes behind the epochs that
			    are whole (wire_follows_commits()) */
	WIRE_SUPERSEDED, /* standby: it serves, or has served, with the header's term; u16 enum
			    wire_reason, text */
	WIRE_FRAMES, /* both: Ethernet frames (frames.h); the primary's with the epoch they belong to */
	WIRE_INPUT, /* primary: for each network card u64 number of the last of the standby's frames
			that the header's epoch knows */
	WIRE_ADDRESSES, /* primary: u8 network card, 3 bytes 0, then what addresses the instance uses on
			   it (card_addresses.h) */
	WIRE_UNCOMMITTED, /* primary: answers leave from now on that no epoch up to the header's
			     knows; standby: it knows, and its epoch counts as outdated */
	WIRE_BEACON, /* standby: keys for datagrams (beacon_format.h); once, if both ends want them */
	WIRE_YIELD, /* standby: its operator has ordered a takeover, so the instance is to stand, and no
			lease counts that was asked for before this came; only to who wants
			WIRE_FEATURE_TERMS, as the answer to it */
	WIRE_YIELDED, /* primary: the instance stands, or is no more; on the connection that YIELD came by */
	WIRE_RECEIVED, /* standby: u64 session, u64 batches that it has of the header's epoch, a full
			copy, in all: none of them is needed again while this process lives. At each
			WIRE_RECEIPT_BYTES of them, and ahead of RESERVED where an earlier connection
			was lost inside of it. Nothing is committed by that. Only to who wants
			WIRE_FEATURE_RECEIPTS */
	WIRE_TYPE_END
};

enum wire_reason {
	WIRE_REASON_VERSION = 1, /* no protocol version in common */
	WIRE_REASON_ROLE,	 /* two primaries or two standbys */
	WIRE_REASON_INSTANCE,	 /* this standby does not know that instance */
	WIRE_REASON_BUSY,	 /* that instance has a connection already, and it is alive */
	WIRE_REASON_PROTOCOL,	 /* the peer broke the protocol */
	WIRE_REASON_TERM,	 /* the peer's term is over */
	WIRE_REASON_SHUTDOWN,	 /* orderly end of this process */
	WIRE_REASON_SESSION, /* the primary begins another capture session: it connects again at once */
	WIRE_REASON_REKEY,   /* the connection's key has been used enough: the primary connects
				again at once, nothing else changes */
	WIRE_REASON_STANDBY, /* the primary has another standby, which may take over */
	WIRE_REASON_SITE,    /* another site's instance is kept here, of the same name */
	WIRE_REASON_DOUBT,   /* another standby may serve that instance, as far as this one knows */
	WIRE_REASON_END
};

enum wire_epoch {
	WIRE_EPOCH_COPY = 1,
	WIRE_EPOCH_CHECKPOINT,
	WIRE_EPOCH_REST
}; /* kinds, in EPOCH */

enum wire_instance {
	WIRE_INSTANCE_RUNNING =
		1,	       /* without a session that captures it: its answers are in no epoch */
	WIRE_INSTANCE_CRASHED, /* its QEMU is gone without a goodbye: a reason to take over */
	WIRE_INSTANCE_ENDED, /* shut down by its guest or its operator: not a reason to take over */
	WIRE_INSTANCE_END
};

struct wire_header {
	uint32_t length;
	uint16_t type;
	bool more; /* flag bit 0 */
	uint64_t term, epoch;
};

struct wire_hello {
	uint16_t lowest, highest;
	uint64_t features;
	uint8_t role;
	uint64_t session, epoch;
	uint64_t identity; /* of a standby; 0: not told */
	char site[WIRE_NAME_MAX + 1], instance[WIRE_NAME_MAX + 1];
};

size_t wire_payload_min(uint16_t type);
size_t wire_payload_max(uint16_t type); /* of one frame; unknown types: 0 */
/* How much of a payload of `len` bytes a peer takes with which those features are on. */
size_t wire_payload_for(uint16_t type, uint64_t features, size_t len);
const char *wire_type_name(uint16_t type);     /* "batch"; "unknown" */
const char *wire_reason_text(uint16_t reason); /* a sentence an operator understands */
/* The connection ends to be made anew at once, and nothing is wrong: SESSION, REKEY. */
bool wire_reason_returns(uint16_t reason);
/* It stays as it is until somebody changes something at one of the sites: VERSION, ROLE, INSTANCE, SITE. */
bool wire_reason_lasts(uint16_t reason);
bool wire_allowed(uint8_t sender_role, uint16_t type);
/*
 * Its place among the batches matters (LAYOUT, WANT_HASHES, EPOCH, BATCH, COMMIT): these leave in
 * the order in which they were given; others go ahead of them.
 */
bool wire_is_ordered(uint16_t type);
/*
 * INSTANCE: behind every COMMIT given before it, so that a standby that takes over on its word has
 * the epochs that were whole; but ahead of batches that no COMMIT follows yet, because half an
 * epoch never counts. So it waits for two batches at most (LINK_QUEUE_BATCHES). Whole epochs that
 * are still further back, waiting for credit, are given out before this frame is sent, for
 * detect_ms at most (session_close()): then a crash is known no later than a dead link would be.
 * Heartbeats and credit wait for none of this.
 */
bool wire_follows_commits(uint16_t type);

void wire_put_header(uint8_t out[WIRE_HEADER], const struct wire_header *header);
/* RC_INVALID unless (1) to (3) above hold, RC_LIMIT when the payload would be too large. */
int wire_get_header(struct wire_header *header, const uint8_t in[WIRE_HEADER], struct err *err);

/* The wire_put_*() append a payload; false if the buffer failed or a field cannot be sent. */
bool wire_put_hello(struct buf *payload, const struct wire_hello *hello);
int wire_get_hello(struct wire_hello *hello, const uint8_t *payload, size_t len, struct err *err);
/*
 * RC_UNSUPPORTED naming both ranges unless a version is common to both. Which one is spoken nothing
 * has to ask while there is only one.
 */
int wire_check_versions(const struct wire_hello *own, const struct wire_hello *peer,
			struct err *err);

/*
 * Payloads with a code and a text (REFUSE, FAULT, INSTANCE, SUPERSEDED). Texts that are too long
 * are cut; `text` gets a NUL and holds printable ASCII only: what else came is replaced by '?'.
 */
bool wire_put_reason(struct buf *payload, uint16_t code, const char *text);
int wire_get_reason(uint16_t *code, char text[WIRE_TEXT_MAX + 1], const uint8_t *payload,
		    size_t len, struct err *err);

struct wire_commit {
	uint64_t batches, pages, hash;
	uint32_t device_state_len;
	bool timed; /* the rest is there */
	uint64_t age_ns, pause_ns;
};
bool wire_put_commit(struct buf *payload, const struct wire_commit *commit);
int wire_get_commit(struct wire_commit *commit, const uint8_t *payload, size_t len,
		    struct err *err);

struct wire_received {
	uint64_t epoch; /* of the frame's header */
	uint64_t session, batches;
};
bool wire_put_received(struct buf *payload, const struct wire_received *received);
int wire_get_received(struct wire_received *received, uint64_t epoch, const uint8_t *payload,
		      size_t len, struct err *err);

struct wire_heartbeat {
	uint64_t sequence, clock_ns, echo_ns, held_ns, lease_ns;
};
bool wire_put_heartbeat(struct buf *payload, const struct wire_heartbeat *heartbeat);
int wire_get_heartbeat(struct wire_heartbeat *heartbeat, const uint8_t *payload, size_t len,
		       struct err *err);

/* CREDIT, ACK: one u64. */
int wire_get_u64(uint64_t *value, const uint8_t *payload, size_t len, struct err *err);

#endif
