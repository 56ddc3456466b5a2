#include "replica/guardian.h"

#include "appliance/base/clock.h"
#include "appliance/base/mem.h"
#include "replica/guardian_process.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define STOP_MS 1000 /* a guardian that was told to stop has nothing to do but end */

struct guardian {
	pid_t pid;
	int control;
	struct guardian_shared *shared;
	bool used[GUARDIAN_INSTANCES_MAX];
};

/*
 * Every signal is held back until the child ignores it, so that there is no moment at which one
 * ends it.
 */
static pid_t fork_process(int control, struct guardian_shared *shared)
{
	sigset_t all, before;
	pid_t pid;

	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	pid = fork();
	if (pid == 0)
		guardian_process_run(control, shared);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	return pid;
}

int guardian_start(struct guardian **out, struct err *err)
{
	struct guardian *guardian = mem_zalloc(1, sizeof(*guardian));
	int pair[2] = { -1, -1 }, rc;

	*out = NULL;
	if (guardian == NULL)
		return err_nomem(err, "the guardian");
	guardian->shared = mmap(NULL, sizeof(*guardian->shared), PROT_READ | PROT_WRITE,
				MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (guardian->shared == MAP_FAILED) {
		guardian->shared = NULL;
		rc = err_system(err, errno, "guardian: shared memory");
		goto out;
	}
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
		rc = err_system(err, errno, "guardian: socket pair");
		goto out;
	}
	guardian->pid = fork_process(pair[1], guardian->shared);
	if (guardian->pid < 0) {
		rc = err_system(err, errno, "guardian: fork");
		goto out;
	}
	(void)close(pair[1]);
	guardian->control = pair[0];
	*out = guardian;
	return RC_OK;
out:
	if (pair[0] >= 0) {
		(void)close(pair[0]);
		(void)close(pair[1]);
	}
	if (guardian->shared != NULL)
		(void)munmap(guardian->shared, sizeof(*guardian->shared));
	mem_free(guardian);
	return rc;
}

/* Never waits: a guardian that does not read (stopped by somebody) must not stop the agent. */
static int send_packet(const struct guardian *guardian, const struct guardian_packet *packet,
		       const int *fds, struct err *err)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(2 * sizeof(int))];
	} control = { .bytes = { 0 } };
	struct guardian_packet copy = *packet;
	struct iovec iov = { .iov_base = &copy, .iov_len = sizeof(copy) };
	struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct cmsghdr *header;
	ssize_t r;

	if (fds != NULL) {
		message.msg_control = control.bytes;
		message.msg_controllen = sizeof(control.bytes);
		header = CMSG_FIRSTHDR(&message);
		header->cmsg_level = SOL_SOCKET;
		header->cmsg_type = SCM_RIGHTS;
		header->cmsg_len = CMSG_LEN(2 * sizeof(int));
		memcpy(CMSG_DATA(header), fds, 2 * sizeof(int));
	}
	do {
		r = sendmsg(guardian->control, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
	} while (r < 0 && errno == EINTR);
	return r < 0 ? err_system(err, errno, "telling the guardian") : RC_OK;
}

int guardian_watch(struct guardian *guardian, const char *name, int qmp_fd, int colo_fd,
		   uint32_t freeze_limit_ms, unsigned *slot, struct err *err)
{
	struct guardian_packet packet = { .kind = GUARDIAN_WATCH,
					  .freeze_limit_ms = freeze_limit_ms };
	int fds[2] = { qmp_fd, colo_fd }, rc;
	unsigned i;

	for (i = 0; i < GUARDIAN_INSTANCES_MAX && guardian->used[i]; i++)
		;
	if (i == GUARDIAN_INSTANCES_MAX)
		return err_set(err, RC_LIMIT, "the guardian watches %d instances already", i);
	packet.slot = i;
	(void)snprintf(packet.name, sizeof(packet.name), "%s", name);
	atomic_store(&guardian->shared->held_since_ns[i], 0);
	rc = send_packet(guardian, &packet, fds, err);
	if (rc != RC_OK)
		return rc;
	guardian->used[i] = true;
	*slot = i;
	return RC_OK;
}

void guardian_hold(struct guardian *guardian, unsigned slot, bool held)
{
	assert(slot < GUARDIAN_INSTANCES_MAX);
	atomic_store(&guardian->shared->held_since_ns[slot], held ? clock_now_ns() : 0);
}

void guardian_unwatch(struct guardian *guardian, unsigned slot)
{
	struct guardian_packet packet = { .kind = GUARDIAN_UNWATCH, .slot = slot };
	struct err err;

	assert(slot < GUARDIAN_INSTANCES_MAX && guardian->used[slot]);
	atomic_store(&guardian->shared->held_since_ns[slot], 0);
	/*
	 * If it cannot be told it does not live, or its queue of dozens of packets is full because
	 * it does not run.
	 */
	(void)send_packet(guardian, &packet, NULL, &err);
	guardian->used[slot] = false;
}

pid_t guardian_pid(const struct guardian *guardian)
{
	return guardian->pid;
}

bool guardian_alive(const struct guardian *guardian)
{
	siginfo_t info = { 0 };

	/* WNOWAIT leaves it to guardian_stop() to collect. */
	return waitid(P_PID, (id_t)guardian->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
	       info.si_pid == 0;
}

void guardian_stop(struct guardian *guardian)
{
	struct guardian_packet packet = { .kind = GUARDIAN_STOP };
	uint64_t deadline_ns = clock_now_ns() + STOP_MS * CLOCK_NS_PER_MS;
	struct err err;

	if (guardian == NULL)
		return;
	if (send_packet(guardian, &packet, NULL, &err) == RC_OK) {
		while (guardian_alive(guardian) && clock_now_ns() < deadline_ns)
			(void)usleep(500);
	}
	/*
	 * Before the socket is closed: a guardian that did not hear us must not take that for the
	 * agent's end.
	 */
	if (guardian_alive(guardian))
		(void)kill(guardian->pid, SIGKILL);
	while (waitpid(guardian->pid, NULL, 0) < 0 && errno == EINTR)
		;
	(void)close(guardian->control);
	(void)munmap(guardian->shared, sizeof(*guardian->shared));
	mem_free(guardian);
}
