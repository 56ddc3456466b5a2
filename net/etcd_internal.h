/*
 * What the files of the etcd client share: etcd.c (calls, opening and closing), etcd_attempt.c (how a
 * call is answered).
 */
#ifndef NET_ETCD_INTERNAL_H
#define NET_ETCD_INTERNAL_H

#include "net/etcd.h"
#include "net/https_client.h"

enum etcd_kind { KIND_GET, KIND_TXN, KIND_GRANT, KIND_KEEP_ALIVE, KIND_REVOKE };

struct etcd_lane {
	struct etcd *etcd;
	struct https_client *https;
	struct etcd_call *call; /* NULL: free */
	size_t endpoint;
};

struct etcd_call {
	struct etcd *etcd;
	struct etcd_call *next; /* in the queue */
	struct etcd_lane *lane; /* NULL: in the queue */
	enum etcd_kind kind;
	etcd_done done;
	void *owner;
	uint64_t deadline_ns;
	unsigned tried;	    /* a bit for each endpoint */
	bool second_chance; /* the one try that did not count was used */
	bool uncertain;
	struct err err; /* of the last attempt */
	struct buf body;
	/* What the answer has to fit. */
	struct etcd_txn txn;
	char put_keys[ETCD_PARTS_MAX][ETCD_KEY_MAX + 1];
	char values[ETCD_PARTS_MAX][ETCD_VALUE_MAX + 1];
	char read_keys[ETCD_PARTS_MAX][ETCD_KEY_MAX + 1];
	union {
		struct etcd_txn_reply txn;
		struct etcd_lease_reply lease;
	} reply;
};

struct etcd {
	uv_timer_t timer;
	struct resolver *resolver;
	struct address endpoints[ETCD_ENDPOINTS_MAX];
	size_t count, preferred;
	struct etcd_lane lanes[ETCD_LANES];
	struct etcd_call *first, **last; /* the queue */
	size_t calls;			 /* in the queue and on lanes */
	bool answers;			 /* what the log said last */
	uint64_t identity;		 /* as was found out; 0: it was not */
	const void *doubter; /* who said last that it is not to be trusted; NULL: nobody */
	char doubt[ERR_TEXT_MAX];
	char refusal[ERR_TEXT_MAX]; /* of what was to be written last; "": it was */
	unsigned open;		    /* parts that are not closed yet */
	bool closing;
	void (*on_closed)(void *owner);
	void *owner;
};

/* ---- etcd_attempt.c ---- */

/* The queue is looked at in so many milliseconds, from the loop. */
void etcd_wake(struct etcd *etcd, uint64_t ms);
void etcd_on_news(void *owner);
void etcd_on_answered(void *owner, const struct https_answer *answer,
		      const struct https_progress *progress, const struct err *err);

/* Takes a call that waits out of the queue; releases a call. */
void etcd_unqueue(struct etcd_call *call);
void etcd_free_call(struct etcd_call *call);

#endif
