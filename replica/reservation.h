/*
 * A reservation: what a primary asks its standby to hold ready, as the JSON text of the wire's
 * RESERVE, and the answer in RESERVED.
 *
 *   {"arguments": ["-machine", "pc-i440fx-10.0,...", ...],
 *    "backends": [{"name": "pc.ram", "bytes": 268435456}],
 *    "qemu": {"version": "10.0.13", "package": "Debian ..."}, "accel": "tcg",
 *    "machine": "pc-i440fx-10.0", "cpus": 2, "memory_bytes": 268435456,
 *    "nics": [{"name": "net0", "socket": "net0.agent", "qemu_socket": "net0.qemu", "announce": false,
 *              "output_commit": true}],
 *    "disks": [{"name": "disk0", "bytes": 8589934592}],
 *    "without_standby": "hold" | "continue",
 *    "witness": "https://etcd-1:2379 https://etcd-2:2379", "witness_identity": "fec48d4045584289",
 *    "heartbeat_ms": 50, "detect_ms": 300}
 *
 * Valid if and only if every member above is there with its type, arguments and backends are within
 * the limits of cmdline.h, backends' names are such that QEMU takes them and none comes twice,
 * sizes are whole pages within LAYOUT_BYTES_MAX in all, accel is "kvm" or "tcg", the texts are
 * printable, no argument is one that only the standby may set, and the network cards ("nics" may be
 * absent: none) have names and, as the derived arguments have them, names of two sockets in the
 * replica's directory. So do the disks ("disks" may be absent: none), whose bytes are sectors of 512. A card's
 * "output_commit" may be absent: true. "witness" may be absent, or anything but a text: none;
 * "witness_identity" as well, else it is a number in 1 to 16 hexadecimal digits; so may "heartbeat_ms" and
 * "detect_ms", or be anything but whole numbers up to RESERVATION_MS_MAX: not told. Members that are not
 * listed are ignored: a newer primary may say more.
 *
 *   {"ok": true, "image": "committed" | "stale" | "empty"}
 *   {"ok": false, "image": ..., "error": "reason"}
 */
#ifndef REPLICA_RESERVATION_H
#define REPLICA_RESERVATION_H

#include "appliance/base/buf.h"
#include "appliance/base/err.h"
#include "replica/cmdline.h"
#include "replica/precheck.h"

#include <stddef.h>
#include <stdint.h>

#define RESERVATION_JSON_MAX ((size_t)256 << 10) /* WIRE_JSON_MAX */
#define RESERVATION_TEXT_MAX PRECHECK_TEXT_MAX
#define RESERVATION_ERROR_MAX ERR_TEXT_MAX
#define RESERVATION_NICS_MAX CMDLINE_CARDS_MAX
#define RESERVATION_NAME_MAX 64	     /* a file's name in the replica's directory */
#define RESERVATION_WITNESS_MAX 2176 /* eight names of hosts, with what belongs to each */
#define RESERVATION_MS_MAX 86400000  /* a day: far beyond what a configuration takes */
#define RESERVATION_CPUS_MAX 8192    /* twice what any x86 machine type takes */

struct reservation_nic {
	char name[RESERVATION_NAME_MAX + 1];
	char socket[RESERVATION_NAME_MAX + 1], qemu_socket[RESERVATION_NAME_MAX + 1];
	bool announce; /* its clients reach it at the primary's site, else through the standby */
	bool at_once;  /* "output_commit" is false: what it sends waits for no commit */
};

struct reservation {
	struct cmdline_spec spec;
	char version[RESERVATION_TEXT_MAX],
		package[RESERVATION_TEXT_MAX]; /* of the primary's QEMU */
	char machine[RESERVATION_TEXT_MAX];
	uint32_t cpus;
	uint64_t memory_bytes;
	struct reservation_nic nics[RESERVATION_NICS_MAX];
	size_t nnics;
	bool holds;			  /* the instance is silent without its standby */
	uint32_t heartbeat_ms, detect_ms; /* of the primary's link; 0: not told */
	/* The endpoints of the one that the primary asks (witness_place.h); empty: none. */
	char witness[RESERVATION_WITNESS_MAX + 1];
	uint64_t witness_identity; /* which one that is, by a number of its own; 0: not known yet */
};

/* Every client comes through the standby. */
bool reservation_is_gateway(const struct reservation *reservation);

/*
 * To an empty reservation: its network cards, then all that the protected QEMU's command line and
 * its QMP told; `arguments` (NULL-terminated, or NULL) is the operator's own list.
 * reservation_free() also after a failure, for these and reservation_from_json().
 *
 * A card by the paths of its sockets, of which the last component counts, or by the id of its tap.
 */
int reservation_add_nic(struct reservation *reservation, const char *name, const char *socket,
			const char *qemu_socket, bool announce, struct err *err);
int reservation_add_tap(struct reservation *reservation, const char *name, const char *netdev,
			bool announce, struct err *err);
/* As cmdline_add_disk(). */
int reservation_add_disk(struct reservation *reservation, const char *name, const char *device,
			 uint64_t bytes, struct err *err);
int reservation_derive(struct reservation *reservation, const struct cmdline *cmdline,
		       const struct precheck_facts *facts, char *const *arguments, struct err *err);
int reservation_to_json(const struct reservation *reservation, struct buf *json, struct err *err);
int reservation_from_json(struct reservation *reservation, const uint8_t *json, size_t len,
			  struct err *err);
void reservation_free(struct reservation *reservation);

/* The answer, read: whether it stands, and what the standby's image is worth. */
struct reservation_answer {
	bool ok;
	bool has_image; /* "stale" or "committed" */
	bool committed;
	char error[RESERVATION_ERROR_MAX];
};
int reservation_read_answer(struct reservation_answer *answer, const uint8_t *json, size_t len,
			    struct err *err);

/* The answer: `error` NULL for yes. `image` as above. */
int reservation_answer(struct buf *json, const char *error, const char *image, struct err *err);

#endif
