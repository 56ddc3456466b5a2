#include "appliance/init_watchdog.h"

#include "appliance/base/log.h"
#include "appliance/init_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/watchdog.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define TIMES 4 /* within its time: some may be late */
#define LEAST_S 2

/* As ioctl(), whose second parameter is not of the same type everywhere. */
static int control(int fd, unsigned long request, void *value)
{
	return (int)syscall(SYS_ioctl, fd, request, value);
}

void init_watchdog_open(struct init_watchdog *watchdog, const char *path, uint64_t now_ms)
{
	struct watchdog_info info = { .identity = "" };
	int seconds = INIT_WATCHDOG_S;

	*watchdog = (struct init_watchdog){ .fd = -1, .due_ms = UINT64_MAX };
	if (path == NULL)
		return;
	watchdog->fd = open(path, O_WRONLY | O_CLOEXEC | O_NONBLOCK);
	if (watchdog->fd < 0) {
		if (errno != ENOENT)
			log_warn(INIT_PART, "%s: %s", path, strerror(errno));
		return;
	}
	(void)control(watchdog->fd, WDIOC_GETSUPPORT, &info);
	if (control(watchdog->fd, WDIOC_SETTIMEOUT, &seconds) != 0 &&
	    control(watchdog->fd, WDIOC_GETTIMEOUT, &seconds) != 0)
		seconds = LEAST_S * TIMES; /* one that does not say: most have more */
	watchdog->every_ms = (uint64_t)(seconds > LEAST_S ? seconds : LEAST_S) * 1000 / TIMES;
	watchdog->due_ms = now_ms;
	init_watchdog_tell(watchdog, now_ms);
	log_info(INIT_PART, "watchdog: %.32s, %d s", (const char *)info.identity, seconds);
}

void init_watchdog_tell(struct init_watchdog *watchdog, uint64_t now_ms)
{
	if (watchdog->fd < 0 || now_ms < watchdog->due_ms)
		return;
	(void)write(watchdog->fd, "", 1);
	watchdog->due_ms = now_ms + watchdog->every_ms;
}

void init_watchdog_close(struct init_watchdog *watchdog)
{
	if (watchdog->fd < 0)
		return;
	(void)write(watchdog->fd, "V", 1); /* else it would go on when it is closed */
	(void)close(watchdog->fd);
	*watchdog = (struct init_watchdog){ .fd = -1, .due_ms = UINT64_MAX };
}
