/* What a device has by DHCP: what a lease gives is put there, and taken away when it has ended or another one came. */
#ifndef APPLIANCE_DHCP_DEVICE_H
#define APPLIANCE_DHCP_DEVICE_H

#include "appliance/config.h"
#include "net/dhcp_lease.h"

struct dhcp_device {
	/* set by the caller */
	const struct config_device *config;
	bool name_servers; /* those that come are asked for names */
	/* private */
	struct dhcp_lease lease; /* what is there; nothing if its address has no version */
};

/* A dhcp_client_on_lease(), its owner a struct dhcp_device. */
int dhcp_device_change(void *device, const struct dhcp_lease *lease, struct err *err);

/* When the lease that is there runs out (clock.h), whoever asks for another one; UINT64_MAX: there is none, or it does not. */
uint64_t dhcp_device_end_ns(const struct dhcp_device *device);
/* Takes it away if that is over. */
void dhcp_device_end(struct dhcp_device *device, uint64_t now_ns);

#endif
