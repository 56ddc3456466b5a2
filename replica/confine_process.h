/*
 * What comes between a standby and its QEMU: this program executed anew, which gives up what the QEMU must not have, and then becomes
 * it. For child.c, and for main(), which has to ask whether it is one.
 *
 * Its arguments are CONFINE_PROCESS_NAME, as whom (hypervisor_user_word()), and the whole command line that it becomes. If it cannot, it says why on standard
 * error and ends with CONFINE_PROCESS_FAILED.
 */
#ifndef REPLICA_CONFINE_PROCESS_H
#define REPLICA_CONFINE_PROCESS_H

#include <stdbool.h>

#define CONFINE_PROCESS_NAME "us-confine"
#define CONFINE_PROCESS_FILE "/proc/self/exe" /* also when it has been replaced since */
#define CONFINE_PROCESS_FAILED 127

/* For the first lines of every main() of a program that starts QEMUs, before it has threads. */
bool confine_process_is_one(int argc, char **argv);
_Noreturn void confine_process_run(char **argv);

/* That main() did ask: a program that does not would run itself in place of a QEMU. */
bool confine_process_can_start(void);

#endif
