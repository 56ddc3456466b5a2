/*
 * The limits below are not tuning advice: they keep a slip of the finger (a second for a
 * millisecond, a byte count for MiB) from becoming a configuration that works badly.
 */
#include "appliance/config_keys.h"

#include "appliance/config.h"
#include "appliance/config_patterns.h"
#include "appliance/witness.h"
#include "net/address.h"
#include "net/etcd.h"
#include "net/wire.h"
#include "replica/journal_list.h"

#include <assert.h>
#include <string.h>

#define PRIMARY (1U << CONFIG_PRIMARY)
#define STANDBY (1U << CONFIG_STANDBY)

#define INTERVAL_MAX_MS 60000 /* a clone a minute old is a backup, not an understudy */
#define PAUSE_LIMIT_MIN_MS 10 /* below what a checkpoint of an idle guest can take under load */
#define HEARTBEAT_MIN_MS 5    /* more would be load, not information */
#define HEARTBEAT_MAX_MS 10000
#define DETECT_MIN_MS 15
#define DETECT_MAX_MS 600000
#define RESYNC_AFTER_MAX_MS 3600000 /* an hour of changes is more than a budget holds */
#define STAGING_MIN_MIB 2	    /* two chunks of 1 MiB: one being filled, one being read */
#define BUDGET_MAX_MIB 65536	    /* 64 GiB */
#define HISTORY_MAX_MIB (1 << 21)   /* 2 TiB: half of the segments that a journal may have */
#define HISTORY_MAX_MINUTES 525600  /* a year */
#define COPY_MAX_MIB_S 1048576	    /* 1 TiB a second */

static_assert(CONFIG_COPIES_MAX == JOURNAL_COPIES_MAX, "what can be configured can be written");
static_assert(CONFIG_NICS_MAX == WIRE_NICS_MAX, "what can be configured can be sent");

static const char *const takeovers[] = {
	[CONFIG_TAKEOVER_MANUAL] = "manual", [CONFIG_TAKEOVER_AUTOMATIC] = "automatic", NULL
};
static_assert(sizeof(takeovers) / sizeof(takeovers[0]) == CONFIG_TAKEOVERS + 1, "a word for each");
static const char *const durabilities[] = {
	[CONFIG_DURABLE_MEMORY] = "memory", [CONFIG_DURABLE_JOURNAL] = "journal", NULL
};
static_assert(sizeof(durabilities) / sizeof(durabilities[0]) == CONFIG_DURABLES + 1,
	      "a word for each");
static const char *const alones[] = {
	[CONFIG_ALONE_CONTINUE] = "continue", [CONFIG_ALONE_HOLD] = "hold", NULL
};
static_assert(sizeof(alones) / sizeof(alones[0]) == CONFIG_ALONES + 1, "a word for each");
static const char *const accels[] = { "auto", "kvm", "tcg", NULL };

static int check_address(const char *text, struct err *err)
{
	struct address address;

	return address_parse(&address, text, false, err);
}

static int check_connect(const char *text, struct err *err)
{
	struct address address;
	int rc = address_parse(&address, text, false, err);

	if (rc == RC_OK && address_is_any(&address))
		rc = err_set(err, RC_INVALID,
			     "\"%s\" is where one listens; name the standby's own address", text);
	return rc;
}

static int check_http(const char *text, struct err *err)
{
	if (strncmp(text, "unix:", 5) != 0)
		return check_address(text, err);
	if (text[5] != '/' || strlen(text + 5) > JSON_SOCKET_MAX)
		return err_set(err, RC_INVALID,
			       "a unix socket is written unix:/path, of at most %d bytes",
			       JSON_SOCKET_MAX);
	return RC_OK;
}

static int check_copy(const char *text, struct err *err)
{
	return *text == '/' ? RC_OK :
			      err_set(err, RC_INVALID,
				      "\"%.100s\": a path that begins with / is expected", text);
}

#define NUMBER(name, member, least, most, usual, of, text)                                 \
	.key = name, .type = JSON_U32, .offset = offsetof(struct config_instance, member), \
	.min = least, .max = most, .fallback = usual, .unit = of, .doc = text

static const struct json_field checkpoint_fields[] = {
	{ NUMBER("target_ms", target_ms, 1, INTERVAL_MAX_MS, 100, "ms",
		 "interval between checkpoints that is aimed at: what a takeover may lose") },
	{ NUMBER("min_ms", min_ms, 1, INTERVAL_MAX_MS, 20, "ms",
		 "the interval never becomes shorter than this; at most target_ms") },
	{ NUMBER(
		"max_ms", max_ms, 1, INTERVAL_MAX_MS, 2000, "ms",
		"the interval never becomes longer than this while the link is up; at least target_ms") },
	{ NUMBER(
		"pause_limit_ms", pause_limit_ms, PAUSE_LIMIT_MIN_MS, INTERVAL_MAX_MS, 2000, "ms",
		"a checkpoint that holds the instance longer is given up: the instance comes first") },
	{ .key = "first_copy_mib_s",
	  .type = JSON_U64,
	  .max = COPY_MAX_MIB_S,
	  .unit = "MiB/s",
	  .offset = offsetof(struct config_instance, first_copy_mib_s),
	  .doc = "bandwidth limit of the first full copy; 0: none" },
};
static const struct json_table checkpoint_table = JSON_TABLE(checkpoint_fields);

static const struct json_field budget_fields[] = {
	{ NUMBER("staging_mib", staging_mib, STAGING_MIN_MIB, BUDGET_MAX_MIB, 64, "MiB",
		 "memory for pages copied from the paused instance"),
	  .roles = PRIMARY },
	{ NUMBER("staging_mib", standby_staging_mib, STAGING_MIN_MIB, BUDGET_MAX_MIB, 64, "MiB",
		 "memory for an epoch that is being received; more of it goes to state_dir"),
	  .roles = STANDBY },
	{ NUMBER("inflight_mib", inflight_mib, 1, BUDGET_MAX_MIB, 64, "MiB",
		 "memory for what is encoded and not yet acknowledged; when full, checkpoints wait"),
	  .roles = PRIMARY },
	{ NUMBER("disk_mib", disk_mib, 16, BUDGET_MAX_MIB, 256, "MiB",
		 "memory for what was written to disks and is not encoded yet; when it is full, "
		 "protection is given up: the instance comes first"),
	  .roles = PRIMARY },
	{ NUMBER("cache_mib", cache_mib, 1, BUDGET_MAX_MIB, 64, "MiB",
		 "memory for the last versions of pages, against which changes are encoded"),
	  .roles = PRIMARY },
};
static const struct json_table budget_table = JSON_TABLE(budget_fields);

/* What of a journal is kept beside what a recovery needs. */
static const struct json_field history_fields[] = {
	{ NUMBER("mib", history_mib, 1, HISTORY_MAX_MIB, 0, "MiB",
		 "room for what leads to earlier epochs; the oldest goes first"),
	  .needed = true, .roles = STANDBY },
	{ NUMBER("minutes", history_minutes, 0, HISTORY_MAX_MINUTES, 0, "min",
		 "what is older than this goes, too; 0: nothing is too old"),
	  .roles = STANDBY },
};
static const struct json_table history_table = JSON_TABLE(history_fields);

static const struct json_field journal_fields[] = {
	{ .key = "dir",
	  .type = JSON_PATH,
	  .roles = STANDBY,
	  .offset = offsetof(struct config_instance, journal_dir),
	  .doc = "directory of the journal, with room for three times the instance's memory; absent: "
		 "STATE_DIR/NAME/journal" },
	{ .key = "copies",
	  .type = JSON_STRINGS,
	  .roles = STANDBY,
	  .offset = offsetof(struct config_instance, journal_copies),
	  .max = CONFIG_COPIES_MAX,
	  .check = check_copy,
	  .pattern = "^/[^" JSON_PATTERN_CONTROL "]*" JSON_PATTERN_END,
	  .kind = "path",
	  .doc = "instead of dir: a directory for each copy of the journal, on disks of their own" },
	{ NUMBER("quorum", journal_quorum, 0, CONFIG_COPIES_MAX, 0, NULL,
		 "copies that have to have an epoch before it is acknowledged; 0: the majority"),
	  .roles = STANDBY },
	{ NUMBER("backlog_mib", journal_backlog_mib, 4, BUDGET_MAX_MIB, 64, "MiB",
		 "memory for what waits for the journal's disk; when full, the primary has to wait"),
	  .roles = STANDBY },
	{ .key = "history",
	  .type = JSON_OBJECT,
	  .roles = STANDBY,
	  .table = &history_table,
	  .doc = "earlier epochs are kept, which `understudy rewind` brings back; absent: only what a recovery needs" },
};
static const struct json_table journal_table = JSON_TABLE(journal_fields);

static const struct json_field instance_fields[] = {
	{ .key = "name",
	  .type = JSON_NAME,
	  .required = true,
	  .offset = offsetof(struct config_instance, name),
	  .doc = "the instance's name, the same at both sites" },
	{ .key = "qmp",
	  .type = JSON_SOCKET,
	  .required = true,
	  .roles = PRIMARY,
	  .offset = offsetof(struct config_instance, qmp),
	  .doc = "QMP socket of the protected QEMU" },
	{ .key = "checkpoint",
	  .type = JSON_OBJECT,
	  .roles = PRIMARY,
	  .table = &checkpoint_table,
	  .doc = "how often the clone is brought up to date" },
	{ .key = "budget",
	  .type = JSON_OBJECT,
	  .table = &budget_table,
	  .doc = "memory that protecting this instance may take" },
	{ NUMBER("resync_after_ms", resync_after_ms, 0, RESYNC_AFTER_MAX_MS, 10000, "ms",
		 "after a longer loss of the link, page hashes are compared first and only what differs is sent"),
	  .roles = PRIMARY },
	{ .key = "nics",
	  .type = JSON_OBJECTS,
	  .table = &config_nic_table,
	  .max = CONFIG_NICS_MAX,
	  .offset = offsetof(struct config_instance, nics),
	  .count_offset = offsetof(struct config_instance, nnics),
	  .item_size = sizeof(struct config_nic),
	  .doc = "network cards whose traffic goes through the standby's gateway" },
	{ .key = "disks",
	  .type = JSON_OBJECTS,
	  .table = &config_disk_table,
	  .max = CONFIG_DISKS_MAX,
	  .offset = offsetof(struct config_instance, disks),
	  .count_offset = offsetof(struct config_instance, ndisks),
	  .item_size = sizeof(struct config_disk),
	  .doc = "disks that belong to the epochs; others must be reachable from both sites, or not matter" },
	{ .key = "without_standby",
	  .type = JSON_CHOICE,
	  .roles = PRIMARY,
	  .choices = alones,
	  .fallback = CONFIG_ALONE_CONTINUE,
	  .offset = offsetof(struct config_instance, without_standby),
	  .doc = "while the standby is not heard: the instance goes on answering, or keeps silent" },
	{ .key = "standby_arguments",
	  .type = JSON_STRINGS,
	  .roles = PRIMARY,
	  .offset = offsetof(struct config_instance, arguments),
	  .doc = "arguments for the standby's QEMU, instead of those derived from the protected one's" },
	{ .key = "takeover",
	  .type = JSON_CHOICE,
	  .roles = STANDBY,
	  .choices = takeovers,
	  .fallback = CONFIG_TAKEOVER_MANUAL,
	  .offset = offsetof(struct config_instance, takeover),
	  .doc = "who decides that the primary site has failed: an operator, or the standby by itself" },
	{ .key = "durability",
	  .type = JSON_CHOICE,
	  .roles = STANDBY,
	  .choices = durabilities,
	  .fallback = CONFIG_DURABLE_MEMORY,
	  .offset = offsetof(struct config_instance, durability),
	  .doc = "where an epoch has to be before it is acknowledged: in this machine's memory, or in the journal on "
		 "stable storage, from which the replica comes back after a restart" },
	{ .key = "journal",
	  .type = JSON_OBJECT,
	  .roles = STANDBY,
	  .table = &journal_table,
	  .doc = "the journal; with durability memory and a directory or a history it is kept, too, but not waited for" },
	{ .key = "vrrp",
	  .type = JSON_OBJECTS,
	  .roles = STANDBY,
	  .table = &config_vrrp_table,
	  .max = CONFIG_VRRP_MAX,
	  .offset = offsetof(struct config_instance, vrrp),
	  .count_offset = offsetof(struct config_instance, nvrrp),
	  .item_size = sizeof(struct config_vrrp),
	  .doc = "groups of VRRP (version 3) whose addresses are here while the replica serves" },
};
static const struct json_table instance_table = JSON_TABLE(instance_fields);

static const struct json_field http_fields[] = {
	{ .key = "listen",
	  .type = JSON_TEXT,
	  .kind = "address",
	  .check = check_http,
	  .pattern = "^(unix:/[^" JSON_PATTERN_CONTROL "]{0,106}|" ADDRESS_PATTERN
		     ")" JSON_PATTERN_END,
	  .offset = offsetof(struct config, http),
	  .doc = "address for health, status and takeover (\"127.0.0.1:7480\", \"unix:/run/understudy.sock\"); "
		 "absent: none" },
};
static const struct json_table http_table = JSON_TABLE(http_fields);

static const struct json_field tls_fields[] = {
	{ .key = "ca",
	  .type = JSON_PATH,
	  .required = true,
	  .offset = offsetof(struct config, tls_ca),
	  .doc = "certificate of the authority that both sites trust (PEM)" },
	{ .key = "cert",
	  .type = JSON_PATH,
	  .required = true,
	  .offset = offsetof(struct config, tls_cert),
	  .doc = "this site's certificate (PEM)" },
	{ .key = "key",
	  .type = JSON_PATH,
	  .required = true,
	  .offset = offsetof(struct config, tls_key),
	  .doc = "this site's private key (PEM), readable by its owner only" },
};
static const struct json_table tls_table = JSON_TABLE(tls_fields);

static const struct json_field link_fields[] = {
	{ .key = "connect",
	  .type = JSON_TEXT,
	  .kind = "address",
	  .check = check_connect,
	  .required = true,
	  .pattern = "^(?!" ANY_PATTERN ")" ADDRESS_PATTERN JSON_PATTERN_END,
	  .roles = PRIMARY,
	  .offset = offsetof(struct config, connect),
	  .doc = "address of the standby (\"198.51.100.7:7400\")" },
	{ .key = "listen",
	  .type = JSON_TEXT,
	  .kind = "address",
	  .check = check_address,
	  .required = true,
	  .pattern = "^" ADDRESS_PATTERN JSON_PATTERN_END,
	  .roles = STANDBY,
	  .offset = offsetof(struct config, listen),
	  .doc = "address to listen on for primaries (\"0.0.0.0:7400\")" },
	{ .key = "heartbeat_ms",
	  .type = JSON_U32,
	  .min = HEARTBEAT_MIN_MS,
	  .max = HEARTBEAT_MAX_MS,
	  .fallback = 50,
	  .unit = "ms",
	  .offset = offsetof(struct config, heartbeat_ms),
	  .doc = "interval between heartbeats" },
	{ .key = "detect_ms",
	  .type = JSON_U32,
	  .min = DETECT_MIN_MS,
	  .max = DETECT_MAX_MS,
	  .fallback = 300,
	  .unit = "ms",
	  .offset = offsetof(struct config, detect_ms),
	  .doc = "silence after which the other site counts as failed; at least 3 x heartbeat_ms" },
};
static const struct json_table link_table = JSON_TABLE(link_fields);

static int check_endpoint(const char *text, struct err *err)
{
	struct address address;

	return etcd_endpoint_parse(&address, text, err);
}

static const struct json_field witness_fields[] = {
	{ .key = "endpoints",
	  .type = JSON_STRINGS,
	  .needed = true,
	  .max = ETCD_ENDPOINTS_MAX,
	  .check = check_endpoint,
	  .pattern = "^https://" ADDRESS_PATTERN JSON_PATTERN_END,
	  .offset = offsetof(struct config, witness_endpoints),
	  .doc = "etcd's client addresses (\"https://etcd-1.example.org:2379\"), the same at both sites" },
	{ .key = "ca",
	  .type = JSON_PATH,
	  .needed = true,
	  .offset = offsetof(struct config, witness_ca),
	  .doc = "certificate of the authority of etcd's servers (PEM)" },
	{ .key = "cert",
	  .type = JSON_PATH,
	  .offset = offsetof(struct config, witness_cert),
	  .doc = "client certificate for etcd (PEM); absent: none" },
	{ .key = "key",
	  .type = JSON_PATH,
	  .offset = offsetof(struct config, witness_key),
	  .doc = "its private key (PEM)" },
	{ .key = "ttl_s",
	  .type = JSON_U32,
	  .min = WITNESS_TTL_MIN_S,
	  .max = WITNESS_TTL_MAX_S,
	  .fallback = 5,
	  .unit = "s",
	  .offset = offsetof(struct config, witness_ttl_s),
	  .doc = "lease of a primary that serves alone: how long the standby cannot take over after its end" },
};
static const struct json_table witness_table = JSON_TABLE(witness_fields);

static const struct json_field hypervisor_fields[] = {
	{ .key = "program",
	  .type = JSON_PATH,
	  .required = true,
	  .roles = STANDBY,
	  .offset = offsetof(struct config, hypervisor),
	  .doc = "the QEMU that runs the clones" },
	{ .key = "firmware",
	  .type = JSON_PATH,
	  .roles = STANDBY,
	  .offset = offsetof(struct config, firmware),
	  .doc = "directory of its firmware; absent: where QEMU looks by itself" },
	{ .key = "accel",
	  .type = JSON_WORD,
	  .roles = STANDBY,
	  .choices = accels,
	  .text_fallback = "auto",
	  .offset = offsetof(struct config, accel),
	  .doc = "accelerator; auto: kvm where the machine can, else tcg" },
	{ .key = "confine",
	  .type = JSON_BOOL,
	  .roles = STANDBY,
	  .fallback = true,
	  .offset = offsetof(struct config, confine),
	  .doc = "start it without capabilities and without the system calls that it does not need" },
	{ .key = "user",
	  .type = JSON_NAME,
	  .roles = STANDBY,
	  .offset = offsetof(struct config, user),
	  .doc = "as whom root's standby runs it, a name or a number; absent: understudy-qemu if there is one, else "
		 "the standby's own" },
};
static const struct json_table hypervisor_table = JSON_TABLE(hypervisor_fields);

static const struct json_field log_fields[] = {
	{ .key = "json",
	  .type = JSON_BOOL,
	  .offset = offsetof(struct config, log_json),
	  .doc = "one JSON object per line instead of text" },
	{ .key = "debug",
	  .type = JSON_BOOL,
	  .offset = offsetof(struct config, log_debug),
	  .doc = "log more than an operator needs every day" },
};
static const struct json_table log_table = JSON_TABLE(log_fields);

static const struct json_field root_fields[] = {
	{ .key = "site",
	  .type = JSON_NAME,
	  .required = true,
	  .offset = offsetof(struct config, site),
	  .doc = "this site's name, for logs and status" },
	{ .key = "http",
	  .type = JSON_OBJECT,
	  .table = &http_table,
	  .doc = "health, status and the operator's commands" },
	{ .key = "tls",
	  .type = JSON_OBJECT,
	  .table = &tls_table,
	  .doc = "who this site is and whom it trusts" },
	{ .key = "link",
	  .type = JSON_OBJECT,
	  .table = &link_table,
	  .doc = "the connection between the sites" },
	{ .key = "witness",
	  .type = JSON_OBJECT,
	  .table = &witness_table,
	  .doc = "a third place that decides who serves when the sites cannot hear each other" },
	{ .key = "hypervisor",
	  .type = JSON_OBJECT,
	  .roles = STANDBY,
	  .table = &hypervisor_table,
	  .doc = "what runs the clones" },
	{ .key = "state_dir",
	  .type = JSON_PATH,
	  .required = true,
	  .roles = STANDBY,
	  .offset = offsetof(struct config, state_dir),
	  .doc = "directory for what has to survive a restart" },
	{ .key = "memory_dir",
	  .type = JSON_PATH,
	  .roles = STANDBY,
	  .text_fallback = "/dev/shm",
	  .offset = offsetof(struct config, memory_dir),
	  .doc = "directory for the clones' memory; on tmpfs or hugetlbfs" },
	{ .key = "machine",
	  .type = JSON_OBJECT,
	  .roles = STANDBY,
	  .table = &config_machine_table,
	  .doc = "in the appliance's image: what the machine needs before the standby runs; elsewhere without effect" },
	{ .key = "log",
	  .type = JSON_OBJECT,
	  .table = &log_table,
	  .doc = "the log on standard error" },
	{ .key = "instances",
	  .type = JSON_OBJECTS,
	  .required = true,
	  .table = &instance_table,
	  .max = CONFIG_INSTANCES_MAX,
	  .offset = offsetof(struct config, instances),
	  .count_offset = offsetof(struct config, ninstances),
	  .item_size = sizeof(struct config_instance),
	  .doc = "what is protected" },
};
const struct json_table config_keys = JSON_TABLE(root_fields);
