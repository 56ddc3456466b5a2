/*
 * QEMU's option strings: "tap,id=net0,ifname=tap3" with ",," for a comma inside a value, or one
 * JSON object, as several options also take it. Both are read into keys and values; what is changed
 * is written back in the form it came in. Pure.
 *
 * Of JSON, nested members have dotted keys ("addr.path"), as QEMU itself writes them in the other
 * form. The last one of equal keys counts, as in QEMU. Limits: OPTSTRING_ITEMS_MAX keys, cJSON's
 * own limit on nesting.
 */
#ifndef REPLICA_OPTSTRING_H
#define REPLICA_OPTSTRING_H

#include "appliance/base/err.h"

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>

#define OPTSTRING_ITEMS_MAX 512 /* QEMU's own longest, -machine and -cpu, have some dozens */

struct optstring_item {
	char *key;
	char *value; /* NULL: a key alone ("server"), which means on */
};

struct optstring {
	struct optstring_item *items;
	size_t count, capacity;
	bool implied; /* the first item was written without its key */
	cJSON *json;  /* the object, when it was one */
};

/* `implied`: the key of a first item that has none ("type" for -netdev), or NULL. */
int optstring_parse(struct optstring *options, const char *text, const char *implied,
		    struct err *err);
void optstring_free(struct optstring *options);

/* The value ("on" for a key alone), or NULL when the key is not there. */
const char *optstring_get(const struct optstring *options, const char *key);

/* The key is there and true in one of QEMU's ways: on, yes, true, y. */
bool optstring_is_on(const struct optstring *options, const char *key);

/*
 * Replaces the value, or adds the key at the end (a new dotted key is not added to JSON: RC_STATE).
 */
int optstring_set(struct optstring *options, const char *key, const char *value, struct err *err);
/* As a JSON boolean or as on/off. */
int optstring_set_bool(struct optstring *options, const char *key, bool value, struct err *err);
void optstring_remove(struct optstring *options, const char *key);

/* The whole as text; mem_free(). */
int optstring_print(const struct optstring *options, char **text, struct err *err);

/* A value with its commas doubled; mem_free(). NULL without memory. */
char *optstring_escape(const char *value);

#endif
