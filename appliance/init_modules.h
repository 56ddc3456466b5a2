/* The kernel's modules, of the image's, that this machine has use for. */
#ifndef APPLIANCE_INIT_MODULES_H
#define APPLIANCE_INIT_MODULES_H

#include "appliance/base/buf.h"
#include "appliance/base/err.h"

#include <stdbool.h>

/*
 * Loads the modules that `dir`/order lists, in that order, then those of `dir`/devices for whose devices the machine has one. One
 * that cannot be is told, and is no error: what needs it will tell more. One that does not come back is init_apart.h's to leave out.
 */
int init_modules_load(const char *dir, struct err *err);
/* The same of /modules, as work for init_apart(); the owner is nobody. */
int init_modules_load_all(void *owner, struct err *err);

/* What the kernel, whose sysfs is at `sys`, calls the machine's devices and processors, each with a NUL. RC_LIMIT: no memory. */
int init_modules_devices(struct buf *devices, const char *sys, struct err *err);
/* Whether a device has one of these names, between which are spaces and in which * is anything. They are taken apart. */
bool init_modules_wanted(char *names, const struct buf *devices);

#endif
