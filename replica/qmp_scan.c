#include "replica/qmp_scan.h"

#include <string.h>

void qmp_scan_init(struct qmp_scan *scan)
{
	memset(scan, 0, sizeof(*scan));
}

/* A `{` at the start of a line: whatever was being read is over. */
static void begin(struct qmp_scan *scan)
{
	scan->len = 0;
	scan->depth = 0;
	scan->inside = true;
	scan->in_string = scan->escaped = scan->too_long = false;
}

static void keep(struct qmp_scan *scan, uint8_t byte)
{
	if (scan->len < sizeof(scan->text))
		scan->text[scan->len++] = (char)byte;
	else
		scan->too_long = true;
}

/* Follows the brackets outside strings; true when the object is over. */
static bool step(struct qmp_scan *scan, uint8_t byte)
{
	if (scan->in_string) {
		if (scan->escaped)
			scan->escaped = false;
		else if (byte == '\\')
			scan->escaped = true;
		else if (byte == '"')
			scan->in_string = false;
		return false;
	}
	if (byte == '"')
		scan->in_string = true;
	else if (byte == '{' || byte == '[')
		scan->depth++;
	else if (byte == '}' || byte == ']')
		scan->depth--;
	return scan->depth == 0;
}

bool qmp_scan_feed(struct qmp_scan *scan, const uint8_t **at, size_t *left)
{
	uint8_t byte;

	while (*left > 0) {
		byte = **at;
		(*at)++;
		(*left)--;
		if (!scan->in_line && byte == '{')
			begin(scan);
		scan->in_line = byte != '\n';
		if (!scan->inside)
			continue;
		keep(scan, byte);
		if (!step(scan, byte))
			continue;
		scan->inside = false;
		if (!scan->too_long)
			return true;
	}
	return false;
}

/* ---- members ------------------------------------------------------------------------------- */

/* A string in the text, between its quotes. */
struct word {
	const char *at;
	size_t len;
};

struct walk {
	const char *at, *end;
	unsigned depth;
	struct word key; /* the last name seen at this or an inner depth */
	bool in_return;	 /* inside the value of the outermost "return" */
};

static bool is(struct word word, const char *text)
{
	return word.len == strlen(text) && memcmp(word.at, text, word.len) == 0;
}

static void copy(char to[QMP_SCAN_WORD_MAX], struct word word)
{
	to[0] = '\0';
	if (word.len >= QMP_SCAN_WORD_MAX || memchr(word.at, '\\', word.len) != NULL)
		return;
	memcpy(to, word.at, word.len);
	to[word.len] = '\0';
}

/* Moves past a string's closing quote. */
static struct word take_string(struct walk *walk)
{
	struct word word = { .at = walk->at };

	while (walk->at < walk->end && *walk->at != '"')
		walk->at += *walk->at == '\\' && walk->at + 1 < walk->end ? 2 : 1;
	word.len = (size_t)(walk->at - word.at);
	if (walk->at < walk->end)
		walk->at++;
	return word;
}

/* Is the next byte that is not a space a colon? Then the string before it was a name. */
static bool at_colon(const struct walk *walk)
{
	const char *at = walk->at;

	while (at < walk->end && (*at == ' ' || *at == '\t' || *at == '\r' || *at == '\n'))
		at++;
	return at < walk->end && *at == ':';
}

static void see_name(struct walk *walk, struct word name, struct qmp_scan_reply *reply)
{
	walk->key = name;
	if (walk->depth != 1)
		return;
	walk->in_return = is(name, "return");
	reply->returned |= walk->in_return;
	reply->failed |= is(name, "error");
}

static void see_value(struct walk *walk, struct word value, struct qmp_scan_reply *reply)
{
	if (walk->depth == 1 && is(walk->key, "id"))
		copy(reply->id, value);
	else if (walk->depth == 2 && walk->in_return && is(walk->key, "status"))
		copy(reply->status, value);
}

void qmp_scan_reply(const char *text, size_t len, struct qmp_scan_reply *reply)
{
	struct walk walk = { .at = text, .end = text + len, .key = { .at = "" } };
	struct word word;
	char byte;

	memset(reply, 0, sizeof(*reply));
	while (walk.at < walk.end) {
		byte = *walk.at++;
		if (byte == '"') {
			word = take_string(&walk);
			if (at_colon(&walk))
				see_name(&walk, word, reply);
			else
				see_value(&walk, word, reply);
		} else if (byte == '{' || byte == '[') {
			walk.depth++;
		} else if ((byte == '}' || byte == ']') && walk.depth > 0) {
			walk.depth--;
		}
	}
}
