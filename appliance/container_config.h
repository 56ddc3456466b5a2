/*
 * What a container is started with, as the small VM that it comes back in is told: container.json in that VM's initramfs.
 *
 *   {"hostname": "web", "addresses": ["10.0.0.5/24"], "routes": ["default via 10.0.0.1"], "dns": ["10.0.0.53"],
 *    "command": ["/usr/sbin/nginx", "-g", "daemon off;"], "environment": ["A=b"], "user": "www-data", "directory": "/"}
 *
 * Only `command` has to be there.
 */
#ifndef APPLIANCE_CONTAINER_CONFIG_H
#define APPLIANCE_CONTAINER_CONFIG_H

#include "appliance/base/err.h"

#include <stddef.h>

struct container_config {
	char *hostname;
	char **addresses, **routes, **dns; /* NULL: none */
	char **command, **environment;
	char *user;	 /* "NAME", "UID", and with ":GROUP"; of the container's own /etc/passwd */
	char *directory; /* where it is started */
};

/* RC_INVALID or RC_LIMIT: "container.json: ..."; RC_NOMEM. container_config_free() in any case. */
int container_config_parse(struct container_config *config, const char *text, size_t len,
			   struct err *err);
void container_config_free(struct container_config *config);

#endif
