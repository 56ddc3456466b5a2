#include "net/x509_time.h"

time_t x509_time(const mbedtls_x509_time *when)
{
	struct tm tm = { .tm_year = when->year - 1900,
			 .tm_mon = when->mon - 1,
			 .tm_mday = when->day,
			 .tm_hour = when->hour,
			 .tm_min = when->min,
			 .tm_sec = when->sec };

	return timegm(&tm);
}
