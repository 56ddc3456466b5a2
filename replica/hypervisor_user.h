/*
 * A user of its own for the QEMUs of a standby that is root: who breaks out of a guest is then nobody who owns anything.
 *
 * One for a process, said once before it has threads; without it QEMUs are the standby's own user, and the rest of this does nothing.
 * What such a QEMU has to open it gets through its group: files stay the standby's, and no other user's.
 */
#ifndef REPLICA_HYPERVISOR_USER_H
#define REPLICA_HYPERVISOR_USER_H

#include "appliance/base/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define HYPERVISOR_USER \
	"understudy-qemu" /* the one that is taken where the configuration names none */

struct hypervisor_user {
	uid_t uid;
	gid_t gid;
};

/*
 * By name or number; NULL: HYPERVISOR_USER if there is one and we may, else our own. `confine`: its QEMUs will be. RC_INVALID: there is
 * none of that name, it is or could be root, or we cannot start anything as another one.
 */
int hypervisor_user_find(struct hypervisor_user *user, const char *name, bool confine,
			 struct err *err);
/* Whether it may do that (as of access()) with what is there now. By a process of its own. */
bool hypervisor_user_may(const struct hypervisor_user *user, const char *path, int how);
/* For this process, and what it makes from now on for others of its group to write to. */
void hypervisor_user_set(const struct hypervisor_user *user);

/* A process of it, or of ours. */
bool hypervisor_user_is(uid_t uid);

/* A file, or block device, of ours that QEMU opens; `path` is for the error. One of somebody else's stays as it is. */
int hypervisor_user_give(int fd, const char *path, struct err *err);
/* Of our directories: it gets at what is in there whose name it knows; it makes what it likes there, too, and takes away only that. */
int hypervisor_user_let_pass(const char *path, struct err *err);
int hypervisor_user_let_work(const char *path, struct err *err);

/* How it is said to the process that becomes a QEMU, confine_process.h: "UID:GID", or "". */
#define HYPERVISOR_USER_WORD_MAX 32
void hypervisor_user_word(char word[HYPERVISOR_USER_WORD_MAX]);
/*
 * That process becomes it, with all its groups, and of its own capabilities keeps `capabilities`, also for what it executes.
 */
int hypervisor_user_become(const char *word, uint64_t capabilities, struct err *err);

#endif
