#include "net/netlink_link.h"

#include "net/netlink_request.h"

#include <errno.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <string.h>

/* Attributes within attributes: begins one, whose length netlink_end() puts in. */
static size_t begin_nest(struct netlink_request *request, uint16_t type)
{
	const size_t at = request->len;

	netlink_put(request, type, NULL, 0);
	return at;
}

static void end_nest(struct netlink_request *request, size_t at)
{
	const uint16_t len = (uint16_t)(request->len - at);

	memcpy(request->bytes + at, &len, sizeof(len)); /* rta_len is its first member */
}

static void put_text(struct netlink_request *request, uint16_t type, const char *text)
{
	netlink_put(request, type, text, strlen(text) + 1);
}

static struct netlink_request begin_device(const char *name, const char *kind, size_t *nest)
{
	const struct ifinfomsg info = { .ifi_family = AF_UNSPEC };
	struct netlink_request request =
		netlink_begin(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &info, sizeof(info));

	put_text(&request, IFLA_IFNAME, name);
	*nest = begin_nest(&request, IFLA_LINKINFO);
	put_text(&request, IFLA_INFO_KIND, kind);
	return request;
}

static int change(struct netlink_request *request, const char *name, const char *what,
		  struct err *err)
{
	const int error = netlink_change(request);

	return error == 0 ? RC_OK : err_system(err, error, "network device %s: %s", name, what);
}

int netlink_make_bridge(const char *name, struct err *err)
{
	size_t nest, data;
	struct netlink_request request = begin_device(name, "bridge", &nest);

	data = begin_nest(&request, IFLA_INFO_DATA);
	netlink_put_u32(&request, IFLA_BR_STP_STATE, 0);
	end_nest(&request, data);
	end_nest(&request, nest);
	return change(&request, name, "making the bridge", err);
}

int netlink_make_vlan(const char *name, const char *on, unsigned vlan, struct err *err)
{
	const uint16_t id = (uint16_t)vlan;
	struct netlink_request request;
	size_t nest, data;
	int index, rc = netlink_index(&index, on, err);

	if (rc != RC_OK)
		return rc;
	request = begin_device(name, "vlan", &nest);
	data = begin_nest(&request, IFLA_INFO_DATA);
	netlink_put(&request, IFLA_VLAN_ID, &id, sizeof(id));
	end_nest(&request, data);
	end_nest(&request, nest);
	netlink_put_u32(&request, IFLA_LINK, (uint32_t)index);
	return change(&request, name, "making the VLAN", err);
}

/* A change of the device that there is. */
static int begin_change(struct netlink_request *request, const char *name, bool up, struct err *err)
{
	struct ifinfomsg info = { .ifi_family = AF_UNSPEC };
	int rc = netlink_index(&info.ifi_index, name, err);

	info.ifi_flags = info.ifi_change = up ? IFF_UP : 0;
	*request = netlink_begin(RTM_NEWLINK, 0, &info, sizeof(info));
	return rc;
}

int netlink_rename(const char *name, const char *to, struct err *err)
{
	struct netlink_request request;
	int rc = begin_change(&request, name, false, err);

	if (rc != RC_OK)
		return rc;
	put_text(&request, IFLA_IFNAME, to);
	return change(&request, name, "renaming it", err);
}

int netlink_set_mtu(const char *name, unsigned mtu, struct err *err)
{
	struct netlink_request request;
	int rc = begin_change(&request, name, false, err);

	if (rc != RC_OK)
		return rc;
	netlink_put_u32(&request, IFLA_MTU, mtu);
	return change(&request, name, "setting its MTU", err);
}

int netlink_add_port(const char *name, const char *bridge, struct err *err)
{
	struct netlink_request request;
	int index, rc = netlink_index(&index, bridge, err);

	if (rc == RC_OK)
		rc = begin_change(&request, name, false, err);
	if (rc != RC_OK)
		return rc;
	netlink_put_u32(&request, IFLA_MASTER, (uint32_t)index);
	return change(&request, name, "making it a port of the bridge", err);
}

int netlink_set_up(const char *name, struct err *err)
{
	struct netlink_request request;
	int rc = begin_change(&request, name, true, err);

	return rc == RC_OK ? change(&request, name, "setting it up", err) : rc;
}
