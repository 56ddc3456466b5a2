/*
 * Which accelerator the replica's QEMU gets. A virtual machine's device state belongs to its
 * accelerator (clock and interrupt controllers of KVM are not those of emulation), so the replica
 * needs the one the instance has; this machine must be able to do it.
 */
#ifndef REPLICA_ACCEL_H
#define REPLICA_ACCEL_H

#include "appliance/base/err.h"

#include <stdbool.h>
#include <stddef.h>

#define ACCEL_WHY_MAX 128

/*
 * Whether KVM works here: a processor with vmx or svm, and /dev/kvm opens. Otherwise `why` tells.
 * Reads /proc and /dev.
 */
bool accel_has_kvm(char why[ACCEL_WHY_MAX]);

/* A /proc/cpuinfo has vmx or svm among its flags. Pure. */
bool accel_has_virtualization(const char *cpuinfo);

/*
 * "kvm" or "tcg" for a wish of "auto", "kvm" or "tcg" and what the instance runs under (`primary`:
 * "kvm", "tcg"; empty: unknown). RC_UNSUPPORTED with `why` when it cannot be had. Pure.
 */
int accel_choose(const char **accel, const char *wanted, const char *primary, bool has_kvm,
		 const char *why, struct err *err);

#endif
