/*
 * Theory of operation. Modules, disk, network; then the container's file system becomes the root, with the kernel's own file systems in it as
 * an engine would mount them, and its name, hosts and name servers over the files that an engine would put there, too: those that are in
 * the image are not its. The command runs as its user, and this process only reaps.
 The command's end
 * is the machine's.
 */
#include "appliance/container_init.h"

#include "appliance/base/clock.h"
#include "appliance/base/files.h"
#include "appliance/base/log.h"
#include "appliance/config.h"
#include "appliance/container_config.h"
#include "appliance/init_internal.h"
#include "appliance/init_modules.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define CONFIG "/container.json"
#define CONFIG_MAX ((size_t)1 << 20)
#define ROOT "/root"
#define SERIAL "root"
#define DISK_WITHIN_MS 30000
#define LOOK_EVERY_MS 10
#define GROUPS_MAX 64
#define NAME_BYTES 320
#define PATH_DEFAULT "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

bool container_init_is_one(void)
{
	return access(CONFIG, F_OK) == 0;
}

/* ---- the disk -------------------------------------------------------------------------------- */

static bool has_serial(const char *name, const char *serial)
{
	char path[NAME_BYTES], text[32] = "";
	FILE *file;

	(void)snprintf(path, sizeof(path), INIT_BLOCKS "/%s/serial", name);
	file = fopen(path, "re");
	if (file == NULL)
		return false;
	(void)fgets(text, sizeof(text), file);
	(void)fclose(file);
	text[strcspn(text, "\n")] = '\0';
	return strcmp(text, serial) == 0;
}

static bool find_disk(char device[NAME_BYTES])
{
	DIR *dir = opendir(INIT_BLOCKS);
	const struct dirent *entry;
	bool found = false;

	while (!found && dir != NULL && (entry = readdir(dir)) != NULL) {
		found = has_serial(entry->d_name, SERIAL);
		if (found)
			(void)snprintf(device, NAME_BYTES, "/dev/%s", entry->d_name);
	}
	if (dir != NULL)
		(void)closedir(dir);
	return found;
}

static int mount_root(struct err *err)
{
	const uint64_t end_ns = clock_now_ns() + DISK_WITHIN_MS * CLOCK_NS_PER_MS;
	char device[NAME_BYTES];

	while (!find_disk(device)) {
		if (clock_now_ns() >= end_ns)
			return err_set(err, RC_TIMEOUT,
				       "there is no disk with the serial number " SERIAL);
		(void)usleep(LOOK_EVERY_MS * 1000);
	}
	(void)mkdir(ROOT, 0755);
	return mount(device, ROOT, "ext4", 0, NULL) == 0 ?
		       RC_OK :
		       err_system(err, errno, "mounting %s", device);
}

/* ---- the root -------------------------------------------------------------------------------- */

/* As engines mount them. */
static int mount_kernels(struct err *err)
{
	static const struct {
		const char *type, *dir, *data;
		unsigned long flags;
	} mounts[] = {
		{ "proc", ROOT "/proc", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC },
		{ "sysfs", ROOT "/sys", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY },
		{ "devtmpfs", ROOT "/dev", NULL, MS_NOSUID | MS_NOEXEC },
		{ "devpts", ROOT "/dev/pts", "newinstance,ptmxmode=0666,mode=0620,gid=5",
		  MS_NOSUID | MS_NOEXEC },
		{ "tmpfs", ROOT "/dev/shm", "mode=1777", MS_NOSUID | MS_NODEV | MS_NOEXEC },
	};
	int rc = RC_OK;

	for (size_t i = 0; rc == RC_OK && i < sizeof(mounts) / sizeof(mounts[0]); i++)
		rc = init_mount(mounts[i].type, mounts[i].dir, mounts[i].flags, mounts[i].data,
				err);
	return rc;
}

/* A file over that of the container; one that has none has it no more when it is back at an engine. */
static void put_file(const char *name, const struct buf *text)
{
	char own[NAME_BYTES], there[NAME_BYTES];
	struct err err;
	int fd;

	(void)snprintf(own, sizeof(own), "/%s", name);
	(void)snprintf(there, sizeof(there), ROOT "/etc/%s", name);
	if (text->failed || files_replace("/", name, text->data, text->len, &err) != RC_OK ||
	    chmod(own, 0644) != 0) {
		log_error(INIT_PART, "/etc/%s cannot be made", name);
		return;
	}
	fd = open(there, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (fd >= 0)
		(void)close(fd);
	if (mount(own, there, NULL, MS_BIND, NULL) != 0)
		log_error(INIT_PART, "/etc/%s: %s", name, strerror(errno));
}

static void put_files(const struct container_config *config)
{
	struct buf hostname = { 0 }, hosts = { 0 }, resolv = { 0 };
	size_t i;

	(void)buf_printf(&hostname, "%s\n", config->hostname);
	(void)buf_printf(&hosts, "127.0.0.1\tlocalhost\n::1\tlocalhost\n");
	for (i = 0; config->addresses != NULL && config->addresses[i] != NULL; i++)
		(void)buf_printf(&hosts, "%.*s\t%s\n", (int)strcspn(config->addresses[i], "/"),
				 config->addresses[i], config->hostname);
	for (i = 0; config->dns != NULL && config->dns[i] != NULL; i++)
		(void)buf_printf(&resolv, "nameserver %s\n", config->dns[i]);
	put_file("hostname", &hostname);
	put_file("hosts", &hosts);
	if (i > 0)
		put_file("resolv.conf", &resolv);
	buf_free(&hostname);
	buf_free(&hosts);
	buf_free(&resolv);
}

static void set_up_network(const struct container_config *config)
{
	char lo[] = "lo", eth0[] = "eth0";
	struct config_device devices[] = {
		{ .name = lo },
		{ .name = eth0, .addresses = config->addresses, .routes = config->routes },
	};
	const struct config machine = { .devices = devices,
					.ndevices = config->addresses != NULL ? 2 : 1 };

	(void)sethostname(config->hostname, strlen(config->hostname));
	(void)init_network(&machine);
}

/* As engines do: who is not root may listen at any port, and ask who is there (ICMP echo). */
static void permit(void)
{
	static const struct {
		const char *file, *value;
	} settings[] = {
		{ "/proc/sys/net/ipv4/ip_unprivileged_port_start", "0" },
		{ "/proc/sys/net/ipv4/ping_group_range", "0 2147483647" },
	};
	FILE *file;

	for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++) {
		file = fopen(settings[i].file, "we");
		if (file == NULL || fputs(settings[i].value, file) < 0 || fclose(file) != 0)
			log_error(INIT_PART, "%s: %s", settings[i].file, strerror(errno));
	}
}

static int enter_root(struct err *err)
{
	if (chdir(ROOT) != 0 || mount(".", "/", NULL, MS_MOVE, NULL) != 0 || chroot(".") != 0 ||
	    chdir("/") != 0)
		return err_system(err, errno, "making the container's file system the root");
	return RC_OK;
}

/* ---- the command ----------------------------------------------------------------------------- */

struct identity {
	uid_t uid;
	gid_t gid, groups[GROUPS_MAX];
	int ngroups;
	char home[NAME_BYTES];
};

static bool is_number(const char *text, unsigned *value)
{
	char *end;
	const unsigned long number = strtoul(text, &end, 10);

	*value = (unsigned)number;
	return *text >= '0' && *text <= '9' && *end == '\0' && number < UINT32_MAX;
}

/* By the container's own files; a number needs none. */
static int find_identity(struct identity *who, const char *user, struct err *err)
{
	char name[NAME_BYTES];
	const char *colon = strchr(user, ':');
	const struct passwd *entry;
	const struct group *group;

	(void)snprintf(name, sizeof(name), "%.*s", (int)strcspn(user, ":"), user);
	*who = (struct identity){ .home = "/" };
	entry = is_number(name, &who->uid) ? getpwuid(who->uid) : getpwnam(name);
	if (entry == NULL && !is_number(name, &who->uid))
		return err_set(err, RC_INVALID, "its /etc/passwd has no user %s", name);
	if (entry != NULL) {
		who->uid = entry->pw_uid;
		who->gid = entry->pw_gid;
		(void)snprintf(who->home, sizeof(who->home), "%s", entry->pw_dir);
	}
	if (colon != NULL && !is_number(colon + 1, &who->gid)) {
		group = getgrnam(colon + 1);
		if (group == NULL)
			return err_set(err, RC_INVALID, "its /etc/group has no group %s",
				       colon + 1);
		who->gid = group->gr_gid;
	}
	who->ngroups = GROUPS_MAX;
	if (entry == NULL || colon != NULL) {
		who->groups[0] = who->gid;
		who->ngroups = 1;
	} else if (getgrouplist(entry->pw_name, who->gid, who->groups, &who->ngroups) < 0) {
		who->ngroups = GROUPS_MAX; /* those there is room for */
	}
	return RC_OK;
}

/* What has no PATH or HOME gets an engine's. */
static void set_environment(const struct container_config *config, const struct identity *who)
{
	(void)clearenv();
	(void)setenv("PATH", PATH_DEFAULT, 1);
	(void)setenv("HOME", who->home, 1);
	(void)setenv("HOSTNAME", config->hostname, 1);
	for (size_t i = 0; config->environment != NULL && config->environment[i] != NULL; i++)
		(void)putenv(config->environment[i]);
}

static void become_command(const struct container_config *config) __attribute__((noreturn));

static void become_command(const struct container_config *config)
{
	struct identity who;
	struct err err = { .code = RC_OK };
	sigset_t none;

	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	(void)signal(SIGPIPE, SIG_DFL);
	(void)setsid();
	if (find_identity(&who, config->user, &err) != RC_OK) {
		log_error(INIT_PART, "%s", err.text);
		_exit(126);
	}
	set_environment(config, &who);
	if (setgroups((size_t)who.ngroups, who.groups) != 0 || setgid(who.gid) != 0 ||
	    setuid(who.uid) != 0)
		log_error(INIT_PART, "becoming user %s: %s", config->user, strerror(errno));
	else if (chdir(config->directory) != 0)
		log_error(INIT_PART, "%s: %s", config->directory, strerror(errno));
	else if (execvp(config->command[0], config->command) != 0)
		log_error(INIT_PART, "%s: %s", config->command[0], strerror(errno));
	_exit(126);
}

static void turn_off(void) __attribute__((noreturn));

static void turn_off(void)
{
	sync();
	(void)reboot(RB_POWER_OFF);
	for (;;)
		(void)pause();
}

static void run_command(const struct container_config *config) __attribute__((noreturn));

static void run_command(const struct container_config *config)
{
	const pid_t command = fork();
	pid_t ended;
	int status;

	if (command == 0)
		become_command(config);
	log_info(INIT_PART, "%s: %s runs", config->hostname, config->command[0]);
	do {
		ended = wait(&status);
	} while (ended != command && (ended >= 0 || errno == EINTR));
	if (ended == command && WIFEXITED(status))
		log_info(INIT_PART, "%s ended with %d", config->command[0], WEXITSTATUS(status));
	else
		log_error(INIT_PART, "%s was ended", config->command[0]);
	turn_off();
}

static int read_config(struct container_config *config, struct err *err)
{
	struct buf text = { .limit = CONFIG_MAX };
	int rc = files_read(&text, AT_FDCWD, CONFIG, FILES_PLAIN, err);

	if (rc == RC_OK)
		rc = container_config_parse(config, (const char *)text.data, text.len, err);
	buf_free(&text);
	return rc;
}

void container_init_run(void)
{
	struct container_config config;
	struct err err;

	if (init_mount("devtmpfs", "/dev", MS_NOSUID | MS_NOEXEC, NULL, &err) != RC_OK ||
	    init_mount("proc", "/proc", MS_NOSUID | MS_NOEXEC | MS_NODEV, NULL, &err) != RC_OK ||
	    init_mount("sysfs", "/sys", MS_NOSUID | MS_NOEXEC | MS_NODEV, NULL, &err) != RC_OK ||
	    read_config(&config, &err) != RC_OK || init_modules_load("/modules", &err) != RC_OK ||
	    mount_root(&err) != RC_OK)
		init_give_up(&err);
	set_up_network(&config);
	permit();
	if (mount_kernels(&err) != RC_OK)
		init_give_up(&err);
	put_files(&config);
	if (enter_root(&err) != RC_OK)
		init_give_up(&err);
	run_command(&config);
}
