/*
 * Whom the kernel ends when the machine has no memory left. It goes by size, and to it the standby, which maps every replica's memory,
 * is the largest of all. So each says how much it would be missed: process 1 the kernel leaves alone, then comes the standby, then who
 * serves, then who waits; a rewound copy goes first, and gives back all of its memory.
 */
#ifndef REPLICA_OOM_H
#define REPLICA_OOM_H

#include <sys/types.h>

enum oom { OOM_STANDBY = -900, OOM_SERVING = -600, OOM_WAITING = 0, OOM_REWOUND = 600 };

/* What it starts begins with the same. Who may not say that of itself or of another one (it takes CAP_SYS_RESOURCE) leaves it as it is. */
void oom_set(pid_t pid, enum oom oom);

#endif
