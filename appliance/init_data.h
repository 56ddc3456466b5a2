/*
 * The data disk, in the parts that can be tested without a machine: what a disk is, which one is taken, and how an empty one
 * is prepared. init_data.c has the rest.
 */
#ifndef APPLIANCE_INIT_DATA_H
#define APPLIANCE_INIT_DATA_H

#include "appliance/base/buf.h"
#include "appliance/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DATA_PARTITION "understudy-data" /* GPT name */
#define DATA_NAME_BYTES 32		 /* what the kernel calls a disk */
#define DATA_SERIAL_BYTES 64

/* ---- what a disk is -------------------------------------------------------------------------- */

#define DATA_EXT4_AT 1024 /* where an ext4 has its superblock */
#define DATA_EXT4_BYTES 1024

/* What is looked at of an ext4's superblock. */
struct data_ext4 {
	char label[17];
	uint8_t uuid[16];
	uint64_t bytes; /* of the file system */
	uint32_t block_bytes;
	bool errors; /* the kernel found it inconsistent */
};

/* Of DATA_EXT4_BYTES bytes; false: it is none. */
bool data_ext4_parse(struct data_ext4 *out, const uint8_t *superblock);

enum data_kind {
	DATA_OURS,	 /* an ext4 with our label */
	DATA_EMPTY,	 /* nothing is on it that could be lost */
	DATA_FOREIGN,	 /* something is */
	DATA_SMALL,	 /* empty, and smaller than the file system that it would get */
	DATA_UNREADABLE, /* or gone */
	DATA_DAMAGED,	 /* has our label in the copy of its superblock only */
	DATA_KINDS
};

/*
 * What an open disk of that size is; `empty` is the file system that it would get, of whole MiB. It is empty if there is nothing but
 * zeroes where that is written, in its last MiB, and at some 250 places between. What data_prepare() has written itself counts as
 * nothing: it was cut short.
 */
enum data_kind data_look(int disk, uint64_t bytes, int empty, struct data_ext4 *ext4);

/*
 * Writes the empty file system. The first block of it comes last, so that a disk that was cut off from power on the way is empty
 * again, in the sense of data_look(), and never half of a file system.
 */
int data_prepare(int disk, int empty, struct err *err);

/* ---- which one ------------------------------------------------------------------------------- */

struct data_disk {
	char name[DATA_NAME_BYTES];
	char serial[DATA_SERIAL_BYTES]; /* "": none */
	uint64_t bytes;
	bool taken; /* the configuration has it as an instance's */
	bool read_only;
	enum data_kind kind;
	struct data_ext4 ext4; /* of DATA_OURS */
};

/* As an operator knows it: by its serial number, too. */
#define DATA_TEXT_BYTES (DATA_NAME_BYTES + DATA_SERIAL_BYTES + 32)
void data_disk_name(char out[DATA_TEXT_BYTES], const struct data_disk *disk);

enum data_choice {
	DATA_NONE, /* there is none */
	DATA_TAKE,
	DATA_PREPARE,
	DATA_REFUSE /* there is one, or there may be, and it is not for this program to decide */
};

/*
 * wanted: the serial number or /dev/NAME of the only one that may be taken; NULL: the one with our label, or else the one that is
 * empty, if there is one such. *which is of DATA_TAKE and DATA_PREPARE; `why` is filled with the others.
 */
enum data_choice data_choose(const struct data_disk *disks, size_t count, const char *wanted,
			     size_t *which, struct err *why);

/*
 * Since when they have been looked at, in ms, for that choice to count: disks appear when they like, and which one is taken is not to
 * depend on which is the first. named: there is a `wanted`; needed: there, or for something else, has to be one; starting: the machine
 * is, else disks have had their time.
 */
uint64_t data_settled_ms(enum data_choice choice, bool named, bool needed, bool starting);

#endif
