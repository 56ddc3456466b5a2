/*
 * Sending Ethernet frames from a network device of this machine, as they are: for announcing
 * addresses that the machine itself has. It receives nothing. Needs CAP_NET_RAW.
 */
#ifndef NET_PACKET_H
#define NET_PACKET_H

#include "appliance/base/err.h"

#include <stddef.h>
#include <stdint.h>

/* *fd is the caller's to close; it does not block. */
int packet_open(int *fd, const char *device, struct err *err);

/* 0 or an errno value (ENETDOWN: the device is down; EAGAIN, ENOBUFS: its queue is full). */
int packet_send(int fd, const uint8_t *frame, size_t len);

#endif
