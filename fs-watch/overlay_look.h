/*
 * The facts that overlay.h asks for, by a look at the layers of a storage driver of an engine (overlay2; overlay of containers/storage): in its
 * directory each layer has one, with "diff", "work", and of what it lies on, "lower": "l/NAME:l/NAME...", the uppermost first.
 */
#ifndef FS_WATCH_OVERLAY_LOOK_H
#define FS_WATCH_OVERLAY_LOOK_H

#include "fs-watch/overlay.h"

/* The lower layers' directories, in the driver's, with a NUL behind each and one more at the end; mem_free(). NULL: it cannot be read (yet). */
char *overlay_look_lower(int driver_fd, const char *layer);

/* Who is open (O_PATH). */
enum overlay_what overlay_look_what(int fd);
/* Who has that name in the layer's diff now. */
enum overlay_what overlay_look_now(int driver_fd, const char *layer, const char *path);
/*
 * Whether a lower layer shows something by that name. `redirected`: a directory on the way may have been renamed, and so show what
 * lower layers have by another name.
 */
bool overlay_look_is_lower(int driver_fd, const char *layer, const char *lower, const char *path,
			   bool redirected);

#endif
