#include "tests/unit/scratch.h"

#include <stdio.h>
#include <stdlib.h>

int scratch_make(char out[SCRATCH_MAX], const char *name)
{
	const char *parent = getenv("TMPDIR");
	int len = snprintf(out, SCRATCH_MAX, "%s/us-%s-XXXXXX",
			   parent != NULL && *parent != '\0' ? parent : "/tmp", name);

	return len > 0 && len < SCRATCH_MAX && mkdtemp(out) != NULL ? 0 : -1;
}
