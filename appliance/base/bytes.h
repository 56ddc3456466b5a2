/*
 * Numbers in byte strings, and a cursor that cannot run past the end.
 *
 * Our own formats are little-endian; QEMU's migration stream and NBD are big-endian. A `struct
 * cursor` reads outside data: a read past the end returns zeros and sets `short_read`, which the
 * caller checks once at the end of a record instead of after every field.
 */
#ifndef APPLIANCE_BASE_BYTES_H
#define APPLIANCE_BASE_BYTES_H

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define BYTES_GET(name, type, convert)                        \
	static inline type bytes_get_##name(const void *from) \
	{                                                     \
		type value;                                   \
		memcpy(&value, from, sizeof(value));          \
		return convert(value);                        \
	}
BYTES_GET(le16, uint16_t, le16toh)
BYTES_GET(le32, uint32_t, le32toh)
BYTES_GET(le64, uint64_t, le64toh)
BYTES_GET(be16, uint16_t, be16toh)
BYTES_GET(be32, uint32_t, be32toh)
BYTES_GET(be64, uint64_t, be64toh)
#undef BYTES_GET

#define BYTES_PUT(name, type, convert)                            \
	static inline void bytes_put_##name(void *to, type value) \
	{                                                         \
		type stored = convert(value);                     \
		memcpy(to, &stored, sizeof(stored));              \
	}
BYTES_PUT(le16, uint16_t, htole16)
BYTES_PUT(le32, uint32_t, htole32)
BYTES_PUT(le64, uint64_t, htole64)
BYTES_PUT(be16, uint16_t, htobe16)
BYTES_PUT(be32, uint32_t, htobe32)
BYTES_PUT(be64, uint64_t, htobe64)
#undef BYTES_PUT

struct cursor {
	const uint8_t *at;
	size_t left;
	bool short_read;
};

static inline struct cursor cursor_of(const void *data, size_t len)
{
	return (struct cursor){ .at = data, .left = len };
}

/* The next `len` bytes in place, or NULL (and short_read) when fewer are left. */
static inline const uint8_t *cursor_bytes(struct cursor *c, size_t len)
{
	const uint8_t *start = c->at;

	if (len > c->left || c->short_read) {
		c->short_read = true;
		return NULL;
	}
	c->at += len;
	c->left -= len;
	return start;
}

#define CURSOR_GET(name, type, get)                                  \
	static inline type cursor_##name(struct cursor *c)           \
	{                                                            \
		const uint8_t *from = cursor_bytes(c, sizeof(type)); \
		return from != NULL ? get(from) : (type)0;           \
	}
#define CURSOR_BYTE(from) (*(from))
CURSOR_GET(u8, uint8_t, CURSOR_BYTE)
CURSOR_GET(le16, uint16_t, bytes_get_le16)
CURSOR_GET(le32, uint32_t, bytes_get_le32)
CURSOR_GET(le64, uint64_t, bytes_get_le64)
CURSOR_GET(be16, uint16_t, bytes_get_be16)
CURSOR_GET(be32, uint32_t, bytes_get_be32)
CURSOR_GET(be64, uint64_t, bytes_get_be64)
#undef CURSOR_BYTE
#undef CURSOR_GET

#endif
