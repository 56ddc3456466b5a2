#include "replica/qmp_parse.h"

#include "replica/qmp.h"

#include <string.h>

#define KEEP_BYTES ((size_t)64 << 10) /* memory kept between messages; few are larger */
#define ID_MAX 9007199254740992.0     /* 2^53: JSON numbers are doubles, larger ids are not exact */
#define SECONDS_MAX 1e11	      /* year 5138: times 10^6 still fits 64 bits */

void qmp_parse_init(struct qmp_parse *parse)
{
	memset(parse, 0, sizeof(*parse));
	parse->text.limit = QMP_LINE_MAX;
}

void qmp_parse_free(struct qmp_parse *parse)
{
	buf_free(&parse->text);
}

void qmp_parse_release(struct qmp_parse_message *message)
{
	cJSON_Delete(message->root);
	message->root = NULL;
}

static bool is_space(uint8_t byte)
{
	return byte == ' ' || byte == '\t' || byte == '\r' || byte == '\n';
}

/*
 * One byte inside an object. Brackets of either kind count alike: whether they match is the JSON
 * parser's question.
 */
static void step(struct qmp_parse *parse, uint8_t byte)
{
	if (parse->in_string) {
		if (parse->escaped)
			parse->escaped = false;
		else if (byte == '\\')
			parse->escaped = true;
		else if (byte == '"')
			parse->in_string = false;
	} else if (byte == '"') {
		parse->in_string = true;
	} else if (byte == '{' || byte == '[') {
		parse->depth++;
	} else if (byte == '}' || byte == ']') {
		parse->depth--;
	}
}

/* The number of bytes up to the end of the object that is being read, or all of them. */
static size_t scan(struct qmp_parse *parse, const uint8_t *bytes, size_t len)
{
	size_t i;

	for (i = 0; i < len; i++) {
		step(parse, bytes[i]);
		if (parse->depth == 0 || parse->depth > QMP_PARSE_DEPTH_MAX)
			return i + 1;
	}
	return len;
}

static double member_number(const cJSON *object, const char *name)
{
	const cJSON *member = cJSON_GetObjectItemCaseSensitive(object, name);

	return cJSON_IsNumber(member) ? member->valuedouble : 0;
}

static uint64_t event_time_us(const cJSON *root)
{
	const cJSON *stamp = cJSON_GetObjectItemCaseSensitive(root, "timestamp");
	double seconds = member_number(stamp, "seconds"),
	       micro = member_number(stamp, "microseconds");

	/*
	 * QEMU says -1 when its clock failed; comparisons are written so that NaN is refused too.
	 */
	if (!(seconds >= 0 && seconds <= SECONDS_MAX && micro >= 0 && micro < 1e6))
		return 0;
	return (uint64_t)seconds * 1000000 + (uint64_t)micro;
}

static const char *string_or_empty(const cJSON *item)
{
	return cJSON_IsString(item) && item->valuestring != NULL ? item->valuestring : "";
}

static void take_id(struct qmp_parse_message *message)
{
	const cJSON *id = cJSON_GetObjectItemCaseSensitive(message->root, "id");

	if (!cJSON_IsNumber(id) || !(id->valuedouble >= 0 && id->valuedouble <= ID_MAX))
		return;
	message->id = (uint64_t)id->valuedouble;
	message->has_id = (double)message->id >= id->valuedouble;
}

static int classify(struct qmp_parse_message *message, struct err *err)
{
	const cJSON *root = message->root, *item;

	take_id(message);
	message->text = "";
	item = cJSON_GetObjectItemCaseSensitive(root, "event");
	if (cJSON_IsString(item)) {
		message->kind = QMP_PARSE_EVENT;
		message->text = string_or_empty(item);
		message->data = cJSON_GetObjectItemCaseSensitive(root, "data");
		message->time_us = event_time_us(root);
		return RC_OK;
	}
	item = cJSON_GetObjectItemCaseSensitive(root, "return");
	if (item != NULL) {
		message->kind = QMP_PARSE_RETURN;
		message->data = item;
		return RC_OK;
	}
	item = cJSON_GetObjectItemCaseSensitive(root, "error");
	if (cJSON_IsObject(item)) {
		message->kind = QMP_PARSE_ERROR;
		message->text = string_or_empty(cJSON_GetObjectItemCaseSensitive(item, "desc"));
		return RC_OK;
	}
	item = cJSON_GetObjectItemCaseSensitive(root, "QMP");
	if (cJSON_IsObject(item)) {
		message->kind = QMP_PARSE_GREETING;
		message->data = item;
		return RC_OK;
	}
	return err_set(err, RC_INVALID,
		       "not QMP: an object that is no greeting, reply, error or event");
}

static int finish(struct qmp_parse *parse, struct qmp_parse_message *message, struct err *err)
{
	const char *text = (const char *)parse->text.data, *end = NULL;
	size_t len = parse->text.len;
	int rc = RC_OK;

	memset(message, 0, sizeof(*message));
	message->root = cJSON_ParseWithLengthOpts(text, len, &end, 0);
	if (message->root == NULL || end != text + len)
		rc = err_set(err, RC_INVALID, "not QMP: %zu bytes that are not valid JSON", len);
	else
		rc = classify(message, err);
	if (rc != RC_OK)
		qmp_parse_release(message);
	if (parse->text.capacity > KEEP_BYTES)
		buf_free(&parse->text);
	buf_reset(&parse->text);
	return rc;
}

int qmp_parse_feed(struct qmp_parse *parse, const uint8_t **at, size_t *left,
		   struct qmp_parse_message *message, bool *complete, struct err *err)
{
	size_t len;
	int rc;

	*complete = false;
	while (parse->depth == 0 && *left > 0 && is_space(**at)) {
		(*at)++;
		(*left)--;
	}
	if (*left == 0)
		return RC_OK;
	if (parse->depth == 0 && **at != '{')
		return err_set(err, RC_INVALID, "not QMP: byte 0x%02x where an object should begin",
			       **at);
	len = scan(parse, *at, *left);
	if (parse->depth > QMP_PARSE_DEPTH_MAX)
		return err_set(err, RC_LIMIT, "QMP object nested deeper than %d",
			       QMP_PARSE_DEPTH_MAX);
	if (len > QMP_LINE_MAX - parse->text.len)
		return err_set(err, RC_LIMIT, "QMP object larger than %zu bytes", QMP_LINE_MAX);
	if (!buf_append(&parse->text, *at, len))
		return err_nomem(err, "a QMP object");
	*at += len;
	*left -= len;
	if (parse->depth > 0)
		return RC_OK;
	rc = finish(parse, message, err);
	*complete = rc == RC_OK;
	return rc;
}
