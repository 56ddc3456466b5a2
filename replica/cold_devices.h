/*
 * The devices that a QEMU has by its command line, to tell from them those that somebody plugged in
 * later (device_add): a replica is made from the command line and would not have these.
 *
 * QEMU keeps whatever -device or device_add made, processors and memory modules among it, under
 * /machine/peripheral by its id, and without one under /machine/peripheral-anon as "device[N]",
 * N counting from 0 and never used again. What the machine makes by itself is in neither.
 */
#ifndef REPLICA_COLD_DEVICES_H
#define REPLICA_COLD_DEVICES_H

#include "replica/cmdline.h"

#include <stdbool.h>
#include <stddef.h>

struct cold_devices {
	bool known;	    /* else nothing is told to have been added */
	struct cmdline ids; /* a list of strings, nothing more */
	size_t unnamed;	    /* at most so many without an id */
};

/*
 * Not known when the command line holds options that we do not. Fails where cmdline_derive() would,
 * too. Then as well, cold_devices_free().
 */
int cold_devices_read(struct cold_devices *cold, const struct cmdline *source, struct err *err);
void cold_devices_free(struct cold_devices *cold);

/* A name in /machine/peripheral, in /machine/peripheral-anon: it was added later. Pure. */
bool cold_devices_lack(const struct cold_devices *cold, const char *id);
bool cold_devices_lack_unnamed(const struct cold_devices *cold, const char *name);

#endif
