/* The calls that etcd.h has, and the client's beginning and end. etcd_attempt.c does the work. */
#include "net/etcd.h"

#include "appliance/base/clock.h"
#include "appliance/base/mem.h"
#include "net/etcd_internal.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define SCHEME "https://"

/* ---- calls ---- */

static struct etcd_call *create_call(struct etcd *etcd, enum etcd_kind kind,
				     const struct etcd_how *how, struct err *err)
{
	uint32_t timeout_ms = how->timeout_ms > 0 ? how->timeout_ms : ETCD_TIMEOUT_MS;
	struct etcd_call *call;

	assert(!etcd->closing);
	if (etcd->calls >= ETCD_CALLS_MAX) {
		(void)err_set(err, RC_LIMIT, "more than %d calls of etcd at a time",
			      ETCD_CALLS_MAX);
		return NULL;
	}
	call = mem_zalloc(1, sizeof(*call));
	if (call == NULL) {
		(void)err_nomem(err, "call of etcd");
		return NULL;
	}
	etcd->calls++;
	call->etcd = etcd;
	call->kind = kind;
	call->done = how->done;
	call->owner = how->owner;
	call->deadline_ns = clock_now_ns() + timeout_ms * CLOCK_NS_PER_MS;
	call->body.limit = ETCD_BODY_MAX;
	return call;
}

/* With its body printed. */
static struct etcd_call *submit(struct etcd_call *call, struct err *err)
{
	struct etcd *etcd = call->etcd;

	if (call->body.failed) {
		(void)err_nomem(err, "call of etcd");
		etcd_free_call(call);
		return NULL;
	}
	*etcd->last = call;
	etcd->last = &call->next;
	etcd_wake(etcd, 0);
	return call;
}

struct etcd_call *etcd_get(struct etcd *etcd, const char *key, const struct etcd_how *how,
			   struct err *err)
{
	struct etcd_call *call = create_call(etcd, KIND_GET, how, err);

	if (call == NULL)
		return NULL;
	etcd_format_range(&call->body, key);
	return submit(call, err);
}

struct etcd_call *etcd_commit(struct etcd *etcd, const struct etcd_txn *txn,
			      const struct etcd_how *how, struct err *err)
{
	struct etcd_call *call = create_call(etcd, KIND_TXN, how, err);
	size_t i;

	if (call == NULL)
		return NULL;
	etcd_format_txn(&call->body, txn);
	/* The compares play no part in the answer. */
	call->txn = *txn;
	call->txn.ncompares = 0;
	for (i = 0; i < txn->nputs; i++) {
		(void)snprintf(call->put_keys[i], sizeof(call->put_keys[i]), "%s",
			       txn->puts[i].key);
		(void)snprintf(call->values[i], sizeof(call->values[i]), "%s", txn->puts[i].value);
		call->txn.puts[i].key = call->put_keys[i];
		call->txn.puts[i].value = call->values[i];
	}
	for (i = 0; i < txn->nreads; i++) {
		(void)snprintf(call->read_keys[i], sizeof(call->read_keys[i]), "%s", txn->reads[i]);
		call->txn.reads[i] = call->read_keys[i];
	}
	return submit(call, err);
}

struct etcd_call *etcd_swap(struct etcd *etcd, const char *key, int64_t mod_revision,
			    const char *value, int64_t lease, const struct etcd_how *how,
			    struct err *err)
{
	const struct etcd_txn txn = {
		.compares = { { key, ETCD_MOD_REVISION, mod_revision } },
		.ncompares = 1,
		.puts = { { key, value, lease } },
		.nputs = 1,
		.reads = { key },
		.nreads = 1,
	};

	return etcd_commit(etcd, &txn, how, err);
}

struct etcd_call *etcd_grant(struct etcd *etcd, uint32_t ttl_s, const struct etcd_how *how,
			     struct err *err)
{
	struct etcd_call *call = create_call(etcd, KIND_GRANT, how, err);

	assert(ttl_s > 0 && ttl_s <= ETCD_TTL_MAX_S);
	if (call == NULL)
		return NULL;
	etcd_format_grant(&call->body, ttl_s);
	return submit(call, err);
}

static struct etcd_call *call_lease(struct etcd *etcd, enum etcd_kind kind, int64_t lease,
				    const struct etcd_how *how, struct err *err)
{
	struct etcd_call *call = create_call(etcd, kind, how, err);

	if (call == NULL)
		return NULL;
	etcd_format_lease(&call->body, lease);
	return submit(call, err);
}

struct etcd_call *etcd_keep_alive(struct etcd *etcd, int64_t lease, const struct etcd_how *how,
				  struct err *err)
{
	return call_lease(etcd, KIND_KEEP_ALIVE, lease, how, err);
}

struct etcd_call *etcd_revoke(struct etcd *etcd, int64_t lease, const struct etcd_how *how,
			      struct err *err)
{
	return call_lease(etcd, KIND_REVOKE, lease, how, err);
}

void etcd_cancel(struct etcd_call *call)
{
	if (call->lane != NULL) {
		https_cancel(call->lane->https);
		call->lane->call = NULL;
		if (call->etcd->first != NULL)
			etcd_wake(call->etcd, 0);
	} else {
		etcd_unqueue(call);
	}
	etcd_free_call(call);
}

/* ---- opening and closing ---- */

int etcd_endpoint_parse(struct address *address, const char *text, struct err *err)
{
	size_t len = strlen(SCHEME);

	if (strncmp(text, SCHEME, len) != 0)
		return err_set(err, RC_INVALID,
			       "an endpoint begins with https:// (\"https://192.0.2.7:2379\")");
	return address_parse(address, text + len, false, err);
}

static void on_part_closed(void *owner)
{
	struct etcd *etcd = owner;
	void (*on_closed)(void *) = etcd->on_closed;
	void *closed_owner = etcd->owner;

	if (--etcd->open > 0)
		return;
	mem_free(etcd);
	if (on_closed != NULL)
		on_closed(closed_owner);
}

static void on_lane_closed(void *owner)
{
	const struct etcd_lane *lane = owner;

	on_part_closed(lane->etcd);
}

static void on_timer_closed(uv_handle_t *handle)
{
	on_part_closed(handle->data);
}

void etcd_doubt(struct etcd *etcd, const void *user, const char *why)
{
	if (why != NULL) {
		etcd->doubter = user;
		(void)snprintf(etcd->doubt, sizeof(etcd->doubt), "%s", why);
	} else if (etcd->doubter == user) {
		etcd->doubter = NULL;
	}
}

const char *etcd_doubted(const struct etcd *etcd)
{
	return etcd->doubter != NULL ? etcd->doubt : NULL;
}

const char *etcd_refused(const struct etcd *etcd)
{
	return *etcd->refusal != '\0' ? etcd->refusal : NULL;
}

void etcd_identify(struct etcd *etcd, uint64_t identity)
{
	etcd->identity = identity;
}

uint64_t etcd_identity(const struct etcd *etcd)
{
	return etcd->identity;
}

void etcd_close(struct etcd *etcd, void (*on_closed)(void *owner), void *owner)
{
	size_t i;

	assert(!etcd->closing);
	etcd->closing = true;
	etcd->on_closed = on_closed;
	etcd->owner = owner;
	while (etcd->first != NULL)
		etcd_cancel(etcd->first);
	for (i = 0; i < ETCD_LANES; i++) {
		if (etcd->lanes[i].call != NULL)
			etcd_cancel(etcd->lanes[i].call);
		if (etcd->lanes[i].https != NULL)
			https_close(etcd->lanes[i].https, on_lane_closed);
	}
	if (etcd->resolver != NULL)
		resolver_close(etcd->resolver, on_part_closed);
	uv_close((uv_handle_t *)&etcd->timer, on_timer_closed);
}

static int open_parts(struct etcd *etcd, uv_loop_t *loop, struct tls_identity *identity,
		      struct err *err)
{
	size_t i;
	int rc;

	rc = resolver_open(&etcd->resolver, loop, etcd->endpoints, etcd->count, etcd_on_news, etcd,
			   err);
	if (rc != RC_OK)
		return rc;
	etcd->open++;
	for (i = 0; i < ETCD_LANES; i++) {
		etcd->lanes[i].etcd = etcd;
		rc = https_open(&etcd->lanes[i].https, loop, identity, ETCD_BODY_MAX,
				etcd_on_answered, &etcd->lanes[i], err);
		if (rc != RC_OK)
			return rc;
		etcd->open++;
	}
	return RC_OK;
}

int etcd_open(struct etcd **etcd, uv_loop_t *loop, const char *const *endpoints, size_t count,
	      struct tls_identity *identity, struct err *err)
{
	struct etcd *made;
	size_t i;
	int rc = RC_OK;

	if (count == 0 || count > ETCD_ENDPOINTS_MAX)
		return err_set(err, RC_LIMIT, "etcd has 1 to %d endpoints, not %zu",
			       ETCD_ENDPOINTS_MAX, count);
	made = mem_zalloc(1, sizeof(*made));
	if (made == NULL)
		return err_nomem(err, "etcd client");
	for (i = 0; i < count && rc == RC_OK; i++)
		rc = etcd_endpoint_parse(&made->endpoints[i], endpoints[i], err);
	if (rc != RC_OK) {
		mem_free(made);
		return rc;
	}
	made->count = count;
	made->last = &made->first;
	made->answers = true;
	(void)uv_timer_init(loop, &made->timer);
	made->timer.data = made;
	made->open = 1;
	rc = open_parts(made, loop, identity, err);
	if (rc != RC_OK) {
		etcd_close(made, NULL, NULL);
		return rc;
	}
	*etcd = made;
	return RC_OK;
}
