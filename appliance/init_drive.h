/* Finds a configuration drive (config_drive.h) among the block devices. */
#ifndef APPLIANCE_INIT_DRIVE_H
#define APPLIANCE_INIT_DRIVE_H

#include "appliance/base/err.h"

#include <stdbool.h>
#include <stdint.h>

#define INIT_DRIVE_NAME_MAX 64 /* of a device, such as "vdb" */

struct init_drive {
	char device[INIT_DRIVE_NAME_MAX]; /* its name in /dev */
	const char *type;		  /* of its file system, as mount(2) calls it */
	bool is_protected;		  /* read-only or removable: no instance's disk is */
	char unused
		[INIT_DRIVE_NAME_MAX]; /* one that is not protected, beside one that is; "": none */
};

/* Where the kernel lists block devices, and where they are: these two, but in a test. */
#define INIT_DRIVE_LIST "/sys/class/block"
#define INIT_DRIVE_DEVICES "/dev"

/*
 * The drive, for which is waited so long if it is not there yet; then, unless that is 0, a moment for others. RC_STATE: there is none;
 * RC_REFUSED: there are two, whose names the error has. What does not answer is init_apart.h's to leave out.
 */
int init_drive_find(struct init_drive *drive, const char *list, const char *devices,
		    uint32_t within_ms, struct err *err);

#endif
