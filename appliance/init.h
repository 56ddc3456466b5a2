/*
 * Process 1 of the appliance's image: what a machine needs before `understudy standby` can run there, and for as long as it
 * does.
 *
 * It runs twice. In the initramfs it finds the system's file system and makes that the root; there it mounts, loads modules,
 * sets up the network, finds the configuration, starts the standby, and from then on reaps, starts it again when it ends,
 * and turns the machine off when it is told to.
 */
#ifndef APPLIANCE_INIT_H
#define APPLIANCE_INIT_H

#include <stdbool.h>

/* Process 1 that was started as "init". */
bool init_is_one(int argc, char **argv);
/* Does not return: what ends process 1 panics the kernel. */
void init_run(void) __attribute__((noreturn));

#endif
