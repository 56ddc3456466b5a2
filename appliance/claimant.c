#include "appliance/claimant.h"

#include "appliance/base/mem.h"
#include "appliance/base/repeat.h"
#include "appliance/witness_judge.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define ATTEMPTS 3 /* at one claim: two others may have been faster, or we ourselves unknowingly */

struct claimant {
	struct claimant_options options;
	const struct claimant_ops *ops;
	void *owner;
	struct witness *witness;
	uint64_t own_term, claimed;
	bool busy, claim, leased, by_operator, closing;
	unsigned attempts;
	struct repeat said; /* a witness may be away for long */
	void (*on_closed)(void *owner);
	void *close_owner;
};

static void answer(struct claimant *c, enum claimant_answer what, uint64_t term)
{
	c->busy = false;
	if (!c->closing)
		c->ops->on_answer(c->owner, what, term);
}

static void unanswered(struct claimant *c, const struct err *err)
{
	char text[ERR_TEXT_MAX];

	assert(err != NULL);
	(void)snprintf(text, sizeof(text), "%s: %.400s", c->options.instance, err->text);
	repeat_log(&c->said, LOG_LEVEL_WARN, "witness", text);
	answer(c, CLAIMANT_UNANSWERED, c->own_term);
}

static void claim(struct claimant *c, uint64_t term)
{
	const struct witness_claim wanted = {
		.term = term,
		.server = c->options.server,
		.site = c->options.site,
		.leased = c->leased,
	};
	struct err err = { 0 };

	c->claimed = wanted.term;
	if (witness_claim(c->witness, &wanted, 0, &err) != RC_OK)
		unanswered(c, &err);
}

static void judge(struct claimant *c, const struct witness_view *view)
{
	const struct witness_value *value = view->present ? &view->value : NULL;
	const struct witness_question question = {
		.server = c->options.server,
		.site = c->options.site,
		.own_term = c->own_term,
		.claim = c->claim,
		.by_operator = c->by_operator,
	};

	switch (witness_judge(&question, value, view->held)) {
	case WITNESS_OTHERS:
		answer(c, CLAIMANT_LOST, view->value.term);
		break;
	case WITNESS_OURS:
		answer(c, CLAIMANT_WON, view->value.term);
		break;
	case WITNESS_NOTHING:
		answer(c, CLAIMANT_NOBODY, c->own_term);
		break;
	case WITNESS_TO_CLAIM:
		if (c->attempts++ < ATTEMPTS)
			claim(c, witness_next_term(&question, value));
		else
			answer(c, CLAIMANT_UNANSWERED, c->own_term);
		break;
	case WITNESS_TO_WAIT:
		answer(c, CLAIMANT_UNANSWERED, c->own_term);
		break;
	}
}

static void on_done(void *owner, enum witness_outcome outcome, const struct witness_view *view,
		    const struct err *err)
{
	struct claimant *c = owner;

	switch (outcome) {
	case WITNESS_WON:
		c->said = (struct repeat){
			0
		}; /* not by reading: that it does while it refuses claims */
		answer(c, CLAIMANT_WON, c->claimed);
		break;
	case WITNESS_SEEN:
	case WITNESS_LOST:
		judge(c, view);
		break;
	case WITNESS_UNREACHABLE:
		unanswered(c, err);
		break;
	}
}

static void on_lost(void *owner, const struct err *why)
{
	struct claimant *c = owner;

	(void)why; /* in the log it is already: witness.c */
	if (!c->closing && c->ops->on_lost != NULL)
		c->ops->on_lost(c->owner);
}

int claimant_open(struct claimant **out, uv_loop_t *loop, const struct claimant_options *options,
		  const struct claimant_ops *ops, void *owner, struct err *err)
{
	struct claimant *c = mem_zalloc(1, sizeof(*c));
	const struct witness_options how = {
		.etcd = options->etcd,
		.instance = options->instance,
		.ttl_s = options->ttl_s,
		.on_lost = on_lost,
		.done = on_done,
		.owner = c,
	};
	int rc;

	if (c == NULL)
		return err_nomem(err, "asking the witness");
	c->options = *options;
	c->ops = ops;
	c->owner = owner;
	rc = witness_open(&c->witness, loop, &how, err);
	if (rc == RC_OK)
		*out = c;
	else
		mem_free(c);
	return rc;
}

static void ask(struct claimant *c, uint64_t own_term, bool wants)
{
	struct err err = { 0 };

	if (c->closing || (c->busy && (c->claim || !wants)))
		return;
	c->claim = wants;
	c->own_term = own_term;
	c->attempts = 0;
	if (c->busy)
		return; /* the look that is under way is the first half of this claim */
	c->busy = true;
	if (witness_read(c->witness, 0, &err) != RC_OK)
		unanswered(c, &err);
}

void claimant_claim(struct claimant *c, uint64_t own_term, bool leased, bool by_operator)
{
	c->leased = leased;
	c->by_operator = by_operator;
	ask(c, own_term, true);
}

void claimant_look(struct claimant *c, uint64_t own_term)
{
	ask(c, own_term, false);
}

const struct witness_view *claimant_view(const struct claimant *c)
{
	return witness_view(c->witness);
}

uint64_t claimant_until_ns(const struct claimant *c)
{
	return witness_until_ns(c->witness);
}

void claimant_release(struct claimant *c)
{
	witness_release(c->witness);
}

void claimant_rest(struct claimant *c)
{
	witness_rest(c->witness);
}

static void on_witness_closed(void *owner)
{
	struct claimant *c = owner;
	void (*on_closed)(void *) = c->on_closed;
	void *close_owner = c->close_owner;

	mem_free(c);
	if (on_closed != NULL)
		on_closed(close_owner);
}

void claimant_close(struct claimant *c, void (*on_closed)(void *owner), void *owner)
{
	c->closing = true;
	c->on_closed = on_closed;
	c->close_owner = owner;
	witness_close(c->witness, on_witness_closed);
}
