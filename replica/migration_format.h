/*
 * Numbers of QEMU's migration stream (migration/qemu-file-types.h, savevm.h, ram.c), for who reads
 * one and for who writes one. Big-endian.
 */
#ifndef REPLICA_MIGRATION_FORMAT_H
#define REPLICA_MIGRATION_FORMAT_H

#include <stdint.h>

#define MIGRATION_MAGIC UINT32_C(0x5145564d) /* "QEVM" */
#define MIGRATION_VERSION 3

/* The byte that a section begins with. */
enum migration_section {
	SECTION_EOF = 0,
	SECTION_START = 1,
	SECTION_PART = 2,
	SECTION_END = 3,
	SECTION_FULL = 4,
	SECTION_SUBSECTION = 5,
	SECTION_DESCRIPTION = 6,
	SECTION_CONFIGURATION = 7,
	SECTION_COMMAND = 8,
	SECTION_FOOTER = 0x7e
};

/* Of an item in a "ram" section, in the low bits of its address; ram_stream.h tells the items. */
#define RAM_FLAG_ZERO UINT64_C(0x002)
#define RAM_FLAG_MEM_SIZE UINT64_C(0x004)
#define RAM_FLAG_PAGE UINT64_C(0x008)
#define RAM_FLAG_EOS UINT64_C(0x010)
#define RAM_FLAG_CONTINUE UINT64_C(0x020)

#endif
