/*
 * The standby's QEMU arguments, derived from those of the protected QEMU. Pure but for
 * cmdline_of_pid().
 *
 * The rules (the table in cmdline_rules.c is their only copy; what no rule changes stays as written,
 * in its order, and the standby's QEMU judges it at reservation):
 *
 *   replaced    -machine/-M: the exact versioned type, other properties kept. -accel, -enable-kvm:
 *               the standby's accelerator. Every memory backend, and default memory: a shared file
 *               of the image, with the block's name. -L: the standby's firmware.
 *   dropped     what concerns this one process: -qmp -monitor -mon and the chardevs only they used,
 *               -pidfile -daemonize -S -incoming -loadvm -D -d -trace -gdb -sandbox -runas -chroot
 *               -run-with -msg -mem-path -mem-prealloc -plugin ...; -no-shutdown, because nobody
 *               would notice a replica whose guest has switched itself off; displays (-display -vnc
 *               -spice -nographic ...): a replica has none; secrets and TLS objects that nothing
 *               else names.
 *   redirected  files, terminals and pipes of -serial -parallel -debugcon -chardev: to
 *               console-N.log, parallel-N.log, debugcon-N.log or ID.log, and so do ports that
 *               connect to a unix socket; listening unix sockets, and those of network back ends:
 *               same base name. All in the replica's own directory, which is QEMU's working
 *               directory, so that nothing of the primary's is written over where both sites see
 *               one file system. Sound goes nowhere (-audiodev none). A tap's scripts do not run,
 *               QEMU's own neither (script=no,downscript=no).
 *   bridged     a tap that the primary's agent looks after (cmdline_add_card()): -netdev dgram of the
 *               same id, to the standby's gateway.
 *   disks       the -drive or -blockdev of a disk that is protected (cmdline_add_disk()): NAME.disk in
 *               the replica's directory, raw, whatever it is at the primary; the -blockdev of the
 *               layers below it go.
 *   refused     what cannot travel: file descriptors (-add-fd, fd=, fds=, vhostfd=, /dev/fdset/N),
 *               -readconfig, SGX memory. Memory of a device on a bus (virtio-mem). The error names the argument and the remedy: the
 *               operator's own list (cmdline_override()). And what no standby takes from anybody
 *               (cmdline_check()), -netdev bridge among it: QEMU's helper would run.
 */
#ifndef REPLICA_CMDLINE_H
#define REPLICA_CMDLINE_H

#include "appliance/base/err.h"
#include "replica/image.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define CMDLINE_ARGS_MAX 1024
#define CMDLINE_BYTES_MAX ((size_t)256 << 10) /* libvirt's longest seen: 12 KiB */
#define CMDLINE_BACKENDS_MAX 16		      /* NUMA nodes and memory modules */
/* The standby's own in the replica's directory: its socket, and who served (term_record.h). */
#define CMDLINE_QMP_NAME "replica.qmp"
#define CMDLINE_TERM_NAME "term"
#define CMDLINE_DISKS_NAME "disks.nbd" /* where QEMU exports the disks' targets */
#define CMDLINE_NOTES_MAX 16	       /* remarks beyond these say nothing new */
#define CMDLINE_CARDS_MAX 8
#define CMDLINE_DEVICE_MAX 255
#define CMDLINE_NAME_MAX 64 /* of a network back end, and of a file in the replica's directory */

/* A file that the standby keeps beside QEMU's, in the replica's directory. */
bool cmdline_is_own_file(const char *name);

struct cmdline {
	char **args; /* NULL-terminated; NULL when empty */
	size_t count, capacity;
	size_t bytes; /* of all arguments with their NULs */
};

void cmdline_free(struct cmdline *cmdline);

/* Adds a copy of an argument; RC_LIMIT beyond the limits above. */
int cmdline_add(struct cmdline *cmdline, const char *arg, struct err *err);

/* From the NUL-separated bytes of /proc/PID/cmdline; args[0] is the program. */
int cmdline_parse(struct cmdline *cmdline, const uint8_t *bytes, size_t len, struct err *err);

/* A process's own, from /proc. */
int cmdline_of_pid(struct cmdline *cmdline, pid_t pid, struct err *err);

/*
 * A RAM block's name that a memory backend can have: an id as QEMU takes it, or "/objects/" and
 * one.
 */
bool cmdline_is_backend_name(const char *name);

/* A network card that is a tap at the primary and -netdev dgram at the standby. */
struct cmdline_card {
	char netdev[CMDLINE_NAME_MAX + 1]; /* id of either */
	/* Names in the replica's directory: the standby's end, QEMU's. */
	char socket[CMDLINE_NAME_MAX + 1], qemu_socket[CMDLINE_NAME_MAX + 1];
	/* By cmdline_check_cards(). */
	char ifname[CMDLINE_NAME_MAX + 1]; /* of the tap; empty: not told */
	bool virtio;			   /* its state has to find a back end of the same kind */
};

/* A disk whose image is the standby's own. */
struct cmdline_disk {
	char name[IMAGE_DISK_NAME_MAX + 1];
	char file[IMAGE_DISK_NAME_MAX + sizeof(".disk")]; /* in the replica's directory */
	char device[CMDLINE_DEVICE_MAX +
		    1]; /* the id or node-name at the primary, where it stays */
	uint64_t bytes;
	char *target; /* at the standby: what QEMU opens instead of the file, as -blockdev's JSON; NULL: the file */
};

/*
 * What the primary sends with its reservation: arguments made independent of its process, and the
 * memory backends that the standby has to provide (name of the RAM block, bytes).
 */
struct cmdline_spec {
	struct cmdline args; /* without program, memory backends, accelerator, -incoming */
	struct image_shared backends[CMDLINE_BACKENDS_MAX];
	size_t nbackends;
	/* Set before deriving, by cmdline_add_card(); they stay at the primary. */
	struct cmdline_card cards[CMDLINE_CARDS_MAX];
	size_t ncards;
	struct cmdline_disk disks[LAYOUT_DISKS_MAX];
	size_t ndisks;
	char accel[8]; /* what the instance runs under: "kvm", "tcg"; empty: unknown */
	/* Sentences for the operator: what the replica will not have. They stay at the primary. */
	struct cmdline notes;
};

/* A disk; `device`: the id of its -drive or -device, or the node-name of its -blockdev; NULL at a standby. */
int cmdline_add_disk(struct cmdline_spec *spec, const char *name, const char *device,
		     uint64_t bytes, struct err *err);

/*
 * The standby's: the disk's image is a block target, a JSON object as -blockdev has it, without a node-name. QEMU will have it
 * by the name of cmdline_target_node(), `disk` being its number in the spec.
 */
int cmdline_set_target(struct cmdline_disk *disk, const char *target, struct err *err);
void cmdline_target_node(char node[CMDLINE_NAME_MAX + 1], size_t disk);

/* A tap with that id; `name`, a file's name, begins those of its sockets at the standby. */
int cmdline_add_card(struct cmdline_spec *spec, const char *netdev, const char *name,
		     struct err *err);
/* The one with that id, or NULL. */
const struct cmdline_card *cmdline_find_card(const struct cmdline_spec *spec, const char *netdev);
/*
 * What the protected QEMU's command line has to say of the cards added: refuses those that are no
 * taps, and those whose state or frames would not be what the standby's back end takes.
 */
int cmdline_check_cards(struct cmdline_spec *spec, const struct cmdline *source, struct err *err);

/*
 * `source`: the protected QEMU's vector. `machine` ("pc-i440fx-10.0") and `default_ram_id`
 * ("pc.ram") as QMP tells them, `memory_bytes`: the size of the default memory. cmdline_spec_free()
 * also after a failure.
 */
int cmdline_derive(struct cmdline_spec *spec, const struct cmdline *source, const char *machine,
		   const char *default_ram_id, uint64_t memory_bytes, struct err *err);

/*
 * The same with the operator's own list (NULL-terminated, without program) in place of what would
 * be derived: taken as it is, but machine type and memory as above, and what cmdline_check() refuses.
 */
int cmdline_override(struct cmdline_spec *spec, char *const *args, const char *machine,
		     const char *default_ram_id, uint64_t memory_bytes, struct err *err);

/*
 * What a standby refuses to start although a primary asks for it: its own options, everything that
 * would run a program or write outside of the replica's directory, and what is unknown. The rules
 * are at the head of cmdline_check.c.
 */
int cmdline_check(const struct cmdline_spec *spec, struct err *err);

void cmdline_spec_free(struct cmdline_spec *spec);

/*
 * The full vector the standby starts: program, spec, backends at their paths, accelerator ("kvm",
 * "tcg"), firmware directory (may be NULL), QMP socket, no other monitor. Refuses what
 * cmdline_check() refuses.
 */
int cmdline_standby(struct cmdline *out, const struct cmdline_spec *spec, const char *program,
		    const char *accel, const char *firmware, const char *qmp_path, struct err *err);

/* Of -qmp in there; mem_free(). NULL: no memory, or RC_LIMIT. */
char *cmdline_qmp_value(const char *qmp_path, struct err *err);

/* The QOM path of the memory region behind a backend's RAM block, for "qom-get"; mem_free(). */
char *cmdline_backend_path(const struct image_shared *backend);

#endif
