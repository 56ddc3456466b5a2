/*
 * The clone of one instance, at the standby: reservation, epochs into the image, the decision,
 * activation.
 *
 * It wires modules together; who serves is decided by failover.c. A half-received epoch never shows
 * (receiver.h, image.h); a takeover first commits the epochs that have arrived whole.
 *
 * That a replica serves here, and with which term, survives this process (term_store.h): the next
 * one finds the replica and goes on as if it had been there all the time.
 */
#ifndef APPLIANCE_CLONE_H
#define APPLIANCE_CLONE_H

#include "appliance/config.h"
#include "net/etcd.h"
#include "appliance/past_query.h"
#include "appliance/status.h"
#include "net/link.h"

#include <cjson/cJSON.h>
#include <uv.h>

struct clone;

/* `etcd`: the witness's, NULL: none. */
int clone_start(struct clone **clone, uv_loop_t *loop, const struct config *config,
		const struct config_instance *instance, struct etcd *etcd, struct err *err);
const char *clone_name(const struct clone *clone);

/* A primary said HELLO for this instance: as link_accept_ops.on_hello. */
int clone_accept(struct clone *clone, struct link *link, const struct wire_hello *peer,
		 struct wire_hello *own, const struct link_ops **link_ops, void **link_owner,
		 uint16_t *reason, struct err *err);

/* The operator's command. */
int clone_takeover(struct clone *clone, struct err *err);

/*
 * The operator lets go of what served or failed here: a primary may protect the instance again,
 * with a higher term. Or of what was protected here in an earlier life (aftermath.h), or could not
 * be protected here. Not while a replica runs.
 */
int clone_release(struct clone *clone, struct err *err);

/*
 * Earlier epochs (replica/history.h). A mark becomes durable moments later; *epoch is what it stands for. A history
 * is added to a JSON object; of its epochs, "reading" until the same is asked for when they are read.
 */
int clone_mark(struct clone *clone, const char *text, uint64_t *epoch, struct err *err);
int clone_history(struct clone *clone, const struct past_query *query, cJSON *object,
		  struct err *err);
/*
 * A copy of an earlier epoch, isolated beside what goes on (rewound.h); one at a time. The status tells how it goes. Its end is
 * under way then. `serve`: to go live from there, by a takeover that is ordered when the copy is read.
 */
int clone_rewind(struct clone *clone, const char *target, bool serve, struct err *err);
int clone_rewind_end(struct clone *clone, struct err *err);

void clone_status(const struct clone *clone, struct status_instance *status);

/*
 * Ends the warm QEMU (a serving one runs on), closes everything and frees; on_closed follows. A
 * takeover that is under way comes to its end before: what it needs is nowhere but here.
 */
void clone_stop(struct clone *clone, void (*on_closed)(void *owner), void *owner);

#endif
