/*
 * What a guardian shows of itself to later agents: a mark on the process of the QEMU that it
 * watches. Like the claim of its agent (claim.h) it is a lock of the kernel's on that process, and
 * ends with its holder, however that ends; it excludes nobody.
 *
 * A guardian that has not noticed its agent's end is stopped, or stuck: it keeps the QMP socket, and
 * the guest inside the checkpoint that it was in. Whoever has the claim may end it.
 */
#ifndef REPLICA_GUARDIAN_MARK_H
#define REPLICA_GUARDIAN_MARK_H

#include <stdbool.h>
#include <sys/types.h>

enum guardian_mark {
	GUARDIAN_MARK_NONE,
	GUARDIAN_MARK_WATCHES,	/* as far as it knows its agent lives */
	GUARDIAN_MARK_RELEASES, /* it knows that its agent is gone, and lets the instance go */
	GUARDIAN_MARK_STOPPED,	/* the instance has no lease, and stands for that reason alone */
};

/*
 * By the guardian, on the QEMU at the other end of `qmp_fd`: a descriptor, close() it; -1: cannot be
 * had, and nobody will find it. Allocates nothing.
 */
int guardian_mark_set(int qmp_fd);
/*
 * From one mark to another (GUARDIAN_MARK_NONE: it has none any more); also to the same one, after
 * another mark of this process on that QEMU was closed, which ends them all.
 */
void guardian_mark_become(int mark, enum guardian_mark to);
/* Another guardian watches that QEMU, or lets it go. */
bool guardian_mark_has_other(int mark);

/* Whether `qemu` was left standing by one that shows GUARDIAN_MARK_STOPPED, still there or not. */
bool guardian_mark_is_stopped(pid_t qemu);
/* A guardian that `qemu` has, with one of the first two marks; its process, unless NONE. One in another container is not seen. */
enum guardian_mark guardian_mark_find(pid_t qemu, pid_t *guardian);
/*
 * Kills one found to watch `qemu`, and nobody else: ESRCH if it is not that any more. 0 or an
 * errno. Only with the claim on `qemu`: else its agent may live.
 */
int guardian_mark_end(pid_t qemu, pid_t guardian);

#endif
