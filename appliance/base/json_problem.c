#include "appliance/base/json_problem.h"

#include "appliance/base/utf8.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define DEPTH_MAX 16 /* tables nest at most 4 deep */

const char *json_problem_clip(char out[JSON_QUOTE], const char *text)
{
	size_t len = strnlen(text, JSON_QUOTE_MAX + 1);
	bool cut = len > JSON_QUOTE_MAX;

	if (cut) {
		/* Not through the middle of a UTF-8 sequence. */
		for (len = JSON_QUOTE_MAX; len > 0 && ((unsigned char)text[len] & 0xc0) == 0x80;)
			len--;
	}
	memcpy(out, text, len);
	out[len] = '\0';
	utf8_make_plain(out);
	if (cut)
		memcpy(out + strlen(out), "...", sizeof("..."));
	return out;
}

const char *json_problem_quote(char out[JSON_QUOTE], const char *text)
{
	size_t len;

	(void)json_problem_clip(out, text);
	len = strlen(out);
	memmove(out + 1, out, len);
	out[0] = '"';
	out[len + 1] = '"';
	out[len + 2] = '\0';
	return out;
}

void json_problem_place(char out[JSON_PLACE_MAX], const struct json_place *place)
{
	const struct json_place *chain[DEPTH_MAX] = { NULL };
	size_t depth = 0, used = 0;
	int added;

	for (; place != NULL && depth < DEPTH_MAX; place = place->up)
		chain[depth++] = place;
	out[0] = '\0';
	while (depth-- > 0 && used < JSON_PLACE_MAX - 1) {
		if (chain[depth]->indexed && chain[depth]->index == JSON_PLACE_ANY)
			added = snprintf(out + used, JSON_PLACE_MAX - used, "[]");
		else if (chain[depth]->indexed)
			added = snprintf(out + used, JSON_PLACE_MAX - used, "[%zu]",
					 chain[depth]->index);
		else
			added = snprintf(out + used, JSON_PLACE_MAX - used, "%s%s",
					 used > 0 ? "." : "", chain[depth]->key);
		used += added > 0 ? (size_t)added : 0;
	}
}

void json_problem(struct json_reading *reading, enum rc code, const struct json_place *place,
		  const char *format, ...)
{
	const struct json_reader *reader = reading->reader;
	char path[JSON_PLACE_MAX], reason[ERR_TEXT_MAX];
	const char *colon;
	va_list args;

	if (reading->stop)
		return;
	if (reading->problems == JSON_PROBLEMS_MAX) {
		(void)buf_printf(reader->problems, "%s: and more than these %d problems\n",
				 reader->name, JSON_PROBLEMS_MAX);
		reading->stop = true;
		return;
	}
	json_problem_place(path, place);
	colon = *path != '\0' ? ": " : "";
	va_start(args, format);
	(void)vsnprintf(reason, sizeof(reason), format, args);
	va_end(args);
	if (reading->problems == 0)
		(void)err_set(reading->err, code, "%s: %s%s%s", reader->name, path, colon, reason);
	if (reader->problems != NULL)
		(void)buf_printf(reader->problems, "%s: %s%s%s\n", reader->name, path, colon,
				 reason);
	reading->problems++;
	if (reader->problems == NULL)
		reading->stop = true;
}

static const char *type_of(const cJSON *value)
{
	if (cJSON_IsString(value))
		return "a string";
	if (cJSON_IsNumber(value))
		return "a number";
	if (cJSON_IsBool(value))
		return "true or false";
	if (cJSON_IsArray(value))
		return "an array";
	return cJSON_IsObject(value) ? "an object" : "null";
}

void json_problem_type(struct json_reading *reading, const struct json_place *place,
		       const char *wanted, const cJSON *found)
{
	json_problem(reading, RC_INVALID, place, "expected %s, found %s", wanted, type_of(found));
}

void json_problem_memory(struct json_reading *reading)
{
	(void)err_nomem(reading->err, reading->reader->name);
	reading->problems++;
	reading->stop = true;
}
