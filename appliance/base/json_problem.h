/*
 * Inside the configuration reader (json_table.c, json_value.c): where in the file it is, and what
 * it has to say about it.
 */
#ifndef APPLIANCE_BASE_JSON_PROBLEM_H
#define APPLIANCE_BASE_JSON_PROBLEM_H

#include "appliance/base/json_table.h"

#define JSON_QUOTE_MAX 40		/* bytes of the file repeated in a message */
#define JSON_QUOTE (JSON_QUOTE_MAX + 6) /* with quotes, an ellipsis and the NUL */
#define JSON_PLACE_MAX 256		/* of a key's path: three levels and an index */

/* A reading under way. */
struct json_reading {
	const struct json_reader *reader;
	const struct json_table *root;
	struct err *err; /* the first problem */
	unsigned problems;
	bool stop; /* enough: no memory, or as many problems as the caller wants */
};

/* A place in the file: a chain on the stack from the member back to the root (NULL). */
struct json_place {
	const struct json_place *up;
	const char *key;
	size_t index;
	bool indexed; /* an item of an array rather than a member of an object */
};
#define JSON_PLACE_ANY SIZE_MAX /* index: "[]" */

/* Notes that `place` has a problem: "FILE: PLACE: REASON". */
void json_problem(struct json_reading *reading, enum rc code, const struct json_place *place,
		  const char *format, ...) __attribute__((format(printf, 4, 5)));
void json_problem_type(struct json_reading *reading, const struct json_place *place,
		       const char *wanted, const cJSON *found);
void json_problem_memory(struct json_reading *reading);

/* "instances[0].checkpoint.target_ms", cut to fit. */
void json_problem_place(char out[JSON_PLACE_MAX], const struct json_place *place);

/* Text from the file for a message: cut, and plain (utf8.h). Returns `out`. */
const char *json_problem_clip(char out[JSON_QUOTE], const char *text);
/* The same in double quotes. */
const char *json_problem_quote(char out[JSON_QUOTE], const char *text);

#endif
