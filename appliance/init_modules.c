#include "appliance/init_internal.h"

#include "appliance/base/buf.h"
#include "appliance/base/files.h"
#include "appliance/base/log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ORDER_MAX ((size_t)64 << 10)
#define PATH_BYTES 256

static int load(const char *dir, const char *name, struct err *err)
{
	char path[PATH_BYTES];
	int fd, r, reason;

	if (snprintf(path, sizeof(path), "%s/%s", dir, name) >= (int)sizeof(path))
		return err_set(err, RC_LIMIT, "%s: the module's path is too long", name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return err_system(err, errno, "%s", path);
	r = (int)syscall(SYS_finit_module, fd, "", 0);
	reason = errno;
	(void)close(fd);
	/* ENODEV, EOPNOTSUPP: for another machine (kvm_intel on an AMD one); ENOENT: so is what it needs symbols of. */
	if (r != 0 && reason != EEXIST && reason != ENODEV && reason != EOPNOTSUPP &&
	    reason != ENOENT)
		log_warn(INIT_PART, "module %s: %s", name, strerror(reason));
	return RC_OK;
}

int init_modules_load(const char *dir, struct err *err)
{
	struct buf order = { .limit = ORDER_MAX };
	char path[PATH_BYTES], *name, *rest;
	int rc;

	(void)snprintf(path, sizeof(path), "%s/order", dir);
	rc = files_read(&order, AT_FDCWD, path, FILES_PLAIN, err);
	if (rc == RC_OK) {
		for (name = strtok_r((char *)order.data, "\n", &rest); name != NULL && rc == RC_OK;
		     name = strtok_r(NULL, "\n", &rest))
			rc = load(dir, name, err);
	}
	buf_free(&order);
	return rc;
}
