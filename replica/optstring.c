#include "replica/optstring.h"

#include "appliance/base/buf.h"
#include "appliance/base/mem.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define KEY_MAX 256 /* of a dotted JSON key */
#define TEXT_MAX_BYTES \
	((size_t)1 << 20) /* of one option written back; a whole command line is smaller */

void optstring_free(struct optstring *options)
{
	for (size_t i = 0; i < options->count; i++) {
		mem_free(options->items[i].key);
		mem_free(options->items[i].value);
	}
	mem_free(options->items);
	cJSON_Delete(options->json);
	*options = (struct optstring){ 0 };
}

/* Takes key and value over, also on failure. */
static int add(struct optstring *options, char *key, char *value, struct err *err)
{
	size_t capacity = options->capacity > 0 ? options->capacity * 2 : 8;
	struct optstring_item *grown;
	int rc = RC_OK;

	if (key == NULL) {
		rc = err_nomem(err, "an option");
	} else if (options->count == OPTSTRING_ITEMS_MAX) {
		rc = err_set(err, RC_LIMIT, "more than %d keys in one option", OPTSTRING_ITEMS_MAX);
	} else if (options->count == options->capacity) {
		grown = mem_realloc(options->items, capacity * sizeof(*grown));
		if (grown == NULL) {
			rc = err_nomem(err, "an option");
		} else {
			options->items = grown;
			options->capacity = capacity;
		}
	}
	if (rc != RC_OK) {
		mem_free(key);
		mem_free(value);
		return rc;
	}
	options->items[options->count++] = (struct optstring_item){ key, value };
	return RC_OK;
}

/* Key=value form ----------------------------------------------------------------------------- */

/* A value up to its single comma or the end, ",," read as ","; *text is left behind it. */
static char *take_value(const char **text)
{
	const char *from = *text;
	size_t len = 0;
	char *value;

	for (const char *c = from; *c != '\0' && (*c != ',' || c[1] == ','); c += 1 + (*c == ','))
		len++;
	value = mem_alloc(len + 1);
	if (value == NULL)
		return NULL;
	len = 0;
	for (; *from != '\0' && (*from != ',' || from[1] == ','); from += 1 + (*from == ','))
		value[len++] = *from;
	value[len] = '\0';
	*text = from;
	return value;
}

static int parse_item(struct optstring *options, const char **text, const char *implied,
		      struct err *err)
{
	size_t key_len = strcspn(*text, "=,");
	bool has_value = (*text)[key_len] == '=';
	bool keyless = !has_value && implied != NULL;
	char *key, *value = NULL;

	key = keyless ? mem_strdup(implied) : mem_strndup(*text, key_len);
	if (keyless)
		options->implied = true;
	else
		*text += key_len + (has_value ? 1 : 0);
	if (keyless || has_value) {
		value = take_value(text);
		if (value == NULL) {
			mem_free(key);
			return err_nomem(err, "an option");
		}
	}
	if (**text == ',')
		(*text)++;
	return add(options, key, value, err);
}

/* JSON form ---------------------------------------------------------------------------------- */

/* A member that is no object and no list. */
static int add_scalar(struct optstring *options, const char *key, const cJSON *member,
		      struct err *err)
{
	const char *word = cJSON_IsTrue(member) ? "on" : "off";
	char number[32];
	char *value;

	(void)snprintf(number, sizeof(number), "%.17g", member->valuedouble);
	if (cJSON_IsString(member))
		word = member->valuestring;
	else if (cJSON_IsNumber(member))
		word = number;
	value = mem_strdup(word);
	if (value == NULL)
		return err_nomem(err, "an option");
	return add(options, mem_strdup(key), value, err);
}

static int flatten(struct optstring *options, const cJSON *object, const char *prefix,
		   struct err *err)
{
	char key[KEY_MAX];
	const cJSON *member;
	size_t index = 0;
	int len, rc;

	cJSON_ArrayForEach(member, object) {
		if (member->string != NULL)
			len = snprintf(key, sizeof(key), "%s%s", prefix, member->string);
		else
			len = snprintf(key, sizeof(key), "%s%zu", prefix, index++);
		if (len < 0 || (size_t)len + 2 > sizeof(key))
			return err_set(err, RC_LIMIT, "a JSON key longer than %d", KEY_MAX);
		if (cJSON_IsObject(member) || cJSON_IsArray(member)) {
			memcpy(key + len, ".", 2);
			rc = flatten(options, member, key, err);
		} else {
			rc = add_scalar(options, key, member, err);
		}
		if (rc != RC_OK)
			return rc;
	}
	return RC_OK;
}

static int parse_json(struct optstring *options, const char *text, struct err *err)
{
	options->json = cJSON_ParseWithOpts(text, NULL, true);
	if (!cJSON_IsObject(options->json))
		return err_set(err, RC_INVALID, "not a JSON object");
	return flatten(options, options->json, "", err);
}

int optstring_parse(struct optstring *options, const char *text, const char *implied,
		    struct err *err)
{
	int rc = RC_OK;

	*options = (struct optstring){ 0 };
	if (*text == '{') {
		rc = parse_json(options, text, err);
	} else {
		for (; *text != '\0' && rc == RC_OK; implied = NULL)
			rc = parse_item(options, &text, implied, err);
	}
	if (rc != RC_OK)
		optstring_free(options);
	return rc;
}

/* Reading and changing ----------------------------------------------------------------------- */

static struct optstring_item *find(const struct optstring *options, const char *key)
{
	for (size_t i = options->count; i > 0; i--) {
		if (strcmp(options->items[i - 1].key, key) == 0)
			return &options->items[i - 1];
	}
	return NULL;
}

const char *optstring_get(const struct optstring *options, const char *key)
{
	const struct optstring_item *item = find(options, key);

	if (item == NULL)
		return NULL;
	return item->value != NULL ? item->value : "on";
}

bool optstring_is_on(const struct optstring *options, const char *key)
{
	static const char *const words[] = { "on", "yes", "true", "y" };
	const char *value = optstring_get(options, key);

	for (size_t i = 0; value != NULL && i < sizeof(words) / sizeof(words[0]); i++) {
		if (strcmp(value, words[i]) == 0)
			return true;
	}
	return false;
}

/* The JSON object or array that holds a dotted key, and the key's last part. */
static cJSON *holder(const struct optstring *options, const char *key, const char **last)
{
	cJSON *at = options->json;
	char part[KEY_MAX];
	size_t len;

	for (;; key += len + 1) {
		len = strcspn(key, ".");
		if (key[len] == '\0' || at == NULL || len >= sizeof(part))
			break;
		memcpy(part, key, len);
		part[len] = '\0';
		at = cJSON_GetObjectItemCaseSensitive(at, part);
	}
	*last = key;
	return cJSON_IsObject(at) ? at : NULL;
}

/* Takes `member` over. */
static int set_json(struct optstring *options, const char *key, cJSON *member, struct err *err)
{
	const char *last;
	cJSON *object = holder(options, key, &last);
	bool done;

	if (member == NULL)
		return err_nomem(err, "an option");
	if (object == NULL) {
		cJSON_Delete(member);
		return err_set(err, RC_STATE, "no place for \"%s\"", key);
	}
	if (cJSON_HasObjectItem(object, last))
		done = cJSON_ReplaceItemInObjectCaseSensitive(object, last, member);
	else
		done = cJSON_AddItemToObject(object, last, member);
	if (!done) {
		cJSON_Delete(member);
		return err_nomem(err, "an option");
	}
	return RC_OK;
}

static int set_item(struct optstring *options, const char *key, const char *value, struct err *err)
{
	struct optstring_item *item = find(options, key);
	char *copy = mem_strdup(value);

	if (copy == NULL)
		return err_nomem(err, "an option");
	if (item == NULL)
		return add(options, mem_strdup(key), copy, err);
	mem_free(item->value);
	item->value = copy;
	return RC_OK;
}

int optstring_set(struct optstring *options, const char *key, const char *value, struct err *err)
{
	int rc = RC_OK;

	if (options->json != NULL)
		rc = set_json(options, key, cJSON_CreateString(value), err);
	if (rc == RC_OK)
		rc = set_item(options, key, value, err);
	return rc;
}

int optstring_set_bool(struct optstring *options, const char *key, bool value, struct err *err)
{
	int rc = RC_OK;

	if (options->json != NULL)
		rc = set_json(options, key, cJSON_CreateBool(value), err);
	if (rc == RC_OK)
		rc = set_item(options, key, value ? "on" : "off", err);
	return rc;
}

void optstring_remove(struct optstring *options, const char *key)
{
	const char *last;
	cJSON *object = options->json != NULL ? holder(options, key, &last) : NULL;
	size_t kept = 0;

	if (object != NULL)
		cJSON_DeleteItemFromObjectCaseSensitive(object, last);
	for (size_t i = 0; i < options->count; i++) {
		if (strcmp(options->items[i].key, key) != 0) {
			options->items[kept++] = options->items[i];
			continue;
		}
		if (i == 0)
			options->implied = false;
		mem_free(options->items[i].key);
		mem_free(options->items[i].value);
	}
	options->count = kept;
}

/* Writing ------------------------------------------------------------------------------------ */

static void append_escaped(struct buf *out, const char *value)
{
	for (; *value != '\0'; value++) {
		if (*value == ',')
			(void)buf_append_u8(out, ',');
		(void)buf_append_u8(out, (uint8_t)*value);
	}
}

/* The text as a string of its own; NULL without memory. */
static char *finish(struct buf *out)
{
	char *text = NULL;

	if (buf_append_u8(out, 0))
		text = mem_strdup((const char *)out->data);
	buf_free(out);
	return text;
}

int optstring_print(const struct optstring *options, char **text, struct err *err)
{
	struct buf out = { .limit = TEXT_MAX_BYTES };
	char *json;

	*text = NULL;
	if (options->json != NULL) {
		json = cJSON_PrintUnformatted(options->json);
		*text = json != NULL ? mem_strdup(json) : NULL;
		cJSON_free(json);
	} else {
		for (size_t i = 0; i < options->count; i++) {
			const struct optstring_item *item = &options->items[i];
			bool keyless =
				i == 0 && options->implied && strchr(item->value, '=') == NULL;

			if (i > 0)
				(void)buf_append_u8(&out, ',');
			if (!keyless)
				(void)buf_append(&out, item->key, strlen(item->key));
			if (!keyless && item->value != NULL)
				(void)buf_append_u8(&out, '=');
			if (item->value != NULL)
				append_escaped(&out, item->value);
		}
		*text = finish(&out);
	}
	return *text != NULL ? RC_OK : err_nomem(err, "an option");
}

char *optstring_escape(const char *value)
{
	struct buf out = { .limit = TEXT_MAX_BYTES };

	append_escaped(&out, value);
	return finish(&out);
}
