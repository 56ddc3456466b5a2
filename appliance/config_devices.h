/*
 * What machine.network may not be, which no table can say: devices are set up in the order in which they are written, and each may need
 * others.
 */
#ifndef APPLIANCE_CONFIG_DEVICES_H
#define APPLIANCE_CONFIG_DEVICES_H

#include "appliance/config.h"

/* Calls found() with each problem ("KEY: what is wrong; what to do"). */
void config_devices(const struct config *config, void (*found)(void *owner, const char *text),
		    void *owner);

/* Whether one of the machine's devices has that name. */
bool config_has_device(const struct config *config, const char *name);

#endif
