/*
 * Migration streams for tests, written as QEMU writes them. `out` grows; a failed append shows as a
 * test failure at the end.
 */
#ifndef TESTS_UNIT_STREAM_BUILDER_H
#define TESTS_UNIT_STREAM_BUILDER_H

#include "appliance/base/buf.h"

#define BUILDER_PAGE 0x008
#define BUILDER_ZERO 0x002
#define BUILDER_CONTINUE 0x020

#define BUILDER_RAM_PAGES 300 /* of "pc.ram"; then "pc.bios" with BUILDER_BIOS_PAGES */
#define BUILDER_BIOS_PAGES 4
#define BUILDER_SECTION 2

void builder_text(struct buf *out, const char *text); /* u8 length, text */
void builder_list(struct buf *out);		      /* of the two blocks */
/* A page of `block` (NULL: CONTINUE), all bytes `fill`; 0 gives a zero page. */
void builder_page(struct buf *out, const char *block, uint64_t page, uint8_t fill);
void builder_eos(struct buf *out);

void builder_header(struct buf *out);	  /* magic, version, configuration, command */
void builder_start(struct buf *out);	  /* the START section, with the list and its footer */
void builder_begin_part(struct buf *out); /* up to the content */
void builder_begin_end(struct buf *out);
void builder_footer(struct buf *out); /* EOS and footer */
void builder_begin_checkpoint(
	struct buf *out); /* REQUEST, SEND, a command, END up to the content */
/* Footer, EOF, SIZE and so many bytes of device state: 1, 2, 3 ... modulo 251. */
void builder_end_checkpoint(struct buf *out, size_t state_len);

#endif
