/* A directory for a test's files, below $TMPDIR (without it: /tmp). */
#ifndef TESTS_UNIT_SCRATCH_H
#define TESTS_UNIT_SCRATCH_H

#define SCRATCH_MAX 96 /* a unix socket's path has 107 bytes, with a name in there */

/* Makes a new one, whose name begins with `name`; the caller removes it. 0, or -1: it cannot be. */
int scratch_make(char out[SCRATCH_MAX], const char *name);

#endif
