/*
 * What is asked of the kernel, and why:
 *
 *   ports        The agent's tap and one other, the instance's. Through a third, frames would leave
 *                unheld. Two VMs on one bridge would reach each other that way, too.
 *   stp          A bridge that takes part in a spanning tree protocol sends frames of its own, which
 *                would reach the clients' network as the instance's.
 *   vnet_hdr     virtio-net's state says whether its frames had a virtio header; QEMU refuses to load
 *                one that says so into a card whose back end has none, as -netdev dgram.
 *   multi_queue  The same with the number of queues.
 *
 * Other cards than virtio-net adapt to any back end.
 */
#include "appliance/guest_bridge.h"

#include "net/netlink.h"

#include <string.h>

#define PORTS_TOLD 3 /* ours, QEMU's, and one that is too much */

/* The instance's among the ports; NULL: in *err is why not. */
static const struct netlink_device *find_guest(const struct config_nic *nic,
					       const struct cmdline_card *card,
					       const struct netlink_device *ports, size_t count,
					       struct err *err)
{
	const char *bridge = nic->guest_bridge, *ifname = card->ifname;
	const struct netlink_device *guest = NULL, *third = NULL;
	bool ours = false;

	for (size_t i = 0; i < count && i < PORTS_TOLD; i++) {
		if (strcmp(ports[i].name, nic->guest_tap) == 0)
			ours = true;
		else if (guest == NULL)
			guest = &ports[i];
		else
			third = &ports[i];
	}
	if (third != NULL)
		(void)err_set(
			err, RC_STATE,
			"bridge %s: %s and %s are ports of it; it may have QEMU's tap and %s only, or what "
			"the instance sends would leave unheld",
			bridge, guest->name, third->name, nic->guest_tap);
	else if (!ours)
		(void)err_set(
			err, RC_STATE,
			"bridge %s: %s is no port of it; the agent adds it again unless it is one "
			"of another's",
			bridge, nic->guest_tap);
	else if (guest == NULL)
		(void)err_set(err, RC_STATE,
			      "bridge %s: QEMU's tap (-netdev %s) is no port of it: "
			      "ip link set %s master %s",
			      bridge, card->netdev, *ifname != '\0' ? ifname : "TAP", bridge);
	else if (*ifname != '\0' && strcmp(guest->name, ifname) != 0)
		(void)err_set(err, RC_STATE,
			      "bridge %s: its port %s is not QEMU's tap, which is %s (-netdev %s)",
			      bridge, guest->name, ifname, card->netdev);
	else
		return guest;
	return NULL;
}

static int check_tap(const struct config_nic *nic, const struct cmdline_card *card,
		     const struct netlink_device *tap, struct err *err)
{
	if (!tap->is_tap)
		return err_set(err, RC_STATE, "bridge %s: its port %s is no tap", nic->guest_bridge,
			       tap->name);
	if (card->virtio && tap->vnet_hdr)
		return err_set(
			err, RC_STATE,
			"tap %s has virtio headers, which the state of a virtio card then requires of "
			"the standby's: start QEMU with -netdev tap,id=%s,...,vnet_hdr=off, or with a "
			"-netdev dgram (socket, qemu_socket)",
			tap->name, card->netdev);
	if (card->virtio && tap->multi_queue)
		return err_set(
			err, RC_STATE,
			"tap %s has several queues, which the standby's card cannot have: start "
			"QEMU with queues=1",
			tap->name);
	return RC_OK;
}

int guest_bridge_check(const struct config_nic *nic, const struct cmdline_card *card,
		       struct err *err)
{
	struct netlink_device bridge, ports[PORTS_TOLD];
	const struct netlink_device *guest;
	size_t count;
	int rc = netlink_get(&bridge, nic->guest_bridge, err);

	if (rc == RC_OK && bridge.stp)
		rc = err_set(
			err, RC_STATE,
			"bridge %s takes part in the spanning tree protocol; its frames would pass "
			"for the instance's: ip link set %s type bridge stp_state 0",
			nic->guest_bridge, nic->guest_bridge);
	if (rc == RC_OK)
		rc = netlink_ports(ports, PORTS_TOLD, &count, bridge.index, err);
	if (rc != RC_OK)
		return rc;
	guest = find_guest(nic, card, ports, count, err);
	return guest != NULL ? check_tap(nic, card, guest, err) : (int)err->code;
}
