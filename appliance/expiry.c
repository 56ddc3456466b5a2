#include "appliance/expiry.h"

#include <stdio.h>
#include <time.h>

#define DAY_S 86400
#define WHEN_MAX sizeof("9999-12-31 23:59 UTC")

static void print_time(char out[WHEN_MAX], int64_t when_s)
{
	const time_t when = (time_t)when_s;
	struct tm tm;

	*out = '\0';
	if (gmtime_r(&when, &tm) != NULL)
		(void)strftime(out, WHEN_MAX, "%Y-%m-%d %H:%M UTC", &tm);
}

void expiry_problem(char out[EXPIRY_TEXT_MAX], const char *path, int64_t from_s, int64_t until_s,
		    int64_t now_s)
{
	static const char remedy[] =
		"`understudy pki` makes another when that one is moved away; then restart this process";
	char day[WHEN_MAX];

	*out = '\0';
	print_time(day, now_s < from_s ? from_s : until_s);
	if (now_s < from_s)
		(void)snprintf(out, EXPIRY_TEXT_MAX,
			       "%.80s, or its CA, is not valid before %s: connections will be "
			       "refused; is this machine's clock right?",
			       path, day);
	else if (now_s >= until_s)
		(void)snprintf(
			out, EXPIRY_TEXT_MAX,
			"%.80s, or its CA, has expired on %s: the next connection will be refused; %s",
			path, day, remedy);
	else if (until_s - now_s <= (int64_t)EXPIRY_DAYS * DAY_S)
		(void)snprintf(out, EXPIRY_TEXT_MAX,
			       "%.80s, or its CA, expires in %lld days, on %s; %s", path,
			       (long long)((until_s - now_s) / DAY_S), day, remedy);
}
