/*
 * The root file system's partition as the kernel reads it: each block is compared with a tree of SHA-256 behind the file system, whose root
 * the initramfs has (dm-verity). What is not what the image was made with cannot be read: not at the start, and not later either.
 */
#ifndef APPLIANCE_INIT_VERITY_H
#define APPLIANCE_INIT_VERITY_H

#include "appliance/base/err.h"

#include <stddef.h>
#include <stdint.h>

#define INIT_VERITY_BLOCK 4096
#define INIT_VERITY_HEX 64 /* digits of a SHA-256 */
#define INIT_VERITY_DEVICE 32
#define INIT_VERITY_WORDS 512 /* of a table */

/* What the initramfs's file says: "DIGEST BLOCKS". */
struct init_verity {
	char root[INIT_VERITY_HEX + 1]; /* of the tree, 64 hexadecimal digits */
	uint32_t blocks;		/* of the file system; the tree begins behind them */
};

int init_verity_parse(struct init_verity *verity, const char *text, struct err *err);
/* What device-mapper is told: the partition `on` (a path, short enough for that), read by that tree. */
void init_verity_table(char out[INIT_VERITY_WORDS], const struct init_verity *verity,
		       const char *on);

/* device: the path of one that has only what the tree is of; nothing of it has been read yet. */
int init_verity_open(char device[INIT_VERITY_DEVICE], const struct init_verity *verity,
		     const char *on, struct err *err);
/* Of what was opened, and is not mounted. */
void init_verity_close(const char *on);

#endif
