/*
 * The standby's state directory: what has to survive a restart. One process has it at a time: two
 * would fight for the same replicas, and each could bring one to life. Nobody but its user and root
 * may write to it: its terms decide who serves.
 */
#ifndef APPLIANCE_STATE_DIR_H
#define APPLIANCE_STATE_DIR_H

#include "appliance/base/err.h"

#include <stdbool.h>

/*
 * Makes it if need be, and takes it for this process: *lock is for state_dir_let_go(). RC_STATE
 * naming the process that has it; RC_REFUSED if others could write to it. Ends with this process in
 * any case.
 */
int state_dir_take(const char *path, int *lock, struct err *err);
void state_dir_let_go(int lock);

/*
 * Whether a standby could use it, by doing what it will do: makes it, and a file in it, and removes
 * both. *lasting false: it can, but what is kept there is gone when the machine restarts. *full with
 * an error: it was there already, and nothing is wrong but that it has no room. A standby that knew
 * the instance can go on with what it has kept.
 */
int state_dir_try(const char *path, bool *lasting, bool *full, struct err *err);

#endif
