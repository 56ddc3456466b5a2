/* What we make in the file system. */
#ifndef APPLIANCE_BASE_FILES_H
#define APPLIANCE_BASE_FILES_H

#include "appliance/base/err.h"

/* A directory of our own (mode 0700); fine if it is there already. */
int files_make_dir(const char *path, struct err *err);

#endif
