/*
 * `docker run ...` taken apart into `docker create ...` and `docker start ...`, which do the same, with a moment in between. podman's, too.
 */
#ifndef APPLIANCE_RUN_COMMAND_H
#define APPLIANCE_RUN_COMMAND_H

#include "appliance/base/err.h"

#include <stdbool.h>

struct run_command {
	char **create; /* with a NULL at the end */
	char **start;  /* the same; its last word is to be the container's id: *id */
	char **id;
	bool detached;
};

/*
 * `argv`, of `argc` words, is "docker", its options, "run" and the rest. Its words are used, and may be changed, not copied. RC_INVALID: it is no
 * such command; RC_NOMEM.
 */
int run_command_make(struct run_command *command, int argc, char **argv, struct err *err);
void run_command_free(struct run_command *command);

#endif
