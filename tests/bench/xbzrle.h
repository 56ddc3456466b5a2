/*
 * XBZRLE, the delta that QEMU's own migration has, from the description of its format: runs of
 * equal and of new bytes alternate, each a LEB128 number; new ones are followed by their bytes.
 */
#ifndef TESTS_BENCH_XBZRLE_H
#define TESTS_BENCH_XBZRLE_H

#include <stddef.h>
#include <stdint.h>

/*
 * Encodes into LAYOUT_PAGE bytes; the length, 0: nothing differs, above LAYOUT_PAGE: does not
 * fit.
 */
size_t xbzrle_encode(const uint8_t *new, const uint8_t *old, uint8_t *to);
/* Applies what was encoded to the old page. */
void xbzrle_decode(const uint8_t *from, size_t len, uint8_t *page);

#endif
