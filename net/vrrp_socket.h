/*
 * VRRP's packets on one network device: a raw socket for protocol 112 that is a member of
 * 224.0.0.18 there and hears of no other device. Its own packets do not come back. Needs
 * CAP_NET_RAW.
 */
#ifndef NET_VRRP_SOCKET_H
#define NET_VRRP_SOCKET_H

#include "net/vrrp_format.h"

/* With header and options of IPv4; what is longer is cut, and then refused by vrrp_format_get(). */
#define VRRP_SOCKET_PACKET_MAX ((size_t)60 + 8 + 255 * 4)

/* *fd is the caller's to close, and does not block. It sends from `own`, an address of the device. */
int vrrp_socket_open(int *fd, const char *device, uint32_t own, struct err *err);

/* One of no device yet: whether we may have any. */
int vrrp_socket_create(int *fd, struct err *err);

/* 0 or an errno value. */
int vrrp_socket_send(int fd, const uint8_t *packet, size_t len);

/* Reads what came into a packet for vrrp_format_get(); its length, 0: nothing more for now. */
size_t vrrp_socket_receive(int fd, uint8_t packet[VRRP_SOCKET_PACKET_MAX]);

#endif
