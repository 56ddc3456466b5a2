/*
 * What of a protected instance may reach its clients, at the primary: its network cards
 * (guest_ports.h) and the right to let it answer (lease_keeper.h), for protection.c.
 *
 * An instance without cards of ours has a network that cannot be held: while it may not answer it is
 * kept standing (restraint.h), as every superseded one is; and if it needs a lease it is on the guardian's
 * leash, for this process may be late, or end.
 */
#ifndef APPLIANCE_OUTLET_H
#define APPLIANCE_OUTLET_H

#include "appliance/config.h"
#include "appliance/silence.h"
#include "appliance/status.h"
#include "net/etcd.h"
#include "net/link.h"
#include "replica/capture.h"
#include "replica/guardian.h"
#include "replica/qmp.h"

struct outlet;

struct outlet_ops {
	/* Something waits for the next commit. */
	void (*on_output)(void *owner);
	/* The term is another one; `untold`: tell the standby of it before anything else. */
	void (*on_term)(void *owner, uint64_t term, bool untold);
	/* It may be captured again, and runs if it was us who had stopped it. */
	void (*on_right)(void *owner);
	/* outlet_stands(), and it may not have before. */
	void (*on_stands)(void *owner);
};

int outlet_open(struct outlet **outlet, uv_loop_t *loop, const struct config *config,
		const struct config_instance *instance, struct etcd *etcd,
		struct guardian *guardian, const char *part, const struct outlet_ops *ops,
		void *owner, struct err *err);
/* The agent ends, and the standby was not told: an instance that needs a lease runs only as long as it has one. */
void outlet_leave(struct outlet *outlet);
/* No callback follows but on_closed (may be NULL). */
void outlet_close(struct outlet *outlet, void (*on_closed)(void *owner), void *owner);

/* For the capture; and: it has ended, the instance runs on without epochs, unless it is gone. */
struct capture_hooks outlet_hooks(struct outlet *outlet);
void outlet_released(struct outlet *outlet);
/* The instance is no more, until outlet_attach(): what it has left here reaches nobody. */
void outlet_gone(struct outlet *outlet);
/* Whether the instance may run; and whether it stands because it might not, and for no other reason. */
bool outlet_may_run(const struct outlet *outlet);
bool outlet_has_stopped(const struct outlet *outlet);
/* It was seen to stand since it may not run; it was not, and its QEMU is asked. */
bool outlet_stands(const struct outlet *outlet);
bool outlet_is_stopping(const struct outlet *outlet);
/* What it takes that it may, besides being resumed; "": it may, or is superseded. */
const char *outlet_needs(const struct outlet *outlet);
/*
 * Not while this site answers without its standby: those answers must not hide in an epoch. Nor while
 * the instance may not run: QEMU sets it running after a checkpoint.
 */
bool outlet_may_capture(const struct outlet *outlet);
/* By the witness's word it answers without its standby. */
bool outlet_is_alone(const struct outlet *outlet);
/*
 * Clients at this site are kept waiting for commits, which only a standby makes, and the instance may
 * answer without one.
 */
bool outlet_waits_in_vain(const struct outlet *outlet);
/* An epoch was captured; it is committed. */
void outlet_captured(struct outlet *outlet, uint64_t epoch);
void outlet_committed(struct outlet *outlet, uint64_t epoch);

/* A QEMU was found, behind that QMP connection; it is gone, or does not answer; an event of it. */
void outlet_attach(struct outlet *outlet, struct qmp *qmp);
void outlet_detach(struct outlet *outlet);
void outlet_event(struct outlet *outlet, const char *name, const cJSON *data);
/* The link to the standby, once there is one; it is up (newest: epoch of either end), or down. */
void outlet_dialled(struct outlet *outlet, struct link *link);
void outlet_up(struct outlet *outlet, uint64_t term, uint64_t newest);
void outlet_down(struct outlet *outlet);
/* FRAMES and UNCOMMITTED from it. */
int outlet_frame(struct outlet *outlet, const struct wire_header *header, const uint8_t *payload,
		 struct err *err);
/*
 * Clients wait for an instance that may not answer, and why: valid until the loop goes on. Of one
 * whose clients are not at this site, or that is known to be superseded: nothing. Of one that stands
 * because it has yielded, wherever its clients are.
 */
enum silence_kind outlet_silence(const struct outlet *outlet, const char **why);
/*
 * The standby takes over from that term by its operator's order, if this site stands still: so the
 * instance stands, whatever its network, until that standby grants a lease anew, says that it serves,
 * or the operator lets go.
 */
void outlet_yield(struct outlet *outlet, uint64_t term);
bool outlet_has_yielded(const struct outlet *outlet);
/* Whether that standby may be given the instance; the one at the link could take over (tenure.h). */
bool outlet_takes(const struct outlet *outlet, uint64_t standby);
void outlet_seated(struct outlet *outlet);
/* Another site serves that term; the operator lets go of that, and of the standby. */
void outlet_supersede(struct outlet *outlet, uint64_t term);
void outlet_let_go(struct outlet *outlet, uint64_t term);

void outlet_status(const struct outlet *outlet, struct status_instance *status);

#endif
