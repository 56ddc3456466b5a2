#include "appliance/past_query.h"

#include "replica/journal_epochs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DIGITS_MAX 8

static int hex(char digit)
{
	static const char digits[] = "0123456789abcdef";
	const char *at = digit != '\0' ? strchr(digits, digit | 0x20) : NULL;

	return at != NULL ? (int)(at - digits) : -1;
}

/* A value up to `end`, with its %XX; false: it is too long, or no text. */
static bool decode(char out[PAST_QUERY_TEXT_MAX + 1], const char *text, const char *end)
{
	size_t len = 0;

	for (; text < end; text++) {
		char c = *text;

		if (c == '%') {
			const int high = end - text < 3 ? -1 : hex(text[1]);
			const int low = high < 0 ? -1 : hex(text[2]);

			if (high < 0 || low < 0)
				return false;
			c = (char)(high * 16 + low);
			text += 2;
		}
		if (c == '\0' || len == PAST_QUERY_TEXT_MAX)
			return false;
		out[len++] = c;
	}
	out[len] = '\0';
	return len > 0;
}

static bool read_limit(struct past_query *query, const char *text, const char *end)
{
	char digits[PAST_QUERY_TEXT_MAX + 1];

	if (!decode(digits, text, end) || strspn(digits, "0123456789") != strlen(digits) ||
	    strlen(digits) > DIGITS_MAX)
		return false;
	query->limit = (uint32_t)strtoul(digits, NULL, 10);
	return query->limit > 0 && query->limit <= JOURNAL_EPOCHS_MAX;
}

/* One "key=value" or "key". */
static bool read_part(struct past_query *query, const char *text, const char *end)
{
	const char *equals = memchr(text, '=', (size_t)(end - text));
	const size_t len = (size_t)((equals != NULL ? equals : end) - text);
	const struct {
		const char *key;
		char *value;
	} texts[] = { { "instance", query->instance },
		      { "from", query->from },
		      { "to", query->to } };
	size_t i;

	if (equals == NULL) {
		query->epochs = query->epochs || (len == 6 && memcmp(text, "epochs", 6) == 0);
		return len == 6 && memcmp(text, "epochs", 6) == 0;
	}
	for (i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		if (len == strlen(texts[i].key) && memcmp(text, texts[i].key, len) == 0)
			return *texts[i].value == '\0' && decode(texts[i].value, equals + 1, end);
	}
	return len == 5 && memcmp(text, "limit", 5) == 0 && read_limit(query, equals + 1, end);
}

int past_query_read(struct past_query *query, const char *text, struct err *err)
{
	const char *end;

	*query = (struct past_query){ .limit = PAST_QUERY_LIMIT };
	for (; *text != '\0'; text = *end != '\0' ? end + 1 : end) {
		end = text + strcspn(text, "&");
		if (!read_part(query, text, end))
			return err_set(err, RC_INVALID,
				       "%.*s: not of a history's query: instance=NAME, and "
				       "for a list of its epochs &epochs, &from=WHEN, &to=WHEN, "
				       "&limit=1...%d",
				       end - text < 100 ? (int)(end - text) : 100, text,
				       JOURNAL_EPOCHS_MAX);
	}
	if (*query->instance == '\0')
		return err_set(err, RC_INVALID, "whose history? /v1/history?instance=NAME");
	if (!query->epochs && (*query->from != '\0' || *query->to != '\0'))
		return err_set(err, RC_INVALID, "from and to are of a list of epochs (&epochs)");
	return RC_OK;
}

static char *encode(char *out, const char *key, const char *value)
{
	out += sprintf(out, "%s=", key);
	for (; *value != '\0'; value++) {
		const unsigned char c = (unsigned char)*value;

		if ((c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') ||
		    strchr("-._:", c) != NULL)
			*out++ = (char)c;
		else
			out += sprintf(out, "%%%02X", c);
	}
	*out = '\0';
	return out;
}

void past_query_print(char out[PAST_QUERY_PRINTED_MAX], const struct past_query *query)
{
	out = encode(out, "instance", query->instance);
	if (!query->epochs)
		return;
	out += sprintf(out, "&epochs");
	if (*query->from != '\0')
		out = encode(out, "&from", query->from);
	if (*query->to != '\0')
		out = encode(out, "&to", query->to);
	(void)sprintf(out, "&limit=%u", query->limit);
}
