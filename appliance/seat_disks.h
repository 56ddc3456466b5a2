/*
 * The disks of a seat: the images that the standby's configuration names for those of a reservation.
 */
#ifndef APPLIANCE_SEAT_DISKS_H
#define APPLIANCE_SEAT_DISKS_H

#include "appliance/config.h"
#include "replica/reservation.h"

#define SEAT_DISKS_COPY ".rewound" /* behind the path of the replica's own: the image of a copy */

/*
 * Adds each to the image, and makes the link in `dir`, the replica's directory, by which QEMU finds it; or tells the spec
 * of its target. RC_REFUSED when the two sites do not name the same disks.
 */
int seat_disks_add(struct image *image, const struct config_instance *instance,
		   struct cmdline_spec *spec, const char *dir, struct err *err);

/*
 * The replica's QEMU has ended, and had not made durable what it was given of the disks' targets: the image holds no epoch any
 * more, and the log says so.
 */
bool seat_disks_are_lost(struct image *image, const char *part);

/*
 * The same with images for a copy of the replica, beside its own, or in `dir`: nothing is in them yet. RC_REFUSED: something that
 * no link in `dir` names is where one would be.
 */
int seat_disks_add_copies(struct image *image, const struct config_instance *instance,
			  const struct cmdline_spec *spec, const char *dir, struct err *err);
/* That there is room for them: RC_LIMIT. `dir`: or one above it. */
int seat_disks_check_room(const struct config_instance *instance, const struct cmdline_spec *spec,
			  const char *dir, struct err *err);
/* Removes such images, by the links in `dir`, and these. Nobody has them open any more. */
void seat_disks_remove_copies(const char *dir);

/*
 * Why a replica's QEMU could not be started: `err`, or in `own` what is wrong with a disk's file, or, if it was not ready in time, the
 * targets that it waits for: that says more.
 */
const struct err *seat_disks_explain(const struct image *image,
				     const struct config_instance *instance, const struct err *err,
				     struct err *own);

#endif
