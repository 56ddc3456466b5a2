/*
 * Time: every decision is made on a clock that only goes forwards, in nanoseconds; the wall clock is
 * for people only. It goes on while the machine is suspended: a lease does not last longer for that.
 */
#ifndef APPLIANCE_BASE_CLOCK_H
#define APPLIANCE_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

#define CLOCK_NS_PER_MS UINT64_C(1000000)
#define CLOCK_NS_PER_S UINT64_C(1000000000)

/* Nanoseconds of CLOCK_BOOTTIME. */
static inline uint64_t clock_now_ns(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_BOOTTIME, &ts);
	return (uint64_t)ts.tv_sec * CLOCK_NS_PER_S + (uint64_t)ts.tv_nsec;
}

/* A span of nanoseconds in milliseconds, with its fraction; for logs and status. */
static inline double clock_ms(uint64_t span_ns)
{
	return (double)span_ns / (double)CLOCK_NS_PER_MS;
}

#endif
