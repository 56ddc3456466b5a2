/* The appliance at the standby site: one process, a clone (clone.h) per instance. */
#ifndef APPLIANCE_ROLE_STANDBY_H
#define APPLIANCE_ROLE_STANDBY_H

#include "appliance/config.h"

/* Runs until SIGTERM or SIGINT; returns the process's exit status. A replica that serves runs on.
 */
int role_standby_run(const struct config *config);

#endif
