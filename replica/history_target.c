#include "replica/history_target.h"

#include "appliance/base/utf8.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MS_PER_S UINT64_C(1000)
#define DIGITS_MAX 18 /* of a number that is taken: 10^18 - 1 */

enum kind { EPOCH, BACK, TIME, MARK };

static size_t digits(const char *text)
{
	return strspn(text, "0123456789");
}

/* By its beginning, so that a slip in a time is told as that. */
static enum kind kind_of(const char *text)
{
	if (text[0] == '-' && digits(text + 1) > 0)
		return BACK;
	if (digits(text) > 0 && text[digits(text)] == '\0')
		return EPOCH;
	if (digits(text) == 4 && text[4] == '-' && digits(text + 5) == 2 && text[7] == '-')
		return TIME;
	return MARK;
}

int history_check_mark(const char *text, struct err *err)
{
	const size_t len = strlen(text);

	if (len == 0 || len > JOURNAL_MARK_MAX)
		return err_set(err, RC_INVALID, "a mark has 1 to %d bytes", JOURNAL_MARK_MAX);
	if (!utf8_is_plain(text))
		return err_set(err, RC_INVALID, "a mark is one line of text");
	if (kind_of(text) != MARK)
		return err_set(err, RC_INVALID,
			       "a mark \"%s\" would be taken for an epoch or a time", text);
	return RC_OK;
}

/* Exactly `count` digits, then on behind them; -1: they are not there. */
static int take(const char **text, size_t count)
{
	int value = 0;

	if (digits(*text) < count)
		return -1;
	for (; count > 0; count--)
		value = value * 10 + (*(*text)++ - '0');
	return value;
}

static bool skip(const char **text, const char *one_of)
{
	const bool there = **text != '\0' && strchr(one_of, **text) != NULL;

	*text += there;
	return there;
}

/* "T04:30:00.123" */
static bool take_clock(const char **at, struct tm *tm, int *ms)
{
	int scale = 100;

	if (!skip(at, "Tt "))
		return false;
	tm->tm_hour = take(at, 2);
	if (!skip(at, ":"))
		return false;
	tm->tm_min = take(at, 2);
	*ms = 0;
	if (!skip(at, ":"))
		return true;
	tm->tm_sec = take(at, 2);
	if (skip(at, ".")) {
		if (digits(*at) == 0)
			return false;
		for (; digits(*at) > 0; scale /= 10)
			*ms += (*(*at)++ - '0') * scale;
	}
	return true;
}

/* Minutes east of Greenwich. */
static bool take_zone(const char **at, int *minutes)
{
	const int sign = **at == '-' ? -1 : 1;
	int hours, rest;

	*minutes = 0;
	if (skip(at, "Zz"))
		return true;
	if (!skip(at, "+-"))
		return false;
	hours = take(at, 2);
	if (!skip(at, ":"))
		return false;
	rest = take(at, 2);
	*minutes = sign * (hours * 60 + rest);
	return hours >= 0 && hours < 24 && rest >= 0 && rest < 60;
}

static bool is_on_the_clock(const struct tm *tm)
{
	return tm->tm_hour >= 0 && tm->tm_hour < 24 && tm->tm_min >= 0 && tm->tm_min < 60 &&
	       tm->tm_sec >= 0 && tm->tm_sec <= 60;
}

static int read_time(const char *text, uint64_t *out_ms, struct err *err)
{
	struct tm tm = { 0 }, same;
	const char *at = text;
	time_t seconds;
	int ms, minutes, day;

	tm.tm_year = take(&at, 4) - 1900;
	at++;
	tm.tm_mon = take(&at, 2) - 1;
	at++;
	day = tm.tm_mday = take(&at, 2);
	if (!take_clock(&at, &tm, &ms) || !take_zone(&at, &minutes) || *at != '\0' ||
	    !is_on_the_clock(&tm))
		return err_set(err, RC_INVALID,
			       "%.100s: a time is written 2026-11-29T04:30:00Z, with its zone (Z, "
			       "+01:00), or -5m",
			       text);
	same = tm;
	seconds = timegm(&same);
	if (same.tm_mday != day && tm.tm_sec < 60)
		return err_set(err, RC_INVALID, "%.100s: there is no such day", text);
	seconds -= (time_t)minutes * 60;
	if (tm.tm_mon < 0 || tm.tm_mon > 11 || seconds < 0)
		return err_set(err, RC_INVALID, "%.100s: there is no such day", text);
	*out_ms = (uint64_t)seconds * MS_PER_S + (uint64_t)ms;
	return RC_OK;
}

static int read_back(const char *text, uint64_t now_ms, uint64_t *ms, struct err *err)
{
	static const struct {
		char unit;
		uint64_t seconds;
	} units[] = { { 's', 1 }, { 'm', 60 }, { 'h', 3600 }, { 'd', 86400 } };
	const size_t count = digits(text + 1);
	const char *unit = text + 1 + count;
	uint64_t number;
	size_t i;

	for (i = 0; i < sizeof(units) / sizeof(units[0]) && units[i].unit != *unit; i++)
		;
	if (i == sizeof(units) / sizeof(units[0]) || unit[1] != '\0' || count > 9)
		return err_set(err, RC_INVALID,
			       "%.100s: back from now is written -30s, -5m, -2h or -1d", text);
	number = strtoull(text + 1, NULL, 10) * units[i].seconds * MS_PER_S;
	*ms = number < now_ms ? now_ms - number : 0;
	return RC_OK;
}

int history_find(const struct history *history, const char *target, uint64_t now_ms,
		 struct history_place *place, struct err *err)
{
	const enum kind kind = kind_of(target);
	uint64_t ms = 0;
	int rc;

	if (kind == EPOCH && strlen(target) > DIGITS_MAX)
		return err_set(err, RC_INVALID, "%.100s: no epoch has such a number", target);
	if (kind == EPOCH)
		return history_find_epoch(history, strtoull(target, NULL, 10), place, err);
	if (kind == MARK && (*target == '\0' || strlen(target) > JOURNAL_MARK_MAX))
		return err_set(err, RC_INVALID, "there is no such mark, epoch or time");
	if (kind == MARK)
		return history_find_mark(history, target, place, err);
	rc = kind == BACK ? read_back(target, now_ms, &ms, err) : read_time(target, &ms, err);
	if (rc == RC_OK && ms > now_ms)
		rc = err_set(err, RC_INVALID, "%.100s: that is still to come", target);
	return rc == RC_OK ? history_find_time(history, ms, place, err) : rc;
}
