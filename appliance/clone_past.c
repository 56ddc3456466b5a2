/*
 * The past of a clone, for an operator: what of it the journal holds, marks in it, and a copy of an earlier epoch that runs
 * isolated beside whatever goes on.
 */
#include "appliance/clone_internal.h"

#include "appliance/base/clock.h"
#include "appliance/base/log.h"
#include "replica/history_target.h"

#include <stdio.h>
#include <time.h>

#define SPANS_MAX 64 /* of epochs that follow each other, in an answer: the newest */

static uint64_t now_ms(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / CLOCK_NS_PER_MS;
}

static int journal_of(const struct clone *c, struct journaling **journal, struct err *err)
{
	*journal = seat_journaling(c->seat);
	if (*journal == NULL)
		return err_set(
			err, RC_STATE,
			"%s: there is no journal here (now): with \"durability\" or "
			"\"journal\" in its configuration it has one as soon as it is reserved",
			c->instance->name);
	return RC_OK;
}

/* ---- marks -------------------------------------------------------------------------------------- */

/* What the journal has last is what the instance was before the takeover. */
static int check_epochs_come(const struct clone *c, struct err *err)
{
	const enum failover_state state = c->failover.state;

	if (!failover_is_over(&c->failover))
		return RC_OK;
	return err_set(
		err, RC_STATE,
		"%s: %s, so there is no present epoch to be marked; 'understudy history' lists those from "
		"before",
		c->instance->name,
		state == FAILOVER_CLAIMING || state == FAILOVER_TAKING_OVER ?
			"a takeover is under way" :
			"it was taken over here");
}

int clone_mark(struct clone *c, const char *text, uint64_t *epoch, struct err *err)
{
	struct journaling *journal;
	int rc = history_check_mark(text, err);

	if (rc == RC_OK)
		rc = check_epochs_come(c, err);
	if (rc == RC_OK)
		rc = journal_of(c, &journal, err);
	if (rc == RC_OK)
		rc = journaling_mark(journal, text, epoch, err);
	if (rc == RC_OK)
		log_info(c->part, "mark \"%s\": epoch %llu", text, (unsigned long long)*epoch);
	return rc;
}

/* ---- what there is ------------------------------------------------------------------------------ */

static void add_moment(cJSON *object, const char *epoch_name, const char *time_name, uint64_t epoch,
		       uint64_t ms)
{
	char text[HISTORY_TIME_MAX];

	(void)snprintf(text, sizeof(text), "%llu", (unsigned long long)epoch);
	cJSON_AddRawToObject(object, epoch_name, text);
	if (ms == 0)
		return;
	history_print_time(text, ms);
	cJSON_AddStringToObject(object, time_name, text);
}

/* Bases that follow each other lead to every epoch between. The index of the first of those that end with `last`. */
static size_t span_of(const struct history *history, size_t last)
{
	while (last > 0 && !history->bases[last].cut &&
	       history->bases[last - 1].last >= history->bases[last].first)
		last--;
	return last;
}

static void add_spans(cJSON *object, const struct history *history)
{
	cJSON *list = cJSON_AddArrayToObject(object, "spans"), *span;
	size_t end = history->nbases, first, count = 0;

	for (; end > 0 && count < SPANS_MAX; end = first, count++) {
		first = span_of(history, end - 1);
		span = cJSON_CreateObject();
		add_moment(span, "first_epoch", "first_time", history->bases[first].first,
			   history->bases[first].first_ms);
		add_moment(span, "last_epoch", "last_time", history->bases[end - 1].last,
			   history->bases[end - 1].last_ms);
		cJSON_InsertItemInArray(list, 0, span); /* the oldest first */
	}
	if (end > 0)
		cJSON_AddBoolToObject(object, "older_left_out", true);
}

static void add_history(void *owner, const struct history *history)
{
	cJSON *object = owner, *list, *mark;
	size_t i;

	add_spans(object, history);
	list = cJSON_AddArrayToObject(object, "marks");
	for (i = 0; i < history->nmarks; i++) {
		mark = cJSON_CreateObject();
		add_moment(mark, "epoch", "time", history->marks[i].epoch, history->marks[i].ms);
		cJSON_AddStringToObject(mark, "text", history->marks[i].text);
		cJSON_AddItemToArray(list, mark);
	}
}

/* How far it goes. */
static void add_end(void *owner, const struct history *history)
{
	const struct history_base *last =
		history->nbases > 0 ? &history->bases[history->nbases - 1] : NULL;

	if (last != NULL)
		add_moment(owner, "last_epoch", "last_time", last->last, last->last_ms);
}

int clone_history(struct clone *c, const struct past_query *query, cJSON *object, struct err *err)
{
	struct journaling_status status;
	struct journaling *journal;
	int rc = journal_of(c, &journal, err);

	if (rc != RC_OK)
		return rc;
	journaling_status(journal, &status);
	cJSON_AddStringToObject(object, "name", c->instance->name);
	if (query->epochs) {
		(void)journaling_history(journal, add_end, object);
		return clone_epochs(c, query, object, err);
	}
	cJSON_AddNumberToObject(object, "bytes", (double)status.bytes);
	cJSON_AddNumberToObject(object, "limit_mib", c->instance->history_mib);
	cJSON_AddNumberToObject(object, "limit_minutes", c->instance->history_minutes);
	if (!journaling_history(journal, add_history, object))
		return err_set(err, RC_STATE, "%s: the journal is %s%s%.300s", c->instance->name,
			       status.state, *status.problem != '\0' ? ": " : "", status.problem);
	return RC_OK;
}

/* ---- rewinding ---------------------------------------------------------------------------------- */

struct search {
	const char *target;
	struct history_place place;
	struct err err;
	int rc;
};

static void search(void *owner, const struct history *history)
{
	struct search *s = owner;

	s->rc = history_find(history, s->target, now_ms(), &s->place, &s->err);
}

static void on_read(void *owner)
{
	struct clone *c = owner;
	struct journaling *journal = seat_journaling(c->seat);

	if (journal != NULL)
		(void)journaling_pin(journal, 0);
}

int clone_past_look(struct clone *c, void (*look)(void *owner, const struct history *history),
		    void *owner, struct err *err)
{
	struct journaling *journal;
	int rc = journal_of(c, &journal, err);

	if (rc == RC_OK && !journaling_history(journal, look, owner))
		rc = err_set(err, RC_STATE, "%s: the journal is not open", c->instance->name);
	return rc;
}

int clone_past_find(struct clone *c, const char *target, struct history_place *place,
		    struct err *err)
{
	struct search s = { .target = target };
	int rc = clone_past_look(c, search, &s, err);

	if (rc != RC_OK)
		return rc;
	*place = s.place;
	if (s.rc == RC_OK)
		return RC_OK;
	*err = s.err;
	return err_prefix(err, "%s: ", c->instance->name);
}

/* It stays there until it is read. */
static int find_and_pin(struct clone *c, const char *target, struct history_place *place,
			struct err *err)
{
	int rc = clone_past_find(c, target, place, err);

	if (rc == RC_OK && !journaling_pin(seat_journaling(c->seat), place->base))
		rc = err_set(err, RC_STATE, "%s: that has just been given up", c->instance->name);
	return rc;
}

static void on_closed(void *owner)
{
	struct clone *c = owner;

	c->rewound_closing = false;
	if (c->on_rewound_closed != NULL)
		c->on_rewound_closed(c);
}

void clone_past_drop(struct clone *c)
{
	struct rewound *rewound = c->rewound;

	c->rewound = NULL;
	c->rewound_closing = true;
	on_read(c);
	rewound_close(rewound, on_closed, c);
}

/* What runs here stays; what is to be looked at is another. */
static bool is_free(struct clone *c, struct err *err)
{
	struct rewound_status status = { .reason = "" };

	if (c->rewound != NULL)
		rewound_status(c->rewound, &status);
	if (*status.reason != '\0') /* of one that is over, which is only told of */
		clone_past_drop(c);
	if (c->rewound == NULL && !c->rewound_closing)
		return true;
	if (c->rewound_closing) {
		(void)err_set(err, RC_STATE,
			      "%s: the rewound copy is being ended: again in a moment",
			      c->instance->name);
		return false;
	}
	(void)err_set(err, RC_STATE,
		      "%s: there is a rewound copy already (epoch %llu, %s): end it first, "
		      "'understudy rewind --end'",
		      c->instance->name, (unsigned long long)status.epoch, status.state);
	return false;
}

int clone_rewind(struct clone *c, const char *target, bool serve, struct err *err)
{
	struct rewound_options options = {
		.config = c->config,
		.instance = c->instance,
		.part = c->part,
		.dir = c->dir,
		.memory_dir = c->memory_dir,
		.on_ready = serve ? clone_back_on_ready : NULL,
		.journal = seat_journal_place(c->seat),
	};
	int rc;

	if (c->stopping || !is_free(c, err))
		return c->stopping ? err_set(err, RC_STATE, "the standby ends") : RC_STATE;
	rc = serve ? clone_back_check(c, err) : RC_OK;
	if (rc == RC_OK)
		rc = find_and_pin(c, target, &options.place, err);
	if (rc != RC_OK)
		return rc;
	rc = rewound_open(&c->rewound, c->loop, &options, on_read, c, err);
	if (rc != RC_OK) {
		on_read(c);
		return err_prefix(err, "%s: ", c->instance->name);
	}
	log_info(c->part, "rewinding a copy to \"%s\", %s", target,
		 serve ? "to go live from there" : "isolated");
	return RC_OK;
}

/* By a takeover that is under way, or could not be brought to its end. */
static bool is_used(const struct clone *c)
{
	struct rewound_status status;

	rewound_status(c->rewound, &status);
	return status.ready;
}

void clone_past_yield(struct clone *c, const struct err *err)
{
	struct rewound_status status;
	struct err why;

	if (c->rewound == NULL || (err->code != RC_IO && err->code != RC_LIMIT))
		return;
	rewound_status(c->rewound, &status);
	if (status.serve || *status.reason != '\0')
		return;
	(void)err_set(&why, RC_LIMIT,
		      "it makes way for the replica, which may want for what it has taken: %.400s",
		      err->text);
	rewound_fail(c->rewound, &why);
}

int clone_rewind_end(struct clone *c, struct err *err)
{
	if (c->rewound == NULL)
		return err_set(err, RC_STATE, "%s: there is no rewound copy", c->instance->name);
	if (is_used(c))
		return err_set(err, RC_STATE,
			       clone_back_is_owed(c) ?
				       "%s: the rewound copy is all that is left of the instance "
				       "here; `understudy takeover` brings it up" :
				       "%s: it is going live",
			       c->instance->name);
	clone_past_drop(c);
	log_info(c->part, "the rewound copy is ended");
	return RC_OK;
}

void clone_past_close(struct clone *c, void (*on_past_closed)(void *owner))
{
	c->on_rewound_closed = on_past_closed;
	if (c->rewound != NULL)
		clone_past_drop(c);
	else if (!c->rewound_closing)
		on_past_closed(c);
}

void clone_past_status(const struct clone *c, struct status_instance *status)
{
	if (c->rewound != NULL)
		rewound_status(c->rewound, &status->rewound);
	else if (c->rewound_closing) /* what it had is not free yet */
		status->rewound = (struct rewound_status){
			.state = REWOUND_ENDING, .reason = "", .dir = "", .qmp = ""
		};
}
