/*
 * Datagrams beside a link's connection (beacon_format.h): a port is a UDP socket, a beacon is one
 * connection's part of it. A standby has one port for all its links, of its listener's address and
 * number; a primary has one for each connection and sends to the address and number that it dialled
 * (so what forwards TCP there has to forward UDP as well). The standby sends to wherever the newest
 * valid datagram came from, so a translated address may change; nothing before one has come.
 *
 * Datagrams go out at once, ahead of what the machine has queued for others where the network
 * honours their class (DSCP CS6). Nothing here is fatal: what cannot be sent or read is counted,
 * and the connection has heartbeats of its own.
 *
 * All functions are the loop thread's.
 */
#ifndef NET_BEACON_H
#define NET_BEACON_H

#include "net/beacon_format.h"

#include <sys/socket.h>
#include <uv.h>

struct beacon_port;
struct beacon;

/* At `at`; port 0: any. */
int beacon_port_open(struct beacon_port **port, uv_loop_t *loop, const struct sockaddr_storage *at,
		     struct err *err);
/*
 * Beacons that still have it fall silent, and are closed as ever. on_closed (may be NULL) when the
 * loop has let go of it.
 */
void beacon_port_close(struct beacon_port *port, void (*on_closed)(void *owner), void *owner);

struct beacon_options {
	uint64_t id;
	const uint8_t *out, *in; /* keys of what is sent and of what comes; not kept */
	/* Where to send to; NULL: where the peer is heard from. */
	const struct sockaddr_storage *to;
	/* Own address to send from, as the peer knows it; NULL: the system's choice. */
	const struct sockaddr_storage *from;
	/* A valid one came. May close the beacon and its port. */
	void (*on_beat)(void *owner, const struct beacon_beat *beat);
	void *owner;
};

/* RC_STATE: the port has one with that id. */
int beacon_open(struct beacon **beacon, struct beacon_port *port,
		const struct beacon_options *options, struct err *err);
/* The sequence is filled in. */
void beacon_send(struct beacon *beacon, const struct beacon_beat *beat);
/* Datagrams with this id that were not valid. */
uint64_t beacon_refused(const struct beacon *beacon);
void beacon_close(struct beacon *beacon);

#endif
