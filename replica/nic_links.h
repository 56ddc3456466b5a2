/*
 * The cables of an instance's network cards, pulled and put back by QMP: what runs without them is
 * heard by nobody, whatever its network is.
 *
 * The guest sees its link go down and come up again if it runs meanwhile.
 */
#ifndef REPLICA_NIC_LINKS_H
#define REPLICA_NIC_LINKS_H

#include "appliance/base/err.h"
#include "replica/qmp.h"

struct nic_links;

/* `qmp` and `part` (for the log) stay the caller's and outlive this. */
int nic_links_create(struct nic_links **links, struct qmp *qmp, const char *part, void *owner,
		     struct err *err);

/*
 * Finds every card that the instance has now and pulls its cable. `done` is called once, perhaps
 * before this returns; `err` is NULL, or says which card may still be heard.
 */
void nic_links_down(struct nic_links *links, void (*done)(void *owner, const struct err *err));

/*
 * Puts back what was pulled, also a cable that its operator had pulled before (QMP does not tell);
 * what cannot be is in the log, with the remedy.
 */
void nic_links_up(struct nic_links *links, void (*done)(void *owner, const struct err *err));

/* Frees when nothing is open any more, then calls on_closed (may be NULL). No other callback comes. */
void nic_links_close(struct nic_links *links, void (*on_closed)(void *owner));

#endif
