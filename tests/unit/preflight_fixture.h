/* A configuration as the parts of the preflight get it, and what they say of it. */
#ifndef TESTS_UNIT_PREFLIGHT_FIXTURE_H
#define TESTS_UNIT_PREFLIGHT_FIXTURE_H

#include "appliance/preflight.h"

extern struct preflight preflight;

/* It has to be a valid one. */
void preflight_fixture_read(enum config_role role, const char *text);

/* One line of these, with `part` in it; NULL: none. Frees `preflight`. */
void preflight_fixture_expect(const struct buf *lines, const char *part);

#endif
