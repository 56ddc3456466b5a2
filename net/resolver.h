/*
 * Keeps a fixed list of hosts resolved in the background: who needs an address gets the last one
 * known, at once. A name server that fails together with a site does not take away what was known
 * before.
 *
 * One name is asked for at a time, so that a name server that does not answer occupies one of the
 * loop's worker threads and no more. All functions and callbacks are the loop thread's.
 */
#ifndef NET_RESOLVER_H
#define NET_RESOLVER_H

#include "appliance/base/err.h"
#include "net/address.h"

#include <stddef.h>
#include <uv.h>

#define RESOLVER_HOSTS_MAX 8	  /* as many as an etcd cluster has members, and one more */
#define RESOLVER_ADDRESSES_MAX 4  /* of one name */
#define RESOLVER_EVERY_MS 60000	  /* all names are asked for again */
#define RESOLVER_AT_LEAST_MS 1000 /* between two rounds, whoever asks for them */

struct resolver;

/*
 * Copies the addresses and begins with the names among them; on_news (may be NULL) is called from
 * the loop each time that a name was looked up, whether it was found or not.
 */
int resolver_open(struct resolver **resolver, uv_loop_t *loop, const struct address *hosts,
		  size_t count, void (*on_news)(void *owner), void *owner, struct err *err);

/*
 * What is known of host `index`: the number of addresses, and the first of them in *list; valid
 * until on_news. 0: none, and why is in `err`: RC_STATE if it is still being looked up for the
 * first time.
 */
size_t resolver_get(const struct resolver *resolver, size_t index,
		    const struct sockaddr_storage **list, struct err *err);

/* The addresses did not do: looks all names up again, soon. */
void resolver_again(struct resolver *resolver);

/*
 * on_closed is called with resolver_open()'s owner when nothing is left; a lookup that is going on
 * delays it until the name server answers or the C library gives up.
 */
void resolver_close(struct resolver *resolver, void (*on_closed)(void *owner));

#endif
