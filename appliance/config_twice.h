/*
 * What a configuration may name only once: instances, devices, sockets, journals, the address of a
 * listener.
 */
#ifndef APPLIANCE_CONFIG_TWICE_H
#define APPLIANCE_CONFIG_TWICE_H

#include "appliance/config.h"

/* Calls found() with each problem ("KEY: what is wrong"). */
void config_twice(const struct config *config, void (*found)(void *owner, const char *text),
		  void *owner);

#endif
