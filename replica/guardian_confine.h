/*
 * A guardian's process gives up what it does not need, step by step. Only for guardian_process.c.
 */
#ifndef REPLICA_GUARDIAN_CONFINE_H
#define REPLICA_GUARDIAN_CONFINE_H

void guardian_confine_signals(void);
/* All but standard error and GUARDIAN_CONTROL. */
void guardian_confine_descriptors(void);
/* Last: then it can open and start nothing that is not for everyone. */
void guardian_confine_privileges(void);

#endif
