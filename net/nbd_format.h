/*
 * NBD, the network block device protocol, as its description has it (NetworkBlockDevice/nbd,
 * doc/proto.md): the numbers of the fixed newstyle handshake and of the transmission phase, and
 * its replies. Big-endian throughout. No I/O; nbd_session.h reads what a client sends.
 *
 * Handshake:
 *   server  "NBDMAGIC", "IHAVEOPT", u16 handshake flags
 *   client  u32 client flags
 *   client  "IHAVEOPT", u32 option, u32 length, data          any number of times
 *   server  u64 NBD_REPLY_MAGIC, u32 option, u32 kind, u32 length, data    to each, but to
 *           EXPORT_NAME: u64 size, u16 transmission flags, 124 zeroes unless both said NO_ZEROES
 *
 * Transmission:
 *   client  u32 NBD_REQUEST_MAGIC, u16 flags, u16 command, u64 cookie, u64 offset, u32 length;
 *           of WRITE `length` bytes follow
 *   server  simple reply: u32 NBD_SIMPLE_MAGIC, u32 error, u64 cookie; of READ data follow
 *   server  chunk of a structured reply, if the client has asked for such: u32 NBD_CHUNK_MAGIC,
 *           u16 flags (bit 0: the last), u16 kind, u64 cookie, u32 length, and
 *             OFFSET_DATA   u64 offset, data
 *             OFFSET_HOLE   u64 offset, u32 length: zeroes
 *             BLOCK_STATUS  u32 context, then for each extent u32 length, u32 flags
 *             ERROR         u32 error, u16 length of a message, message
 */
#ifndef NET_NBD_FORMAT_H
#define NET_NBD_FORMAT_H

#include "appliance/base/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NBD_MAGIC UINT64_C(0x4e42444d41474943)	      /* "NBDMAGIC" */
#define NBD_OPTION_MAGIC UINT64_C(0x49484156454f5054) /* "IHAVEOPT" */
#define NBD_REPLY_MAGIC UINT64_C(0x0003e889045565a9)
#define NBD_REQUEST_MAGIC 0x25609513
#define NBD_SIMPLE_MAGIC 0x67446698
#define NBD_CHUNK_MAGIC 0x668e33ef

#define NBD_OPTION_HEADER ((size_t)16)
#define NBD_REQUEST_HEADER ((size_t)28)

enum nbd_handshake_flags { NBD_FIXED_NEWSTYLE = 1, NBD_NO_ZEROES = 2 }; /* of both sides */

enum nbd_option {
	NBD_OPTION_EXPORT_NAME = 1,
	NBD_OPTION_ABORT,
	NBD_OPTION_LIST,
	NBD_OPTION_INFO = 6,
	NBD_OPTION_GO,
	NBD_OPTION_STRUCTURED_REPLY,
	NBD_OPTION_LIST_META_CONTEXT,
	NBD_OPTION_SET_META_CONTEXT
};

#define NBD_REPLY_ERROR 0x80000000U
enum nbd_reply_kind { NBD_REPLY_ACK = 1, NBD_REPLY_SERVER, NBD_REPLY_INFO, NBD_REPLY_META_CONTEXT };
/* With NBD_REPLY_ERROR. */
enum nbd_reply_error {
	NBD_REPLY_UNSUPPORTED = 1,
	NBD_REPLY_INVALID = 3,
	NBD_REPLY_UNKNOWN = 6, /* no such export */
	NBD_REPLY_TOO_BIG = 9
};

enum nbd_info { NBD_INFO_EXPORT = 0, NBD_INFO_BLOCK_SIZE = 3 };

enum nbd_transmission_flags {
	NBD_HAS_FLAGS = 1,
	NBD_READ_ONLY = 2,
	NBD_SEND_FLUSH = 4,
	NBD_SEND_FUA = 8,
	NBD_SEND_TRIM = 32,
	NBD_SEND_WRITE_ZEROES = 64,
	NBD_SEND_DF = 128,
	NBD_CAN_MULTI_CONN = 256
};

enum nbd_command {
	NBD_READ,
	NBD_WRITE,
	NBD_DISCONNECT,
	NBD_FLUSH,
	NBD_TRIM,
	NBD_WRITE_ZEROES = 6,
	NBD_BLOCK_STATUS
};

enum nbd_command_flags { NBD_FUA = 1, NBD_NO_HOLE = 2, NBD_DF = 4, NBD_REQ_ONE = 8 };

/* Errors as they travel, whatever errno.h has for them here. */
enum nbd_error { NBD_OK = 0, NBD_EIO = 5, NBD_ENOMEM = 12, NBD_EINVAL = 22, NBD_ENOSPC = 28 };

enum nbd_chunk_kind {
	NBD_CHUNK_NONE,
	NBD_CHUNK_OFFSET_DATA,
	NBD_CHUNK_OFFSET_HOLE,
	NBD_CHUNK_BLOCK_STATUS = 5,
	NBD_CHUNK_ERROR = 0x8001,
	NBD_CHUNK_ERROR_BIT = 0x8000 /* of every kind that is an error */
};

/* Of the context "base:allocation". */
enum nbd_extent_flags { NBD_HOLE = 1, NBD_ZERO = 2 };

struct nbd_extent {
	uint32_t length, flags;
};

/*
 * The replies of the transmission phase. Each appends one whole reply to `out`, whose `failed`
 * tells if there was no room. `structured`: as the client has asked; then what is read and what
 * blocks are like cannot be told otherwise.
 */
void nbd_put_done(struct buf *out, uint64_t cookie);
void nbd_put_error(struct buf *out, bool structured, uint64_t cookie, enum nbd_error error);
/* `data` NULL: zeroes. */
void nbd_put_data(struct buf *out, bool structured, uint64_t cookie, uint64_t offset,
		  const uint8_t *data, uint32_t len);
void nbd_put_extents(struct buf *out, uint64_t cookie, uint32_t context,
		     const struct nbd_extent *extents, size_t count);

#endif
