/*
 * Whether a request was meant for us: what its Host header may say. Pure.
 *
 * A web page can have its own name point at our address ("DNS rebinding"); its browser then sends
 * us requests as to that page's server, JSON and all, with that name as Host. An address by number
 * and "localhost" no page can have.
 */
#ifndef NET_HTTP_HOST_H
#define NET_HTTP_HOST_H

#include <stdbool.h>

/*
 * `host`: the header's value, with or without a port; "" for none. `listening`: the address that
 * is listened on, "HOST:PORT". True for a number, localhost, and HOST.
 */
bool http_host_is_ours(const char *host, const char *listening);

#endif
