#include "appliance/base/repeat.h"

#include "appliance/base/clock.h"

#include <stdio.h>

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_hex_digit(char c)
{
	return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/* What a number behind it belongs to. */
static bool is_of_word(char c)
{
	return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '.' ||
	       c == '-' || c == '_';
}

/* Past a number that begins here. */
static const char *skip_number(const char *begin, const char *at)
{
	const bool hex = at[0] == '0' && at[1] == 'x' && is_hex_digit(at[2]);

	if (at > begin && is_of_word(at[-1]))
		return at;
	if (hex)
		at += 2;
	while (hex ? is_hex_digit(*at) : is_digit(*at))
		at++;
	return at;
}

/* `said` may have been cut. */
static bool is_same(const char *said, const char *text)
{
	const char *a = said, *b = text;

	for (;; a++, b++) {
		a = skip_number(said, a);
		b = skip_number(text, b);
		if (*a == '\0')
			return *b == '\0' || a - said == ERR_TEXT_MAX - 1;
		if (*a != *b)
			return false;
	}
}

bool repeat_is_due(struct repeat *repeat, const char *text, uint64_t now_ns, unsigned *unsaid)
{
	bool same = *repeat->text != '\0' && is_same(repeat->text, text);

	*unsaid = 0;
	if (same && now_ns < repeat->due_ns) {
		repeat->unsaid++;
		return false;
	}
	if (!same)
		(void)snprintf(repeat->text, sizeof(repeat->text), "%s", text);
	else
		*unsaid = repeat->unsaid;
	repeat->wait_ns = !same ? REPEAT_FIRST_NS : repeat->wait_ns * 2;
	if (repeat->wait_ns > REPEAT_LAST_NS)
		repeat->wait_ns = REPEAT_LAST_NS;
	repeat->due_ns = now_ns + repeat->wait_ns;
	repeat->unsaid = 0;
	return true;
}

void repeat_log(struct repeat *repeat, enum log_level level, const char *part, const char *text)
{
	unsigned unsaid;

	if (!repeat_is_due(repeat, text, clock_now_ns(), &unsaid))
		return;
	if (unsaid > 0)
		log_write(level, part, "%s (and %u times since this was logged last)", text,
			  unsaid);
	else
		log_write(level, part, "%s", text);
}
