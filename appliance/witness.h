/*
 * The witness: a third place, etcd, that decides who serves an instance when the two sites cannot
 * ask each other. One handle for each instance of a process; they share a client of etcd.
 *
 * Claiming is a compare-and-swap from the value last seen to a higher term: of several that claim
 * from the same value exactly one wins. A claim can hold a lease: while it is kept alive, nobody
 * else can win; when it cannot be, its holder is told before others can. Whether to read, to claim
 * and to serve is the caller's decision.
 *
 * All functions and callbacks are the loop thread's; callbacks come from the loop only, never from
 * within a call, and may call anything here.
 */
#ifndef APPLIANCE_WITNESS_H
#define APPLIANCE_WITNESS_H

#include "appliance/base/err.h"
#include "appliance/witness_value.h"
#include "net/etcd.h"

#define WITNESS_TTL_MIN_S 3 /* etcd itself gives no less than 2; a third of it is for each try */
#define WITNESS_TTL_MAX_S 60

struct witness;

enum witness_outcome {
	WITNESS_SEEN, /* of reading */
	WITNESS_WON,
	WITNESS_LOST,	     /* the view tells to whom, or what has changed since the last look */
	WITNESS_UNREACHABLE, /* nothing is known; a claim may have been won all the same */
};

/* What the witness said last. */
struct witness_view {
	bool present; /* somebody has claimed the instance before; else all is 0 */
	struct witness_value value;
	bool held; /* by a lease that is alive: nobody else can claim */
	bool own;  /* claimed through this handle */
};

/*
 * `err` is not NULL when it is unreachable, and says why: also when etcd refuses us, when what is
 * stored there is not ours, or when it is less than this handle has seen there before: an etcd that
 * has lost data is no witness (etcd_doubt()). The view is then the one from before.
 */
typedef void (*witness_done)(void *owner, enum witness_outcome outcome,
			     const struct witness_view *view, const struct err *err);

struct witness_options {
	struct etcd *etcd; /* has to stay until witness_close() */
	const char *instance;
	uint32_t ttl_s; /* of leases */
	/*
	 * The lease that was held has reached its safe end, or etcd has it no more: others may
	 * serve now. Not called after witness_release().
	 */
	void (*on_lost)(void *owner, const struct err *why);
	witness_done done;
	void *owner;
};

struct witness_claim {
	uint64_t term; /* higher than the one seen */
	enum witness_server server;
	const char *site;
	bool leased;
};

int witness_open(struct witness **witness, uv_loop_t *loop, const struct witness_options *options,
		 struct err *err);

/*
 * One of these at a time, within timeout_ms (0: ETCD_TIMEOUT_MS); the answer is options.done. If
 * they fail (RC_STATE, RC_INVALID, RC_LIMIT, RC_NOMEM) no callback follows.
 */
int witness_read(struct witness *witness, uint32_t timeout_ms, struct err *err);
/*
 * From the value last seen (at first: that there is none). Not while a lease is held through this
 * handle. After WITNESS_UNREACHABLE the same claim without a lease can simply be repeated: if it
 * had been won, it is won; one with a lease is then lost to itself (view.own) and has to be made
 * with the next term.
 */
int witness_claim(struct witness *witness, const struct witness_claim *claim, uint32_t timeout_ms,
		  struct err *err);

const struct witness_view *witness_view(const struct witness *witness);

/* Until when the lease surely lasts, on our monotonic clock; 0: none is held. */
uint64_t witness_until_ns(const struct witness *witness);

/*
 * Gives the lease back: from now on others may claim, so the instance has to be stopped (or
 * somebody else's lease has to cover it) before. Nothing to do if none is held.
 */
void witness_release(struct witness *witness);

/*
 * For now nothing here depends on what etcd knows: what it is doubted for (etcd_doubt()) is not told
 * any more, until it is asked and does not know again.
 */
void witness_rest(struct witness *witness);

/*
 * A lease that is held is not given back: it ends by itself. on_closed (may be NULL) is called with
 * options.owner.
 */
void witness_close(struct witness *witness, void (*on_closed)(void *owner));

#endif
