/*
 * JSON from outside: text in, cJSON tree out, or the line and column of what is wrong with it.
 *
 * cJSON alone takes more than JSON (control characters, line breaks in strings, numbers such as
 * 007) and cuts a string at an escaped NUL; what is not JSON is refused here first, with a reason
 * an operator can act on.
 */
#ifndef APPLIANCE_BASE_JSON_TEXT_H
#define APPLIANCE_BASE_JSON_TEXT_H

#include "appliance/base/err.h"

#include <cjson/cJSON.h>
#include <stddef.h>

#define JSON_TEXT_DEPTH_MAX 64 /* nothing of ours nests deeper than 8; bounds cJSON's recursion */

/*
 * Parses exactly one value that fills the whole text (`len` bytes, no NUL needed; the caller bounds
 * it). *root is the caller's, for cJSON_Delete(). RC_INVALID with "line 4, column 9: ...",
 * RC_NOMEM.
 */
int json_text_parse(cJSON **root, const char *text, size_t len, struct err *err);

/*
 * Lets cJSON take its memory from mem.h. Called by json_text_parse(); before building trees without
 * parsing one.
 */
void json_text_use_mem(void);

#endif
