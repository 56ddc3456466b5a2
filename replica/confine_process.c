#include "replica/confine_process.h"

#include "replica/confine.h"
#include "replica/hypervisor_user.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <unistd.h>

static bool main_asks;

bool confine_process_is_one(int argc, char **argv)
{
	main_asks = true;
	return argc > 2 && strcmp(argv[0], CONFINE_PROCESS_NAME) == 0;
}

bool confine_process_can_start(void)
{
	return main_asks;
}

/* As execve(), with the key where a sixth argument would be. */
static int become(const char *path, char **args, uint64_t key)
{
	(void)syscall(SYS_execve, path, args, environ, 0, 0, key);
	return errno;
}

/* As execvp(): a name without a slash is looked for. */
static int become_by_name(char **args, uint64_t key)
{
	const char *at = getenv("PATH");
	char path[PATH_MAX];
	int r, reason = ENOENT;

	while (at != NULL && *at != '\0') {
		const size_t len = strcspn(at, ":");

		if (snprintf(path, sizeof(path), "%.*s/%s", (int)len, at, args[0]) <
		    (int)sizeof(path)) {
			r = become(path, args, key);
			reason = r != ENOENT && r != ENOTDIR ? r : reason;
		}
		at += at[len] == ':' ? len + 1 : len;
	}
	return reason;
}

_Noreturn void confine_process_run(char **argv)
{
	char **const args = argv + 2;
	struct confine_subject subject = { .whom = CONFINE_HYPERVISOR, .pid = (uint32_t)getpid() };
	struct confine_needs needs;
	struct err err;
	int rc = confine_needs(&needs, args, &err);

	if (rc == RC_OK &&
	    getrandom(&subject.key, sizeof(subject.key), 0) != (ssize_t)sizeof(subject.key))
		rc = err_system(&err, errno, "a random number");
	if (rc == RC_OK)
		rc = hypervisor_user_become(argv[1], needs.capabilities, &err);
	if (rc == RC_OK) {
		subject.may = needs.may;
		rc = confine(&subject, needs.capabilities, &err);
		if (rc != RC_OK)
			(void)err_append(&err, "; hypervisor.confine false does without");
	}
	if (rc == RC_OK) {
		const int r = strchr(args[0], '/') != NULL ? become(args[0], args, subject.key) :
							     become_by_name(args, subject.key);

		(void)err_system(&err, r, "starting %s", args[0]);
	}
	(void)dprintf(STDERR_FILENO, "%s\n", err.text);
	_exit(CONFINE_PROCESS_FAILED);
}
