#include "appliance/base/json_schema.h"

#include "appliance/base/json_text.h"
#include "appliance/base/mem.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define DIALECT "https://json-schema.org/draft/2020-12/schema"
#define NAME_PATTERN "^[A-Za-z0-9_][A-Za-z0-9._-]{0,63}" JSON_PATTERN_END
#define TEXT_PATTERN "^[^" JSON_PATTERN_CONTROL "]*" JSON_PATTERN_END
#define DESCRIPTION                                                                                \
	"What a schema cannot say, understudy check does: lengths are counted in bytes there, in " \
	"characters here; whether an IPv6 address is one; what a relative path becomes; what is "  \
	"about several keys at once; and the files that are named."
#define DOC_MAX 512
#define LINE_MAX_BYTES 1024

static const struct {
	const char *schema; /* the JSON type */
	const char *people;
} kinds[] = {
	[JSON_NAME] = { "string", "name" },
	[JSON_WORD] = { "string", "one of" },
	[JSON_CHOICE] = { "string", "one of" },
	[JSON_PATH] = { "string", "path" },
	[JSON_SOCKET] = { "string", "path of a unix socket" },
	[JSON_TEXT] = { "string", "text" },
	[JSON_U32] = { "integer", "whole number" },
	[JSON_U64] = { "integer", "whole number" },
	[JSON_BOOL] = { "boolean", "true or false" },
	[JSON_STRINGS] = { "array", "strings" },
	[JSON_OBJECT] = { "object", "object" },
	[JSON_AS_IT_IS] = { "object", "object" },
	[JSON_OBJECTS] = { "array", "objects" },
};
static_assert(sizeof(kinds) / sizeof(kinds[0]) == JSON_TYPE_COUNT, "a name for every type");

static const char *fallback_text(const struct json_field *field)
{
	return field->type == JSON_CHOICE ? field->choices[field->fallback] : field->text_fallback;
}

static bool is_number(const struct json_field *field)
{
	return field->type == JSON_U32 || field->type == JSON_U64;
}

/*
 * ---- JSON Schema. cJSON's builders take NULL for an object and say whether they succeeded; so do
 * these. ----
 */

static bool put_number(cJSON *to, const char *key, uint64_t value)
{
	return cJSON_AddNumberToObject(to, key, (double)value) != NULL;
}

static bool put_text(cJSON *to, const char *key, const char *value)
{
	return cJSON_AddStringToObject(to, key, value) != NULL;
}

/* Appends to an array, which may be NULL for want of memory. */
static bool put_item(cJSON *list, const char *text)
{
	cJSON *item = list != NULL ? cJSON_CreateString(text) : NULL;

	return item != NULL && cJSON_AddItemToArray(list, item);
}

static bool put_choices(cJSON *to, const struct json_field *field)
{
	cJSON *list = cJSON_AddArrayToObject(to, "enum");

	for (size_t i = 0; field->choices[i] != NULL; i++) {
		if (!put_item(list, field->choices[i]))
			return false;
	}
	return list != NULL;
}

static bool put_object(cJSON *to, const struct json_table *table, unsigned role);

static bool put_array(cJSON *to, uint64_t max, cJSON **items)
{
	*items = cJSON_AddObjectToObject(to, "items");
	return *items != NULL && put_number(to, "minItems", 1) && put_number(to, "maxItems", max);
}

/* What only some types have. */
static bool put_bounds(cJSON *to, const struct json_field *field, unsigned role)
{
	cJSON *items;

	switch (field->type) {
	case JSON_NAME:
		return put_text(to, "pattern", NAME_PATTERN);
	case JSON_WORD:
	case JSON_CHOICE:
		return put_choices(to, field);
	case JSON_PATH:
	case JSON_SOCKET:
		return put_text(to, "pattern", TEXT_PATTERN) && put_number(to, "minLength", 1) &&
		       put_number(to, "maxLength",
				  field->type == JSON_SOCKET ? JSON_SOCKET_MAX : JSON_STRING_MAX);
	case JSON_TEXT:
		return put_number(to, "maxLength", JSON_STRING_MAX) &&
		       put_text(to, "pattern", field->pattern);
	case JSON_U32:
	case JSON_U64:
		return put_number(to, "minimum", field->min) &&
		       put_number(to, "maximum", field->max);
	case JSON_STRINGS:
		return put_array(to, json_field_strings_max(field), &items) &&
		       put_text(items, "type", "string") &&
		       put_number(items, "maxLength", JSON_STRING_MAX) &&
		       put_text(items, "pattern",
				field->pattern != NULL ? field->pattern : TEXT_PATTERN);
	case JSON_OBJECT:
		return put_object(to, field->table, role);
	case JSON_OBJECTS:
		return put_array(to, field->max, &items) && put_text(items, "type", "object") &&
		       put_object(items, field->table, role);
	default:
		return true;
	}
}

static bool put_default(cJSON *to, const struct json_field *field)
{
	const char *text = fallback_text(field);

	if (field->required)
		return true;
	if (text != NULL)
		return put_text(to, "default", text);
	if (is_number(field))
		return put_number(to, "default", field->fallback);
	if (field->type == JSON_BOOL)
		return cJSON_AddBoolToObject(to, "default", field->fallback != 0) != NULL;
	return true;
}

static bool put_field(cJSON *properties, const struct json_field *field, unsigned role)
{
	cJSON *to = cJSON_AddObjectToObject(properties, field->key);
	char doc[DOC_MAX];

	if (field->unit != NULL)
		(void)snprintf(doc, sizeof(doc), "%s (%s)", field->doc, field->unit);
	else
		(void)snprintf(doc, sizeof(doc), "%s", field->doc);
	return to != NULL && put_text(to, "type", kinds[field->type].schema) &&
	       put_text(to, "description", doc) && put_bounds(to, field, role) &&
	       put_default(to, field);
}

static bool put_object(cJSON *to, const struct json_table *table, unsigned role)
{
	cJSON *properties = cJSON_AddObjectToObject(to, "properties"), *required = NULL;
	const struct json_field *field;

	for (size_t i = 0; i < table->count && properties != NULL; i++) {
		field = &table->fields[i];
		if (json_field_is_for(field, role) && !put_field(properties, field, role))
			return false;
		if (!json_field_is_required(field, role) &&
		    !(field->needed && json_field_is_for(field, role)))
			continue;
		required = required != NULL ? required : cJSON_AddArrayToObject(to, "required");
		if (!put_item(required, field->key))
			return false;
	}
	return properties != NULL &&
	       cJSON_AddBoolToObject(to, "additionalProperties", false) != NULL;
}

static bool put_file(cJSON *to, const struct json_table *table, const struct json_schema_file *file)
{
	return to != NULL && put_text(to, "title", file->title) && put_text(to, "type", "object") &&
	       put_object(to, table, file->role);
}

static bool put_files(cJSON *schema, const struct json_table *table,
		      const struct json_schema_file *files, size_t count)
{
	cJSON *list;
	bool done;

	if (count == 1)
		return put_file(schema, table, files);
	list = cJSON_AddArrayToObject(schema, "anyOf");
	done = list != NULL;
	for (size_t i = 0; i < count && done; i++) {
		cJSON *item = cJSON_CreateObject();

		done = cJSON_AddItemToArray(list, item) && put_file(item, table, &files[i]);
	}
	return done;
}

int json_schema_write(const struct json_table *table, const struct json_schema_file *files,
		      size_t count, struct buf *out, struct err *err)
{
	char *text = NULL;
	cJSON *schema;
	bool done;

	json_text_use_mem();
	schema = cJSON_CreateObject();
	done = schema != NULL && put_text(schema, "$schema", DIALECT) &&
	       put_text(schema, "description", DESCRIPTION) &&
	       put_files(schema, table, files, count);
	if (done)
		text = cJSON_Print(schema);
	done = text != NULL && buf_printf(out, "%s\n", text);
	mem_free(text);
	cJSON_Delete(schema);
	return done ? RC_OK : err_nomem(err, "JSON Schema");
}

/* ---- for people ---- */

/* "whole number from 1 to 60000 ms, default 100" */
static void describe(const struct json_field *field, char *out, size_t size)
{
	const char *unit = field->unit != NULL ? field->unit : "",
		   *space = *unit != '\0' ? " " : "";
	const char *text = fallback_text(field);
	size_t used = (size_t)snprintf(
		out, size, "%s", field->kind != NULL ? field->kind : kinds[field->type].people);

	if (is_number(field))
		used += (size_t)snprintf(out + used, size - used, " from %llu to %llu%s%s",
					 (unsigned long long)field->min,
					 (unsigned long long)field->max, space, unit);
	for (size_t i = 0; field->choices != NULL && field->choices[i] != NULL && used < size; i++)
		used += (size_t)snprintf(out + used, size - used, "%s \"%s\"", i > 0 ? "," : "",
					 field->choices[i]);
	if (used >= size)
		return;
	if (field->required)
		(void)snprintf(out + used, size - used, ", required");
	else if (text != NULL)
		(void)snprintf(out + used, size - used, ", default \"%s\"", text);
	else if (is_number(field))
		(void)snprintf(out + used, size - used, ", default %llu",
			       (unsigned long long)field->fallback);
	else if (field->type == JSON_BOOL)
		(void)snprintf(out + used, size - used, ", default %s",
			       field->fallback != 0 ? "true" : "false");
}

static bool explain(const struct json_table *table, unsigned role, const char *prefix,
		    struct buf *out)
{
	char path[LINE_MAX_BYTES], kind[DOC_MAX];
	const struct json_field *field;
	bool done = true;

	for (size_t i = 0; i < table->count && done; i++) {
		field = &table->fields[i];
		if (!json_field_is_for(field, role))
			continue;
		(void)snprintf(path, sizeof(path), "%s%s%s", prefix, field->key,
			       field->type == JSON_OBJECTS ? "[]." :
			       field->type == JSON_OBJECT  ? "." :
							     "");
		describe(field, kind, sizeof(kind));
		if (field->table != NULL)
			done = explain(field->table, role, path, out);
		else
			done = buf_printf(out, "- `%s` (%s): %s\n", path, kind, field->doc);
	}
	return done;
}

int json_schema_explain(const struct json_table *table, unsigned role, struct buf *out,
			struct err *err)
{
	return explain(table, role, "", out) ? RC_OK : err_nomem(err, "list of keys");
}
