/*
 * What is sent as a reservation (reservation.h), from what the configuration says of an instance and what its
 * examination has found.
 */
#ifndef APPLIANCE_SUBJECT_DERIVE_H
#define APPLIANCE_SUBJECT_DERIVE_H

#include "appliance/base/buf.h"
#include "appliance/config.h"
#include "net/etcd.h"
#include "replica/disk_find.h"
#include "replica/precheck.h"

#include <sys/types.h>

struct subject_derivation {
	const struct config_instance *config;
	const struct config *site; /* its witness is told: */
	const struct etcd *etcd;   /* NULL: none */
	pid_t qemu;
	const struct precheck_facts *facts;
	const struct disk_found *disks; /* as the configuration lists them */
};

/* Appends the JSON and a NUL. */
int subject_derive(const struct subject_derivation *derivation, struct buf *json, struct err *err);

#endif
