/*
 * What a configuration calls an address, a device or a route: as functions, and as regular expressions (ECMA-262, as JSON
 * Schema has them).
 */
#ifndef APPLIANCE_CONFIG_PATTERNS_H
#define APPLIANCE_CONFIG_PATTERNS_H

#include "appliance/base/json_table.h"

/* What address_parse() takes; of IPv6 only the letters. */
#define BYTE_PATTERN "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
#define IPV4_PATTERN "(" BYTE_PATTERN "\\.){3}" BYTE_PATTERN
#define IPV6_PATTERN "[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*"
#define NUMBER_LAST "([A-Za-z0-9._-]*\\.)?[0-9]+:" /* then it has to be of IPv4 */
#define NAME_PATTERN "(?!" NUMBER_LAST ")[A-Za-z0-9._][A-Za-z0-9._-]{0,252}"
#define PORT_PATTERN                                                                            \
	"(6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|0?[1-9][0-9]{3}" \
	"|0{0,2}[1-9][0-9]{2}|0{0,3}[1-9][0-9]|0{0,4}[1-9])"
#define ADDRESS_PATTERN                                                            \
	"(\\[" IPV6_PATTERN "(%[^\\]" JSON_PATTERN_CONTROL "]+)?\\]|" IPV4_PATTERN \
	"|" NAME_PATTERN "):" PORT_PATTERN
/* Of these, address_is_any(): nothing but zeroes, or those of IPv4 behind ffff. */
#define ZERO "0{1,4}"
#define ANY_PATTERN                                                                        \
	"(0\\.0\\.0\\.0|\\[([0:.]+|[0:]*:[Ff]{4}:(" ZERO ":" ZERO "|0\\.0\\.0\\.0)|(" ZERO \
	":){5}[Ff]{4}:[0:]*)(%[^\\]]*)?\\]):"
/* What netlink_prefix_parse() takes, the same. */
#define PREFIX4_PATTERN IPV4_PATTERN "(/(0?[12]?[0-9]|0?3[0-2]|00[0-9]))?"
#define PREFIX6_PATTERN IPV6_PATTERN "(/(0?[0-9]{1,2}|1[01][0-9]|12[0-8]))?"
#define PREFIX_PATTERN "(" PREFIX4_PATTERN "|" PREFIX6_PATTERN ")"
/* netlink_route_parse() looks at the bits behind the prefix's length, too. */
#define ROUTE_PATTERN                                                                   \
	"((default|" PREFIX4_PATTERN ") via " IPV4_PATTERN "|(default|" PREFIX6_PATTERN \
	") via " IPV6_PATTERN ")"

/* The name of a network device. */
#define DEVICE_PATTERN \
	"^(?!\\.{1,2}" JSON_PATTERN_END ")[^/ :%" JSON_PATTERN_CONTROL "]{1,15}" JSON_PATTERN_END

/* config_network.c: as json_field's check(). The prefix is of an address that a device can have. */
int config_check_device(const char *text, struct err *err);
int config_check_prefix(const char *text, struct err *err);
int config_check_route(const char *text, struct err *err);
/* config_machine.c */
int config_check_ip(const char *text, struct err *err);

#endif
