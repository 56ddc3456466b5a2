/*
 * A client of an etcd v3 cluster, over its JSON gateway and TLS: read, compare and swap, leases.
 *
 * Each call has a deadline. Within it the endpoints are tried one after the other, each once; what
 * was decided by etcd (a compare that does not hold, a refusal) is final, whatever a connection or
 * a member did (no answer, garbage, no leader) leads to the next endpoint. A call that was
 * repeated so may have been done the first time: the value of a compare-and-swap has to be one
 * that nobody else would write, and is then recognised (net/etcd_format.h).
 *
 * All functions and callbacks are the loop thread's; callbacks come from the loop only, never from
 * within a call, and may call anything here. The process has to ignore SIGPIPE.
 */
#ifndef NET_ETCD_H
#define NET_ETCD_H

#include "appliance/base/err.h"
#include "net/address.h"
#include "net/etcd_format.h"
#include "net/resolver.h"
#include "net/tls.h"

#include <uv.h>

#define ETCD_ENDPOINTS_MAX RESOLVER_HOSTS_MAX
#define ETCD_LANES 4	     /* requests at a time, each over a connection of its own */
#define ETCD_CALLS_MAX 256   /* waiting or going on: four for each possible instance */
#define ETCD_TIMEOUT_MS 1000 /* what is usual; a commit takes etcd some milliseconds */

struct etcd;
struct etcd_call;

struct etcd_reply {
	/* NULL: etcd has answered. Else why not, and whether it may have done it all the same. */
	const struct err *err;
	bool uncertain;
	uint64_t sent_ns; /* monotonic: when the request that was answered was sent */
	const struct etcd_txn_reply *txn;     /* reads and swaps */
	const struct etcd_lease_reply *lease; /* grants and keep-alives */
};

/* The reply and all in it are valid during the callback; the call is gone after it. */
typedef void (*etcd_done)(void *owner, const struct etcd_reply *reply);

struct etcd_how {
	uint32_t timeout_ms; /* 0: ETCD_TIMEOUT_MS */
	etcd_done done;
	void *owner;
};

/* "https://etcd-1.example.org:2379" taken apart. No other scheme will do, and no path. */
int etcd_endpoint_parse(struct address *address, const char *text, struct err *err);

/*
 * `identity` (tls_identity_load_client()) has to stay until etcd_close() is done. Connects when
 * there is something to ask.
 */
int etcd_open(struct etcd **etcd, uv_loop_t *loop, const char *const *endpoints, size_t count,
	      struct tls_identity *identity, struct err *err);

/* Each of these is NULL on failure (RC_LIMIT: too many calls; RC_NOMEM); no callback then. */
struct etcd_call *etcd_get(struct etcd *etcd, const char *key, const struct etcd_how *how,
			   struct err *err);
/* Any transaction; with puts, the keys put should be those read, in the same order. */
struct etcd_call *etcd_commit(struct etcd *etcd, const struct etcd_txn *txn,
			      const struct etcd_how *how, struct err *err);
/*
 * One key from the revision last seen (0: it must not exist) to a new value. reply->txn: won if
 * `succeeded`, at put_revision; else entries[0] is what is there.
 */
struct etcd_call *etcd_swap(struct etcd *etcd, const char *key, int64_t mod_revision,
			    const char *value, int64_t lease, const struct etcd_how *how,
			    struct err *err);
struct etcd_call *etcd_grant(struct etcd *etcd, uint32_t ttl_s, const struct etcd_how *how,
			     struct err *err);
/* reply->lease->ttl_s 0: it is gone. */
struct etcd_call *etcd_keep_alive(struct etcd *etcd, int64_t lease, const struct etcd_how *how,
				  struct err *err);
/* One that is gone already is revoked, too. reply->txn and ->lease are NULL. */
struct etcd_call *etcd_revoke(struct etcd *etcd, int64_t lease, const struct etcd_how *how,
			      struct err *err);

/* Its callback does not come. What was sent may be done by etcd all the same. */
void etcd_cancel(struct etcd_call *call);

/*
 * What etcd answers is for its users to judge. One who finds that it is not to be trusted says why,
 * and NULL when it is again; who reports on etcd reads what was said last (NULL: nothing).
 */
void etcd_doubt(struct etcd *etcd, const void *user, const char *why);
const char *etcd_doubted(const struct etcd *etcd);

/*
 * Why it last refused to write something or to grant a lease, in its words (it is out of space, say);
 * NULL: what was to be written last was.
 */
const char *etcd_refused(const struct etcd *etcd);

/* Which etcd that is, as who uses it found out; 0: it is not known yet. */
void etcd_identify(struct etcd *etcd, uint64_t identity);
uint64_t etcd_identity(const struct etcd *etcd);

/* Calls are cancelled. on_closed (may be NULL) when nothing is left. */
void etcd_close(struct etcd *etcd, void (*on_closed)(void *owner), void *owner);

#endif
