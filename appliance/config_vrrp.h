/*
 * What a VRRP group's addresses may not be: another's, or the appliance's own, which it would take off
 * its device when it starts.
 */
#ifndef APPLIANCE_CONFIG_VRRP_H
#define APPLIANCE_CONFIG_VRRP_H

#include "appliance/config.h"

/* Calls found() with each problem ("KEY: what is wrong"). */
void config_vrrp(const struct config *config, void (*found)(void *owner, const char *text),
		 void *owner);

#endif
