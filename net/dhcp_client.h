/*
 * Asks for an address of one network device by DHCP, for as long as it is open: nettools' n-dhcp4 speaks the protocol; this is what
 * it needs here.
 */
#ifndef NET_DHCP_CLIENT_H
#define NET_DHCP_CLIENT_H

#include "net/dhcp_lease.h"

struct dhcp_client;

/*
 * What came of it. `lease`: the address that is to be the device's until the next call; NULL: it has none any more. An
 * address has to be there when this returns; an error refuses it.
 */
typedef int dhcp_client_on_lease(void *owner, const struct dhcp_lease *lease, struct err *err);

/* The device has to be there, and up. */
int dhcp_client_open(struct dhcp_client **client, const char *device,
		     dhcp_client_on_lease *on_lease, void *owner, struct err *err);
void dhcp_client_close(
	struct dhcp_client
		*client); /* NULL is fine; tells the server nothing, and nobody that a lease ends */

/* To be polled for reading: there is something to do then. */
int dhcp_client_fd(const struct dhcp_client *client);
/* RC_CLOSED: the device is down or gone; RC_REFUSED: a lease could not be used. Close it then, and open another one later. */
int dhcp_client_work(struct dhcp_client *client, struct err *err);

#endif
