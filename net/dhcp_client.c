#include "net/dhcp_client.h"

#include "appliance/base/mem.h"

#include <errno.h>
#include <n-dhcp4.h>
#include <string.h>

#define START_WITHIN_MS 100 /* after a blackout not all ask at the same moment */
#define HARDWARE_ETHERNET 1

struct dhcp_client {
	char device[NETLINK_NAME_MAX + 1];
	dhcp_client_on_lease *on_lease;
	void *owner;
	NDhcp4Client *client;
	NDhcp4ClientProbe *probe;
	int fd;
};

/* What the library returns: 0, an error of its own, or a negative one of the system's. */
static int check(const struct dhcp_client *client, const char *what, int r, struct err *err)
{
	if (r == 0)
		return RC_OK;
	if (r < 0)
		return err_system(err, -r, "DHCP for %s: %s", client->device, what);
	return err_set(err, RC_STATE, "DHCP for %s: %s: error %d of n-dhcp4", client->device, what,
		       r);
}

/* ---- beginning ---------------------------------------------------------------------------------------- */

static int make_client(struct dhcp_client *client, const struct netlink_device *device,
		       struct err *err)
{
	static const uint8_t everybody[ETHERNET_MAC] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
	uint8_t id[1 + ETHERNET_MAC] = { HARDWARE_ETHERNET };
	NDhcp4ClientConfig *config;
	int r = n_dhcp4_client_config_new(&config);

	if (r != 0)
		return check(client, "beginning", r, err);
	memcpy(id + 1, device->mac, ETHERNET_MAC);
	n_dhcp4_client_config_set_ifindex(config, (int)device->index);
	n_dhcp4_client_config_set_transport(config, N_DHCP4_TRANSPORT_ETHERNET);
	n_dhcp4_client_config_set_mac(config, device->mac, ETHERNET_MAC);
	n_dhcp4_client_config_set_broadcast_mac(config, everybody, ETHERNET_MAC);
	r = n_dhcp4_client_config_set_client_id(config, id, sizeof(id));
	if (r == 0)
		r = n_dhcp4_client_new(&client->client, config);
	n_dhcp4_client_config_free(config);
	return check(client, "beginning", r, err);
}

static int ask(struct dhcp_client *client, struct err *err)
{
	static const uint8_t options[] = { DHCP_MASK, DHCP_ROUTERS, DHCP_DNS, DHCP_MTU,
					   DHCP_CLASSLESS_ROUTES };
	NDhcp4ClientProbeConfig *config;
	int r = n_dhcp4_client_probe_config_new(&config);

	if (r != 0)
		return check(client, "asking", r, err);
	n_dhcp4_client_probe_config_set_start_delay(config, START_WITHIN_MS);
	for (size_t i = 0; i < sizeof(options); i++)
		n_dhcp4_client_probe_config_request_option(config, options[i]);
	r = n_dhcp4_client_probe(client->client, &client->probe, config);
	n_dhcp4_client_probe_config_free(config);
	return check(client, "asking", r, err);
}

int dhcp_client_open(struct dhcp_client **out, const char *name, dhcp_client_on_lease *on_lease,
		     void *owner, struct err *err)
{
	struct netlink_device device;
	struct dhcp_client *client;
	int rc = netlink_get(&device, name, err);

	*out = NULL;
	if (rc != RC_OK)
		return rc;
	client = mem_zalloc(1, sizeof(*client));
	if (client == NULL)
		return err_nomem(err, "DHCP");
	memcpy(client->device, device.name, sizeof(client->device));
	client->on_lease = on_lease;
	client->owner = owner;
	rc = make_client(client, &device, err);
	if (rc == RC_OK)
		rc = ask(client, err);
	if (rc != RC_OK) {
		dhcp_client_close(client);
		return rc;
	}
	n_dhcp4_client_get_fd(client->client, &client->fd);
	*out = client;
	return RC_OK;
}

void dhcp_client_close(struct dhcp_client *client)
{
	if (client == NULL)
		return;
	n_dhcp4_client_probe_free(client->probe);
	n_dhcp4_client_unref(client->client);
	mem_free(client);
}

int dhcp_client_fd(const struct dhcp_client *client)
{
	return client->fd;
}

/* ---- what comes ------------------------------------------------------------------------------------------ */

static struct dhcp_value value_of(NDhcp4ClientLease *lease, enum dhcp_option option)
{
	struct dhcp_value value = { 0 };
	uint8_t *data;

	if (n_dhcp4_client_lease_query(lease, (uint8_t)option, &data, &value.len) == 0)
		value.data = data;
	return value;
}

static int tell_lease(struct dhcp_client *client, NDhcp4ClientLease *from, struct err *err)
{
	const struct dhcp_values values = { .mask = value_of(from, DHCP_MASK),
					    .routers = value_of(from, DHCP_ROUTERS),
					    .dns = value_of(from, DHCP_DNS),
					    .mtu = value_of(from, DHCP_MTU),
					    .routes = value_of(from, DHCP_CLASSLESS_ROUTES) };
	struct dhcp_lease lease;
	struct in_addr ip;
	int rc;

	n_dhcp4_client_lease_get_yiaddr(from, &ip);
	rc = dhcp_lease_read(&lease, (const uint8_t *)&ip.s_addr, &values, err);
	n_dhcp4_client_lease_get_lifetime(from, &lease.end_ns);
	if (rc == RC_OK)
		rc = client->on_lease(client->owner, &lease, err);
	if (rc != RC_OK) {
		(void)err_prefix(err, "DHCP for %s: ", client->device);
		err->code = RC_REFUSED;
	}
	return rc == RC_OK ? RC_OK : RC_REFUSED;
}

static int on_event(struct dhcp_client *client, const NDhcp4ClientEvent *event, struct err *err)
{
	int rc;

	switch (event->event) {
	case N_DHCP4_CLIENT_EVENT_OFFER: /* the first one; of others nothing is left then */
		(void)n_dhcp4_client_lease_select(event->offer.lease);
		return RC_OK;
	case N_DHCP4_CLIENT_EVENT_GRANTED:
		rc = tell_lease(client, event->granted.lease, err);
		return rc == RC_OK ? check(client, "taking the address",
					   n_dhcp4_client_lease_accept(event->granted.lease), err) :
				     rc;
	case N_DHCP4_CLIENT_EVENT_EXTENDED:
		return tell_lease(client, event->extended.lease, err);
	case N_DHCP4_CLIENT_EVENT_RETRACTED:
	case N_DHCP4_CLIENT_EVENT_EXPIRED: /* it asks again by itself */
		return client->on_lease(client->owner, NULL, err);
	case N_DHCP4_CLIENT_EVENT_DOWN:
	case N_DHCP4_CLIENT_EVENT_CANCELLED:
		return err_set(err, RC_CLOSED, "DHCP for %s: the device is down", client->device);
	default:
		return RC_OK;
	}
}

int dhcp_client_work(struct dhcp_client *client, struct err *err)
{
	NDhcp4ClientEvent *event;
	int r = n_dhcp4_client_dispatch(client->client);
	/* It was interrupted: what is left is told of again. */
	int rc = check(client, "working", r == N_DHCP4_E_PREEMPTED ? 0 : r, err);

	while (rc == RC_OK) {
		rc = check(client, "working", n_dhcp4_client_pop_event(client->client, &event),
			   err);
		if (rc != RC_OK || event == NULL)
			break;
		rc = on_event(client, event, err);
	}
	return rc;
}
