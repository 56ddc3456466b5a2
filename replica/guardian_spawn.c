/*
 * The process is this program executed anew, not a fork: an agent that runs has threads, keys and
 * hundreds of megabytes, and of all that a guardian must have nothing. posix_spawn() shares the
 * memory until the execve(), so it costs the same however large the agent is, and needs no memory
 * that the machine may not have. /proc/self/exe is this very program, also when its file has been
 * replaced since.
 */
#include "replica/guardian_spawn.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define PAGE_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

int guardian_spawn_page(int *fd, struct guardian_shared **shared, struct err *err)
{
	void *page = MAP_FAILED;
	int rc;

	*fd = memfd_create("guardian", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (*fd >= 0 && ftruncate(*fd, sizeof(**shared)) == 0 &&
	    fcntl(*fd, F_ADD_SEALS, PAGE_SEALS) == 0)
		page = mmap(NULL, sizeof(**shared), PROT_READ | PROT_WRITE, MAP_SHARED, *fd, 0);
	if (page != MAP_FAILED) {
		*shared = page;
		return RC_OK;
	}
	rc = err_system(err, errno, "guardian: shared memory");
	if (*fd >= 0)
		(void)close(*fd);
	*fd = -1;
	return rc;
}

int guardian_spawn_send(int control, const struct guardian_packet *packet, const int *fds,
			size_t count)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(GUARDIAN_FDS * sizeof(int))];
	} ancillary = { .bytes = { 0 } };
	struct guardian_packet copy = *packet;
	struct iovec iov = { .iov_base = &copy, .iov_len = sizeof(copy) };
	struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct cmsghdr *header;
	ssize_t r;

	assert(count <= GUARDIAN_FDS);
	if (count > 0) {
		message.msg_control = ancillary.bytes;
		message.msg_controllen = (socklen_t)CMSG_SPACE(count * sizeof(int));
		header = CMSG_FIRSTHDR(&message);
		header->cmsg_level = SOL_SOCKET;
		header->cmsg_type = SCM_RIGHTS;
		header->cmsg_len = (socklen_t)CMSG_LEN(count * sizeof(int));
		memcpy(CMSG_DATA(header), fds, count * sizeof(int));
	}
	do {
		r = sendmsg(control, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
	} while (r < 0 && errno == EINTR);
	return r < 0 ? errno : 0;
}

/* Every signal is held back until the process ignores it: there is no moment at which one ends it.
 */
static int set_up(posix_spawnattr_t *attributes, posix_spawn_file_actions_t *actions, int control)
{
	sigset_t all;
	int r = posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETSIGMASK);

	(void)sigfillset(&all);
	if (r == 0)
		r = posix_spawnattr_setsigmask(attributes, &all);
	if (r == 0)
		r = posix_spawn_file_actions_adddup2(actions, control, GUARDIAN_CONTROL);
	return r;
}

int guardian_spawn(pid_t *pid, int control, struct err *err)
{
	char name[] = GUARDIAN_PROCESS_NAME, *const args[] = { name, NULL };
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	int r = posix_spawnattr_init(&attributes);

	assert(guardian_process_can_start());
	if (r != 0)
		return err_system(err, r, "guardian: starting it");
	r = posix_spawn_file_actions_init(&actions);
	if (r == 0) {
		r = set_up(&attributes, &actions, control);
		if (r == 0)
			r = posix_spawn(pid, "/proc/self/exe", &actions, &attributes, args,
					environ);
		(void)posix_spawn_file_actions_destroy(&actions);
	}
	(void)posix_spawnattr_destroy(&attributes);
	return r == 0 ? RC_OK : err_system(err, r, "guardian: starting it");
}
