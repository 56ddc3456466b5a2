/*
 * Theory of operation
 *
 * The child notes in memory that both have what it waits for and since when; its result comes by a pipe. When that takes too long,
 * the child gets a SIGKILL, by which it ends, at the latest, when the device answers: it does nothing more then. Until it has ended, and
 * a minute has passed, the device counts as one that hangs, for other children as well.
 */
#include "appliance/init_apart.h"

#include "appliance/base/clock.h"
#include "appliance/machine_problems.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define NAME_BYTES 64
#define HANGING_MAX 16
#define LOOK_EVERY_MS 100
#define AGAIN_AFTER_MS 60000 /* a device that hangs: each try takes the time of a look */

/* What the child waits for. Changed while within_ms is 0. */
struct waiting {
	_Atomic uint32_t within_ms; /* 0: nothing of which the time is limited */
	_Atomic uint64_t since_ms;
	char device[NAME_BYTES];
};

struct hanging {
	char device[NAME_BYTES];
	pid_t pid; /* of who waits for it */
	uint64_t again_ms;
};

struct result {
	int rc;
	struct err err;
};

static struct waiting *waiting; /* shared; NULL: nobody works apart */
static struct hanging hanging[HANGING_MAX];
static size_t nhanging;

static uint64_t now_ms(void)
{
	return clock_now_ns() / CLOCK_NS_PER_MS;
}

/* ---- the work ----------------------------------------------------------------------------------------- */

void init_apart_at(const char *device, uint32_t within_ms)
{
	if (waiting == NULL)
		return;
	atomic_store(&waiting->within_ms, 0);
	if (device == NULL)
		return;
	(void)snprintf(waiting->device, sizeof(waiting->device), "%s", device);
	atomic_store(&waiting->since_ms, now_ms());
	atomic_store(&waiting->within_ms, within_ms);
}

bool init_apart_hangs(const char *device)
{
	for (size_t i = 0; i < nhanging; i++) {
		if (strcmp(hanging[i].device, device) == 0)
			return true;
	}
	return false;
}

/* ---- who waits for it ---------------------------------------------------------------------------------- */

static bool is_there(pid_t pid)
{
	const pid_t ended = waitpid(pid, NULL, WNOHANG);

	/* It may have been reaped with all others. */
	return ended == 0 || (ended < 0 && kill(pid, 0) == 0);
}

static void forget_those_that_may_answer(void)
{
	size_t count = 0;

	for (size_t i = 0; i < nhanging; i++) {
		if (is_there(hanging[i].pid) || now_ms() < hanging[i].again_ms)
			hanging[count++] = hanging[i];
	}
	nhanging = count;
}

static bool takes_too_long(void)
{
	const uint32_t within_ms = atomic_load(&waiting->within_ms);

	return within_ms != 0 && now_ms() - atomic_load(&waiting->since_ms) >= within_ms;
}

/* True: there is a result, or there will be none. */
static bool wait_for_result(int pipe, struct init_watchdog *watchdog)
{
	struct pollfd polled = { .fd = pipe, .events = POLLIN };

	while (poll(&polled, 1, LOOK_EVERY_MS) <= 0) {
		if (watchdog != NULL)
			init_watchdog_tell(watchdog, now_ms());
		if (takes_too_long())
			return false;
	}
	return true;
}

static int read_result(int pipe, pid_t pid, struct err *err)
{
	struct result result;
	int status = 0;

	if (read(pipe, &result, sizeof(result)) == (ssize_t)sizeof(result)) {
		*err = result.err;
		(void)waitpid(pid, NULL, 0);
		return result.rc;
	}
	(void)waitpid(pid, &status, 0);
	return err_set(err, RC_IO, "%s: the process that waits for it was ended by signal %d",
		       waiting->device, WTERMSIG(status));
}

/* What the child waits for is not waited for any more; false: there are too many of these. */
static bool leave_out(pid_t pid, struct err *err)
{
	struct hanging *one = &hanging[nhanging];

	(void)kill(pid, SIGKILL);
	(void)err_set(err, RC_TIMEOUT, "%s does not answer (%u s); it is left out", waiting->device,
		      (unsigned)(waiting->within_ms / 1000));
	if (nhanging == HANGING_MAX)
		return false;
	nhanging++;
	one->pid = pid;
	one->again_ms = now_ms() + AGAIN_AFTER_MS;
	memcpy(one->device, waiting->device, sizeof(one->device));
	machine_problem("%s", err->text);
	return true;
}

/* again: it is to be done once more, without what has not answered. */
static int do_once(int (*work)(void *owner, struct err *err), void *owner,
		   struct init_watchdog *watchdog, bool *again, struct err *err)
{
	struct result result;
	int ends[2], rc = RC_TIMEOUT;
	sigset_t none;
	pid_t pid;

	*again = false;
	atomic_store(&waiting->within_ms, 0);
	if (pipe2(ends, O_CLOEXEC) != 0)
		return err_system(err, errno, "a pipe");
	pid = fork();
	if (pid == 0) {
		(void)sigemptyset(&none);
		(void)sigprocmask(SIG_SETMASK, &none, NULL); /* process 1 hears them otherwise */
		if (watchdog != NULL && watchdog->fd >= 0)
			(void)close(watchdog->fd); /* it would not stop while that is open */
		(void)memset(&result, 0, sizeof(result));
		result.rc = work(owner, &result.err);
		(void)write(ends[1], &result, sizeof(result));
		_exit(0);
	}
	(void)close(ends[1]);
	if (pid < 0)
		rc = err_system(err, errno, "a process");
	else if (wait_for_result(ends[0], watchdog))
		rc = read_result(ends[0], pid, err);
	else
		*again = leave_out(pid, err);
	(void)close(ends[0]);
	return rc;
}

int init_apart(int (*work)(void *owner, struct err *err), void *owner,
	       struct init_watchdog *watchdog, struct err *err)
{
	bool again;
	int rc;

	if (waiting == NULL) {
		waiting = mmap(NULL, sizeof(*waiting), PROT_READ | PROT_WRITE,
			       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		if (waiting == MAP_FAILED) {
			waiting = NULL;
			return err_nomem(err, "a process's state");
		}
	}
	forget_those_that_may_answer();
	do
		rc = do_once(work, owner, watchdog, &again, err);
	while (again);
	return rc;
}
