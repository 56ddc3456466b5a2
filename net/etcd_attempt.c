/*
 * A call waits in a queue until a lane is free and an endpoint's address is known, then the lane
 * makes one attempt after the other, in this order of functions:
 *
 *   submit()            into the queue; the timer (0 ms) goes on from the loop
 *   pump_one()          calls without time left fail; others go to free lanes
 *   attempt()           the next endpoint that was not tried: https_post()
 *   etcd_on_answered()  an answer that decides: finish(); anything else: attempt() again
 *   finish()            the owner's callback
 *
 * The endpoint that answered last is tried first. An attempt gets its share of the time that is
 * left, so that a member that does not answer leaves time for the others. A connection that etcd
 * closed while it was idle (it was restarted) does not count as a try of its endpoint, once.
 *
 * The timer is for the queue only; a call on a lane has the HTTPS client's.
 */
#include "appliance/base/clock.h"
#include "appliance/base/log.h"
#include "appliance/base/mem.h"
#include "net/etcd_internal.h"

#include <assert.h>
#include <stdio.h>

static void attempt(struct etcd_lane *lane);
static void on_timer(uv_timer_t *timer);

void etcd_wake(struct etcd *etcd, uint64_t ms)
{
	uv_update_time(etcd->timer.loop);
	(void)uv_timer_start(&etcd->timer, on_timer, ms, 0);
}

void etcd_free_call(struct etcd_call *call)
{
	call->etcd->calls--;
	buf_free(&call->body);
	mem_free(call);
}

void etcd_unqueue(struct etcd_call *call)
{
	struct etcd *etcd = call->etcd;
	struct etcd_call **at;

	for (at = &etcd->first; *at != call; at = &(*at)->next)
		assert(*at != NULL);
	*at = call->next;
	if (call->next == NULL)
		etcd->last = at;
}

/* ---- the end of a call ---- */

static void say(struct etcd *etcd, bool answers, const struct err *err)
{
	if (etcd->answers == answers)
		return;
	etcd->answers = answers;
	if (answers)
		log_info("etcd", "answers");
	else
		log_warn("etcd", "does not answer: %s", err->text);
}

/* A lease that cannot be kept alive or given back is no sign: it may be gone. */
static bool writes(const struct etcd_call *call)
{
	return call->kind == KIND_GRANT || (call->kind == KIND_TXN && call->txn.nputs > 0);
}

/* `sent_ns` 0: it failed, and why is in call->err. */
static void finish(struct etcd_call *call, uint64_t sent_ns)
{
	struct etcd *etcd = call->etcd;
	struct etcd_reply reply = { .sent_ns = sent_ns };

	if (call->lane != NULL)
		call->lane->call = NULL;
	else
		etcd_unqueue(call);
	if (etcd->first != NULL)
		etcd_wake(etcd, 0);
	if (sent_ns == 0) {
		reply.err = &call->err;
		reply.uncertain = call->uncertain;
	} else if (call->kind == KIND_GET || call->kind == KIND_TXN) {
		reply.txn = &call->reply.txn;
	} else if (call->kind != KIND_REVOKE) {
		reply.lease = &call->reply.lease;
	}
	call->done(call->owner, &reply);
	etcd_free_call(call);
}

/* `decided`: by etcd, which has answered then. */
static void fail(struct etcd_call *call, bool decided)
{
	if (call->etcd->count > 1 && !decided && call->tried != 0)
		(void)err_prefix(&call->err, "no endpoint answers; the last: ");
	if (decided && writes(call))
		(void)snprintf(call->etcd->refusal, sizeof(call->etcd->refusal), "%s",
			       call->err.text);
	say(call->etcd, decided, &call->err);
	finish(call, 0);
}

/* ---- attempts ---- */

static const char *path_of(enum etcd_kind kind)
{
	static const char *const paths[] = {
		[KIND_GET] = ETCD_PATH_RANGE,	  [KIND_TXN] = ETCD_PATH_TXN,
		[KIND_GRANT] = ETCD_PATH_GRANT,	  [KIND_KEEP_ALIVE] = ETCD_PATH_KEEP_ALIVE,
		[KIND_REVOKE] = ETCD_PATH_REVOKE,
	};
	static_assert(sizeof(paths) / sizeof(paths[0]) == KIND_REVOKE + 1, "a path for every kind");

	return paths[kind];
}

enum choice { CHOICE_FOUND, CHOICE_LATER, CHOICE_NONE };

/* The next endpoint to try, and one of its addresses; *left: how many there are to try with it. */
static enum choice choose(struct etcd_call *call, size_t *endpoint, struct sockaddr_storage *to,
			  unsigned *left)
{
	const struct etcd *etcd = call->etcd;
	const struct sockaddr_storage *list;
	enum choice choice = CHOICE_NONE;
	struct err err;
	size_t i, at, n;

	*left = 0;
	for (i = 0; i < etcd->count; i++) {
		at = (etcd->preferred + i) % etcd->count;
		if ((call->tried & 1U << at) != 0)
			continue;
		n = resolver_get(etcd->resolver, at, &list, &err);
		if (n == 0) {
			if (err.code == RC_STATE && choice == CHOICE_NONE)
				choice = CHOICE_LATER;
			if (err.code != RC_STATE)
				call->tried |= 1U << at;
			call->err = err;
			(void)err_prefix(&call->err, "%s: ", etcd->endpoints[at].host);
			continue;
		}
		if (choice != CHOICE_FOUND) {
			*endpoint = at;
			/* Another of a name's addresses in each millisecond; no order is better. */
			*to = list[clock_now_ns() / CLOCK_NS_PER_MS % n];
		}
		choice = CHOICE_FOUND;
		(*left)++;
	}
	return choice;
}

/* False: it is not for now; the call stays where it is. */
static bool begin(struct etcd_call *call, struct etcd_lane *lane, bool *over)
{
	struct https_request request = { .path = path_of(call->kind),
					 .body = &call->body,
					 .first_line = call->kind == KIND_KEEP_ALIVE };
	struct etcd *etcd = call->etcd;
	uint64_t now_ns = clock_now_ns(), ms;
	enum choice choice;
	unsigned left;

	choice = choose(call, &lane->endpoint, &request.to, &left);
	*over = choice == CHOICE_NONE;
	if (choice != CHOICE_FOUND)
		return false;
	ms = 0;
	if (call->deadline_ns > now_ns)
		ms = (call->deadline_ns - now_ns + CLOCK_NS_PER_MS - 1) / CLOCK_NS_PER_MS;
	if (ms == 0) {
		if (call->err.code == RC_OK)
			(void)err_set(&call->err, RC_TIMEOUT, "no time was left to ask");
		*over = true;
		return false;
	}
	request.host = &etcd->endpoints[lane->endpoint];
	request.timeout_ms = (uint32_t)((ms + left - 1) / left);
	if (https_post(lane->https, &request, &call->err) != RC_OK) {
		*over = true;
		return false;
	}
	return true;
}

static void attempt(struct etcd_lane *lane)
{
	struct etcd_call *call = lane->call;
	bool over;

	if (begin(call, lane, &over))
		return;
	/* A name that is not known yet is not waited for when another endpoint has failed. */
	fail(call, false);
}

static int read_answer(struct etcd_call *call, const struct https_answer *answer, struct err *err)
{
	const char *text = (const char *)answer->body;
	int rc;

	if (answer->status != 200) {
		rc = etcd_format_read_error(answer->status, text, answer->len, err);
		return rc == RC_STATE && call->kind == KIND_REVOKE ? RC_OK : rc;
	}
	switch (call->kind) {
	case KIND_GET:
		return etcd_format_read_range(&call->reply.txn, text, answer->len, err);
	case KIND_TXN:
		return etcd_format_read_txn(&call->reply.txn, &call->txn, text, answer->len, err);
	case KIND_GRANT:
		return etcd_format_read_grant(&call->reply.lease, text, answer->len, err);
	case KIND_KEEP_ALIVE:
		return etcd_format_read_keep_alive(&call->reply.lease, text, answer->len, err);
	case KIND_REVOKE:
		return RC_OK;
	}
	assert(false);
	return RC_STATE;
}

/* Whether the endpoint may be asked once more: it had closed a connection that was kept. */
static bool deserves_another(struct etcd_call *call, const struct https_answer *answer,
			     const struct https_progress *progress)
{
	if (answer != NULL || !progress->reused || call->err.code != RC_CLOSED ||
	    call->second_chance)
		return false;
	call->second_chance = true;
	return true;
}

void etcd_on_answered(void *owner, const struct https_answer *answer,
		      const struct https_progress *progress, const struct err *err)
{
	struct etcd_lane *lane = owner;
	struct etcd_call *call = lane->call;
	struct etcd *etcd = lane->etcd;
	const struct address *host = &etcd->endpoints[lane->endpoint];
	struct sockaddr_storage unused;
	int rc;

	if (answer != NULL)
		rc = read_answer(call, answer, &call->err);
	else
		rc = (int)(call->err = *err).code;
	if (rc == RC_OK) {
		etcd->preferred = lane->endpoint;
		if (writes(call))
			*etcd->refusal = '\0';
		say(etcd, true, NULL);
		finish(call, progress->sent_ns);
		return;
	}
	/* What the connection says begins with its address already. */
	if (answer != NULL || !address_to_socket(host, &unused))
		(void)err_prefix(&call->err, "%s:%u: ", host->host, host->port);
	if (answer != NULL && (rc == RC_REFUSED || rc == RC_STATE)) {
		fail(call, true);
		return;
	}
	call->uncertain = call->uncertain || progress->sent_ns != 0;
	if (!deserves_another(call, answer, progress)) {
		call->tried |= 1U << lane->endpoint;
		if (etcd->preferred == lane->endpoint)
			etcd->preferred = (lane->endpoint + 1) % etcd->count;
		if (progress->sent_ns == 0)
			resolver_again(etcd->resolver);
	}
	attempt(lane);
}

/* ---- the queue ---- */

static struct etcd_lane *free_lane(struct etcd *etcd)
{
	size_t i;

	for (i = 0; i < ETCD_LANES; i++) {
		if (etcd->lanes[i].call == NULL)
			return &etcd->lanes[i];
	}
	return NULL;
}

/* Starts or ends one call of the queue; false if there is none for which that can be done now. */
static bool pump_one(struct etcd *etcd, uint64_t now_ns, uint64_t *next_ns)
{
	struct etcd_lane *lane = free_lane(etcd);
	struct etcd_call *call;
	bool over = false;

	*next_ns = UINT64_MAX;
	for (call = etcd->first; call != NULL; call = call->next) {
		if (now_ns >= call->deadline_ns) {
			if (call->err.code == RC_OK)
				(void)err_set(&call->err, RC_TIMEOUT, "no time was left to ask");
			fail(call, false);
			return true;
		}
		if (lane != NULL && begin(call, lane, &over)) {
			etcd_unqueue(call);
			call->lane = lane;
			lane->call = call;
			return true;
		}
		if (lane != NULL && over) {
			fail(call, false);
			return true;
		}
		if (call->deadline_ns < *next_ns)
			*next_ns = call->deadline_ns;
	}
	return false;
}

static void on_timer(uv_timer_t *timer)
{
	struct etcd *etcd = timer->data;
	uint64_t now_ns = clock_now_ns(), next_ns = 0;
	size_t most = etcd->calls; /* an owner may call again when it is told of a failure */

	while (!etcd->closing && most > 0 && pump_one(etcd, now_ns, &next_ns))
		most--;
	if (etcd->closing || etcd->first == NULL)
		return;
	if (most == 0)
		etcd_wake(etcd, 0);
	else
		etcd_wake(etcd, (next_ns - now_ns) / CLOCK_NS_PER_MS + 1);
}

void etcd_on_news(void *owner)
{
	struct etcd *etcd = owner;

	if (etcd->first != NULL)
		etcd_wake(etcd, 0);
}
