#include "appliance/past_api.h"

#include "appliance/base/mem.h"
#include "appliance/request_body.h"

#include <stdio.h>
#include <string.h>

/* An order's body. */
struct order {
	char *instance, *text, *to;
	bool end, serve;
};

static int any_text(const char *text, struct err *err)
{
	(void)text;
	(void)err;
	return RC_OK; /* what it means is looked at where it is done */
}

#define INSTANCE                                                                              \
	{                                                                                     \
		.key = "instance", .type = JSON_NAME, .required = true,                       \
		.offset = offsetof(struct order, instance), .doc = "what is ordered is about" \
	}
#define TEXT(name, member, text)                                                      \
	{                                                                             \
		.key = name, .type = JSON_TEXT, .check = any_text,                    \
		.offset = offsetof(struct order, member), .doc = text, .pattern = "", \
		.kind = "text"                                                        \
	}
#define FLAG(name, member, text)                                                          \
	{                                                                                 \
		.key = name, .type = JSON_BOOL, .offset = offsetof(struct order, member), \
		.doc = text                                                               \
	}

#define SHAPE "{\"instance\": \"NAME\", ...}"

static const struct json_field mark_fields[] = {
	INSTANCE,
	TEXT("text", text, "of the mark"),
};
static const struct json_field rewind_fields[] = {
	INSTANCE,
	TEXT("to", to, "an epoch, a time or a mark"),
	FLAG("end", end, "ends the copy"),
	FLAG("serve", serve, "to go live from there"),
};
static const struct json_table mark_table = JSON_TABLE(mark_fields);
static const struct json_table rewind_table = JSON_TABLE(rewind_fields);

static int refuse_primary(struct err *err)
{
	return err_set(err, RC_UNSUPPORTED, "this is a primary; the past is at the standby");
}

int past_api_history(const struct status_source *source, const struct http_request *request,
		     cJSON *json, struct err *err)
{
	struct past_query query;
	int rc;

	if (source->history == NULL)
		return refuse_primary(err);
	rc = past_query_read(&query, request->query, err);
	return rc == RC_OK ? source->history(source->owner, &query, json, err) : rc;
}

int past_api_mark(const struct status_source *source, const struct http_request *request,
		  cJSON *json, struct err *err)
{
	struct order order = { 0 };
	char number[24];
	uint64_t epoch;
	int rc;

	if (source->mark == NULL)
		return refuse_primary(err);
	rc = request_body_read(&order, &mark_table, SHAPE, request, err);
	if (rc == RC_OK && order.text == NULL)
		rc = err_set(err, RC_INVALID, "the body: text: missing");
	if (rc == RC_OK)
		rc = source->mark(source->owner, order.instance, order.text, &epoch, err);
	json_table_free(&mark_table, &order);
	if (rc != RC_OK)
		return rc;
	(void)snprintf(number, sizeof(number), "%llu", (unsigned long long)epoch);
	cJSON_AddRawToObject(json, "epoch", number);
	return RC_OK;
}

int past_api_rewind(const struct status_source *source, const struct http_request *request,
		    cJSON *json, struct err *err)
{
	struct order order = { 0 };
	int rc;

	(void)json;
	if (source->rewind == NULL)
		return refuse_primary(err);
	rc = request_body_read(&order, &rewind_table, SHAPE, request, err);
	if (rc == RC_OK && (order.to == NULL) != order.end)
		rc = err_set(err, RC_INVALID, "the body: one of to and end is needed");
	if (rc == RC_OK && order.serve && order.end)
		rc = err_set(err, RC_INVALID, "the body: serve is for to");
	if (rc == RC_OK && order.end)
		rc = source->rewind_end(source->owner, order.instance, err);
	else if (rc == RC_OK)
		rc = source->rewind(source->owner, order.instance, order.to, order.serve, err);
	json_table_free(&rewind_table, &order);
	return rc;
}
