#include "appliance/base/lock_file.h"

#include "appliance/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define TEXT_BYTES 16 /* always as many: what was written once can be changed on a full disk */

static pid_t holder_of(int fd)
{
	char text[TEXT_BYTES + 1] = "";
	long pid = 0;

	if (pread(fd, text, TEXT_BYTES, 0) > 0)
		pid = strtol(text, NULL, 10);
	return pid > 0 && pid == (pid_t)pid ? (pid_t)pid : 0;
}

void lock_file_name(int lock, pid_t holder)
{
	char text[TEXT_BYTES + 1];

	(void)snprintf(text, sizeof(text), "%-*d\n", TEXT_BYTES - 1, (int)holder);
	if (pwrite(lock, text, TEXT_BYTES, 0) != TEXT_BYTES || ftruncate(lock, TEXT_BYTES) != 0)
		log_debug("lock", "process %d: %s", (int)holder, strerror(errno));
}

int lock_file_take(const char *path, int *lock, pid_t *holder, struct err *err)
{
	int rc;

	*holder = 0;
	*lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
	if (*lock < 0)
		return err_system(err, errno, "%s", path);
	if (flock(*lock, LOCK_EX | LOCK_NB) == 0) {
		lock_file_name(*lock, getpid());
		return RC_OK;
	}
	if (errno == EWOULDBLOCK) {
		*holder = holder_of(*lock);
		rc = err_set(err, RC_STATE, "%s: process %d has it", path, (int)*holder);
	} else {
		rc = err_system(err, errno, "%s: flock", path);
	}
	lock_file_let_go(*lock);
	*lock = LOCK_FILE_NONE;
	return rc;
}

void lock_file_let_go(int lock)
{
	if (lock != LOCK_FILE_NONE)
		(void)close(lock);
}
