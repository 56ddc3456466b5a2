#include "appliance/expiry.h"

#include <stdio.h>
#include <time.h>

#define DAY_S 86400

void expiry_problem(char out[EXPIRY_TEXT_MAX], const char *path, int64_t until_s, int64_t now_s)
{
	static const char remedy[] =
		"`understudy pki` makes another when that one is moved away; then restart this process";
	const time_t until = (time_t)until_s;
	char day[sizeof("9999-12-31 23:59 UTC")] = "";
	struct tm tm;

	*out = '\0';
	if (until_s - now_s > (int64_t)EXPIRY_DAYS * DAY_S)
		return;
	if (gmtime_r(&until, &tm) != NULL)
		(void)strftime(day, sizeof(day), "%Y-%m-%d %H:%M UTC", &tm);
	if (now_s >= until_s)
		(void)snprintf(
			out, EXPIRY_TEXT_MAX,
			"%.80s, or its CA, has expired on %s: the next connection will be refused; %s",
			path, day, remedy);
	else
		(void)snprintf(out, EXPIRY_TEXT_MAX,
			       "%.80s, or its CA, expires in %lld days, on %s; %s", path,
			       (long long)((until_s - now_s) / DAY_S), day, remedy);
}
