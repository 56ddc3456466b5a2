#include "appliance/config.h"
#include "appliance/config_keys.h"
#include "appliance/config_patterns.h"
#include "net/ethernet.h"
#include "net/netlink_link.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#define MAC_PATTERN "^[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}" JSON_PATTERN_END
#define MTU_MOST 65535
#define DISK_MOST 63 /* what is kept of a serial number */
#define DISK_CHARACTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 /._:-"
#define DISK_PATTERN "^[A-Za-z0-9 /._:-]{1,63}" JSON_PATTERN_END
#define ADDRESSES_MAX 32
#define PORTS_MAX 64

static int check_mac(const char *text, struct err *err)
{
	uint8_t mac[ETHERNET_MAC];

	if (!ethernet_parse_mac(mac, text) || !ethernet_is_station(mac))
		return err_set(err, RC_INVALID,
			       "\"%s\" is no card's address; it looks like 52:54:00:12:34:56",
			       text);
	return RC_OK;
}

int config_check_ip(const char *text, struct err *err)
{
	uint8_t ip[16];

	if (inet_pton(AF_INET, text, ip) == 1 || inet_pton(AF_INET6, text, ip) == 1)
		return RC_OK;
	return err_set(err, RC_INVALID, "\"%s\" is no IP address", text);
}

static int check_disk(const char *text, struct err *err)
{
	const size_t len = strlen(text);

	if (len == 0 || len > DISK_MOST || strspn(text, DISK_CHARACTERS) != len)
		return err_set(err, RC_INVALID,
			       "\"%s\" is neither a disk's serial number nor /dev/NAME", text);
	return RC_OK;
}

#define DEVICE \
	.type = JSON_TEXT, .kind = "device", .check = config_check_device, .pattern = DEVICE_PATTERN

static const struct json_field device_fields[] = {
	{ .key = "name",
	  DEVICE,
	  .required = true,
	  .offset = offsetof(struct config_device, name),
	  .doc = "what the rest of the configuration calls it" },
	{ .key = "mac",
	  .type = JSON_TEXT,
	  .kind = "MAC address",
	  .check = check_mac,
	  .pattern = MAC_PATTERN,
	  .offset = offsetof(struct config_device, mac),
	  .doc = "the card that gets this name; absent: the kernel calls it so (eth0), or it is made" },
	{ .key = "ports",
	  .type = JSON_STRINGS,
	  .max = PORTS_MAX,
	  .check = config_check_device,
	  .pattern = DEVICE_PATTERN,
	  .offset = offsetof(struct config_device, ports),
	  .doc = "it is a bridge, to be made, and these are its ports" },
	{ .key = "on",
	  DEVICE,
	  .offset = offsetof(struct config_device, on),
	  .doc = "it is a VLAN, to be made, on this device" },
	{ .key = "vlan",
	  .type = JSON_U32,
	  .max = NETLINK_VLAN_MAX,
	  .offset = offsetof(struct config_device, vlan),
	  .doc = "the VLAN's number, from 1" },
	{ .key = "mtu",
	  .type = JSON_U32,
	  .max = MTU_MOST,
	  .unit = "bytes",
	  .offset = offsetof(struct config_device, mtu),
	  .doc = "0: as the device has it" },
	{ .key = "dhcp",
	  .type = JSON_BOOL,
	  .offset = offsetof(struct config_device, dhcp),
	  .doc = "it asks for an IPv4 address; with it come routes and, without machine.dns, name servers" },
	{ .key = "addresses",
	  .type = JSON_STRINGS,
	  .max = ADDRESSES_MAX,
	  .check = config_check_prefix,
	  .pattern = "^" PREFIX_PATTERN JSON_PATTERN_END,
	  .offset = offsetof(struct config_device, addresses),
	  .doc = "its addresses with their prefix (\"192.0.2.7/24\", \"2001:db8::7/64\")" },
	{ .key = "routes",
	  .type = JSON_STRINGS,
	  .max = ADDRESSES_MAX,
	  .check = config_check_route,
	  .pattern = "^" ROUTE_PATTERN JSON_PATTERN_END,
	  .offset = offsetof(struct config_device, routes),
	  .doc = "routes by it (\"default via 192.0.2.1\")" },
};
static const struct json_table device_table = JSON_TABLE(device_fields);

static const struct json_field machine_fields[] = {
	{ .key = "hostname",
	  .type = JSON_NAME,
	  .text_fallback = "understudy",
	  .offset = offsetof(struct config, hostname),
	  .doc = "the machine's name" },
	{ .key = "dns",
	  .type = JSON_STRINGS,
	  .kind = "IP address",
	  .max = CONFIG_DNS_MAX,
	  .check = config_check_ip,
	  .pattern = "^(" IPV4_PATTERN "|" IPV6_PATTERN ")" JSON_PATTERN_END,
	  .offset = offsetof(struct config, dns),
	  .doc = "name servers" },
	{ .key = "data",
	  .type = JSON_TEXT,
	  .kind = "disk",
	  .check = check_disk,
	  .pattern = DISK_PATTERN,
	  .offset = offsetof(struct config, data),
	  .doc = "the data disk's serial number, or /dev/NAME; \"memory\": none, and what is to last is lost at each restart; absent: the one with the label " CONFIG_DATA_LABEL
		 ", or else the only empty one" },
	{ .key = "network",
	  .type = JSON_OBJECTS,
	  .table = &device_table,
	  .max = CONFIG_DEVICES_MAX,
	  .offset = offsetof(struct config, devices),
	  .count_offset = offsetof(struct config, ndevices),
	  .item_size = sizeof(struct config_device),
	  .doc = "its network devices, set up in this order" },
};
const struct json_table config_machine_table = JSON_TABLE(machine_fields);
