/*
 * The tables of config_keys.c say what a file may contain; json_table.c reads by them. What no
 * table can say, because it is about two keys at once, follows in check_*(): those run only when
 * every single value is right.
 */
#include "appliance/config.h"

#include "appliance/base/files.h"
#include "appliance/base/json_schema.h"
#include "appliance/base/json_table.h"
#include "appliance/base/json_text.h"
#include "appliance/base/mem.h"
#include "appliance/config_devices.h"
#include "appliance/config_keys.h"
#include "appliance/config_twice.h"
#include "appliance/config_vrrp.h"
#include "appliance/safety.h"
#include "net/address.h"
#include "net/etcd.h"
#include "replica/cmdline.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *const role_names[] = {
	[CONFIG_PRIMARY] = "primary", [CONFIG_STANDBY] = "standby"
};
static_assert(sizeof(role_names) / sizeof(role_names[0]) == CONFIG_ROLES, "a name for every role");

/* ---- what is about two keys at once ---- */

struct checking {
	const char *name;
	struct buf *problems; /* or NULL */
	struct err *err;
	bool found;
};

static void conflict(struct checking *checking, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static void conflict(struct checking *checking, const char *format, ...)
{
	char text[ERR_TEXT_MAX];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (!checking->found)
		(void)err_set(checking->err, RC_INVALID, "%s: %s", checking->name, text);
	if (checking->problems != NULL)
		(void)buf_printf(checking->problems, "%s: %s\n", checking->name, text);
	checking->found = true;
}

static void check_link(struct checking *checking, const struct config *config)
{
	uint32_t least = SAFETY_HEARTBEATS * config->heartbeat_ms;

	if (config->detect_ms < least)
		conflict(
			checking,
			"link.detect_ms: %u is below %u, %d x heartbeat_ms (%u): a heartbeat lost or late would pass "
			"for a failed site",
			config->detect_ms, least, SAFETY_HEARTBEATS, config->heartbeat_ms);
}

static void check_checkpoint(struct checking *checking, const struct config_instance *instance,
			     size_t index)
{
	const char *where = "checkpoint.target_ms";

	if (instance->min_ms > instance->max_ms)
		conflict(checking, "instances[%zu].checkpoint.min_ms: %u is above max_ms (%u)",
			 index, instance->min_ms, instance->max_ms);
	else if (instance->target_ms < instance->min_ms)
		conflict(checking, "instances[%zu].%s: %u is below min_ms (%u)", index, where,
			 instance->target_ms, instance->min_ms);
	else if (instance->target_ms > instance->max_ms)
		conflict(checking, "instances[%zu].%s: %u is above max_ms (%u)", index, where,
			 instance->target_ms, instance->max_ms);
}

#define NIC_FORMS                                                                                \
	"a card is socket and qemu_socket of QEMU's -netdev dgram, or netdev, guest_bridge and " \
	"guest_tap where QEMU has a -netdev tap"

/* What is wrong with a primary's card, behind its path; NULL: nothing. */
static const char *nic_problem(const struct config_nic *nic)
{
	const bool tap = nic->netdev != NULL || nic->guest_bridge != NULL || nic->guest_tap != NULL;

	if (tap && (nic->socket != NULL || nic->qemu_socket != NULL))
		return ": both at once: " NIC_FORMS;
	if (!tap && nic->socket == NULL)
		return ".socket: missing: " NIC_FORMS;
	if (!tap && nic->qemu_socket == NULL)
		return ".qemu_socket: missing: " NIC_FORMS;
	if (!tap)
		return NULL;
	if (nic->netdev == NULL)
		return ".netdev: missing: " NIC_FORMS;
	if (nic->guest_bridge == NULL)
		return ".guest_bridge: missing: " NIC_FORMS;
	if (nic->guest_tap == NULL)
		return ".guest_tap: missing: " NIC_FORMS;
	if (nic->bridge != NULL && strcmp(nic->guest_bridge, nic->bridge) == 0)
		return ".guest_bridge: the same as bridge: clients would get what the instance sends "
		       "before its epoch is committed; QEMU's tap needs a bridge of its own";
	if (nic->tap != NULL && strcmp(nic->guest_tap, nic->tap) == 0)
		return ".guest_tap: the same as tap: these are two devices";
	return NULL;
}

static void check_nics(struct checking *checking, const struct config_instance *instance,
		       size_t index)
{
	for (size_t i = 0; i < instance->nnics; i++) {
		const char *problem = nic_problem(&instance->nics[i]);

		if (problem != NULL)
			conflict(checking, "instances[%zu].nics[%zu]%s", index, i, problem);
	}
}

static void check_disks(struct checking *checking, const struct config_instance *instance,
			size_t index)
{
	for (size_t i = 0; i < instance->ndisks; i++) {
		const char *problem = config_disk_problem(&instance->disks[i]);

		if (problem != NULL)
			conflict(checking, "instances[%zu].disks[%zu]%s", index, i, problem);
	}
}

/* found() of config_twice() and the like. */
static void on_found(void *owner, const char *text)
{
	conflict(owner, "%s", text);
}

/* What the standby keeps there has to fit: directories of ours, and the replica's sockets in them. */
static void check_state_dir(struct checking *checking, const struct config *config, size_t index)
{
	const char *name = config->instances[index].name;
	size_t len =
		strlen(config->state_dir) + 1 + strlen(name) + sizeof("/" CMDLINE_QMP_NAME) - 1;

	if (len > JSON_SOCKET_MAX)
		conflict(
			checking,
			"state_dir: with instances[%zu].name it gives sockets' paths of %zu bytes, %d are possible: a "
			"shorter directory is needed",
			index, len, JSON_SOCKET_MAX);
}

/* Each site would have one of its own, which lets it serve. Where both sites are one machine it is one. */
/* Without a quorum it is the majority. */
static void check_copies(struct checking *checking, struct config_instance *instance, size_t index)
{
	uint32_t count = 0;

	while (instance->journal_copies != NULL && instance->journal_copies[count] != NULL)
		count++;
	if (count > 0 && instance->journal_dir != NULL)
		conflict(
			checking,
			"instances[%zu].journal: dir and copies exclude each other; name the directory "
			"among the copies",
			index);
	if (count == 0 && instance->journal_quorum > 0)
		conflict(
			checking,
			"instances[%zu].journal.quorum: of what is not there; name the copies' directories "
			"in journal.copies",
			index);
	else if (instance->journal_quorum > count)
		conflict(
			checking,
			"instances[%zu].journal.quorum: %u of %u copies cannot be; at most as many as there "
			"are",
			index, instance->journal_quorum, count);
	if (instance->journal_quorum == 0)
		instance->journal_quorum = count > 0 ? count / 2 + 1 : 1;
}

static void check_endpoints(struct checking *checking, const struct config *config)
{
	const char *link = config->role == CONFIG_PRIMARY ? config->connect : config->listen;
	struct address address;
	struct err ignored;

	if (address_parse(&address, link, false, &ignored) == RC_OK &&
	    address_is_loopback(&address))
		return;
	for (size_t i = 0;
	     config->witness_endpoints != NULL && config->witness_endpoints[i] != NULL; i++) {
		if (etcd_endpoint_parse(&address, config->witness_endpoints[i], &ignored) ==
			    RC_OK &&
		    address_is_loopback(&address))
			conflict(checking,
				 "witness.endpoints[%zu]: %s is this machine itself, for the other "
				 "site another one: both sites have to ask the same etcd, at a "
				 "third place",
				 i, config->witness_endpoints[i]);
	}
}

static void check_witness(struct checking *checking, const struct config *config)
{
	check_endpoints(checking, config);
	if ((config->witness_cert == NULL) != (config->witness_key == NULL))
		conflict(checking, "witness.%s: missing: cert and key belong together",
			 config->witness_cert == NULL ? "cert" : "key");
}

static int check_whole(struct checking *checking, struct config *config)
{
	check_link(checking, config);
	check_witness(checking, config);
	for (size_t i = 0; i < config->ninstances; i++) {
		if (config->role == CONFIG_PRIMARY) {
			check_checkpoint(checking, &config->instances[i], i);
			check_nics(checking, &config->instances[i], i);
		} else {
			check_state_dir(checking, config, i);
			check_disks(checking, &config->instances[i], i);
			check_copies(checking, &config->instances[i], i);
		}
		if (checking->found && checking->problems == NULL)
			break;
	}
	config_twice(config, on_found, checking);
	config_vrrp(config, on_found, checking);
	config_devices(config, on_found, checking);
	return checking->found ? RC_INVALID : RC_OK;
}

/* ---- reading ---- */

static int parse(struct config *config, enum config_role role, const char *name, const char *dir,
		 const char *text, size_t len, struct buf *problems, struct err *err)
{
	struct json_reader reader = {
		.dir = dir, .role = 1U << role, .role_names = role_names, .problems = problems
	};
	char clipped[FILES_CLIP + 1];
	struct checking checking = { .name = clipped, .problems = problems, .err = err };
	cJSON *root = NULL;
	int rc;

	*config = (struct config){ .role = role };
	files_clip(clipped, name);
	reader.name = clipped;
	if (len > CONFIG_FILE_MAX)
		rc = err_set(err, RC_LIMIT, "longer than %zu bytes", CONFIG_FILE_MAX);
	else
		rc = json_text_parse(&root, text, len, err);
	if (rc != RC_OK) {
		(void)err_prefix(err, "%s: ", clipped);
		if (problems != NULL)
			(void)buf_printf(problems, "%s\n", err->text);
		return rc;
	}
	rc = json_table_read(&config_keys, &reader, root, config, err);
	cJSON_Delete(root);
	return rc == RC_OK ? check_whole(&checking, config) : rc;
}

int config_parse(struct config *config, enum config_role role, const char *name, const char *dir,
		 const char *text, size_t len, struct err *err)
{
	return parse(config, role, name, dir, text, len, NULL, err);
}

int config_check(struct config *config, enum config_role role, const char *name, const char *dir,
		 const char *text, size_t len, struct buf *problems, struct err *err)
{
	return parse(config, role, name, dir, text, len, problems, err);
}

void config_free(struct config *config)
{
	json_table_free(&config_keys, config);
}

static bool has_link_key(const cJSON *root, const char *key)
{
	return cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(root, "link"),
						key) != NULL;
}

int config_infer_role(enum config_role *role, const char *name, const char *text, size_t len,
		      struct err *err)
{
	char clipped[FILES_CLIP + 1];
	bool connects, listens;
	cJSON *root;
	int rc;

	files_clip(clipped, name);
	rc = json_text_parse(&root, text, len, err);
	if (rc != RC_OK) {
		(void)err_prefix(err, "%s: ", clipped);
		return rc;
	}
	if (!cJSON_IsObject(root)) {
		cJSON_Delete(root);
		return err_set(err, RC_INVALID, "%s: expected an object ({\"site\": ...})",
			       clipped);
	}
	connects = has_link_key(root, "connect");
	listens = has_link_key(root, "listen");
	cJSON_Delete(root);
	*role = connects ? CONFIG_PRIMARY : CONFIG_STANDBY;
	if (connects == listens)
		return err_set(
			err, RC_STATE,
			"%s: cannot tell its role: a primary's has link.connect, a standby's link.listen, this %s",
			clipped, connects ? "both" : "neither");
	return RC_OK;
}

int config_read(struct buf *text, const char *path, struct err *err)
{
	struct err why;
	int rc;

	text->limit = CONFIG_FILE_MAX;
	if (strcmp(path, "-") == 0) /* until its end, as a shell's user expects of a pipe */
		return files_read_open(text, STDIN_FILENO, "standard input", err);
	rc = files_read(text, AT_FDCWD, path, FILES_PLAIN, &why);
	if (rc == RC_REFUSED)
		(void)err_set(err, RC_REFUSED, "%s (a pipe is read as --config -)", why.text);
	else if (rc != RC_OK)
		*err = why;
	return rc;
}

char *config_directory(const char *path)
{
	const char *slash = strrchr(path, '/');

	if (slash == NULL)
		return mem_strdup(".");
	return mem_strndup(path, slash == path ? 1 : (size_t)(slash - path));
}

int config_load(struct config *config, const char *path, struct err *err)
{
	const char *name = strcmp(path, "-") == 0 ? "standard input" : path;
	enum config_role role = CONFIG_PRIMARY;
	char *dir = config_directory(path);
	struct buf text = { 0 };
	int rc;

	*config = (struct config){ 0 };
	rc = dir != NULL ? config_read(&text, path, err) : err_nomem(err, path);
	if (rc == RC_OK)
		rc = config_infer_role(&role, name, (const char *)text.data, text.len, err);
	if (rc == RC_OK)
		rc = config_parse(config, role, name, dir, (const char *)text.data, text.len, err);
	buf_free(&text);
	mem_free(dir);
	return rc;
}

/* ---- the tables, for others ---- */

int config_schema(const enum config_role *role, struct buf *out, struct err *err)
{
	static const struct json_schema_file files[] = {
		[CONFIG_PRIMARY] = { 1U << CONFIG_PRIMARY, "understudy primary configuration" },
		[CONFIG_STANDBY] = { 1U << CONFIG_STANDBY, "understudy standby configuration" },
	};

	return json_schema_write(&config_keys, role != NULL ? &files[*role] : files,
				 role != NULL ? 1 : sizeof(files) / sizeof(files[0]), out, err);
}

int config_explain(enum config_role role, struct buf *out, struct err *err)
{
	return json_schema_explain(&config_keys, 1U << role, out, err);
}

const char *config_role_name(enum config_role role)
{
	return role_names[role];
}

bool config_role_named(const char *name, enum config_role *role)
{
	for (size_t i = 0; i < sizeof(role_names) / sizeof(role_names[0]); i++) {
		if (strcmp(name, role_names[i]) == 0) {
			*role = (enum config_role)i;
			return true;
		}
	}
	return false;
}
