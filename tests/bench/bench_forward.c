/*
 * The least that can stand between QEMU's `-netdev dgram` and a bridge: frames from one go to the other, as they
 * come. What the gateway is measured against.
 *
 * usage: bench_forward LOCAL REMOTE TAP BRIDGE      until SIGTERM
 */
#include "appliance/base/err.h"
#include "net/port.h"

#include <stdio.h>
#include <uv.h>

static struct port *guest, *bridge;

static void pass(struct port *to, const struct port_frame *frames, size_t count)
{
	size_t i;

	for (i = 0; i < count; i++)
		(void)port_send(to, frames[i].data, frames[i].len);
}

static void on_guest_frames(void *owner, const struct port_frame *frames, size_t count)
{
	(void)owner;
	pass(bridge, frames, count);
}

static void on_bridge_frames(void *owner, const struct port_frame *frames, size_t count)
{
	(void)owner;
	pass(guest, frames, count);
}

int main(int argc, char **argv)
{
	static const struct port_ops guest_ops = { .on_frames = on_guest_frames };
	static const struct port_ops bridge_ops = { .on_frames = on_bridge_frames };
	struct err err = { 0 };

	if (argc != 5) {
		(void)fprintf(stderr, "usage: bench_forward LOCAL REMOTE TAP BRIDGE\n");
		return 2;
	}
	if (port_open_tap(&bridge, uv_default_loop(), argv[3], argv[4], &bridge_ops, NULL, &err) !=
		    RC_OK ||
	    port_open_dgram(&guest, uv_default_loop(), argv[1], argv[2], &guest_ops, NULL, &err) !=
		    RC_OK) {
		(void)fprintf(stderr, "bench_forward: %s\n", err.text);
		return 1;
	}
	return uv_run(uv_default_loop(), UV_RUN_DEFAULT);
}
