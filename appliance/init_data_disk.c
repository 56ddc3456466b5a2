#include "appliance/init_data.h"

#include "appliance/base/bytes.h"
#include "appliance/base/mem.h"
#include "appliance/config.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define EDGE_BYTES \
	((size_t)1 << 20) /* partition tables and signatures are in the first or the last MiB */
#define BLOCK_BYTES ((size_t)4096)
#define COPY_AT \
	((uint64_t)128 << 20) /* of the superblock: block 32768, the first of the second group */
#define PROBES 256	      /* for what has no signature: some seconds on a disk that turns */

/* ---- ext4's superblock (the kernel's Documentation/filesystems/ext4/super.rst) ------------------- */

#define EXT4_MAGIC 0xef53
#define EXT4_ERRORS 2 /* of s_state */
#define EXT4_64BIT 0x80
#define EXT4_LOG_BLOCK_MAX 6 /* 64 KiB */

bool data_ext4_parse(struct data_ext4 *out, const uint8_t *superblock)
{
	const uint32_t log = bytes_get_le32(superblock + 0x18);
	uint64_t blocks = bytes_get_le32(superblock + 0x4);

	if (bytes_get_le16(superblock + 0x38) != EXT4_MAGIC || log > EXT4_LOG_BLOCK_MAX)
		return false;
	if ((bytes_get_le32(superblock + 0x60) & EXT4_64BIT) != 0)
		blocks |= (uint64_t)bytes_get_le32(superblock + 0x150) << 32;
	*out = (struct data_ext4){ .block_bytes = UINT32_C(1024) << log,
				   .errors =
					   (bytes_get_le16(superblock + 0x3a) & EXT4_ERRORS) != 0 };
	out->bytes =
		blocks < UINT64_MAX / out->block_bytes ? blocks * out->block_bytes : UINT64_MAX;
	memcpy(out->uuid, superblock + 0x68, sizeof(out->uuid));
	memcpy(out->label, superblock + 0x78, sizeof(out->label) - 1);
	return true;
}

/* ---- looking --------------------------------------------------------------------------------------- */

/* All of it; false: it cannot be. */
static bool read_at(int fd, void *to, size_t len, uint64_t offset)
{
	uint8_t *at = to;

	while (len > 0) {
		const ssize_t n = pread(fd, at, len, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		at += n;
		offset += (uint64_t)n;
		len -= (size_t)n;
	}
	return true;
}

static bool is_zero(const uint8_t *data, size_t len)
{
	return len == 0 || (data[0] == 0 && memcmp(data, data + 1, len - 1) == 0);
}

struct looked {
	int disk, empty;
	off_t least;
	uint8_t *found, *ours; /* room for EDGE_BYTES */
};

/* Of a piece of whole blocks: each has nothing, or what would be written there. */
static enum data_kind look_at(const struct looked *l, size_t len, uint64_t offset)
{
	const bool ours = (off_t)offset < l->least;

	if (!read_at(l->disk, l->found, len, offset) ||
	    (ours && !read_at(l->empty, l->ours, len, offset)))
		return DATA_UNREADABLE;
	for (size_t at = 0; at < len; at += BLOCK_BYTES) {
		if (!is_zero(l->found + at, BLOCK_BYTES) &&
		    !(ours && memcmp(l->found + at, l->ours + at, BLOCK_BYTES) == 0))
			return DATA_FOREIGN;
	}
	return DATA_EMPTY;
}

/*
 * Whether the first copy of a superblock, which our file systems have from 128 MiB on, has our label, and nothing else has been made in its
 * place since: in front of the superblock is nothing, where it was is no other one, and behind it is still something.
 */
static bool was_ours(const struct looked *l, uint64_t bytes)
{
	struct data_ext4 copy;

	return bytes >= COPY_AT + EDGE_BYTES && read_at(l->disk, l->found, 2 * BLOCK_BYTES, 0) &&
	       is_zero(l->found, DATA_EXT4_AT) &&
	       !data_ext4_parse(&copy, l->found + DATA_EXT4_AT) &&
	       !is_zero(l->found + BLOCK_BYTES, BLOCK_BYTES) &&
	       read_at(l->disk, l->found, DATA_EXT4_BYTES, COPY_AT) &&
	       data_ext4_parse(&copy, l->found) && strcmp(copy.label, CONFIG_DATA_LABEL) == 0;
}

static enum data_kind look(const struct looked *l, uint64_t bytes, struct data_ext4 *ext4)
{
	const uint64_t last = (bytes - EDGE_BYTES) / BLOCK_BYTES * BLOCK_BYTES;
	const uint64_t step = last / PROBES / BLOCK_BYTES * BLOCK_BYTES;
	enum data_kind kind = look_at(l, EDGE_BYTES, 0);
	uint64_t at;

	if (kind != DATA_UNREADABLE && data_ext4_parse(ext4, l->found + DATA_EXT4_AT) &&
	    strcmp(ext4->label, CONFIG_DATA_LABEL) == 0)
		return DATA_OURS;
	for (at = EDGE_BYTES; kind == DATA_EMPTY && at <= last && (off_t)at < l->least;
	     at += EDGE_BYTES)
		kind = look_at(l, EDGE_BYTES, at);
	for (; kind == DATA_EMPTY && step > 0 && at < last; at += step)
		kind = look_at(l, BLOCK_BYTES, at);
	if (kind == DATA_EMPTY)
		kind = look_at(l, EDGE_BYTES, last);
	if (kind == DATA_FOREIGN && was_ours(l, bytes))
		return DATA_DAMAGED;
	return kind == DATA_EMPTY && bytes < (uint64_t)l->least ? DATA_SMALL : kind;
}

enum data_kind data_look(int disk, uint64_t bytes, int empty, struct data_ext4 *ext4)
{
	struct looked looked = { .disk = disk, .empty = empty, .least = lseek(empty, 0, SEEK_END) };
	enum data_kind kind = DATA_UNREADABLE;

	looked.found = mem_alloc(2 * EDGE_BYTES);
	if (looked.found == NULL)
		return DATA_UNREADABLE;
	looked.ours = looked.found + EDGE_BYTES;
	if (bytes < EDGE_BYTES)
		kind = DATA_SMALL;
	else if (looked.least > (off_t)EDGE_BYTES)
		kind = look(&looked, bytes, ext4);
	mem_free(looked.found);
	return kind;
}

/* ---- preparing ------------------------------------------------------------------------------------- */

static int write_at(int fd, const uint8_t *data, size_t len, off_t offset, struct err *err)
{
	while (len > 0) {
		const ssize_t n = fault_here(FAULT_WRITE) ?
					  (errno = EIO, -1) :
					  pwrite(fd, data, fault_clip(len), offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return err_system(err, n < 0 ? errno : ENOSPC, "writing to it");
		data += n;
		offset += n;
		len -= (size_t)n;
	}
	return RC_OK;
}

static int flush(int fd, struct err *err)
{
	if (fault_here(FAULT_FSYNC) || fsync(fd) != 0)
		return err_system(err, EIO, "writing to it");
	return RC_OK;
}

/* A piece of the file system, from `from` on. */
static int copy(int disk, int empty, uint8_t *room, off_t from, size_t len, struct err *err)
{
	if (!read_at(empty, room, len, (uint64_t)from))
		return err_set(err, RC_IO, "reading the empty file system");
	return write_at(disk, room, len, from, err);
}

int data_prepare(int disk, int empty, struct err *err)
{
	const off_t size = lseek(empty, 0, SEEK_END);
	uint8_t *room = mem_alloc(EDGE_BYTES);
	int rc = room == NULL ? err_nomem(err, "a disk's blocks") : RC_OK;
	off_t at;

	for (at = (off_t)BLOCK_BYTES; rc == RC_OK && at < size; at += (off_t)EDGE_BYTES) {
		const size_t len = size - at < (off_t)EDGE_BYTES ? (size_t)(size - at) : EDGE_BYTES;

		rc = copy(disk, empty, room, at, len, err);
	}
	if (rc == RC_OK)
		rc = flush(disk, err);
	if (rc == RC_OK)
		rc = copy(disk, empty, room, 0, BLOCK_BYTES, err);
	if (rc == RC_OK)
		rc = flush(disk, err);
	mem_free(room);
	return rc;
}
