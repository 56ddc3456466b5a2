/* The agent beside the protected instances: one process, a protection (protection.h) per instance.
 */
#ifndef APPLIANCE_ROLE_PRIMARY_H
#define APPLIANCE_ROLE_PRIMARY_H

#include "appliance/config.h"

/*
 * Runs until SIGTERM or SIGINT; returns the process's exit status. Instances run on, unprotected.
 * When QEMU has not let go of one in time, the process exits with EXIT_LEFT from within.
 */
int role_primary_run(const struct config *config);

#endif
