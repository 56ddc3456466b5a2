/*
 * Makes network devices of this machine and sets them up; netlink.h looks at them. The same conditions hold here: a request of
 * its own each, CAP_NET_ADMIN, the calling thread's network namespace.
 */
#ifndef NET_NETLINK_LINK_H
#define NET_NETLINK_LINK_H

#include "net/netlink.h"

#define NETLINK_VLAN_MAX 4094

/* A bridge without spanning tree protocol. RC_IO: a device of that name is there already, among others. */
int netlink_make_bridge(const char *name, struct err *err);
/* Frames of the device `on` with that VLAN's tag. */
int netlink_make_vlan(const char *name, const char *on, unsigned vlan, struct err *err);

/* A device that is up cannot be renamed. */
int netlink_rename(const char *name, const char *to, struct err *err);
int netlink_set_mtu(const char *name, unsigned mtu, struct err *err);
int netlink_add_port(const char *name, const char *bridge, struct err *err);
int netlink_set_up(const char *name, struct err *err);

#endif
