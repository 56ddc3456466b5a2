/*
 * The clock of a test program, in the test's hands: the program and libuv both ask clock_gettime(),
 * which is replaced here, so that waits of seconds take none.
 */
#ifndef TESTS_UNIT_CLOCK_FIXTURE_H
#define TESTS_UNIT_CLOCK_FIXTURE_H

#include <stdint.h>

/* So much more monotonic time has passed. */
void clock_fixture_pass(uint64_t ms);

/*
 * For cmocka, as a group's setup: from now on time passes by that only. A machine that holds the
 * program up for seconds does not make its tests fail.
 */
int clock_fixture_hold(void **state);

#endif
