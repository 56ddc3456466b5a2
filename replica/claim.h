/*
 * The claim on a QEMU: one agent at a time may change it. Two agents that reach one QEMU through
 * two QMP sockets would release each other's checkpoints; the claim is taken before anything is
 * sent that changes the instance, and kept for as long as the agent has it.
 *
 * It is a lock that the kernel keeps on the QEMU's process itself (claim.c says where): it needs no
 * file and no privilege beyond seeing the process, and ends with its holder, however that ends. A
 * child shares it only until it executes a program, as the guardian and everything else that an
 * agent starts does at once.
 */
#ifndef REPLICA_CLAIM_H
#define REPLICA_CLAIM_H

#include "appliance/base/err.h"

#include <sys/types.h>

#define CLAIM_NONE (-1)

/*
 * *claim becomes a descriptor that claim_end() closes, CLAIM_NONE after a failure: RC_STATE,
 * somebody else has it (the text names the process; it may be this one, for another instance),
 * RC_IO: it could not be tried.
 */
int claim_take(int *claim, pid_t pid, struct err *err);

/*
 * The process that has the claim on `pid`, without trying to get it; 0: nobody, or one that is not
 * to be seen from here.
 */
pid_t claim_holder(pid_t pid);

/* Idempotent. */
void claim_end(int *claim);

/* What stands for the process, to be locked: a descriptor, close() it; -1 with errno. */
int claim_open(pid_t pid);

/* What claim_take() does on kernels before 6.9; a claim of this kind does not exclude the other. */
int claim_take_proc(int *claim, pid_t pid, struct err *err);

#endif
