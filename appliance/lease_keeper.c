#include "appliance/lease_keeper.h"

#include "appliance/base/clock.h"
#include "appliance/base/log.h"
#include "appliance/base/mem.h"
#include "appliance/term_record.h"

#include <stdio.h>

struct lease_keeper {
	const struct lease_keeper_ops *ops;
	void *owner;
	const struct link *link;
	struct claimant *claimant; /* NULL: no witness */
	struct tenure tenure;
	const char *instance; /* for the log */
	bool serving, alone;  /* told */
	uint64_t until_ns;    /* told */
	char reason[TENURE_REASON_MAX];
	uint32_t period_ms;
	uv_timer_t timer;
	unsigned open_parts;
	void (*on_closed)(void *owner);
	void *close_owner;
};

static void ask_witness(struct lease_keeper *keeper, const struct tenure_update *update)
{
	if (keeper->claimant == NULL)
		return;
	if (update->claim)
		claimant_claim(keeper->claimant, keeper->tenure.term, true, false);
	else if (update->look)
		claimant_look(keeper->claimant, keeper->tenure.term);
	/* The standby's lease covers us again, or somebody else serves, or may. */
	if (update->changed &&
	    (keeper->tenure.state == TENURE_LEASED || keeper->tenure.state == TENURE_YIELDED ||
	     keeper->tenure.state == TENURE_SUPERSEDED || keeper->tenure.gone))
		claimant_release(keeper->claimant);
	/* Again and again: the answer to a question from before may still come. */
	if (keeper->tenure.state == TENURE_SUPERSEDED)
		claimant_rest(keeper->claimant);
}

static void step(struct lease_keeper *keeper, enum tenure_event_type type, uint64_t until_ns,
		 uint64_t term)
{
	const struct tenure_event event = {
		.type = type,
		.now_ns = clock_now_ns(),
		.from_ns = type == TENURE_GRANTED ? link_lease_from_ns(keeper->link) : 0,
		.until_ns = until_ns,
		.term = term,
		.standby = keeper->link != NULL ? link_standby(keeper->link) : 0,
	};
	const enum tenure_state old_state = keeper->tenure.state;
	uint64_t old_term = keeper->tenure.term;
	struct tenure_update update;
	bool serves, alone;

	tenure_step(&keeper->tenure, &event, &update);
	ask_witness(keeper, &update);
	if (keeper->tenure.term != old_term)
		keeper->ops->on_term(keeper->owner, keeper->tenure.term,
				     type == TENURE_WON || type == TENURE_LOST);
	if (update.changed && *update.reason != '\0')
		log_debug("tenure", "%s: %s", tenure_state_name(keeper->tenure.state),
			  update.reason);
	/* That the witness is asked once more says less than that it did not answer. */
	if (*update.reason != '\0' &&
	    !(old_state == TENURE_LAPSED && keeper->tenure.state == TENURE_CLAIMING &&
	      keeper->tenure.uncertain))
		(void)snprintf(keeper->reason, sizeof(keeper->reason), "%s", update.reason);
	if (update.both)
		log_error("tenure", "%s: %s", keeper->instance, update.reason);
	if (tenure_until_ns(&keeper->tenure) != keeper->until_ns) {
		keeper->until_ns = tenure_until_ns(&keeper->tenure);
		keeper->ops->on_lease(keeper->owner, keeper->until_ns);
	}
	serves = tenure_may_serve(&keeper->tenure, event.now_ns);
	alone = keeper->tenure.state == TENURE_ALONE;
	if (serves == keeper->serving && alone == keeper->alone)
		return;
	keeper->serving = serves;
	keeper->alone = alone;
	keeper->ops->on_right(keeper->owner, serves,
			      *update.reason != '\0' ? update.reason : "its lease has run out");
}

static void on_answer(void *owner, enum claimant_answer answer, uint64_t term)
{
	struct lease_keeper *keeper = owner;

	switch (answer) {
	case CLAIMANT_WON:
		step(keeper, TENURE_WON, claimant_until_ns(keeper->claimant), term);
		/* Too late: held on to, it would keep the standby from claiming, and us from the next one. */
		if (keeper->tenure.state != TENURE_ALONE)
			claimant_release(keeper->claimant);
		break;
	case CLAIMANT_LOST:
		step(keeper, term > keeper->tenure.term ? TENURE_LOST : TENURE_UNANSWERED, 0, term);
		break;
	case CLAIMANT_NOBODY:
		step(keeper, TENURE_WON, 0, keeper->tenure.term);
		break;
	case CLAIMANT_UNANSWERED:
		step(keeper, TENURE_UNANSWERED, 0, 0);
		break;
	}
}

static void on_lost(void *owner)
{
	step(owner, TENURE_TAKEN, 0, 0);
}

static const struct claimant_ops claimant_callbacks = { on_answer, on_lost };

static void renew(struct lease_keeper *keeper)
{
	uint64_t until_ns = keeper->link != NULL ? link_lease_ns(keeper->link) : 0;

	/* First: a lease that has come in time must not lapse meanwhile. */
	if (until_ns > 0 && link_lease_term(keeper->link) <= TERM_MAX)
		step(keeper, TENURE_GRANTED, until_ns, link_lease_term(keeper->link));
	if (keeper->tenure.state == TENURE_ALONE)
		step(keeper, TENURE_WON, claimant_until_ns(keeper->claimant), keeper->tenure.term);
	step(keeper, TENURE_TICK, 0, 0);
}

static void on_timer(uv_timer_t *timer)
{
	struct lease_keeper *keeper = timer->data;
	uint64_t wait_ms = keeper->period_ms, due_ns, now_ns;

	renew(keeper);
	due_ns = tenure_due_ns(&keeper->tenure);
	now_ns = clock_now_ns();
	if (due_ns != UINT64_MAX && due_ns < now_ns + wait_ms * CLOCK_NS_PER_MS)
		wait_ms = due_ns > now_ns ? (due_ns - now_ns) / CLOCK_NS_PER_MS + 1 : 1;
	(void)uv_timer_start(timer, on_timer, wait_ms, 0);
}

int lease_keeper_open(struct lease_keeper **out, uv_loop_t *loop,
		      const struct lease_keeper_options *options,
		      const struct lease_keeper_ops *ops, void *owner, struct err *err)
{
	struct lease_keeper *keeper = mem_zalloc(1, sizeof(*keeper));
	const struct claimant_options how = {
		.etcd = options->etcd,
		.instance = options->instance,
		.site = options->site,
		.server = WITNESS_PRIMARY,
		.ttl_s = options->ttl_s,
	};
	int rc = RC_OK;

	if (keeper == NULL)
		return err_nomem(err, "a lease");
	keeper->ops = ops;
	keeper->owner = owner;
	keeper->instance = options->instance;
	keeper->period_ms = options->period_ms;
	if (options->etcd != NULL)
		rc = claimant_open(&keeper->claimant, loop, &how, &claimant_callbacks, keeper, err);
	if (rc != RC_OK) {
		mem_free(keeper);
		return rc;
	}
	tenure_init(&keeper->tenure, options->hold, options->etcd != NULL, options->term);
	keeper->serving = tenure_may_serve(&keeper->tenure, clock_now_ns());
	keeper->until_ns = tenure_until_ns(&keeper->tenure);
	lease_keeper_instance(keeper, false);
	(void)uv_timer_init(loop, &keeper->timer);
	keeper->timer.data = keeper;
	(void)uv_timer_start(&keeper->timer, on_timer, options->period_ms, 0);
	*out = keeper;
	return RC_OK;
}

void lease_keeper_link(struct lease_keeper *keeper, const struct link *link)
{
	keeper->link = link;
}

void lease_keeper_yield(struct lease_keeper *keeper, uint64_t term)
{
	step(keeper, TENURE_YIELD, 0, term);
}

void lease_keeper_supersede(struct lease_keeper *keeper, uint64_t term)
{
	step(keeper, TENURE_SUPERSEDE, 0, term);
}

void lease_keeper_seated(struct lease_keeper *keeper)
{
	step(keeper, TENURE_SEATED, 0, 0);
}

bool lease_keeper_takes(const struct lease_keeper *keeper, uint64_t standby)
{
	return tenure_takes(&keeper->tenure, standby);
}

void lease_keeper_release(struct lease_keeper *keeper, uint64_t term)
{
	step(keeper, TENURE_RELEASE, 0, term);
	*keeper->reason = '\0';
}

void lease_keeper_instance(struct lease_keeper *keeper, bool there)
{
	step(keeper, there ? TENURE_THERE : TENURE_GONE, 0, 0);
}

uint64_t lease_keeper_until_ns(const struct lease_keeper *keeper)
{
	return tenure_until_ns(&keeper->tenure);
}

bool lease_keeper_may_serve(const struct lease_keeper *keeper)
{
	return tenure_may_serve(&keeper->tenure, clock_now_ns());
}

bool lease_keeper_is_free(const struct lease_keeper *keeper)
{
	return keeper->tenure.state == TENURE_FREE || keeper->tenure.state == TENURE_ALONE;
}

bool lease_keeper_is_alone(const struct lease_keeper *keeper)
{
	return keeper->tenure.state == TENURE_ALONE;
}

bool lease_keeper_has_yielded(const struct lease_keeper *keeper)
{
	return keeper->tenure.state == TENURE_YIELDED;
}

bool lease_keeper_is_superseded(const struct lease_keeper *keeper)
{
	return keeper->tenure.state == TENURE_SUPERSEDED;
}

const char *lease_keeper_state(const struct lease_keeper *keeper)
{
	return tenure_state_name(keeper->tenure.state);
}

const char *lease_keeper_reason(const struct lease_keeper *keeper)
{
	return keeper->reason;
}

double lease_keeper_left_ms(const struct lease_keeper *keeper)
{
	uint64_t now_ns = clock_now_ns();

	if (!keeper->tenure.hold)
		return -1;
	return keeper->tenure.until_ns > now_ns ? clock_ms(keeper->tenure.until_ns - now_ns) : 0;
}

static void part_closed(void *owner)
{
	struct lease_keeper *keeper = owner;
	void (*on_closed)(void *) = keeper->on_closed;
	void *close_owner = keeper->close_owner;

	if (--keeper->open_parts > 0)
		return;
	mem_free(keeper);
	if (on_closed != NULL)
		on_closed(close_owner);
}

static void on_timer_closed(uv_handle_t *handle)
{
	part_closed(handle->data);
}

void lease_keeper_close(struct lease_keeper *keeper, void (*on_closed)(void *owner), void *owner)
{
	keeper->on_closed = on_closed;
	keeper->close_owner = owner;
	keeper->open_parts = 1 + (keeper->claimant != NULL);
	if (keeper->claimant != NULL)
		claimant_close(keeper->claimant, part_closed, keeper);
	uv_close((uv_handle_t *)&keeper->timer, on_timer_closed);
}
