/*
 * The epochs of a clone's past, one by one. They are read from the journal's files when somebody asks, in a thread of its own; the same
 * question is answered with the list when that is there, and the list is given up then. Another question waits until then, for its list is
the next to be read; or until nobody has come for that one.
 */
#include "appliance/clone_internal.h"

#include <stdio.h>
#include <string.h>

static void add_number(cJSON *object, const char *name, uint64_t value)
{
	char text[24];

	(void)snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
	cJSON_AddRawToObject(object, name, text);
}

static void add_time(cJSON *object, const char *name, uint64_t ms)
{
	char text[HISTORY_TIME_MAX];

	if (ms == 0)
		return;
	history_print_time(text, ms);
	cJSON_AddStringToObject(object, name, text);
}

static void add_epochs(cJSON *object, const struct journal_epochs *epochs)
{
	cJSON *list = cJSON_AddArrayToObject(object, "epochs"), *item;
	size_t i;

	for (i = 0; i < epochs->count; i++) {
		item = cJSON_CreateObject();
		add_number(item, "epoch", epochs->list[i].epoch);
		add_time(item, "time", epochs->list[i].ms);
		add_number(item, "pages", epochs->list[i].pages);
		add_number(item, "bytes", epochs->list[i].bytes);
		cJSON_AddItemToArray(list, item);
	}
	cJSON_AddBoolToObject(object, "earlier", epochs->earlier);
	cJSON_AddBoolToObject(object, "later", epochs->later);
}

/* The newest place that there is. */
static void find_newest(void *owner, const struct history *history)
{
	struct history_place *place = owner;

	if (history->nbases > 0)
		*place = (struct history_place){ history->bases[history->nbases - 1].sequence,
						 UINT64_MAX, UINT64_MAX, history->journal };
}

static int place_it(struct clone *c, const struct past_query *query,
		    struct journal_epochs_options *options, struct err *err)
{
	int rc = RC_OK;

	if (*query->to != '\0')
		rc = clone_past_find(c, query->to, &options->to, err);
	else
		rc = clone_past_look(c, find_newest, &options->to, err);
	options->newest = *query->from == '\0';
	if (rc == RC_OK && options->newest)
		options->from = (struct history_place){ options->to.base, 0, UINT64_MAX,
							options->to.journal };
	else if (rc == RC_OK)
		rc = clone_past_find(c, query->from, &options->from, err);
	return rc;
}

static int begin(struct clone *c, const struct past_query *query, struct err *err)
{
	const struct journal_place *place = seat_journal_place(c->seat);
	struct journal_epochs_options options = { .count = place->count, .limit = query->limit };
	int rc = place_it(c, query, &options, err);

	memcpy(options.dirs, place->dirs, sizeof(options.dirs));
	if (rc == RC_OK)
		rc = listing_open(&c->listing, c->loop, &options, err);
	c->listed = *query;
	return rc;
}

static bool is_the_same(const struct past_query *a, const struct past_query *b)
{
	return strcmp(a->from, b->from) == 0 && strcmp(a->to, b->to) == 0 && a->limit == b->limit;
}

static void drop(struct clone *c)
{
	listing_close(c->listing, NULL, NULL);
	c->listing = NULL;
}

int clone_epochs(struct clone *c, const struct past_query *query, cJSON *object, struct err *err)
{
	const bool same = is_the_same(&c->listed, query);
	const struct journal_epochs *epochs = NULL;
	int rc = RC_OK;

	if (c->listing != NULL && !same && listing_is_left(c->listing))
		drop(c);
	else if (c->listing != NULL && same)
		epochs = listing_result(c->listing, &rc, err);
	if (c->listing == NULL) {
		cJSON_AddTrueToObject(object, "reading");
		return begin(c, query, err);
	}
	if (epochs == NULL) {
		cJSON_AddTrueToObject(object, "reading");
		return RC_OK;
	}
	if (rc == RC_OK)
		add_epochs(object, epochs);
	drop(c);
	return rc;
}

void clone_listing_close(struct clone *c, void (*on_listing_closed)(void *owner))
{
	if (c->listing != NULL)
		listing_close(c->listing, on_listing_closed, c);
	else
		on_listing_closed(c);
}
