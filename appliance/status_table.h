/*
 * The JSON of GET /v1/status as a table for people. Pure: a tree in, text out. Members that are
 * missing or of another type are shown as "-", texts from the other end lose their control
 * characters.
 */
#ifndef APPLIANCE_STATUS_TABLE_H
#define APPLIANCE_STATUS_TABLE_H

#include "appliance/base/buf.h"

#include <cjson/cJSON.h>
#include <stdbool.h>

/* Appends the table; `colour` with the escape sequences of a terminal. Check out->failed. */
void status_table_print(const cJSON *status, bool colour, struct buf *out);

#endif
