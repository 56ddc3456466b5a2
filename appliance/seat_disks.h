/*
 * The disks of a seat: the images that the standby's configuration names for those of a reservation.
 */
#ifndef APPLIANCE_SEAT_DISKS_H
#define APPLIANCE_SEAT_DISKS_H

#include "appliance/config.h"
#include "replica/reservation.h"

/*
 * Adds each to the image, and makes the link in `dir`, the replica's directory, by which QEMU finds it.
 * RC_REFUSED when the two sites do not name the same disks.
 */
int seat_disks_add(struct image *image, const struct config_instance *instance,
		   const struct cmdline_spec *spec, const char *dir, struct err *err);

/* The same with images for a copy of the replica, beside its own: nothing is in them yet. */
int seat_disks_add_copies(struct image *image, const struct config_instance *instance,
			  const struct cmdline_spec *spec, const char *dir, struct err *err);
/* Removes such images, by the links in `dir`, and these. Nobody has them open any more. */
void seat_disks_remove_copies(const char *dir);

#endif
