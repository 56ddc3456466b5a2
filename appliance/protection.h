/*
 * The protection of one instance, at the primary: from a fit subject to epochs acknowledged by the
 * standby.
 *
 *   connecting ─► waiting (for the standby) ─► reserving ─► copying ─► protected ◄─► catching-up
 *       │                ▲                                                 │
 *       ▼ not fit        └──────────────── unprotected ◄───────────────────┘
 *    refused (examined again)                 link lost for long, or capture lost
 *
 *   ended, crashed: the instance's QEMU is gone (connecting again should it come back)
 *   superseded: the standby serves, or has served; the instance is paused, its state is kept until
 *   the operator lets it go (protection_release())
 *
 * It wires modules together; what to do is decided by epoch.c and precheck.c. Whatever fails here
 * costs protection, never the instance: every way out goes through capture_close(), which lets the
 * instance go: it runs on, unless it may not.
 */
#ifndef APPLIANCE_PROTECTION_H
#define APPLIANCE_PROTECTION_H

#include "appliance/config.h"
#include "net/etcd.h"
#include "appliance/status.h"
#include "net/link.h"
#include "replica/guardian.h"

#include <uv.h>

struct protection;

/* What all instances of one agent share. */
struct protection_site {
	uv_loop_t *loop;
	const struct config *config;
	struct tls_identity *identity;
	struct guardian *guardian;
	struct etcd *etcd; /* NULL: no witness */
};

int protection_start(struct protection **protection, const struct protection_site *site,
		     const struct config_instance *instance, struct err *err);
/*
 * The operator lets go of a superseded instance: it may be protected again as soon as it runs, and
 * it does not run before the operator resumes it. If the standby still serves, it is superseded
 * again. One that stands because it has yielded to a standby that is not connected any more runs again.
 * RC_STATE unless it is one of the two.
 */
int protection_release(struct protection *protection, struct err *err);
void protection_status(const struct protection *protection, struct status_instance *status);
/* Lets the instance go, says goodbye to the standby, closes everything and frees; on_closed follows. */
void protection_stop(struct protection *protection, void (*on_closed)(void *owner), void *owner);

#endif
