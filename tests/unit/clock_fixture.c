#include "tests/unit/clock_fixture.h"

#include "appliance/base/clock.h"

#include <sys/syscall.h>
#include <unistd.h>

static uint64_t held_ns; /* 0: it goes on with the machine's */
static uint64_t passed_ns;

int clock_gettime(clockid_t clock, struct timespec *ts)
{
	int r = (int)syscall(SYS_clock_gettime, clock, ts);
	uint64_t now;

	/* libuv's, of which it takes the coarse one where that is fine enough, and ours. */
	if (r != 0 || (clock != CLOCK_MONOTONIC && clock != CLOCK_MONOTONIC_COARSE &&
		       clock != CLOCK_BOOTTIME))
		return r;
	now = held_ns > 0 ? held_ns : (uint64_t)ts->tv_sec * CLOCK_NS_PER_S + (uint64_t)ts->tv_nsec;
	now += passed_ns;
	ts->tv_sec = (time_t)(now / CLOCK_NS_PER_S);
	ts->tv_nsec = (long)(now % CLOCK_NS_PER_S);
	return 0;
}

int clock_fixture_hold(void **state)
{
	(void)state;
	held_ns = clock_now_ns();
	return 0;
}

void clock_fixture_pass(uint64_t ms)
{
	passed_ns += ms * CLOCK_NS_PER_MS;
}
