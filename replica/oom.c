#include "replica/oom.h"

#include "appliance/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void oom_set(pid_t pid, enum oom oom)
{
	char path[64], text[16];
	const int len = snprintf(text, sizeof(text), "%d", (int)oom);
	int fd;

	(void)snprintf(path, sizeof(path), "/proc/%d/oom_score_adj", (int)pid);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, text, (size_t)len) != len)
		log_debug("replica", "%s is not %s: %s", path, text, strerror(errno));
	if (fd >= 0)
		(void)close(fd);
}
