/*
 * A file that is held by one at a time: flock(2), so that the lock belongs to the open file. It ends
 * when the last descriptor of it is closed, also one that a child process inherited. The file stays;
 * its content is the holder's process id, for messages only.
 */
#ifndef APPLIANCE_BASE_LOCK_FILE_H
#define APPLIANCE_BASE_LOCK_FILE_H

#include "appliance/base/err.h"

#include <sys/types.h>

#define LOCK_FILE_NONE (-1)

/*
 * Makes the file if need be (mode 0600) and takes it for this process; *lock is closed at an exec.
 * RC_STATE: another one has it, *holder is its process id as far as the file tells, 0 if it does
 * not; the text is the caller's.
 */
int lock_file_take(const char *path, int *lock, pid_t *holder, struct err *err);

/* Its holder is (also) this process. Nothing depends on it: on a full disk it may stay unsaid. */
void lock_file_name(int lock, pid_t holder);

/* Closes it; LOCK_FILE_NONE is fine. */
void lock_file_let_go(int lock);

#endif
