/*
 * A QEMU's arguments are its own for as long as it lives: no file has to be kept for that, and none
 * can be removed. Other users' processes do not count, as they could have any arguments.
 */
#include "replica/hypervisor_find.h"

#include "appliance/base/mem.h"
#include "replica/cmdline.h"
#include "replica/hypervisor_user.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool has_pair(const struct cmdline *cmdline, const char *option, const char *value)
{
	for (size_t i = 0; i + 1 < cmdline->count; i++) {
		if (strcmp(cmdline->args[i], option) == 0 &&
		    strcmp(cmdline->args[i + 1], value) == 0)
			return true;
	}
	return false;
}

/* What has just ended, or has no arguments that could be ours, is not it. */
static int look(bool *is, pid_t pid, const char *qmp, struct err *err)
{
	struct cmdline cmdline;
	int rc = cmdline_of_pid(&cmdline, pid, err);

	*is = rc == RC_OK && has_pair(&cmdline, "-qmp", qmp) &&
	      has_pair(&cmdline, "-incoming", "defer");
	cmdline_free(&cmdline);
	return rc == RC_NOMEM ? rc : RC_OK;
}

static int search(pid_t *pid, DIR *processes, const char *qmp, struct err *err)
{
	const struct dirent *entry;
	int rc = RC_OK;
	struct stat st;
	bool is = false;

	while (rc == RC_OK && !is && (entry = readdir(processes)) != NULL) {
		*pid = (pid_t)strtol(entry->d_name, NULL, 10);
		if (*pid > 0 && fstatat(dirfd(processes), entry->d_name, &st, 0) == 0 &&
		    hypervisor_user_is(st.st_uid))
			rc = look(&is, *pid, qmp, err);
	}
	if (!is)
		*pid = 0;
	return rc;
}

int hypervisor_find(pid_t *pid, const char *qmp_path, struct err *err)
{
	char *qmp = cmdline_qmp_value(qmp_path, err);
	DIR *processes;
	int rc;

	*pid = 0;
	if (qmp == NULL)
		return (int)err->code;
	processes = opendir("/proc");
	rc = processes != NULL ? search(pid, processes, qmp, err) : err_system(err, errno, "/proc");
	if (processes != NULL)
		(void)closedir(processes);
	mem_free(qmp);
	return rc;
}
