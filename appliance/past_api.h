/*
 * What of an instance's past a standby answers: GET /v1/history (past_query.h); POST /v1/mark {"instance", "text"}; POST
 * /v1/rewind {"instance", "to"[, "serve": true]}, which is under way when that is answered, or {"instance", "end": true}. For status.c.
 */
#ifndef APPLIANCE_PAST_API_H
#define APPLIANCE_PAST_API_H

#include "appliance/status.h"

/* The answer's members, into *json (cJSON_Delete()) also after a failure. */
int past_api_history(const struct status_source *source, const struct http_request *request,
		     cJSON *json, struct err *err);
int past_api_mark(const struct status_source *source, const struct http_request *request,
		  cJSON *json, struct err *err);
int past_api_rewind(const struct status_source *source, const struct http_request *request,
		    cJSON *json, struct err *err);

#endif
