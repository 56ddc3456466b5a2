#include "appliance/init.h"

#include "appliance/base/clock.h"
#include "appliance/base/log.h"
#include "appliance/container_init.h"
#include "appliance/init_apart.h"
#include "appliance/init_internal.h"
#include "appliance/init_modules.h"
#include "appliance/init_supervise.h"
#include "appliance/machine_problems.h"
#include "net/http_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define HTTP_ELSE "[::]:7480" /* every address, of whatever kind */
#define SQUASHFS 0x73717368   /* magic numbers of file systems, from Linux's uapi/linux/magic.h */
#define PROBLEMS "/run/problems"
#define WATCHDOG "/dev/watchdog0"
#define GIVE_UP_S 60
#define CONSOLE_MS 1000 /* a serial one is slow, and what process 1 says is not said again */

static struct init_watchdog watchdog;

bool init_is_one(int argc, char **argv)
{
	const char *name = argc > 0 ? strrchr(argv[0], '/') : NULL;

	return argc > 0 && getpid() == 1 && strcmp(name != NULL ? name + 1 : argv[0], "init") == 0;
}

void init_screen(void)
{
	const unsigned vt = 4,
		       vts = 64; /* the screens' numbers: Documentation/admin-guide/devices.txt */
	unsigned console;

	/* One that does not answer is a port that this machine has not. */
	if (syscall(SYS_ioctl, STDERR_FILENO, TIOCGDEV, &console) != 0 || major(console) != vt ||
	    minor(console) >= vts)
		log_copy(open("/dev/tty0", O_WRONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC));
}

void init_give_up(const struct err *why)
{
	log_error(INIT_PART, "%s; the machine stops in a minute", why->text);
	(void)sleep(GIVE_UP_S);
	(void)reboot(RB_POWER_OFF);
	for (;;)
		(void)pause();
}

int init_mount(const char *type, const char *dir, unsigned long flags, const char *data,
	       struct err *err)
{
	(void)mkdir(dir, 0755);
	if (mount(type, dir, type, flags, data) != 0 && errno != EBUSY)
		return err_system(err, errno, "mounting %s at %s", type, dir);
	return RC_OK;
}

static bool is_system(void)
{
	struct statfs fs;

	return statfs("/", &fs) == 0 && fs.f_type == SQUASHFS;
}

/* Hypervisors are another user. What they may do with these is said elsewhere. */
static void open_devices(void)
{
	static const char *const devices[] = { "/dev/kvm", "/dev/net/tun" };

	for (size_t i = 0; i < sizeof(devices) / sizeof(devices[0]); i++)
		(void)chmod(devices[i], 0666); /* one that is not there is missed by who opens it */
}

static int mount_all(struct err *err)
{
	int rc = init_mount("tmpfs", "/run", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0755", err);

	if (rc == RC_OK) /* replicas' memory: as much as there is */
		rc = init_mount("tmpfs", "/dev/shm", MS_NOSUID | MS_NODEV | MS_NOEXEC,
				"mode=0711,size=100%", err);
	if (rc == RC_OK)
		rc = init_apart(init_modules_load_all, NULL, &watchdog, err);
	open_devices();
	return rc;
}

static int find_config(void *owner, struct err *err)
{
	(void)owner;
	return init_config_find(&init_places, err);
}

/* Of a configuration that is wrong, what can be read; all that is wrong with it is told. */
static int read_config(struct config *config, struct err *err)
{
	struct buf problems = { 0 };
	int rc = init_apart(find_config, NULL, &watchdog, err);

	if (rc == RC_OK)
		rc = init_config_read(config, INIT_CONFIG_DIR "/" INIT_CONFIG_NAME, &problems, err);
	machine_problems_add(&problems);
	buf_free(&problems);
	return rc;
}

static bool wants_dhcp(const struct config *config)
{
	for (size_t i = 0; i < config->ndevices; i++) {
		if (config->devices[i].dhcp)
			return true;
	}
	return false;
}

static int find_data(void *owner, struct err *err)
{
	return init_data(owner, true, err);
}

static int find_data_again(void *owner, struct err *err)
{
	return init_data(owner, false, err);
}

/* A disk has come, say. */
static int try_data(void *owner, struct err *err)
{
	return init_apart(find_data_again, owner, &watchdog, err);
}

static int end_data_apart(void *owner, struct err *err)
{
	(void)owner;
	(void)err;
	init_data_end();
	return RC_OK;
}

static void end_data(void)
{
	struct err err;

	(void)init_apart(end_data_apart, NULL, &watchdog, &err);
}

/*
 * What of the configuration the machine needs; the standby reads it itself. Nothing listens but what a configuration names; of one
 * that is wrong or missing, the reason has to be asked for somewhere, and nobody is inside to ask where it says.
 */
static int configure(struct init_service *service, struct config *config, struct err *err)
{
	int rc = read_config(config, err);
	const bool local = config->http != NULL && http_socket_is_local(config->http);
	const bool reached = init_network(config);

	service->http = local || !reached ? NULL : config->http;
	service->http_else = HTTP_ELSE;
	if (config->hostname != NULL)
		(void)sethostname(config->hostname, strlen(config->hostname));
	service->helper = wants_dhcp(config) ? "dhcp" : NULL;
	if (rc == RC_OK && !reached)
		rc = err_set(err, RC_STATE,
			     "no card that machine.network names is there, so nobody could reach "
			     "the standby; name one that is, and restart the machine");
	if (rc != RC_OK)
		return rc;
	rc = init_apart(find_data, config, &watchdog, err);
	service->try_again = rc != RC_OK ? try_data : NULL;
	service->owner = config;
	return rc;
}

void init_run(void)
{
	static struct init_ears ears;
	struct init_service service = { .ears = &ears,
					.program = INIT_PROGRAM,
					.config = INIT_CONFIG_DIR "/" INIT_CONFIG_NAME,
					.problems = PROBLEMS,
					.watchdog = &watchdog,
					.on_ended = end_data };
	struct config config = { 0 };
	struct err err;

	log_wait(CONSOLE_MS);
	if (container_init_is_one())
		container_init_run();
	init_watchdog_open(&watchdog, NULL, 0); /* its driver is a module */
	if (is_system())
		init_screen();
	if (!is_system()) {
		(void)init_boot(&err);
		init_give_up(&err);
	}
	if (mount_all(&err) != RC_OK)
		init_give_up(&err);
	machine_problems_keep(PROBLEMS);
	init_watchdog_open(&watchdog, WATCHDOG, clock_now_ns() / CLOCK_NS_PER_MS);
	(void)init_harden("/proc/sys");
	init_supervise_hear(&ears); /* what comes while disks are looked for is heeded after that */
	if (configure(&service, &config, &err) != RC_OK)
		service.trouble = err.text;
	(void)init_seal("");
	init_supervise(&service);
}
