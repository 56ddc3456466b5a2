/*
 * Tables that say what a JSON configuration may contain. One description gives the reader with its
 * defaults and its messages (here), the JSON Schema and the list for people (json_schema.h): they
 * cannot drift apart.
 *
 * A table describes one object. A nested object is stored in the same structure as the object
 * around it (its fields' offsets count from there); an array of objects has a structure of its own
 * for each item. The same key may stand in a table more than once, for different roles.
 */
#ifndef APPLIANCE_BASE_JSON_TABLE_H
#define APPLIANCE_BASE_JSON_TABLE_H

#include "appliance/base/buf.h"
#include "appliance/base/err.h"

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define JSON_FIELDS_MAX 64 /* of one table: a bit for each */
#define JSON_ROLES_MAX 8
#define JSON_NAME_MAX 64 /* names travel in messages with a length byte and end up in file names */
#define JSON_STRING_MAX 4095  /* a path's limit in Linux, less its NUL */
#define JSON_STRINGS_MAX 1024 /* items of an array of strings */
#define JSON_SOCKET_MAX 107   /* what sockaddr_un holds, less its NUL */
#define JSON_PROBLEMS_MAX 20  /* reported of one file: a screenful; then, that there are more */

/* The end of a pattern: some programs' '$' is also before a line break at the end. */
#define JSON_PATTERN_END "$(?!\\n)"
/* Between '[^' and ']': no string has control characters. */
#define JSON_PATTERN_CONTROL "\\u0000-\\u001f\\u007f"

enum json_type {
	JSON_NAME, /* char *: 1 to JSON_NAME_MAX of A-Z a-z 0-9 . _ -, beginning with none of . - */
	JSON_WORD, /* char *: one of `choices` */
	JSON_CHOICE, /* an enum, stored as its number in `choices` */
	JSON_PATH,   /* char *: a relative one is made relative to the file's directory */
	JSON_SOCKET, /* as JSON_PATH, of a unix socket: at most JSON_SOCKET_MAX bytes */
	JSON_TEXT,   /* char *: what the field's check() takes */
	JSON_U32,    /* uint32_t: a whole number from min to max */
	JSON_U64,    /* uint64_t, the same; max is at most 2^53, what a JSON number holds exactly */
	JSON_BOOL,   /* bool */
	JSON_STRINGS, /* char **: 1 to max strings (0: JSON_STRINGS_MAX), NULL-terminated */
	JSON_OBJECT,  /* `table`, in the same structure */
	JSON_AS_IT_IS, /* char *: an object of any members, as its text; of at most JSON_STRING_MAX bytes */
	JSON_OBJECTS, /* an array of `table`, 1 to max items of item_size bytes each */
	JSON_TYPE_COUNT
};

struct json_table;

struct json_field {
	const char *key;
	const char *doc; /* one line */
	enum json_type type;
	bool required;
	bool needed;	/* required where the object it belongs to is there */
	unsigned roles; /* bits; 0: every role */
	size_t offset;	/* where it is stored; of JSON_OBJECTS: the pointer to the first item */
	size_t count_offset; /* JSON_OBJECTS: the size_t with their number */
	size_t item_size;
	uint64_t fallback, min, max;
	const char *unit; /* "ms", "MiB" */
	const char *text_fallback;
	const char *const *choices; /* NULL-terminated */
	const struct json_table *table;
	/*
	 * JSON_TEXT, and JSON_AS_IT_IS and each of JSON_STRINGS where it is given: RC_OK, or why not in err; the same as
	 * a regular expression for the schema, with JSON_PATTERN_END, as nearly as one can say it; and
	 * as a word for people.
	 */
	int (*check)(const char *text, struct err *err);
	const char *pattern;
	const char *kind;
};

struct json_table {
	const struct json_field *fields;
	size_t count;
};
#define JSON_TABLE(array)                                   \
	{                                                   \
		(array), sizeof(array) / sizeof((array)[0]) \
	}

struct json_reader {
	const char *name;	       /* of the file, for messages */
	const char *dir;	       /* what relative paths are relative to */
	unsigned role;		       /* one bit */
	const char *const *role_names; /* by bit number: "primary", ... */
	struct buf *problems; /* NULL: the first ends the reading; else one line for each */
};

/*
 * Fills the zeroed structure `base` from an object. RC_INVALID or RC_LIMIT with the first problem
 * ("standby.json: link.listen: missing ..."), RC_NOMEM. json_table_free() afterwards in any case.
 */
int json_table_read(const struct json_table *table, const struct json_reader *reader,
		    const cJSON *root, void *base, struct err *err);

/* Releases every string and array of the structure, not the structure. */
void json_table_free(const struct json_table *table, void *base);

/*
 * The most strings of a JSON_STRINGS; whether a field is for a role; the two halves of what
 * json_schema.h needs to know about required members.
 */
size_t json_field_strings_max(const struct json_field *field);
bool json_field_is_for(const struct json_field *field, unsigned role);
bool json_field_is_required(const struct json_field *field, unsigned role);

#endif
