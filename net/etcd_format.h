/*
 * What is said to etcd v3, and what it answers: the JSON of its gRPC gateway (POST /v3/kv/range and
 * so on). No I/O: texts in, texts out.
 *
 * Keys and values travel in base64, 64-bit numbers as strings, and a member that is zero, false or
 * empty is left out of an answer. Everything that comes is outside data.
 */
#ifndef NET_ETCD_FORMAT_H
#define NET_ETCD_FORMAT_H

#include "appliance/base/buf.h"
#include "appliance/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ETCD_KEY_MAX 512		 /* ours have less than 300 bytes */
#define ETCD_VALUE_MAX 1024		 /* ours have less than 250 bytes */
#define ETCD_BODY_MAX ((size_t)16 << 10) /* of a request or answer: four keys and values, twice */
#define ETCD_PARTS_MAX 2		 /* compares, puts or reads of one transaction */
#define ETCD_TTL_MAX_S 3600		 /* of a lease; nobody waits longer for a dead site */

#define ETCD_PATH_RANGE "/v3/kv/range"
#define ETCD_PATH_TXN "/v3/kv/txn"
#define ETCD_PATH_GRANT "/v3/lease/grant"
#define ETCD_PATH_KEEP_ALIVE "/v3/lease/keepalive"
#define ETCD_PATH_REVOKE "/v3/lease/revoke"

/* What is there under one key. */
struct etcd_entry {
	bool present;
	int64_t create_revision, mod_revision;
	int64_t lease; /* 0: none */
	size_t len;
	char value[ETCD_VALUE_MAX + 1]; /* with a NUL behind it */
};

enum etcd_field { ETCD_MOD_REVISION, ETCD_CREATE_REVISION, ETCD_LEASE, ETCD_FIELDS };

/* A field of a key's entry equals a number; both revisions are 0 when there is no such key. */
struct etcd_compare {
	const char *key;
	enum etcd_field field;
	int64_t number;
};

struct etcd_put {
	const char *key, *value;
	int64_t lease; /* 0: none */
};

/*
 * If every compare holds, all puts are made, else all reads; without puts the reads are made in
 * either case. Everything in it happens at one revision.
 */
struct etcd_txn {
	struct etcd_compare compares[ETCD_PARTS_MAX];
	struct etcd_put puts[ETCD_PARTS_MAX];
	const char *reads[ETCD_PARTS_MAX];
	size_t ncompares, nputs, nreads;
};

/* In every answer: at which revision of the store, and the term of the answering member's leader.
 */
struct etcd_header {
	int64_t revision;
	uint64_t raft_term;
};

struct etcd_txn_reply {
	struct etcd_header header;
	/*
	 * The compares held and the puts were made; also if the reads show that they had been made
	 * before: an answer was lost, and this is the repetition's.
	 */
	bool succeeded;
	int64_t put_revision; /* the keys' mod_revision by the puts, if they succeeded; else 0 */
	struct etcd_entry entries[ETCD_PARTS_MAX]; /* of the reads, if they were made */
	size_t nentries;
};

struct etcd_lease_reply {
	struct etcd_header header;
	int64_t id;
	uint32_t ttl_s; /* 0: there is no such lease (any more) */
};

/*
 * These append to `out`; a failure (no memory, too long) is in out->failed. Keys and values are
 * NUL-terminated, of at most ETCD_KEY_MAX and ETCD_VALUE_MAX bytes.
 */
void etcd_format_range(struct buf *out, const char *key);
void etcd_format_txn(struct buf *out, const struct etcd_txn *txn);
void etcd_format_grant(struct buf *out, uint32_t ttl_s);
/* For keeping a lease alive and for revoking it. */
void etcd_format_lease(struct buf *out, int64_t lease);

/*
 * Read an answer's body. RC_INVALID names what is wrong, RC_LIMIT a value that is longer than
 * ETCD_VALUE_MAX, RC_NOMEM. Contents of *reply are undefined then.
 */
int etcd_format_read_range(struct etcd_txn_reply *reply, const char *text, size_t len,
			   struct err *err);
/*
 * `txn` is what was asked: the answer has to fit. When it was not done because it has been already
 * (each key that was to be put is the one read in the same place, and is there with that value and
 * lease), it succeeded. This takes values that nobody else would put.
 */
int etcd_format_read_txn(struct etcd_txn_reply *reply, const struct etcd_txn *txn, const char *text,
			 size_t len, struct err *err);
int etcd_format_read_grant(struct etcd_lease_reply *reply, const char *text, size_t len,
			   struct err *err);
/* Its answer is a stream of lines; the first is what counts. */
int etcd_format_read_keep_alive(struct etcd_lease_reply *reply, const char *text, size_t len,
				struct err *err);

/*
 * An answer whose status is not 200, in words. RC_STATE: what was named (a lease) is not there;
 * RC_CLOSED: this member cannot do it now, another may (no leader, time ran out), or that was not an
 * etcd (it gives each error a code); RC_REFUSED: any other reason.
 */
int etcd_format_read_error(int status, const char *text, size_t len, struct err *err);

#endif
