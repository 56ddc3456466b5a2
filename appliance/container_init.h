/*
 * Process 1 of the small VM that a container comes back in: its root file system is on the disk with the serial number "root", and what it is
 * started with in the initramfs (container_config.h).
 */
#ifndef APPLIANCE_CONTAINER_INIT_H
#define APPLIANCE_CONTAINER_INIT_H

#include <stdbool.h>

/* The initramfs is one of those. */
bool container_init_is_one(void);
/* Does not return: the machine is turned off when the container's process has ended. */
void container_init_run(void) __attribute__((noreturn));

#endif
