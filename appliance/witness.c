/*
 * A claim, in the order in which it happens: witness_claim() asks for a lease (if it is to have
 * one), on_granted() makes the transaction
 *
 *   if   KEY is at the revision last seen, and LEASE-KEY does not exist
 *   then put KEY (and LEASE-KEY, attached to the lease)
 *   else read both
 *
 * and on_claimed() tells the caller. Two keys and not one: what is attached to a lease is deleted
 * with it, and the term must never be forgotten. What could not be won gives its lease back.
 *
 * A held lease is renewed every third of its time, in two steps. on_kept(): etcd's leader has
 * renewed it. That alone is not enough: a leader that was cut off from the others does not know
 * that it is none any more, and renews what the new one lets run out. So both keys are read
 * afterwards, which etcd does only with the consent of the majority: on_confirmed() counts the
 * renewal if and only if (1) both answers are of the same raft term, in which there is one leader:
 * it was still the leader after the renewal; (2) LEASE-KEY is there, with our lease.
 *
 * The lease's safe end counts from when the request that renewed it was sent, less a margin for
 * clocks of different speed: etcd's own count began later. At that time, by our own timer, the
 * lease is lost, whatever may still be under way.
 */
#include "appliance/witness.h"

#include "appliance/base/clock.h"
#include "appliance/base/json_value.h"
#include "appliance/base/log.h"
#include "appliance/base/mem.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#define RENEW_PART 3  /* a lease is renewed every third of its time ... */
#define RETRY_PART 24 /* ... and tried again this soon after a failure: 208 ms of 5 s */

struct witness {
	uv_timer_t renew, end;
	unsigned open; /* timers */
	struct witness_options options;
	struct witness_keys keys;
	char part[JSON_NAME_MAX + 16]; /* for the log */
	struct witness_view view;
	int64_t revision; /* of the value last seen; 0: there was none */
	/* reading or claiming */
	struct etcd_call *call;
	uint64_t deadline_ns;
	struct witness_value claimed;
	char text[WITNESS_TEXT_MAX];
	int64_t granted; /* for the claim that goes on; 0: it has no lease */
	uint64_t granted_until_ns;
	/* the lease that is held */
	int64_t lease;
	uint64_t until_ns;
	struct etcd_call *renewal;
	struct etcd_header renewed; /* by the answer of the first step */
	uint64_t renewed_until_ns;
	struct err failure; /* of the last try to renew */
	bool closing;
	void (*on_closed)(void *owner);
};

static void on_renew(uv_timer_t *timer);

/* ---- what etcd says ---- */

static uint32_t left_ms(uint64_t deadline_ns)
{
	uint64_t now_ns = clock_now_ns();
	uint64_t ms = deadline_ns > now_ns ? (deadline_ns - now_ns) / CLOCK_NS_PER_MS : 0;

	return ms > 0 ? (uint32_t)ms : 1; /* 0 would mean the usual time */
}

static void start(uv_timer_t *timer, uv_timer_cb callback, uint64_t ms)
{
	uv_update_time(timer->loop);
	(void)uv_timer_start(timer, callback, ms, 0);
}

static bool is_same(const struct witness_value *a, const struct witness_value *b)
{
	return a->term == b->term && a->server == b->server && strcmp(a->site, b->site) == 0 &&
	       strcmp(a->claim, b->claim) == 0;
}

/* Each value has a higher term than the one before it: an etcd that has another one has lost data. */
static int recall(struct witness *witness, const struct witness_view *view, struct err *err)
{
	const struct witness_value *seen = &witness->view.value, *now = &view->value;
	const bool known = now->term > seen->term || is_same(now, seen);

	if (!known)
		(void)err_set(
			err, RC_STATE,
			"etcd does not know what it knew: %s had term %" PRIu64
			", and %s. This process does not begin to serve by its word; once you are "
			"sure that no other site serves, restart it",
			witness->keys.key, seen->term,
			!view->present		? "is gone" :
			now->term == seen->term ? "has it of another site now" :
						  "has a lower one now");
	etcd_doubt(witness->options.etcd, witness, known ? NULL : err->text);
	return known ? RC_OK : RC_STATE;
}

/* Reads the two keys of an answer into the view. */
static int look(struct witness *witness, const struct etcd_txn_reply *reply, struct err *err)
{
	const struct etcd_entry *entry = &reply->entries[0];
	struct witness_view view = { .present = entry->present };
	int rc;

	if (entry->present) {
		rc = witness_value_parse(&view.value, entry->value, entry->len, err);
		if (rc != RC_OK)
			return err_prefix(err,
					  "what is stored at %s is not ours: ", witness->keys.key);
		view.own = strcmp(view.value.claim, witness->claimed.claim) == 0;
	}
	rc = recall(witness, &view, err);
	if (rc != RC_OK)
		return rc;
	view.held = reply->entries[1].present;
	witness->view = view;
	witness->revision = entry->mod_revision;
	return RC_OK;
}

static void tell(struct witness *witness, enum witness_outcome outcome, const struct err *err)
{
	const struct witness_view view = witness->view;

	witness->options.done(witness->options.owner, outcome, &view, err);
}

static struct etcd_txn reading(const struct witness *witness)
{
	return (struct etcd_txn){ .reads = { witness->keys.key, witness->keys.lease },
				  .nreads = 2 };
}

static struct etcd_how how(struct witness *witness, etcd_done done, uint64_t deadline_ns)
{
	return (struct etcd_how){ .timeout_ms = left_ms(deadline_ns),
				  .done = done,
				  .owner = witness };
}

/* ---- reading ---- */

static void on_read(void *owner, const struct etcd_reply *reply)
{
	struct witness *witness = owner;
	struct err err;

	witness->call = NULL;
	if (reply->err != NULL)
		tell(witness, WITNESS_UNREACHABLE, reply->err);
	else if (look(witness, reply->txn, &err) != RC_OK)
		tell(witness, WITNESS_UNREACHABLE, &err);
	else
		tell(witness, WITNESS_SEEN, NULL);
}

static int begin(struct witness *witness, uint32_t timeout_ms, struct err *err)
{
	assert(!witness->closing);
	if (witness->call != NULL)
		return err_set(err, RC_STATE, "the witness is being asked already");
	witness->deadline_ns =
		clock_now_ns() + (timeout_ms > 0 ? timeout_ms : ETCD_TIMEOUT_MS) * CLOCK_NS_PER_MS;
	return RC_OK;
}

int witness_read(struct witness *witness, uint32_t timeout_ms, struct err *err)
{
	const struct etcd_txn txn = reading(witness);
	struct etcd_how asked;
	int rc;

	rc = begin(witness, timeout_ms, err);
	if (rc != RC_OK)
		return rc;
	asked = how(witness, on_read, witness->deadline_ns);
	witness->call = etcd_commit(witness->options.etcd, &txn, &asked, err);
	return witness->call != NULL ? RC_OK : (int)err->code;
}

/* ---- claiming ---- */

static void on_granted(void *owner, const struct etcd_reply *reply);
static int commit(struct witness *witness, struct err *err);
static void on_claimed(void *owner, const struct etcd_reply *reply);

int witness_claim(struct witness *witness, const struct witness_claim *claim, uint32_t timeout_ms,
		  struct err *err)
{
	struct witness_value value = { .term = claim->term, .server = claim->server };
	struct etcd_how asked;
	int rc;

	rc = begin(witness, timeout_ms, err);
	if (rc != RC_OK)
		return rc;
	if (witness->lease != 0)
		return err_set(err, RC_STATE, "the witness's lease is held already");
	if (witness->view.present && claim->term <= witness->view.value.term)
		return err_set(err, RC_STATE, "the witness has seen term %" PRIu64 " already",
			       witness->view.value.term);
	if (!json_value_is_name(claim->site))
		return err_set(err, RC_INVALID, "no site's name");
	(void)snprintf(value.site, sizeof(value.site), "%s", claim->site);
	(void)snprintf(value.claim, sizeof(value.claim), "%s", witness->claimed.claim);
	rc = witness_value_print(witness->text, &value, err);
	if (rc != RC_OK)
		return rc;
	witness->claimed = value;
	witness->granted = 0;
	if (!claim->leased)
		return commit(witness, err);
	asked = how(witness, on_granted, witness->deadline_ns);
	witness->call = etcd_grant(witness->options.etcd, witness->options.ttl_s, &asked, err);
	return witness->call != NULL ? RC_OK : (int)err->code;
}

static void on_granted(void *owner, const struct etcd_reply *reply)
{
	struct witness *witness = owner;
	struct err err;

	witness->call = NULL;
	if (reply->err != NULL) {
		tell(witness, WITNESS_UNREACHABLE, reply->err);
		return;
	}
	witness->granted = reply->lease->id;
	witness->granted_until_ns = witness_lease_end(reply->sent_ns, reply->lease->ttl_s);
	if (commit(witness, &err) != RC_OK)
		tell(witness, WITNESS_UNREACHABLE, &err);
}

static int commit(struct witness *witness, struct err *err)
{
	struct etcd_how asked = how(witness, on_claimed, witness->deadline_ns);
	struct etcd_txn txn = reading(witness);

	txn.compares[0] =
		(struct etcd_compare){ witness->keys.key, ETCD_MOD_REVISION, witness->revision };
	txn.compares[1] = (struct etcd_compare){ witness->keys.lease, ETCD_CREATE_REVISION, 0 };
	txn.ncompares = 2;
	txn.puts[0] = (struct etcd_put){ witness->keys.key, witness->text, 0 };
	txn.puts[1] = (struct etcd_put){ witness->keys.lease, witness->text, witness->granted };
	txn.nputs = witness->granted != 0 ? 2 : 1;
	witness->call = etcd_commit(witness->options.etcd, &txn, &asked, err);
	return witness->call != NULL ? RC_OK : (int)err->code;
}

static void on_revoked(void *owner, const struct etcd_reply *reply)
{
	/* One that could not be given back ends by itself. */
	(void)owner;
	(void)reply;
}

static void give_back(const struct witness *witness, int64_t lease)
{
	const struct etcd_how asked = { .done = on_revoked };
	struct err ignored;

	if (lease != 0)
		(void)etcd_revoke(witness->options.etcd, lease, &asked, &ignored);
}

static void hold(struct witness *witness);

static void on_claimed(void *owner, const struct etcd_reply *reply)
{
	struct witness *witness = owner;
	enum witness_outcome outcome = WITNESS_LOST;
	struct err err;

	witness->call = NULL;
	if (reply->err != NULL) {
		err = *reply->err;
		outcome = WITNESS_UNREACHABLE;
	} else if (reply->txn->succeeded && witness->granted != 0 &&
		   clock_now_ns() >= witness->granted_until_ns) {
		(void)err_set(&err, RC_TIMEOUT, "the claim took longer than its lease");
		outcome = WITNESS_UNREACHABLE;
	} else if (reply->txn->succeeded) {
		witness->view = (struct witness_view){ .present = true,
						       .value = witness->claimed,
						       .held = witness->granted != 0,
						       .own = true };
		witness->revision = reply->txn->put_revision;
		outcome = WITNESS_WON;
	} else if (look(witness, reply->txn, &err) != RC_OK) {
		outcome = WITNESS_UNREACHABLE;
	}
	if (outcome != WITNESS_WON)
		give_back(witness, witness->granted);
	else if (witness->granted != 0)
		hold(witness);
	tell(witness, outcome, outcome == WITNESS_UNREACHABLE ? &err : NULL);
}

/* ---- holding ---- */

static void on_kept(void *owner, const struct etcd_reply *reply);
static void on_confirmed(void *owner, const struct etcd_reply *reply);

static void let_lease_go(struct witness *witness)
{
	if (witness->renewal != NULL)
		etcd_cancel(witness->renewal);
	witness->renewal = NULL;
	witness->lease = 0;
	witness->until_ns = 0;
	(void)uv_timer_stop(&witness->renew);
	(void)uv_timer_stop(&witness->end);
}

static void lose(struct witness *witness, const struct err *why)
{
	const struct err copy = *why;

	let_lease_go(witness);
	log_warn(witness->part, "the witness's lease is lost: %s", copy.text);
	witness->options.on_lost(witness->options.owner, &copy);
}

static void on_end(uv_timer_t *timer)
{
	struct witness *witness = timer->data;
	uint64_t now_ns = clock_now_ns();
	struct err err;

	if (now_ns < witness->until_ns) {
		start(timer, on_end, (witness->until_ns - now_ns) / CLOCK_NS_PER_MS + 1);
		return;
	}
	if (witness->failure.code != RC_OK)
		err = witness->failure;
	else
		(void)err_set(&err, RC_TIMEOUT, "it was not renewed in time");
	lose(witness, &err);
}

static uint64_t ttl_part_ms(const struct witness *witness, unsigned part)
{
	return witness->options.ttl_s * UINT64_C(1000) / part;
}

static void last_until(struct witness *witness, uint64_t until_ns)
{
	witness->until_ns = until_ns;
	witness->failure.code = RC_OK;
	start(&witness->end, on_end, left_ms(until_ns));
	start(&witness->renew, on_renew, ttl_part_ms(witness, RENEW_PART));
}

static void hold(struct witness *witness)
{
	witness->lease = witness->granted;
	last_until(witness, witness->granted_until_ns);
}

static void try_again(struct witness *witness, const struct err *why)
{
	if (witness->failure.code == RC_OK)
		log_warn(witness->part, "the witness's lease could not be renewed: %s", why->text);
	witness->failure = *why;
	start(&witness->renew, on_renew, ttl_part_ms(witness, RETRY_PART));
}

static struct etcd_how how_to_renew(struct witness *witness, etcd_done done)
{
	uint64_t usual_ns = clock_now_ns() + ETCD_TIMEOUT_MS * CLOCK_NS_PER_MS;

	return how(witness, done, usual_ns < witness->until_ns ? usual_ns : witness->until_ns);
}

static void on_renew(uv_timer_t *timer)
{
	struct witness *witness = timer->data;
	struct etcd_how asked = how_to_renew(witness, on_kept);
	struct err err;

	assert(witness->renewal == NULL && witness->lease != 0);
	witness->renewal = etcd_keep_alive(witness->options.etcd, witness->lease, &asked, &err);
	if (witness->renewal == NULL)
		try_again(witness, &err);
}

static void on_kept(void *owner, const struct etcd_reply *reply)
{
	struct witness *witness = owner;
	const struct etcd_txn txn = reading(witness);
	struct etcd_how asked = how_to_renew(witness, on_confirmed);
	struct err err;

	witness->renewal = NULL;
	if (reply->err != NULL) {
		try_again(witness, reply->err);
		return;
	}
	if (reply->lease->ttl_s == 0) {
		(void)err_set(&err, RC_REFUSED, "etcd has it no more");
		lose(witness, &err);
		return;
	}
	witness->renewed = reply->lease->header;
	witness->renewed_until_ns = witness_lease_end(reply->sent_ns, reply->lease->ttl_s);
	witness->renewal = etcd_commit(witness->options.etcd, &txn, &asked, &err);
	if (witness->renewal == NULL)
		try_again(witness, &err);
}

static void on_confirmed(void *owner, const struct etcd_reply *reply)
{
	struct witness *witness = owner;
	const struct etcd_entry *held;
	struct err err;

	witness->renewal = NULL;
	if (reply->err != NULL) {
		try_again(witness, reply->err);
		return;
	}
	held = &reply->txn->entries[1];
	if (!held->present || held->lease != witness->lease) {
		(void)err_set(&err, RC_REFUSED, "%s was taken away", witness->keys.lease);
		lose(witness, &err);
	} else if (reply->txn->header.raft_term != witness->renewed.raft_term) {
		(void)err_set(&err, RC_STATE, "etcd's leader has just changed");
		try_again(witness, &err);
	} else {
		if (witness->failure.code != RC_OK)
			log_info(witness->part, "the witness's lease is renewed again");
		last_until(witness, witness->renewed_until_ns);
	}
}

void witness_release(struct witness *witness)
{
	int64_t lease = witness->lease;

	let_lease_go(witness);
	witness->view.held = false;
	give_back(witness, lease);
}

void witness_rest(struct witness *witness)
{
	etcd_doubt(witness->options.etcd, witness, NULL);
}

/* ---- the rest ---- */

int witness_open(struct witness **witness, uv_loop_t *loop, const struct witness_options *options,
		 struct err *err)
{
	struct witness *made;
	uint64_t random;
	int rc;

	assert(options->ttl_s >= 1 && options->ttl_s <= WITNESS_TTL_MAX_S);
	made = mem_zalloc(1, sizeof(*made));
	if (made == NULL)
		return err_nomem(err, "witness");
	rc = witness_value_keys(&made->keys, options->instance, err);
	if (rc == RC_OK && getrandom(&random, sizeof(random), 0) != sizeof(random))
		rc = err_set(err, RC_IO, "no random numbers");
	if (rc != RC_OK) {
		mem_free(made);
		return rc;
	}
	(void)snprintf(made->claimed.claim, sizeof(made->claimed.claim), "%016" PRIx64, random);
	(void)snprintf(made->part, sizeof(made->part), "witness %s", options->instance);
	made->options = *options;
	made->options.instance = NULL; /* the caller's, and only for now */
	(void)uv_timer_init(loop, &made->renew);
	(void)uv_timer_init(loop, &made->end);
	made->renew.data = made->end.data = made;
	made->open = 2;
	*witness = made;
	return RC_OK;
}

const struct witness_view *witness_view(const struct witness *witness)
{
	return &witness->view;
}

uint64_t witness_until_ns(const struct witness *witness)
{
	return witness->until_ns;
}

static void on_closed(uv_handle_t *handle)
{
	struct witness *witness = handle->data;
	void (*closed)(void *owner) = witness->on_closed;
	void *owner = witness->options.owner;

	if (--witness->open > 0)
		return;
	mem_free(witness);
	if (closed != NULL)
		closed(owner);
}

void witness_close(struct witness *witness, void (*closed)(void *owner))
{
	assert(!witness->closing);
	witness->closing = true;
	witness->on_closed = closed;
	if (witness->call != NULL)
		etcd_cancel(witness->call);
	let_lease_go(witness);
	etcd_doubt(witness->options.etcd, witness, NULL);
	uv_close((uv_handle_t *)&witness->renew, on_closed);
	uv_close((uv_handle_t *)&witness->end, on_closed);
}
