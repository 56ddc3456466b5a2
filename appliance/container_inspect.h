/*
 * What a container engine says of a container (Docker's `GET /containers/ID/json`, and podman's), as the small VM is told that it comes back
 * in (container_config.h).
 */
#ifndef APPLIANCE_CONTAINER_INSPECT_H
#define APPLIANCE_CONTAINER_INSPECT_H

#include "appliance/base/buf.h"
#include "appliance/base/err.h"

#include <cjson/cJSON.h>

/*
 * Appends the text of container.json, and to `left_out` a line for each thing of the container that does not come along: its volumes, which are
 * not in its file system, devices, and what of the host it is a part of. RC_INVALID: that is no such answer; RC_NOMEM.
 */
int container_inspect(struct buf *json, struct buf *left_out, const cJSON *answer, struct err *err);

#endif
