/*
 * A port: where Ethernet frames enter and leave this process, one network card's worth.
 *
 * Two kinds. A dgram port is the other end of QEMU's `-netdev dgram` over unix sockets: one
 * datagram is one frame, QEMU and we each bind a path and send to the other's, so either may
 * restart without the other. A tap port is a network device of the kernel's with this process
 * behind it; as a port of a bridge it reaches whatever the bridge does, and the kernel splits and
 * checksums what its own devices left undone.
 *
 * Nothing is kept waiting: what the other side does not take at once is queued up to
 * PORT_QUEUE_BYTES and then dropped and counted, as a switch would. All functions are the loop
 * thread's; callbacks come from the loop only.
 *
 * A tap whose device somebody deletes stays a port: what is sent is dropped and counted, and the
 * device is made or attached anew once every PORT_LOOK_MS until it works again. So is one that has
 * lost its bridge added to it again, and a dgram port whose file was removed bound anew. A tap that
 * was set down, or whose bridge was, or which was added to another bridge, is left so, as that is somebody's word; all these are
 * faults, of which the owner is told.
 */
#ifndef NET_PORT_H
#define NET_PORT_H

#include "appliance/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#define PORT_BATCH 64 /* frames taken in one go; then the loop's other work has its turn */
#define PORT_QUEUE_BYTES \
	((size_t)1 << 20) /* some 10 ms of a gigabit: longer queues only add delay */
#define PORT_NAME_MAX 15  /* of a network device: IFNAMSIZ without the NUL */
#define PORT_LOOK_MS 1000 /* at a tap's device, a socket's file */

struct port;

struct port_frame {
	const uint8_t *data;
	size_t len;
};

struct port_ops {
	/* 1 to PORT_BATCH frames that came in, valid during the call. */
	void (*on_frames)(void *owner, const struct port_frame *frames, size_t count);
	/* port_fault() has changed; the port must not be closed in it. May be NULL. */
	void (*on_fault)(void *owner, const char *fault);
	/*
	 * Whether a frame may leave now: asked when it is written, which may be later than port_send().
	 * False: it is dropped and counted. May be NULL: all may.
	 */
	bool (*may_leave)(void *owner);
};

struct port_counters {
	uint64_t frames_in, bytes_in, frames_out, bytes_out;
	uint64_t
		dropped; /* on the way out: the other side is not there, does not take it; it may not leave */
	uint64_t refused; /* came in too long or too short to be a frame */
};

/*
 * Binds `local` (what a process that is gone left there is replaced; a living one's is not:
 * RC_REFUSED) and sends to `remote`, which need not be there yet. Paths are copied.
 */
int port_open_dgram(struct port **port, uv_loop_t *loop, const char *local, const char *remote,
		    const struct port_ops *ops, void *owner, struct err *err);

/*
 * Creates the tap `name`, or attaches to one that is there without a process, sets it up, and adds
 * it to `bridge` (NULL: none). The device goes with the port unless it was there before. Needs
 * CAP_NET_ADMIN.
 */
int port_open_tap(struct port **port, uv_loop_t *loop, const char *name, const char *bridge,
		  const struct port_ops *ops, void *owner, struct err *err);

/*
 * Sends a copy. False: dropped and counted. The true ones have been handed over only when
 * port_queued() has fallen to 0 afterwards.
 */
bool port_send(struct port *port, const uint8_t *frame, size_t len);
size_t port_queued(const struct port *port);

/*
 * Between these two the frames that are sent may wait for each other, and segments of one TCP stream
 * leave as one where the kernel takes that (tcp_merge.h; a tap): it carries many for the price of
 * one. They are not counted in port_queued().
 */
void port_cork(struct port *port);
void port_uncork(struct port *port);

/* A dgram port's other side may have come back: connects to it anew. Nothing for taps. */
void port_reconnect(struct port *port);

struct port_counters port_counters(const struct port *port);

/*
 * Why nothing passes, with the device and what helps ("tap us0 is set down: ..."); "": it works.
 * Valid until the loop runs.
 */
const char *port_fault(const struct port *port);

/* Closes and frees; no callback follows. What was queued is dropped. */
void port_close(struct port *port);

#endif
