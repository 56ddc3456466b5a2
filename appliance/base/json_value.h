/*
 * Inside the configuration reader: what one value may be. Each function checks `value` against its
 * field and stores it at `target`, or notes the problem.
 */
#ifndef APPLIANCE_BASE_JSON_VALUE_H
#define APPLIANCE_BASE_JSON_VALUE_H

#include "appliance/base/json_problem.h"

#define JSON_VALUE_READER(name)                                                              \
	void json_value_##name(struct json_reading *reading, const struct json_field *field, \
			       const struct json_place *place, const cJSON *value, void *target)
JSON_VALUE_READER(name);
JSON_VALUE_READER(word);
JSON_VALUE_READER(choice);
JSON_VALUE_READER(path); /* JSON_PATH and JSON_SOCKET */
JSON_VALUE_READER(text);
JSON_VALUE_READER(number); /* JSON_U32 and JSON_U64 */
JSON_VALUE_READER(bool);
JSON_VALUE_READER(strings);
JSON_VALUE_READER(as_it_is);
#undef JSON_VALUE_READER

/* A copy of `text`, stored at `target`. */
void json_value_store(struct json_reading *reading, void *target, const char *text);

/* Whether a text may be a JSON_NAME; for command lines, too. */
bool json_value_is_name(const char *text);
/* Why it may not; NULL: it may. */
const char *json_value_name_problem(const char *text);

#endif
