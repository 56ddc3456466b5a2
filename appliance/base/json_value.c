#include "appliance/base/json_value.h"

#include "appliance/base/mem.h"
#include "appliance/base/near_miss.h"
#include "appliance/base/utf8.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static_assert(sizeof(enum json_type) == sizeof(int), "an enum is stored as an int");

/* ---- strings ---- */

/* The string of `value` if it is one that fits and could be printed, else NULL and a problem. */
static const char *plain_string(struct json_reading *reading, const struct json_place *place,
				const cJSON *value, size_t max)
{
	const char *text = value->valuestring;
	size_t len;

	if (!cJSON_IsString(value)) {
		json_problem_type(reading, place, "a string", value);
		return NULL;
	}
	len = strlen(text);
	if (len > max) {
		json_problem(reading, RC_LIMIT, place, "%zu bytes long, at most %zu are taken", len,
			     max);
		return NULL;
	}
	if (!utf8_is_plain(text)) {
		json_problem(
			reading, RC_INVALID, place,
			"contains a control character, or one that turns the direction of text");
		return NULL;
	}
	return text;
}

/* As plain_string(), and not empty. */
static const char *some_string(struct json_reading *reading, const struct json_place *place,
			       const cJSON *value, size_t max)
{
	const char *text = plain_string(reading, place, value, max);

	if (text != NULL && *text == '\0') {
		json_problem(reading, RC_INVALID, place, "is empty");
		return NULL;
	}
	return text;
}

void json_value_store(struct json_reading *reading, void *target, const char *text)
{
	char *copy = mem_strdup(text);

	if (copy == NULL)
		json_problem_memory(reading);
	else
		*(char **)target = copy;
}

static bool is_name_byte(char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
	       c == '_' || c == '.' || c == '-';
}

const char *json_value_name_problem(const char *text)
{
	size_t len = strnlen(text, JSON_NAME_MAX + 1);
	bool of_its_bytes = len > 0 && *text != '.' && *text != '-';

	static_assert(JSON_NAME_MAX == 64, "said below");
	if (len > JSON_NAME_MAX)
		return "a name has at most 64 bytes";
	for (size_t i = 0; i < len && of_its_bytes; i++)
		of_its_bytes = is_name_byte(text[i]);
	return of_its_bytes ?
		       NULL :
		       "a name has letters, digits and . _ - and begins with a letter, a digit or _";
}

bool json_value_is_name(const char *text)
{
	return json_value_name_problem(text) == NULL;
}

void json_value_name(struct json_reading *reading, const struct json_field *field,
		     const struct json_place *place, const cJSON *value, void *target)
{
	const char *text = some_string(reading, place, value, JSON_NAME_MAX), *why;
	char quote[JSON_QUOTE];

	(void)field;
	if (text == NULL)
		return;
	why = json_value_name_problem(text);
	if (why != NULL)
		json_problem(reading, RC_INVALID, place, "%s: %s", json_problem_quote(quote, text),
			     why);
	else
		json_value_store(reading, target, text);
}

/* The number of `text` among the choices, or -1 and a problem. */
static int choose(struct json_reading *reading, const struct json_field *field,
		  const struct json_place *place, const char *text)
{
	struct near_miss miss = near_miss_of(text);
	char quote[JSON_QUOTE], list[JSON_PLACE_MAX] = "";
	size_t used = 0;

	for (int i = 0; field->choices[i] != NULL; i++) {
		if (strcmp(field->choices[i], text) == 0)
			return i;
		near_miss_offer(&miss, field->choices[i]);
		if (used < sizeof(list))
			used += (size_t)snprintf(list + used, sizeof(list) - used, "%s\"%s\"",
						 i > 0 ? ", " : "", field->choices[i]);
	}
	if (miss.best != NULL)
		json_problem(reading, RC_INVALID, place, "%s is none of %s; did you mean \"%s\"?",
			     json_problem_quote(quote, text), list, miss.best);
	else
		json_problem(reading, RC_INVALID, place, "%s is none of %s",
			     json_problem_quote(quote, text), list);
	return -1;
}

void json_value_word(struct json_reading *reading, const struct json_field *field,
		     const struct json_place *place, const cJSON *value, void *target)
{
	const char *text = plain_string(reading, place, value, JSON_STRING_MAX);

	if (text != NULL && choose(reading, field, place, text) >= 0)
		json_value_store(reading, target, text);
}

void json_value_choice(struct json_reading *reading, const struct json_field *field,
		       const struct json_place *place, const cJSON *value, void *target)
{
	const char *text = plain_string(reading, place, value, JSON_STRING_MAX);
	int chosen = text != NULL ? choose(reading, field, place, text) : -1;

	if (chosen >= 0)
		*(int *)target = chosen;
}

static void store_path(struct json_reading *reading, const struct json_place *place,
		       const char *text, size_t max, void *target)
{
	const char *dir = reading->reader->dir;
	bool as_it_is = *text == '/' || strcmp(dir, ".") == 0;
	size_t len = strlen(dir) + 1 + strlen(text) + 1;
	char *path;

	if (!as_it_is && len - 1 > max) {
		json_problem(reading, RC_LIMIT, place,
			     "%zu bytes long with the file's directory, at most %zu are taken",
			     len - 1, max);
		return;
	}
	path = as_it_is ? mem_strdup(text) : mem_alloc(len);
	if (path == NULL) {
		json_problem_memory(reading);
		return;
	}
	if (!as_it_is)
		(void)snprintf(path, len, "%s%s%s", dir, dir[strlen(dir) - 1] == '/' ? "" : "/",
			       text);
	*(char **)target = path;
}

void json_value_path(struct json_reading *reading, const struct json_field *field,
		     const struct json_place *place, const cJSON *value, void *target)
{
	size_t max = field->type == JSON_SOCKET ? JSON_SOCKET_MAX : JSON_STRING_MAX;
	const char *text = some_string(reading, place, value, max);

	if (text != NULL)
		store_path(reading, place, text, max, target);
}

/* Whether the field's check(), if it has one, takes it; else a problem. */
static bool takes(struct json_reading *reading, const struct json_field *field,
		  const struct json_place *place, const char *text)
{
	struct err err;

	if (field->check == NULL || field->check(text, &err) == RC_OK)
		return true;
	json_problem(reading, RC_INVALID, place, "%s", err.text);
	return false;
}

void json_value_text(struct json_reading *reading, const struct json_field *field,
		     const struct json_place *place, const cJSON *value, void *target)
{
	const char *text = some_string(reading, place, value, JSON_STRING_MAX);

	if (text != NULL && takes(reading, field, place, text))
		json_value_store(reading, target, text);
}

void json_value_strings(struct json_reading *reading, const struct json_field *field,
			const struct json_place *place, const cJSON *value, void *target)
{
	struct json_place at = { .up = place, .indexed = true };
	size_t count = cJSON_IsArray(value) ? (size_t)cJSON_GetArraySize(value) : 0;
	const char *text;
	const cJSON *item;
	char **list;

	if (!cJSON_IsArray(value)) {
		json_problem_type(reading, place, "an array of strings", value);
		return;
	}
	if (count == 0 || count > json_field_strings_max(field)) {
		json_problem(reading, count == 0 ? RC_INVALID : RC_LIMIT, place,
			     "%zu strings, from 1 to %zu are taken", count,
			     json_field_strings_max(field));
		return;
	}
	list = mem_zalloc(count + 1, sizeof(*list));
	if (list == NULL) {
		json_problem_memory(reading);
		return;
	}
	*(char ***)target = list;
	for (item = value->child; item != NULL && !reading->stop; item = item->next, at.index++) {
		text = plain_string(reading, &at, item, JSON_STRING_MAX);
		if (text != NULL && takes(reading, field, &at, text))
			json_value_store(reading, list++,
					 text); /* no gaps: the first NULL ends the list */
	}
}

void json_value_as_it_is(struct json_reading *reading, const struct json_field *field,
			 const struct json_place *place, const cJSON *value, void *target)
{
	char *text;
	size_t len;

	if (!cJSON_IsObject(value)) {
		json_problem_type(reading, place, "an object", value);
		return;
	}
	text = cJSON_PrintUnformatted(value);
	if (text == NULL) {
		json_problem_memory(reading);
		return;
	}
	len = strlen(text);
	if (len > JSON_STRING_MAX)
		json_problem(reading, RC_LIMIT, place, "%zu bytes long, at most %d are taken", len,
			     JSON_STRING_MAX);
	else if (takes(reading, field, place, text))
		json_value_store(reading, target, text);
	cJSON_free(text);
}

/* ---- numbers and booleans ---- */

void json_value_number(struct json_reading *reading, const struct json_field *field,
		       const struct json_place *place, const cJSON *value, void *target)
{
	const char *unit = field->unit != NULL ? field->unit : "",
		   *space = *unit != '\0' ? " " : "";
	double number = value->valuedouble;

	if (!cJSON_IsNumber(value)) {
		json_problem_type(reading, place, "a number", value);
		return;
	}
	if (!isfinite(number)) {
		json_problem(reading, RC_INVALID, place, "a number beyond all that can be kept");
	} else if (number < (double)field->min) {
		json_problem(reading, RC_INVALID, place, "%.15g is below the minimum, %llu%s%s",
			     number, (unsigned long long)field->min, space, unit);
	} else if (!(number <= (double)field->max)) {
		json_problem(reading, RC_INVALID, place, "%.15g is above the maximum, %llu%s%s",
			     number, (unsigned long long)field->max, space, unit);
	} else if (floor(number) < number) {
		json_problem(reading, RC_INVALID, place, "%.15g is not a whole number", number);
	} else if (field->type == JSON_U64) {
		*(uint64_t *)target = (uint64_t)number;
	} else {
		*(uint32_t *)target = (uint32_t)number;
	}
}

void json_value_bool(struct json_reading *reading, const struct json_field *field,
		     const struct json_place *place, const cJSON *value, void *target)
{
	(void)field;
	if (cJSON_IsBool(value))
		*(bool *)target = cJSON_IsTrue(value);
	else
		json_problem_type(reading, place, "true or false", value);
}
