/*
 * The reader walks an object of the file and its table together: every key of the file has to be in
 * the table, once and for this role; then every field that the file left out gets its default or is
 * reported missing. An object that is absent is read as an empty one, so defaults and required
 * members inside it need no second rule.
 *
 * A problem does not end the walk when the caller collects them: the field keeps its zero, and the
 * return code says that the structure is not to be used. Nothing from the file is repeated in a
 * message unbounded or with its control characters.
 */
#include "appliance/base/json_table.h"

#include "appliance/base/json_problem.h"
#include "appliance/base/json_value.h"
#include "appliance/base/mem.h"
#include "appliance/base/near_miss.h"

#include <assert.h>
#include <string.h>

typedef void (*value_reader)(struct json_reading *reading, const struct json_field *field,
			     const struct json_place *place, const cJSON *value, void *target);

static void read_object(struct json_reading *reading, const struct json_table *table,
			const struct json_place *place, const cJSON *object, char *base);

static void read_nested(struct json_reading *reading, const struct json_field *field,
			const struct json_place *place, const cJSON *value, void *target)
{
	assert(field->offset == 0); /* the same structure */
	if (cJSON_IsObject(value))
		read_object(reading, field->table, place, value, target);
	else
		json_problem_type(reading, place, "an object", value);
}

static void read_objects(struct json_reading *reading, const struct json_field *field,
			 const struct json_place *place, const cJSON *value, void *target)
{
	struct json_place at = { .up = place, .indexed = true };
	size_t count = cJSON_IsArray(value) ? (size_t)cJSON_GetArraySize(value) : 0;
	char *base = (char *)target - field->offset, *items;
	const cJSON *item;

	if (!cJSON_IsArray(value)) {
		json_problem_type(reading, place, "an array of objects", value);
		return;
	}
	if (count == 0 || count > field->max) {
		json_problem(reading, count == 0 ? RC_INVALID : RC_LIMIT, place,
			     "%zu items, from 1 to %llu are taken", count,
			     (unsigned long long)field->max);
		return;
	}
	items = mem_zalloc(count, field->item_size);
	if (items == NULL) {
		json_problem_memory(reading);
		return;
	}
	memcpy(target, &items, sizeof(items));
	memcpy(base + field->count_offset, &count, sizeof(count));
	for (item = value->child; item != NULL && !reading->stop; item = item->next, at.index++) {
		if (cJSON_IsObject(item))
			read_object(reading, field->table, &at, item,
				    items + at.index * field->item_size);
		else
			json_problem_type(reading, &at, "an object", item);
	}
}

static const value_reader readers[] = {
	[JSON_NAME] = json_value_name,	   [JSON_WORD] = json_value_word,
	[JSON_CHOICE] = json_value_choice, [JSON_PATH] = json_value_path,
	[JSON_SOCKET] = json_value_path,   [JSON_TEXT] = json_value_text,
	[JSON_U32] = json_value_number,	   [JSON_U64] = json_value_number,
	[JSON_BOOL] = json_value_bool,	   [JSON_STRINGS] = json_value_strings,
	[JSON_OBJECT] = read_nested,	   [JSON_AS_IT_IS] = json_value_as_it_is,
	[JSON_OBJECTS] = read_objects,
};
static_assert(sizeof(readers) / sizeof(readers[0]) == JSON_TYPE_COUNT, "a reader for every type");

bool json_field_is_for(const struct json_field *field, unsigned role)
{
	return field->roles == 0 || (field->roles & role) != 0;
}

size_t json_field_strings_max(const struct json_field *field)
{
	return field->max > 0 ? (size_t)field->max : JSON_STRINGS_MAX;
}

bool json_field_is_required(const struct json_field *field, unsigned role)
{
	if (!json_field_is_for(field, role))
		return false;
	if (field->type != JSON_OBJECT)
		return field->required;
	for (size_t i = 0; i < field->table->count; i++) {
		if (json_field_is_required(&field->table->fields[i], role))
			return true;
	}
	return false;
}

/*
 * Writes where in the tables a key does exist ("link.heartbeat_ms"), for a key that stands in the
 * wrong object.
 */
static bool find_elsewhere(const struct json_table *table, unsigned role, const char *key,
			   const struct json_place *up, char out[JSON_PLACE_MAX])
{
	const struct json_field *field;

	for (size_t i = 0; i < table->count; i++) {
		struct json_place here = { .up = up, .key = table->fields[i].key };
		struct json_place item = { .up = &here, .indexed = true, .index = JSON_PLACE_ANY };

		field = &table->fields[i];
		if (!json_field_is_for(field, role))
			continue;
		if (strcmp(field->key, key) == 0) {
			json_problem_place(out, &here);
			return true;
		}
		if (field->table != NULL &&
		    find_elsewhere(field->table, role, key,
				   field->type == JSON_OBJECTS ? &item : &here, out))
			return true;
	}
	return false;
}

static void unknown_key(struct json_reading *reading, const struct json_table *table,
			const struct json_place *place, const char *key)
{
	unsigned role = reading->reader->role;
	struct near_miss miss = near_miss_of(key);
	char elsewhere[JSON_PLACE_MAX], clip[JSON_QUOTE];
	struct json_place at = { .up = place };

	for (size_t i = 0; i < table->count; i++) {
		if (json_field_is_for(&table->fields[i], role))
			near_miss_offer(&miss, table->fields[i].key);
	}
	at.key = *key != '\0' ? json_problem_clip(clip, key) : "\"\"";
	if (find_elsewhere(reading->root, role, key, NULL, elsewhere))
		json_problem(reading, RC_INVALID, &at, "unknown key; did you mean %s?", elsewhere);
	else if (miss.best != NULL)
		json_problem(reading, RC_INVALID, &at, "unknown key; did you mean \"%s\"?",
			     miss.best);
	else
		json_problem(reading, RC_INVALID, &at, "unknown key");
}

static void foreign_key(struct json_reading *reading, const struct json_field *field,
			const struct json_place *place)
{
	const char *const *names = reading->reader->role_names;
	const char *owner = "?", *ours = "?";

	for (unsigned bit = 0; bit < JSON_ROLES_MAX; bit++) {
		if ((reading->reader->role & 1U << bit) != 0)
			ours = names[bit];
		if ((field->roles & 1U << bit) != 0)
			owner = names[bit];
	}
	json_problem(reading, RC_INVALID, place,
		     "belongs in a %s's configuration; this is read as a %s's", owner, ours);
}

/* The field for a key: that of our role, else one of another role, else NULL. */
static const struct json_field *find_field(const struct json_table *table, unsigned role,
					   const char *key)
{
	const struct json_field *foreign = NULL;

	for (size_t i = 0; i < table->count; i++) {
		if (strcmp(table->fields[i].key, key) != 0)
			continue;
		if (json_field_is_for(&table->fields[i], role))
			return &table->fields[i];
		foreign = &table->fields[i];
	}
	return foreign;
}

static void read_member(struct json_reading *reading, const struct json_table *table,
			const struct json_place *place, const cJSON *member, char *base,
			uint64_t *seen)
{
	const struct json_field *field = find_field(table, reading->reader->role, member->string);
	const struct json_place at = { .up = place, .key = member->string };
	uint64_t bit;

	if (field == NULL) {
		unknown_key(reading, table, place, member->string);
		return;
	}
	if (!json_field_is_for(field, reading->reader->role)) {
		foreign_key(reading, field, &at);
		return;
	}
	bit = UINT64_C(1) << (field - table->fields);
	if ((*seen & bit) != 0) {
		json_problem(reading, RC_INVALID, &at, "stands there twice");
		return;
	}
	*seen |= bit;
	readers[field->type](reading, field, &at, member, base + field->offset);
}

/* `inside`: the object that it would belong to is there. */
static void read_absent(struct json_reading *reading, const struct json_field *field,
			const struct json_place *at, bool inside, char *base)
{
	void *target = base + field->offset;

	if (field->type == JSON_OBJECT)
		read_object(reading, field->table, at, NULL, base);
	else if (field->required || (field->needed && inside))
		json_problem(reading, RC_INVALID, at, "missing: %s", field->doc);
	else if (field->text_fallback != NULL)
		json_value_store(reading, target, field->text_fallback);
	else if (field->type == JSON_U32)
		*(uint32_t *)target = (uint32_t)field->fallback;
	else if (field->type == JSON_U64)
		*(uint64_t *)target = field->fallback;
	else if (field->type == JSON_BOOL)
		*(bool *)target = field->fallback != 0;
	else if (field->type == JSON_CHOICE)
		*(int *)target = (int)field->fallback;
}

static void read_object(struct json_reading *reading, const struct json_table *table,
			const struct json_place *place, const cJSON *object, char *base)
{
	const struct json_field *field;
	const cJSON *member;
	uint64_t seen = 0;

	assert(table->count <= JSON_FIELDS_MAX);
	for (member = object != NULL ? object->child : NULL; member != NULL && !reading->stop;
	     member = member->next)
		read_member(reading, table, place, member, base, &seen);
	for (size_t i = 0; i < table->count && !reading->stop; i++) {
		field = &table->fields[i];
		if (json_field_is_for(field, reading->reader->role) &&
		    (seen & UINT64_C(1) << i) == 0)
			read_absent(reading, field,
				    &(struct json_place){ .up = place, .key = field->key },
				    object != NULL, base);
	}
}

int json_table_read(const struct json_table *table, const struct json_reader *reader,
		    const cJSON *root, void *base, struct err *err)
{
	struct json_reading reading = { .reader = reader, .root = table, .err = err };

	if (cJSON_IsObject(root))
		read_object(&reading, table, NULL, root, base);
	else
		json_problem_type(&reading, NULL, "an object", root);
	return reading.problems > 0 ? (int)err->code : RC_OK;
}

static void free_strings(char **list)
{
	for (size_t i = 0; list != NULL && list[i] != NULL; i++)
		mem_free(list[i]);
	mem_free(list);
}

static void free_objects(const struct json_field *field, char *base)
{
	char *items, *none = NULL;
	size_t count;

	memcpy(&items, base + field->offset, sizeof(items));
	memcpy(&count, base + field->count_offset, sizeof(count));
	for (size_t i = 0; items != NULL && i < count; i++)
		json_table_free(field->table, items + i * field->item_size);
	mem_free(items);
	count = 0;
	memcpy(base + field->offset, &none, sizeof(none));
	memcpy(base + field->count_offset, &count, sizeof(count));
}

void json_table_free(const struct json_table *table, void *base)
{
	const struct json_field *field;
	void *target;

	for (size_t i = 0; i < table->count; i++) {
		field = &table->fields[i];
		target = (char *)base + field->offset;
		switch (field->type) {
		case JSON_NAME:
		case JSON_WORD:
		case JSON_PATH:
		case JSON_SOCKET:
		case JSON_TEXT:
		case JSON_AS_IT_IS:
			mem_free(*(char **)target);
			*(char **)target = NULL;
			break;
		case JSON_STRINGS:
			free_strings(*(char ***)target);
			*(char ***)target = NULL;
			break;
		case JSON_OBJECT:
			json_table_free(field->table, base);
			break;
		case JSON_OBJECTS:
			free_objects(field, base);
			break;
		default:
			break;
		}
	}
}
