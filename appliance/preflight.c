/*
 * First the file by itself (config_check()), then, if that is in order, what it names: files,
 * directories, certificates. Nothing waits; what is made to try a directory is removed again.
 */
#include "appliance/preflight.h"

#include "appliance/base/mem.h"
#include "appliance/pki.h"
#include "appliance/safety.h"
#include "appliance/state_dir.h"
#include "appliance/virtual_addresses.h"
#include "net/vrrp_socket.h"
#include "appliance/witness_place.h"
#include "replica/accel.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DAYS_LEFT_WARN 30 /* time to make new certificates without haste */

static void note(struct buf *to, const char *name, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static void note(struct buf *to, const char *name, const char *format, ...)
{
	char text[ERR_TEXT_MAX];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	(void)buf_printf(to, "%s: %s\n", name, text);
}
#define error(preflight, ...) note(&(preflight)->errors, (preflight)->name, __VA_ARGS__)
#define warning(preflight, ...) note(&(preflight)->warnings, (preflight)->name, __VA_ARGS__)

/* ---- what the file names ---- */

/* That `path` is of a kind (S_IFREG, S_IFDIR) and may be used; NULL is nobody's wish. */
static bool check_path(struct preflight *preflight, const char *key, const char *path, mode_t kind,
		       int use, const char *remedy)
{
	struct stat st;

	if (path == NULL)
		return true;
	if (stat(path, &st) == 0 && (st.st_mode & S_IFMT) != kind)
		error(preflight, "%s: %s: is no %s; %s", key, path,
		      kind == S_IFDIR ? "directory" : "regular file", remedy);
	else if (access(path, use) != 0)
		error(preflight, "%s: %s: %s; %s", key, path, strerror(errno), remedy);
	else
		return true;
	return false;
}

static void check_tls(struct preflight *preflight)
{
	static const char remedy[] = "`understudy pki` makes it";
	const struct config *config = &preflight->config;
	bool there = check_path(preflight, "tls.ca", config->tls_ca, S_IFREG, R_OK, remedy);
	int64_t days_left;
	struct err err;

	there = check_path(preflight, "tls.cert", config->tls_cert, S_IFREG, R_OK, remedy) && there;
	there = check_path(preflight, "tls.key", config->tls_key, S_IFREG, R_OK, remedy) && there;
	if (!there)
		return;
	if (pki_inspect(config->tls_ca, config->tls_cert, config->tls_key,
			config_role_name(config->role), time(NULL), &days_left, &err) != RC_OK)
		error(preflight, "tls: %s", err.text);
	else if (days_left < DAYS_LEFT_WARN)
		warning(preflight,
			"tls.cert: runs out in %lld days; `understudy pki --help` says how to renew it",
			(long long)days_left);
}

static bool is_local(const char *http)
{
	return strncmp(http, "unix:", 5) == 0 || strncmp(http, "127.", 4) == 0 ||
	       strncmp(http, "[::1]:", 6) == 0 || strncmp(http, "localhost:", 10) == 0;
}

static void check_http(struct preflight *preflight)
{
	const struct config *config = &preflight->config;

	if (config->http == NULL)
		warning(preflight,
			"http.listen: absent; nothing will answer `understudy status`, `takeover` or a monitor");
	else if (!is_local(config->http))
		warning(preflight, "http.listen: everybody who reaches %s may read the status%s",
			config->http,
			config->role == CONFIG_STANDBY ? " and order a takeover" : "");
}

/* No room is no reason not to start: a replica that serves needs its gateway. */
static void check_memory_dir(struct preflight *preflight)
{
	bool full;
	struct err err;

	if (files_try(preflight->config.memory_dir, false, &full, &err) == RC_OK)
		return;
	if (full)
		warning(preflight, "memory_dir: %s; make room", err.text);
	else
		error(preflight, "memory_dir: %s; name a directory in memory, such as /dev/shm",
		      err.text);
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
		error(preflight,
		      "state_dir: %s; name a directory of ours, or make the one above it",
		      err.text);
	else if (!lasting)
		warning(preflight,
			"state_dir: %s: is on a tmpfs; who serves would be forgotten when the machine restarts",
			preflight->config.state_dir);
}

static void check_vrrp(struct preflight *preflight, size_t index)
{
	const struct config_instance *instance = &preflight->config.instances[index];
	uint32_t own;
	struct err err;
	int fd;

	for (size_t i = 0; i < instance->nvrrp; i++) {
		if (vrrp_socket_open(&fd, &own, instance->vrrp[i].device, &err) == RC_OK)
			(void)close(fd);
		else
			error(preflight, "instances[%zu].vrrp[%zu].device: %s; %s", index, i,
			      err.text, VIRTUAL_ADDRESSES_NEED);
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
	check_memory_dir(preflight);
	check_state_dir(preflight);
	if (strcmp(config->accel, "kvm") == 0 && !accel_has_kvm(why))
		warning(preflight, "hypervisor.accel: kvm: %s", why);
	for (size_t i = 0; i < config->ninstances; i++) {
		check_vrrp(preflight, i);
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
	const char *qmp;
	struct stat st;

	for (size_t i = 0; i < config->ninstances; i++) {
		qmp = config->instances[i].qmp;
		if (stat(qmp, &st) != 0)
			warning(preflight, "instances[%zu].qmp: %s: %s (is its QEMU running?)", i,
				qmp, strerror(errno));
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

int preflight_run(struct preflight *preflight, const enum config_role *role, const char *path,
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
	check_http(preflight);
	if (preflight->config.role == CONFIG_PRIMARY)
		check_primary(preflight);
	else
		check_standby(preflight);
	if (preflight->errors.failed || preflight->warnings.failed)
		return err_nomem(err, preflight->name);
	if (preflight->errors.len > 0)
		return err_set(err, RC_INVALID, "%s: not usable as it is", preflight->name);
	return RC_OK;
}

/* ---- both sites' files ---- */

static const struct config_instance *find(const struct config *config, const char *name)
{
	for (size_t i = 0; i < config->ninstances; i++) {
		if (strcmp(config->instances[i].name, name) == 0)
			return &config->instances[i];
	}
	return NULL;
}

static bool is_gateway(const struct config_instance *primary)
{
	for (size_t i = 0; i < primary->nnics; i++) {
		if (primary->nics[i].tap != NULL)
			return false;
	}
	return primary->nnics > 0;
}

static void check_pair(struct preflight *preflight, const struct config_instance *primary,
		       const struct config_instance *standby, const char *primary_witness,
		       const char *standby_witness)
{
	const struct safety safety = {
		.automatic = standby->takeover == CONFIG_TAKEOVER_AUTOMATIC,
		.continues = primary->without_standby == CONFIG_ALONE_CONTINUE,
		.gateway = is_gateway(primary),
		.primary_witness = primary_witness,
		.standby_witness = standby_witness,
	};
	struct err err;

	if (safety_check(&safety, &err) != RC_OK)
		error(preflight, "instance %s: %s", primary->name, err.text);
	if (primary->nnics != standby->nnics)
		error(preflight,
		      "instance %s: %zu network cards (nics) at the primary, %zu at the standby",
		      primary->name, primary->nnics, standby->nnics);
}

int preflight_pair(struct preflight *preflight, const struct config *peer, struct err *err)
{
	const struct config *own = &preflight->config;
	const bool is_primary = own->role == CONFIG_PRIMARY;
	char own_witness[RESERVATION_WITNESS_MAX + 1], peer_witness[RESERVATION_WITNESS_MAX + 1];
	const struct config_instance *other;
	size_t before = preflight->errors.len;

	witness_place(own_witness, own);
	witness_place(peer_witness, peer);
	if (own->role == peer->role)
		error(preflight, "both files are a %s's", config_role_name(own->role));
	for (size_t i = 0; i < own->ninstances && own->role != peer->role; i++) {
		other = find(peer, own->instances[i].name);
		if (other != NULL)
			check_pair(preflight, is_primary ? &own->instances[i] : other,
				   is_primary ? other : &own->instances[i],
				   is_primary ? own_witness : peer_witness,
				   is_primary ? peer_witness : own_witness);
		else
			error(preflight, "instance %s: not in the other site's file",
			      own->instances[i].name);
	}
	if (preflight->errors.failed)
		return err_nomem(err, preflight->name);
	return preflight->errors.len == before ?
		       RC_OK :
		       err_set(err, RC_INVALID, "%s: does not fit the other site's",
			       preflight->name);
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
