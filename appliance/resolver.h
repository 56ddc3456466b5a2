/* Who is asked for names: /run/resolv.conf, to which the image's /etc/resolv.conf leads. */
#ifndef APPLIANCE_RESOLVER_H
#define APPLIANCE_RESOLVER_H

#include "appliance/base/err.h"

/* Instead of those before; `servers` ends with NULL. */
int resolver_write(char *const *servers, struct err *err);

#endif
