/*
 * The times of a certificate, as mbedtls has them: by the calendar, in UTC.
 */
#ifndef NET_X509_TIME_H
#define NET_X509_TIME_H

#include <mbedtls/x509.h>
#include <time.h>

/* Seconds since 1970. */
time_t x509_time(const mbedtls_x509_time *when);

#endif
