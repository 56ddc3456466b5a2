/*
 * A growing byte string with a limit that it never passes. Zero-initialise, set `limit`, release
 * with buf_free(). A failed append (no memory, or past the limit) leaves the contents as they were
 * and sets `failed`, so that an encoder may append many fields and check once.
 */
#ifndef APPLIANCE_BASE_BUF_H
#define APPLIANCE_BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf {
	uint8_t *data;
	size_t len;
	size_t capacity;
	size_t limit; /* 0: BUF_LIMIT_DEFAULT */
	bool failed;
};

#define BUF_LIMIT_DEFAULT ((size_t)1 << 20) /* what nobody thought about stays below 1 MiB */

/* Room for `len` more bytes at the end, already counted in; NULL on failure. */
uint8_t *buf_extend(struct buf *buf, size_t len);

/* These return false on failure, and do nothing once `failed` is set. */
bool buf_append(struct buf *buf, const void *data, size_t len);
bool buf_append_u8(struct buf *buf, uint8_t value);
bool buf_append_le16(struct buf *buf, uint16_t value);
bool buf_append_le32(struct buf *buf, uint32_t value);
bool buf_append_le64(struct buf *buf, uint64_t value);
bool buf_append_be16(struct buf *buf, uint16_t value);
bool buf_append_be32(struct buf *buf, uint32_t value);
bool buf_append_be64(struct buf *buf, uint64_t value);
bool buf_printf(struct buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Drops `len` bytes from the front. */
void buf_consume(struct buf *buf, size_t len);

/* Empties it, keeping its memory; and releases the memory, leaving an empty one. */
void buf_reset(struct buf *buf);
void buf_free(struct buf *buf);

#endif
