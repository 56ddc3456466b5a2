#include "replica/guardian_confine.h"

#include "replica/guardian_process.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CONTROL GUARDIAN_CONTROL
/* Beside its own: three of a capture and two of a leash, and some more come with a packet. */
#define FDS_MAX (CONTROL + 1 + 3 * GUARDIAN_INSTANCES_MAX + 2 * GUARDIAN_LEASHES_MAX + GUARDIAN_FDS)

/* What can be ignored; the kernel refuses the rest, and faults of our own must still end us. */
void guardian_confine_signals(void)
{
	struct sigaction ignore = { .sa_handler = SIG_IGN }, standard = { .sa_handler = SIG_DFL };
	static const int faults[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGSYS };
	sigset_t none;
	size_t i;
	int n;

	for (n = 1; n < NSIG; n++)
		(void)sigaction(n, &ignore, NULL);
	for (i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
		(void)sigaction(faults[i], &standard, NULL);
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
}

/*
 * Standard error and the control socket stay; 0 and 1 are made harmless, so that no received
 * descriptor gets their numbers.
 */
void guardian_confine_descriptors(void)
{
	int null, fd;

	(void)fcntl(CONTROL, F_SETFD, FD_CLOEXEC);
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	for (fd = 0; fd < CONTROL; fd++) {
		if (fd != STDERR_FILENO || fcntl(fd, F_GETFD) < 0)
			(void)dup2(null >= 0 ? null : CONTROL, fd);
	}
	if (syscall(SYS_close_range, CONTROL + 1, ~0U, 0) < 0) {
		for (fd = CONTROL + 1; fd < 65536; fd++)
			(void)close(fd);
	}
}

void guardian_confine_privileges(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = { { 0 } };
	static const struct rlimit nothing = { 0, 0 }, fds = { FDS_MAX, FDS_MAX };
	int capability;

	(void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	(void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	for (capability = 0; capability < 64; capability++)
		(void)prctl(PR_CAPBSET_DROP, capability, 0, 0, 0);
	(void)syscall(SYS_capset, &header, none);
	(void)setrlimit(RLIMIT_NOFILE, &fds);
	(void)setrlimit(RLIMIT_CORE, &nothing);
	(void)setrlimit(RLIMIT_NPROC, &nothing);
	(void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}
