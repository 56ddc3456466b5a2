/* A page of zeroes, and whether one is. */
#ifndef REPLICA_ZERO_PAGE_H
#define REPLICA_ZERO_PAGE_H

#include "replica/layout.h"

#include <stdbool.h>
#include <stdint.h>

extern const uint8_t zero_page[LAYOUT_PAGE];

bool zero_page_is(const uint8_t *page);

#endif
