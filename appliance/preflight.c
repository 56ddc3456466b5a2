/*
 * First the file by itself (config_check()), then, if that is in order, what it names: files,
 * directories, certificates. Nothing waits; what is made to try a directory is removed again.
 */
#include "appliance/preflight_internal.h"

#include "appliance/base/mem.h"
#include "appliance/pki.h"
#include "appliance/state_dir.h"
#include "appliance/term_store.h"
#include "net/http_socket.h"
#include "net/tls.h"
#include "replica/accel.h"
#include "replica/hypervisor_user.h"

#include <errno.h>
#include <linux/magic.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define DAYS_LEFT_WARN 30 /* time to make new certificates without haste */

void preflight_note(struct buf *to, const char *name, const char *format, ...)
{
	char text[ERR_TEXT_MAX];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	(void)buf_printf(to, "%s: %s\n", name, text);
}
#define error preflight_error
#define warning preflight_warning

const char *preflight_remedy(char out[PREFLIGHT_REMEDY_MAX], int error_number, const char *remedy)
{
	const struct passwd *user;

	if (error_number != EACCES && error_number != EPERM)
		return remedy;
	user = getpwuid(geteuid());
	(void)snprintf(
		out, PREFLIGHT_REMEDY_MAX,
		"user %.64s (%u) may not: let it, there and in the directories above (chown, chmod), "
		"or start understudy as another user",
		user != NULL ? user->pw_name : "number", (unsigned)geteuid());
	return out;
}

/* ---- what the file names ---- */

/* That `path` is of a kind (S_IFREG, S_IFDIR) and may be used; NULL is nobody's wish. */
static bool check_path(struct preflight *preflight, const char *key, const char *path, mode_t kind,
		       int use, const char *remedy)
{
	char hint[PREFLIGHT_REMEDY_MAX];
	struct stat st;

	if (path == NULL)
		return true;
	if (stat(path, &st) == 0 && (st.st_mode & S_IFMT) != kind)
		error(preflight, "%s: %s: is no %s; %s", key, path,
		      kind == S_IFDIR ? "directory" : "regular file", remedy);
	else if (access(path, use) != 0)
		error(preflight, "%s: %s: %s; %s", key, path, strerror(errno),
		      preflight_remedy(hint, errno, remedy));
	else
		return true;
	return false;
}

static int inspect_certificate(const struct config *config, int64_t *days_left, struct err *err)
{
	return pki_inspect(config->tls_ca, config->tls_cert, config->tls_key,
			   config_role_name(config->role), time(NULL), days_left, err);
}

/*
 * A certificate out of its time is no reason not to start: a replica that serves, and an instance that
 * sends through its agent, need theirs. The link refuses it, and process.c says so.
 */
static void check_tls(struct preflight *preflight)
{
	static const char remedy[] = "`understudy pki` makes it";
	const struct config *config = &preflight->config;
	bool there = check_path(preflight, "tls.ca", config->tls_ca, S_IFREG, R_OK, remedy);
	int64_t days_left;
	struct err err;
	int rc;

	there = check_path(preflight, "tls.cert", config->tls_cert, S_IFREG, R_OK, remedy) && there;
	there = check_path(preflight, "tls.key", config->tls_key, S_IFREG, R_OK, remedy) && there;
	if (!there)
		return;
	rc = inspect_certificate(config, &days_left, &err);
	if (rc == RC_OK && days_left < DAYS_LEFT_WARN)
		warning(preflight,
			"tls.cert: runs out within %lld day%s; `understudy pki --help` says how to renew it",
			(long long)days_left + 1, days_left == 0 ? "" : "s");
	else if (rc != RC_OK && rc != RC_STATE)
		error(preflight, "tls: %s", err.text);
}

void preflight_check_time(struct preflight *preflight)
{
	int64_t days_left;
	struct err err;

	if (inspect_certificate(&preflight->config, &days_left, &err) == RC_STATE)
		error(preflight, "tls: %s", err.text);
}

static void check_witness(struct preflight *preflight)
{
	static const char remedy[] = "bring it from where the witness's certificates are made";
	const struct config *config = &preflight->config;
	struct tls_identity *identity;
	struct err err;
	bool there;

	if (config->witness_endpoints == NULL)
		return;
	there = check_path(preflight, "witness.ca", config->witness_ca, S_IFREG, R_OK, remedy);
	there = check_path(preflight, "witness.cert", config->witness_cert, S_IFREG, R_OK,
			   remedy) &&
		there;
	there = check_path(preflight, "witness.key", config->witness_key, S_IFREG, R_OK, remedy) &&
		there;
	if (!there)
		return;
	if (tls_identity_load_client(&identity, config->witness_ca, config->witness_cert,
				     config->witness_key, &err) == RC_OK)
		tls_identity_free(identity);
	else
		error(preflight, "witness: %s", err.text);
}

static void check_http(struct preflight *preflight)
{
	const struct config *config = &preflight->config;

	if (config->http == NULL)
		warning(preflight,
			"http.listen: absent; nothing will answer `understudy status`, `takeover` or a monitor");
	else if (!http_socket_is_local(config->http))
		warning(preflight, "http.listen: everybody who reaches %s may read the status%s",
			config->http,
			config->role == CONFIG_STANDBY ? " and order a takeover" : "");
}

/* No room is no reason not to start: a replica that serves needs its gateway. */
static void check_memory_dir(struct preflight *preflight)
{
	const char *path = preflight->config.memory_dir;
	struct statfs fs;
	bool full;
	struct err err;

	if (statfs(path, &fs) == 0 && fs.f_type != TMPFS_MAGIC && fs.f_type != HUGETLBFS_MAGIC)
		warning(preflight,
			"memory_dir: %s: is neither on a tmpfs nor on hugetlbfs: each page of a replica's memory "
			"would be written to the disk; name a directory in memory, such as /dev/shm",
			path);
	if (files_try(path, false, &full, &err) == RC_OK)
		return;
	if (full)
		warning(preflight, "memory_dir: %s; make room", err.text);
	else
		error(preflight, "memory_dir: %s; name a directory in memory, such as /dev/shm",
		      err.text);
}

/* Who served: the standby does not start where it cannot tell. */
static void check_terms(struct preflight *preflight)
{
	const struct config *config = &preflight->config;
	char dir[512]; /* as the clone's own, with room */
	struct err err;

	for (size_t i = 0; i < config->ninstances; i++) {
		(void)snprintf(dir, sizeof(dir), "%s/%s", config->state_dir,
			       config->instances[i].name);
		if (term_store_look(dir, &err) != RC_OK)
			error(preflight, "state_dir: %s", err.text);
	}
}

static void check_state_dir(struct preflight *preflight)
{
	bool lasting, full;
	struct err err = { 0 };

	if (state_dir_try(preflight->config.state_dir, &lasting, &full, &err) != RC_OK && full)
		warning(preflight,
			"state_dir: %s; make room: until there is some, nothing can be taken over",
			err.text);
	else if (err.code != RC_OK)
		error(preflight, "state_dir: %s; %s", err.text,
		      err.code == RC_REFUSED ?
			      "or name a directory of ours" :
			      "name a directory of ours, or make the one above it");
	else if (!lasting)
		warning(preflight,
			"state_dir: %s: is on a tmpfs; who serves would be forgotten when the machine restarts",
			preflight->config.state_dir);
	if (err.code == RC_OK || full)
		check_terms(preflight);
}

/* What is not there is told elsewhere. The directory above, where the standby makes what is in question. */
static void check_reach(struct preflight *preflight, const struct hypervisor_user *user,
			const char *key, const char *path, bool above, int how)
{
	char *directory = path != NULL && above ? config_directory(path) : NULL;
	const char *at = directory != NULL ? directory : path;

	if (at != NULL && access(at, F_OK) == 0 && !hypervisor_user_may(user, at, how))
		warning(preflight,
			"%s: %s: the hypervisor's user (%u) cannot get at it, and no replica starts: "
			"let everyone pass it, and the directories above it (chmod o+x)",
			key, at, (unsigned)user->uid);
	mem_free(directory);
}

static void check_user(struct preflight *preflight)
{
	const struct config *config = &preflight->config;
	struct hypervisor_user user;
	char key[80];
	struct err err;

	if (hypervisor_user_find(&user, config->user, config->confine, &err) != RC_OK) {
		error(preflight, "hypervisor.user: %s: %s",
		      config->user != NULL ? config->user : HYPERVISOR_USER, err.text);
		return;
	}
	if (user.uid == geteuid())
		return;
	check_reach(preflight, &user, "hypervisor.program", config->hypervisor, false, X_OK);
	check_reach(preflight, &user, "hypervisor.firmware", config->firmware, false, R_OK | X_OK);
	check_reach(preflight, &user, "memory_dir", config->memory_dir, false, X_OK);
	check_reach(preflight, &user, "state_dir", config->state_dir, true, X_OK);
	for (size_t i = 0; i < config->ninstances; i++) {
		for (size_t j = 0; j < config->instances[i].ndisks; j++) {
			(void)snprintf(key, sizeof(key), "instances[%zu].disks[%zu].path", i, j);
			check_reach(preflight, &user, key, config->instances[i].disks[j].path, true,
				    X_OK);
		}
	}
}

static void check_standby(struct preflight *preflight)
{
	const struct config *config = &preflight->config;
	char why[ACCEL_WHY_MAX];

	(void)check_path(preflight, "hypervisor.program", config->hypervisor, S_IFREG, X_OK,
			 "install QEMU (Debian: qemu-system-x86) or name where it is");
	(void)check_path(
		preflight, "hypervisor.firmware", config->firmware, S_IFDIR, R_OK | X_OK,
		"name the directory of QEMU's firmware, or leave the key out for QEMU's own");
	check_user(preflight);
	check_memory_dir(preflight);
	check_state_dir(preflight);
	if (strcmp(config->accel, "kvm") == 0 && !accel_has_kvm(why))
		warning(preflight, "hypervisor.accel: kvm: %s", why);
	for (size_t i = 0; i < config->ninstances; i++) {
		if (config->instances[i].takeover == CONFIG_TAKEOVER_AUTOMATIC &&
		    config->instances[i].nnics == 0 && config->witness_endpoints == NULL)
			warning(preflight,
				"instances[%zu].takeover: automatic, without a gateway (nics) or a witness: a primary "
				"is only taken whose without_standby is \"hold\", or both could serve at once",
				i);
	}
}

static void check_primary(struct preflight *preflight)
{
	const struct config *config = &preflight->config;
	char hint[PREFLIGHT_REMEDY_MAX];
	const char *qmp;
	struct stat st;

	for (size_t i = 0; i < config->ninstances; i++) {
		qmp = config->instances[i].qmp;
		if (stat(qmp, &st) != 0)
			warning(preflight, "instances[%zu].qmp: %s: %s; %s", i, qmp,
				strerror(errno),
				preflight_remedy(hint, errno, "is its QEMU running?"));
		else if (!S_ISSOCK(st.st_mode))
			error(preflight,
			      "instances[%zu].qmp: %s: is no socket; give QEMU -qmp unix:PATH,server=on,wait=off",
			      i, qmp);
	}
}

/* ---- all of it ---- */

static int read_config(struct preflight *preflight, const enum config_role *role, const char *path,
		       struct err *err)
{
	enum config_role known = role != NULL ? *role : CONFIG_PRIMARY;
	char *dir = config_directory(path);
	struct buf text = { 0 };
	int rc;

	rc = dir != NULL ? config_read(&text, path, err) : err_nomem(err, path);
	if (rc == RC_OK && role == NULL)
		rc = config_infer_role(&known, preflight->name, (const char *)text.data, text.len,
				       err);
	if (rc == RC_OK) {
		preflight->role_known = true;
		rc = config_check(&preflight->config, known, preflight->name, dir,
				  (const char *)text.data, text.len, &preflight->errors, err);
	}
	buf_free(&text);
	mem_free(dir);
	return rc;
}

/* The file, and what is found by its names. */
static int begin(struct preflight *preflight, const enum config_role *role, const char *path,
		 struct err *err)
{
	int rc;

	*preflight = (struct preflight){ 0 };
	files_clip(preflight->name, strcmp(path, "-") == 0 ? "standard input" : path);
	rc = read_config(preflight, role, path, err);
	if (rc != RC_OK) {
		if (preflight->errors.len == 0 && rc != RC_STATE)
			(void)buf_printf(&preflight->errors, "%s\n", err->text);
		return rc;
	}
	check_tls(preflight);
	check_witness(preflight);
	check_http(preflight);
	return RC_OK;
}

static int verdict(const struct preflight *preflight, struct err *err)
{
	if (preflight->errors.failed || preflight->warnings.failed)
		return err_nomem(err, preflight->name);
	if (preflight->errors.len > 0)
		return err_set(err, RC_INVALID, "%s: not usable as it is", preflight->name);
	return RC_OK;
}

int preflight_run(struct preflight *preflight, const enum config_role *role, const char *path,
		  struct err *err)
{
	int rc = begin(preflight, role, path, err);

	if (rc != RC_OK)
		return rc;
	preflight_network(preflight);
	if (preflight->config.role == CONFIG_PRIMARY)
		check_primary(preflight);
	else
		check_standby(preflight);
	return verdict(preflight, err);
}

int preflight_run_appliance(struct preflight *preflight, const char *path, struct err *err)
{
	const enum config_role role = CONFIG_STANDBY;
	int rc = begin(preflight, &role, path, err);

	if (rc != RC_OK)
		return rc;
	preflight_check_time(preflight);
	preflight_appliance(preflight, path);
	return verdict(preflight, err);
}

void preflight_free(struct preflight *preflight)
{
	config_free(&preflight->config);
	buf_free(&preflight->errors);
	buf_free(&preflight->warnings);
}

const char *preflight_line(const struct buf *lines, size_t *at, int *len)
{
	const char *start;

	if (*at == lines->len)
		return NULL;
	start = (const char *)lines->data + *at;
	*len = (int)((const char *)memchr(start, '\n', lines->len - *at) - start);
	*at += (size_t)*len + 1;
	return start;
}

void preflight_print(const struct preflight *preflight)
{
	const struct buf *const all[] = { &preflight->errors, &preflight->warnings };
	const char *line;
	size_t at;
	int len;

	for (size_t i = 0; i < 2; i++) {
		at = 0;
		while ((line = preflight_line(all[i], &at, &len)) != NULL)
			(void)fprintf(stderr, "%s: %.*s\n", i == 0 ? "error" : "warning", len,
				      line);
	}
}
