/*
 * The questions put to a QEMU that has just been started: does it wait for its memory, does it take
 * the capability, and where do its shared blocks lie inside their regions (the activation stream
 * has to repeat that). Inside of hypervisor.h.
 */
#ifndef REPLICA_HYPERVISOR_CHECK_H
#define REPLICA_HYPERVISOR_CHECK_H

#include "replica/hypervisor_setup.h"
#include "replica/qmp.h"

struct hypervisor_check {
	struct qmp *qmp;
	struct hypervisor_setup *setup;
	size_t asked; /* blocks whose address is known */
	/*
	 * Once, from the loop: code RC_OK, or what QEMU said against it. Not when the connection is
	 * lost.
	 */
	void (*done)(void *owner, const struct err *result);
	void *owner;
};

/*
 * Fills in the addresses of setup->blocks. The connection must be ready; a failure here is the
 * result, done is not called.
 */
int hypervisor_check(struct hypervisor_check *check, struct qmp *qmp,
		     struct hypervisor_setup *setup,
		     void (*done)(void *owner, const struct err *result), void *owner,
		     struct err *err);

#endif
