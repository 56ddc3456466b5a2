/*
 * The configuration: one JSON file for either role, read once, checked whole.
 *
 * The tables in config_keys.c are the only description of it: the reader, `understudy check`,
 * `understudy check --schema` and the README's list come from them. Unknown keys, wrong types,
 * values out of range and impossible combinations are refused with the path of the key
 * ("instances[0].checkpoint.target_ms") and, where there is one, the near miss ("did you mean
 * ...?").
 */
#ifndef APPLIANCE_CONFIG_H
#define APPLIANCE_CONFIG_H

#include "appliance/base/buf.h"
#include "appliance/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CONFIG_FILE_MAX ((size_t)1 << 20)
#define CONFIG_COPIES_MAX 5    /* of a journal: more would be written to, and none of them needed */
#define CONFIG_NICS_MAX 8      /* per instance; WIRE_NICS_MAX */
#define CONFIG_DISKS_MAX 16    /* per instance; LAYOUT_DISKS_MAX */
#define CONFIG_VRRP_MAX 16     /* per instance: a group for each of its networks, and some */
#define CONFIG_VRRP_STEP_MS 10 /* what VRRP counts in */
#define CONFIG_DEVICES_MAX 64  /* of the machine: cards, bridges, VLANs */
#define CONFIG_DNS_MAX 3       /* as many as a resolver asks */
#define CONFIG_INSTANCES_MAX 64 /* per process; GUARDIAN_INSTANCES_MAX */

enum config_role { CONFIG_PRIMARY, CONFIG_STANDBY, CONFIG_ROLES };
enum config_alone { CONFIG_ALONE_CONTINUE, CONFIG_ALONE_HOLD, CONFIG_ALONES };
enum config_durability { CONFIG_DURABLE_MEMORY, CONFIG_DURABLE_JOURNAL, CONFIG_DURABLES };
enum config_takeover { CONFIG_TAKEOVER_MANUAL, CONFIG_TAKEOVER_AUTOMATIC, CONFIG_TAKEOVERS };

struct config_nic {
	char *name;
	/* primary: where the agent listens (-netdev dgram's remote.path), and QEMU (local.path); */
	char *socket, *qemu_socket;
	/* or the id of -netdev tap, the bridge that tap is alone in, and ours to make in it */
	char *netdev, *guest_bridge, *guest_tap;
	bool output_commit; /* primary: true */
	char *tap, *bridge; /* standby: where clients are; bridge may be NULL */
};

struct config_disk {
	char *name;
	/* primary: what QEMU knows it by, and where the agent takes its writes; socket may be NULL */
	char *device, *socket;
	/* standby, one of them: the raw image; what QEMU opens as the disk (-blockdev's JSON) */
	char *path, *target;
};

/* standby: a VRRP group whose addresses are at the site that serves the instance */
struct config_vrrp {
	char *device;
	uint32_t group, priority;
	uint32_t interval_ms; /* 1000, a multiple of CONFIG_VRRP_STEP_MS */
	bool preempt;	      /* true */
	/* As netlink_prefix_parse() and netlink_route_parse() take them, NULL-terminated; routes: NULL: none */
	char **addresses, **routes;
};

/* standby, in the appliance's image: a network device of the machine, in the order in which they are set up */
struct config_device {
	char *name; /* what everything else calls it */
	char *mac; /* of the card that gets that name; NULL: the kernel calls it so, or it is made here: */
	char **ports; /* it is a bridge of these; NULL: none */
	char *on;     /* or a VLAN on that device */
	uint32_t vlan;
	uint32_t mtu;		    /* 0: as it is */
	bool dhcp;		    /* IPv4 addresses, routes and name servers from a server, too */
	char **addresses, **routes; /* as in config_vrrp; NULL: none */
};

struct config_instance {
	char *name; /* 1 to 64 of [A-Za-z0-9._-] */
	/* primary */
	char *qmp; /* path of the protected QEMU's QMP socket */
	/* checkpoint.*: the interval aimed at (100) and the bounds it adapts within (20, 2000) */
	uint32_t target_ms, min_ms, max_ms;
	uint32_t pause_limit_ms;   /* checkpoint.pause_limit_ms: 2000 */
	uint64_t first_copy_mib_s; /* checkpoint.first_copy_mib_s: 0, unlimited */
	uint32_t staging_mib;	   /* budget.staging_mib: 64; shadow buffers */
	uint32_t inflight_mib;	   /* budget.inflight_mib: 64; encoded, not yet acknowledged */
	uint32_t cache_mib;	   /* budget.cache_mib: 64; versions kept for XOR */
	uint32_t resync_after_ms;  /* 10000; a longer outage ends with a resync of page hashes */
	enum config_alone without_standby; /* "continue" (default) or "hold" */
	char **arguments;	 /* standby_arguments: NULL (derived ones) or NULL-terminated */
	struct config_nic *nics; /* NULL: the instance's network is not looked after */
	size_t nnics;
	uint32_t disk_mib;	   /* budget.disk_mib: 256; writes to disks, not yet encoded */
	struct config_disk *disks; /* NULL: the instance's disks are not looked after */
	size_t ndisks;
	/* standby */
	uint32_t standby_staging_mib;  /* budget.staging_mib: 64; an epoch in flight, in memory */
	enum config_takeover takeover; /* "manual" (default) or "automatic" */
	enum config_durability durability; /* "memory" (default) or "journal" */
	char *journal_dir; /* journal.dir: NULL: below state_dir, and none without that durability */
	char **journal_copies; /* journal.copies: NULL: one; else NULL-terminated, CONFIG_COPIES_MAX at most */
	uint32_t
		journal_quorum; /* journal.quorum: of them; 0 in the file: the majority; 1 without copies */
	uint32_t journal_backlog_mib; /* journal.backlog_mib: 64; what may wait for its disk */
	uint32_t history_mib;	      /* journal.history.mib: 0: nothing of the past is kept */
	uint32_t history_minutes; /* journal.history.minutes: 0: as much as history_mib allows */
	struct config_vrrp *vrrp; /* NULL: none */
	size_t nvrrp;
};

/* The label of the data disk's file system; image/image.sh reads it here. */
#define CONFIG_DATA_LABEL "UNDERSTUDY-DATA"
#define CONFIG_DATA_MEMORY "memory" /* of machine.data: no disk */

struct config {
	enum config_role role; /* from the verb, not from the file */
	char *site;
	char *http; /* http.listen: address or NULL */
	/* Relative paths are relative to the configuration file. */
	char *tls_ca, *tls_cert, *tls_key;
	char *connect;			  /* primary: link.connect */
	char *listen;			  /* standby: link.listen */
	uint32_t heartbeat_ms, detect_ms; /* link.*: 50, 300 */
	/* witness.*: NULL: none */
	char **witness_endpoints;
	char *witness_ca, *witness_cert, *witness_key;
	uint32_t witness_ttl_s;
	char *state_dir;  /* standby: what survives a restart, and spilled epochs */
	char *memory_dir; /* standby: where memory images live; default "/dev/shm" */
	char *hypervisor; /* standby: hypervisor.program */
	char *firmware;	  /* standby: hypervisor.firmware or NULL */
	char *accel;	  /* standby: hypervisor.accel: "auto" */
	bool confine;	  /* standby: hypervisor.confine */
	char *user;	  /* standby: hypervisor.user or NULL */
	bool log_json;	  /* log.json */
	bool log_debug;	  /* log.debug */
	/* machine.*: what process 1 sets up; init.h */
	char *hostname; /* "understudy" */
	char **dns;	/* addresses of name servers; NULL: none */
	char *data; /* the data disk: its serial number, /dev/NAME, or CONFIG_DATA_MEMORY; NULL: the one that is labelled, or empty */
	struct config_device *devices; /* machine.network */
	size_t ndevices;
	struct config_instance *instances;
	size_t ninstances;
	const char *
		machine_problems; /* not of the file: where process 1 of the image says what is wrong; NULL: nowhere */
};

/*
 * Reads and checks the file at `path` ("-": standard input), of whatever role it is: link.connect
 * makes it a primary's, link.listen a standby's. config_free() also after a failure.
 */
int config_load(struct config *config, const char *path, struct err *err);
/*
 * The same from memory; `name` stands for the file in messages, `dir` is what relative paths are
 * relative to.
 */
int config_parse(struct config *config, enum config_role role, const char *name, const char *dir,
		 const char *text, size_t len, struct err *err);
void config_free(struct config *config);

/*
 * As config_parse(), but a problem does not end it: `problems` gets a line for each (the first is
 * in err, too).
 */
int config_check(struct config *config, enum config_role role, const char *name, const char *dir,
		 const char *text, size_t len, struct buf *problems, struct err *err);

/* What config_load() goes by; RC_STATE: it has both or neither; RC_INVALID: it is no object. */
int config_infer_role(enum config_role *role, const char *name, const char *text, size_t len,
		      struct err *err);

/*
 * The parts of config_load(): the text of a regular file of at most CONFIG_FILE_MAX bytes, or of
 * standard input until its end, into an empty buffer; and the directory of a path (the caller frees
 * it).
 */
int config_read(struct buf *text, const char *path, struct err *err);
char *config_directory(const char *path);

/* The JSON Schema (draft 2020-12) of a role's file (NULL: of either), and the list of its keys as Markdown. */
int config_schema(const enum config_role *role, struct buf *out, struct err *err);
int config_explain(enum config_role role, struct buf *out, struct err *err);

const char *config_role_name(enum config_role role); /* "primary", "standby" */
bool config_role_named(const char *name, enum config_role *role);

#endif
