#include "appliance/base/buf.h"

#include "appliance/base/bytes.h"
#include "appliance/base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

uint8_t *buf_extend(struct buf *buf, size_t len)
{
	size_t limit = buf->limit > 0 ? buf->limit : BUF_LIMIT_DEFAULT;
	size_t wanted, capacity;
	uint8_t *grown;

	if (buf->failed || len > limit - buf->len) {
		buf->failed = true;
		return NULL;
	}
	wanted = buf->len + len;
	if (wanted > buf->capacity || buf->data == NULL) {
		capacity = buf->capacity < 64 ? 64 : buf->capacity;
		while (capacity < wanted)
			capacity *= 2;
		capacity = capacity < limit ? capacity : limit;
		grown = mem_realloc(buf->data, capacity);
		if (grown == NULL) {
			buf->failed = true;
			return NULL;
		}
		buf->data = grown;
		buf->capacity = capacity;
	}
	grown = buf->data + buf->len;
	buf->len = wanted;
	return grown;
}

bool buf_append(struct buf *buf, const void *data, size_t len)
{
	uint8_t *to = buf_extend(buf, len);

	if (to != NULL && len > 0)
		memcpy(to, data, len);
	return to != NULL;
}

bool buf_append_u8(struct buf *buf, uint8_t value)
{
	return buf_append(buf, &value, 1);
}

#define BUF_APPEND(name, type)                                \
	bool buf_append_##name(struct buf *buf, type value)   \
	{                                                     \
		uint8_t *to = buf_extend(buf, sizeof(value)); \
		if (to != NULL)                               \
			bytes_put_##name(to, value);          \
		return to != NULL;                            \
	}
BUF_APPEND(le16, uint16_t)
BUF_APPEND(le32, uint32_t)
BUF_APPEND(le64, uint64_t)
BUF_APPEND(be16, uint16_t)
BUF_APPEND(be32, uint32_t)
BUF_APPEND(be64, uint64_t)
#undef BUF_APPEND

bool buf_printf(struct buf *buf, const char *format, ...)
{
	va_list args;
	uint8_t *to;
	int len;

	va_start(args, format);
	len = vsnprintf(NULL, 0, format, args);
	va_end(args);
	if (len < 0) {
		buf->failed = true;
		return false;
	}
	to = buf_extend(buf, (size_t)len + 1);
	if (to == NULL)
		return false;
	va_start(args, format);
	(void)vsnprintf((char *)to, (size_t)len + 1, format, args);
	va_end(args);
	buf->len--; /* the NUL stays behind the end, for callers that print it */
	return true;
}

void buf_consume(struct buf *buf, size_t len)
{
	if (len >= buf->len) {
		buf->len = 0;
		return;
	}
	memmove(buf->data, buf->data + len, buf->len - len);
	buf->len -= len;
}

void buf_reset(struct buf *buf)
{
	buf->len = 0;
	buf->failed = false;
}

void buf_free(struct buf *buf)
{
	mem_free(buf->data);
	buf->data = NULL;
	buf->len = buf->capacity = 0;
	buf->failed = false;
}
