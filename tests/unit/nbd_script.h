/*
 * What a server says that only talks, whatever it is asked: put together here, then written to a client.
 */
#ifndef TESTS_UNIT_NBD_SCRIPT_H
#define TESTS_UNIT_NBD_SCRIPT_H

#include "appliance/base/buf.h"
#include "net/nbd_format.h"

#define NBD_SCRIPT_FLAGS (NBD_HAS_FLAGS | NBD_SEND_FLUSH | NBD_SEND_WRITE_ZEROES)

extern struct buf nbd_script;

void nbd_script_greet(void);
void nbd_script_reply(enum nbd_option option, uint32_t kind, uint32_t len);
void nbd_script_export(uint16_t flags, uint64_t bytes);
/* All of a handshake, of an export of NBD_BYTES; `structured`: with extents as well. */
void nbd_script_open(bool structured);
/* Of a reply. */
void nbd_script_chunk(uint16_t flags, uint16_t kind, uint64_t cookie, uint32_t len);
void nbd_script_simple(uint32_t error, uint64_t cookie);

#endif
