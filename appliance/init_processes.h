/* What runs in the machine, for the console. */
#ifndef APPLIANCE_INIT_PROCESSES_H
#define APPLIANCE_INIT_PROCESSES_H

#include <stddef.h>

/*
 * The processes that /proc, at `proc`, shows, but the kernel's threads: "understudy (1), understudy (57), qemu-system-x86 (80, user
 * 64000)", by their numbers, and whose they are, if not ours; as many as there is room for, then "...". `size`: at least 8.
 */
void init_processes_tell(char *out, size_t size, const char *proc);

#endif
