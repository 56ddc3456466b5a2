/*
 * When a certificate runs out, told in time: a connection outlives it, the next one is refused, and
 * then nothing protects the instance. The same of one whose time has not come. A pure function.
 */
#ifndef APPLIANCE_EXPIRY_H
#define APPLIANCE_EXPIRY_H

#include <stddef.h>
#include <stdint.h>

#define EXPIRY_DAYS 14 /* what it takes to find whoever has the CA's key */
#define EXPIRY_TEXT_MAX 256

/*
 * `from_s`, `until_s` and `now_s`: seconds since 1970. Fills `out` with what is wrong, by now or in
 * EXPIRY_DAYS, and what to do; empty: nothing.
 */
void expiry_problem(char out[EXPIRY_TEXT_MAX], const char *path, int64_t from_s, int64_t until_s,
		    int64_t now_s);

#endif
