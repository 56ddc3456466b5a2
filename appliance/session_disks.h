/*
 * A session's disks: what the configuration and the examination say of them, put together.
 */
#ifndef APPLIANCE_SESSION_DISKS_H
#define APPLIANCE_SESSION_DISKS_H

#include "appliance/session.h"
#include "replica/disk_capture.h"

/* `whole`: the memory's layout with the instance's disks behind it. */
int session_disks_layout(struct layout *whole, const struct layout *memory,
			 const struct session_options *options, struct err *err);
/* Of such a layout, which has some; as disk_capture_open(). */
int session_disks_open(struct disk_capture **capture, const struct layout *whole,
		       const struct session_options *options, const struct disk_capture_ops *ops,
		       void *owner, struct err *err);

#endif
