/*
 * Has a QEMU that waits for its memory export the targets of its disks by NBD. Inside of hypervisor.h.
 */
#ifndef REPLICA_HYPERVISOR_EXPORTS_H
#define REPLICA_HYPERVISOR_EXPORTS_H

#include "replica/hypervisor_setup.h"
#include "replica/qmp.h"

struct hypervisor_exports {
	struct qmp *qmp;
	const struct hypervisor_setup *setup;
	/*
	 * Once, from the loop: RC_OK, or what is against it: QEMU's words, or a target that is of another size than the
	 * instance's disk. Not when the connection is lost.
	 */
	void (*done)(void *owner, const struct err *result);
	void *owner;
};

/* There is one at least. After an error `done` is not called. */
int hypervisor_exports_start(struct hypervisor_exports *exports, struct qmp *qmp,
			     const struct hypervisor_setup *setup,
			     void (*done)(void *owner, const struct err *result), void *owner,
			     struct err *err);

/*
 * The other end: a command that is answered when nobody is connected any more and what they had asked for has happened. `cb`
 * as of qmp_execute().
 */
int hypervisor_exports_stop(struct qmp *qmp, const struct hypervisor_setup *setup, qmp_reply_cb cb,
			    void *owner, struct err *err);

#endif
