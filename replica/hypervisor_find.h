/*
 * The QEMU of a replica that cannot be asked: found by what it was started with.
 */
#ifndef REPLICA_HYPERVISOR_FIND_H
#define REPLICA_HYPERVISOR_FIND_H

#include "appliance/base/err.h"

#include <sys/types.h>

/*
 * *pid: the process of our own user, or the hypervisors', that was started to wait for an instance with its QMP socket at
 * that path, whatever has become of the socket; 0: there is none. RC_IO, RC_NOMEM: that could not
 * be found out.
 */
int hypervisor_find(pid_t *pid, const char *qmp_path, struct err *err);

#endif
