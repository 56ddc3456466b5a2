/*
 * Two passes. The first walks over the text once, keeps track of strings and brackets, and refuses
 * what cJSON would let through or would report without a reason: bytes that are not UTF-8, control
 * characters, unfinished strings, unknown escapes, \u0000, a trailing comma, comments, single
 * quotes, a key without quotes, numbers such as 007, brackets that do not match, excessive depth.
 * The second is cJSON, which is left with the grammar of values; as it only fails on the byte it
 * stumbles over, its position is exact then.
 */
#include "appliance/base/json_text.h"

#include "appliance/base/mem.h"
#include "appliance/base/utf8.h"

#include <assert.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SNIPPET_MAX 20 /* characters of the text repeated in a message */

struct scan {
	const char *text;
	size_t len;
	size_t at;
	char before; /* the last byte that was not white space; 0 at the start */
	size_t depth;
	char open[JSON_TEXT_DEPTH_MAX];
	struct err *err;
};

/* cJSON says only "no"; this tells no memory from no JSON. */
static _Thread_local bool starved;

static void *take(size_t size)
{
	void *memory = mem_alloc(size);

	if (memory == NULL)
		starved = true;
	return memory;
}

static void set_hooks(void)
{
	cJSON_Hooks hooks = { .malloc_fn = take, .free_fn = mem_free };

	cJSON_InitHooks(&hooks);
}

void json_text_use_mem(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	(void)pthread_once(&once, set_hooks);
}

/* RC_INVALID with the position of byte `at`. Columns count characters, as editors do. */
static int wrong(const char *text, size_t at, struct err *err, const char *what)
{
	size_t line = 1, column = 1;

	for (size_t i = 0; i < at; i++) {
		if (text[i] == '\n') {
			line++;
			column = 1;
		} else if (((unsigned char)text[i] & 0xc0) != 0x80) {
			column++;
		}
	}
	return err_set(err, RC_INVALID, "line %zu, column %zu: %s", line, column, what);
}

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* The byte at `at`, or 0 past the end (a real 0 byte is refused wherever it stands). */
static char peek(const struct scan *scan, size_t at)
{
	return at < scan->len ? scan->text[at] : '\0';
}

static int fail(const struct scan *scan, size_t at, const char *what)
{
	return wrong(scan->text, at, scan->err, what);
}

/* The four digits of \uXXXX at `at`, where the backslash is; -1: it is none. */
static long unicode_escape(const struct scan *scan, size_t at)
{
	char digits[5];

	if (scan->len < 6 || at > scan->len - 6 || memcmp(scan->text + at, "\\u", 2) != 0)
		return -1;
	memcpy(digits, scan->text + at + 2, 4);
	digits[4] = '\0';
	return digits[strspn(digits, "0123456789abcdefABCDEF")] == '\0' ? strtol(digits, NULL, 16) :
									  -1;
}

/* Why the escape \uXXXX cannot stand here, or NULL; its length. */
static const char *unicode_problem(const struct scan *scan, size_t *length)
{
	const long code = unicode_escape(scan, scan->at), next = unicode_escape(scan, scan->at + 6);

	*length = 6;
	if (code < 0)
		return "\\u is followed by four hexadecimal digits";
	if (code == 0)
		return "\\u0000 cannot be part of a string";
	if (code < 0xd800 || code > 0xdfff)
		return NULL;
	*length = 12;
	return code > 0xdbff || next < 0xdc00 || next > 0xdfff ?
		       "half of a character (a surrogate without the other one)" :
		       NULL;
}

/* From the opening quote to behind the closing one. */
static int scan_string(struct scan *scan)
{
	size_t start = scan->at++, length;
	const char *why;
	char c;

	for (; (c = peek(scan, scan->at)) != '"'; scan->at += length) {
		if (scan->at >= scan->len || c == '\n' || c == '\r')
			return fail(scan, start, "this string has no closing quote on its line");
		if ((unsigned char)c < 0x20)
			return fail(scan, scan->at, "a control character in a string");
		length = utf8_length(scan->text + scan->at, scan->len - scan->at);
		if (length == 0)
			return fail(scan, scan->at, "not UTF-8");
		if (c == '\\') {
			length = 2;
			c = peek(scan, scan->at + 1);
			if (c == '\0' || strchr("\"\\/bfnrtu", c) == NULL)
				return fail(scan, scan->at,
					    "unknown escape; a backslash is written \\\\");
			why = c == 'u' ? unicode_problem(scan, &length) : NULL;
			if (why != NULL)
				return fail(scan, scan->at, why);
		}
	}
	scan->at++;
	scan->before = '"';
	return RC_OK;
}

/* Whether a number's integer part begins here (exponents may have leading zeros, fractions too). */
static bool begins_number(const struct scan *scan)
{
	char last = scan->at > 0 ? scan->text[scan->at - 1] : '\0';
	char last_but_one = scan->at > 1 ? scan->text[scan->at - 2] : '\0';

	if (last == '-')
		return last_but_one != 'e' && last_but_one != 'E';
	return !is_digit(last) && last != '.' && last != '+' && last != 'e' && last != 'E';
}

/* Why `c` cannot stand here, or NULL. */
static const char *complaint(const struct scan *scan, char c)
{
	bool in_object = scan->depth > 0 && scan->open[scan->depth - 1] == '{';
	char next = peek(scan, scan->at + 1);

	if ((unsigned char)c < 0x20 || c == 0x7f)
		return "a control character";
	if ((unsigned char)c >= 0x80)
		return "a character that belongs into a string";
	if (c == '/' || c == '#')
		return "JSON has no comments";
	if (c == '\'')
		return "strings stand in double quotes";
	if ((c == '}' || c == ']') && scan->before == ',')
		return "no comma may stand before a closing bracket";
	if ((c == '}' || c == ']') && (scan->depth == 0 || in_object != (c == '}')))
		return "this closing bracket has no opening one";
	if (in_object && (scan->before == '{' || scan->before == ',') && c != '"' && c != '}')
		return "a key in double quotes is expected here";
	if (c == '0' && is_digit(next) && begins_number(scan))
		return "a number does not begin with 0";
	if (c == '.' && !is_digit(next))
		return "digits are expected after the point";
	return NULL;
}

/* One byte outside strings. */
static int scan_byte(struct scan *scan)
{
	char c = scan->text[scan->at];
	const char *why;

	if (is_space(c)) {
		scan->at++;
		return RC_OK;
	}
	why = complaint(scan, c);
	if (why != NULL)
		return fail(scan, scan->at, why);
	if (c == '"')
		return scan_string(scan);
	if (c == '{' || c == '[') {
		if (scan->depth == JSON_TEXT_DEPTH_MAX)
			return fail(scan, scan->at, "nested too deeply");
		scan->open[scan->depth++] = c;
	}
	if (c == '}' || c == ']')
		scan->depth--;
	scan->before = c;
	scan->at++;
	return RC_OK;
}

/* Whatever file it is, nothing of it is repeated in a message. */
static const char *no_json(const struct scan *scan)
{
	const unsigned char *text = (const unsigned char *)scan->text;
	size_t at = scan->at;

	if (scan->len >= 2 &&
	    ((text[0] == 0xff && text[1] == 0xfe) || (text[0] == 0xfe && text[1] == 0xff) ||
	     (text[0] == 0) != (text[1] == 0)))
		return "this is UTF-16; JSON is written in UTF-8";
	while (at < scan->len && is_space(scan->text[at]))
		at++;
	if (at == scan->len || strchr("{[\"-0123456789tfn/#'", scan->text[at]) != NULL)
		return NULL;
	return "no JSON";
}

static int scan_all(struct scan *scan)
{
	const char *why = no_json(scan);
	int rc;

	if (why != NULL)
		return fail(scan, scan->at, why);
	while (scan->at < scan->len) {
		rc = scan_byte(scan);
		if (rc != RC_OK)
			return rc;
	}
	if (scan->before == '\0')
		return fail(scan, scan->len, "there is nothing in it");
	if (scan->depth > 0)
		return fail(scan, scan->len,
			    scan->open[scan->depth - 1] == '{' ?
				    "the text ends where a \"}\" is missing" :
				    "the text ends where a \"]\" is missing");
	return RC_OK;
}

/* Of other files nothing is repeated in a message: it may be anybody's. */
static bool is_bracketed(const struct scan *scan)
{
	size_t at = 0;

	while (at < scan->len &&
	       (is_space(scan->text[at]) || (unsigned char)scan->text[at] >= 0x80))
		at++;
	return at < scan->len && (scan->text[at] == '{' || scan->text[at] == '[');
}

/* What cJSON stumbled over, at `at`. */
static int unexpected(const struct scan *scan, size_t at)
{
	char what[SNIPPET_MAX + 64];
	size_t len = 0;

	while (is_bracketed(scan) && len < SNIPPET_MAX && at + len < scan->len &&
	       (unsigned char)scan->text[at + len] > ' ' &&
	       (unsigned char)scan->text[at + len] < 0x7f)
		len++;
	if (!is_bracketed(scan))
		return fail(scan, at, "no JSON");
	if (len == 0)
		return fail(scan, at, "something is missing here");
	(void)snprintf(what, sizeof(what), "%s: %.*s",
		       strchr("\"{[", scan->text[at]) != NULL ?
			       "a comma or colon is missing before" :
			       "unexpected",
		       (int)len, scan->text + at);
	return fail(scan, at, what);
}

int json_text_parse(cJSON **root, const char *text, size_t len, struct err *err)
{
	struct scan scan = { .text = text, .len = len, .err = err };
	const char *end = NULL;
	size_t at;
	int rc;

	*root = NULL;
	if (len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
		scan.at = 3; /* a byte order mark, which some editors write */
	rc = scan_all(&scan);
	if (rc != RC_OK)
		return rc;

	json_text_use_mem();
	starved = false;
	*root = cJSON_ParseWithLengthOpts(text, len, &end, false);
	at = end != NULL ? (size_t)(end - text) : 0;
	assert(at <= len);
	if (*root == NULL)
		return starved ? err_nomem(err, "JSON") : unexpected(&scan, at);
	while (at < len && is_space(text[at]))
		at++;
	if (at < len) {
		cJSON_Delete(*root);
		*root = NULL;
		return fail(&scan, at, "more text after the end of the value");
	}
	return RC_OK;
}
