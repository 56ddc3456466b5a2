/*
 * What `understudy primary` and `understudy standby` have in common: options, configuration, log;
 * then the role.
 */
#ifndef APPLIANCE_RUN_ROLE_H
#define APPLIANCE_RUN_ROLE_H

#include "appliance/config.h"

/*
 * `about` is the help's paragraph; `run` is the role, with a configuration that stays valid until
 * it returns.
 */
int run_role(enum config_role role, const char *synopsis, const char *about,
	     int (*run)(const struct config *config), int argc, char **argv);

#endif
