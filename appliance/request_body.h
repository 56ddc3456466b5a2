/*
 * The body of an operator's request over HTTP.
 */
#ifndef APPLIANCE_REQUEST_BODY_H
#define APPLIANCE_REQUEST_BODY_H

#include "appliance/base/json_table.h"
#include "net/http.h"

/* `shape` is what it must be, for who sends something else. json_table_free() it also after an error. */
int request_body_read(void *order, const struct json_table *table, const char *shape,
		      const struct http_request *request, struct err *err);

#endif
