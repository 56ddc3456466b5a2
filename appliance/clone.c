/*
 * A clone's life and its connection; the rest is in clone_takeover.c, clone_epochs.c and clone_status.c.
 */
#include "appliance/clone.h"

#include "appliance/base/clock.h"
#include "appliance/base/files.h"
#include "appliance/base/log.h"
#include "appliance/base/mem.h"
#include "appliance/clone_internal.h"
#include "appliance/safety.h"
#include "appliance/witness_place.h"
#include "replica/hypervisor_user.h"
#include "replica/image_room.h"
#include "replica/reservation.h"

#include <stdio.h>
#include <string.h>

#define RETURN_MS 2000 /* for who connects again at once: some round trips, two waits */
#define ROOM_LOOK_NS CLOCK_NS_PER_S /* a handful of calls that ask a file system in memory */
#define TICKS_PER_DETECT 8	    /* the silence is looked at this often per limit */
#define WINDOW_SHARE 2		    /* of the staging budget may be encoded bytes on their way */
#define WORKERS \
	2 /* where its disks are may be asked for ever: going live from an earlier epoch is beside that */

static void check_stopped(struct clone *c);

/* Frames out --------------------------------------------------------------------------------- */

bool clone_tell(struct clone *c, uint16_t type, uint64_t epoch, const void *payload, size_t len)
{
	struct err err = { 0 };

	if (!c->link_up)
		return false;
	if (link_send(c->link, type, c->failover.term, epoch, payload, len, &err) == RC_OK)
		return true;
	log_warn(c->part, "%s: %s", wire_type_name(type), err.text);
	return false;
}

/* Only once the replica runs: until then the takeover may fail, and the primary is all there is. */
void clone_tell_superseded(struct clone *c)
{
	const char *text = c->failover.state == FAILOVER_SERVING ?
				   "the standby serves the instance" :
				   "the standby has served the instance, and its replica has ended";
	struct buf payload = { 0 };

	if (!failover_has_served(&c->failover) || !c->link_up || c->fenced)
		return;
	c->fenced = wire_put_reason(&payload, WIRE_REASON_TERM, text) &&
		    clone_tell(c, WIRE_SUPERSEDED, 0, payload.data, payload.len);
	buf_free(&payload);
}

/* The seat ----------------------------------------------------------------------------------- */

static void say_refused(struct clone *c, const char *error)
{
	(void)snprintf(c->trouble, sizeof(c->trouble), "reservation: %.480s", error);
	clone_say(c, c->trouble);
}

void clone_copy_ended(struct clone *c)
{
	memcpy(c->trouble, c->reason, sizeof(c->trouble));
}

void clone_on_reserved(void *owner, const char *error, const char *image)
{
	struct clone *c = owner;
	struct buf json = { 0 };
	struct err err = { 0 };

	if (error != NULL)
		say_refused(c, error);
	else
		clone_keep(c);
	if (error == NULL && seat_receiver(c->seat) != NULL)
		clone_tell_received(c);
	if (reservation_answer(&json, error, image, &err) == RC_OK)
		clone_tell(c, WIRE_RESERVED, 0, json.data, json.len);
	buf_free(&json);
}

static int on_making(void *owner, const struct reservation *reservation, struct err *err)
{
	struct clone *c = owner;
	char own_witness[RESERVATION_WITNESS_MAX + 1];
	const struct safety safety = {
		.automatic = c->instance->takeover == CONFIG_TAKEOVER_AUTOMATIC,
		.continues = !reservation->holds,
		.gateway = reservation_is_gateway(reservation),
		.primary_witness = reservation->witness,
		.standby_witness = own_witness,
		.primary_identity = reservation->witness_identity,
		.standby_identity = c->etcd != NULL ? etcd_identity(c->etcd) : 0,
	};
	const struct safety_pace primary = { reservation->heartbeat_ms, reservation->detect_ms };
	const struct safety_pace standby = { c->config->heartbeat_ms, c->config->detect_ms };
	int rc;

	witness_place(own_witness, c->config);
	rc = safety_check(&safety, err);
	if (rc == RC_OK)
		rc = safety_check_pace(&primary, &standby, err);
	c->failover.gateway = safety.gateway;
	if (rc == RC_OK && c->gateway != NULL)
		return gateway_seat(c->gateway, reservation, c->run_dir, err);
	if (rc == RC_OK && reservation->nnics > 0)
		rc = err_set(
			err, RC_REFUSED,
			"the primary's configuration has network cards (nics), the standby's none");
	return rc;
}

static const struct seat_ops seat_callbacks = {
	.on_making = on_making,
	.on_reserved = clone_on_reserved,
	.on_forgotten = clone_on_forgotten,
	.on_unseated = clone_on_unseated,
	.on_warm = clone_on_warm,
	.on_running = clone_on_running,
	.on_activation_failed = clone_on_activation_failed,
	.on_ended = clone_on_ended,
	.receiver = { clone_on_committed, clone_on_fault, clone_on_consumed, clone_on_restored,
		      clone_on_more },
};

/* Time --------------------------------------------------------------------------------------- */

static void on_tick(uv_timer_t *timer);
static void stop_parts(struct clone *c);

/* A takeover, which bounds itself: leases, the witness's answer, QEMU's start and activation. */
static bool is_under_way(const struct clone *c)
{
	return c->failover.state == FAILOVER_CLAIMING || c->failover.state == FAILOVER_TAKING_OVER;
}

/* Regularly, and when the silence becomes too long: not up to a period later. */
static void arm_tick(struct clone *c)
{
	uint64_t period_ms = c->config->detect_ms / TICKS_PER_DETECT, now_ns = clock_now_ns();
	uint64_t due_ns = failover_due_ns(&c->failover), wait_ms = period_ms > 0 ? period_ms : 1;

	if (due_ns < now_ns + wait_ms * CLOCK_NS_PER_MS)
		wait_ms = due_ns > now_ns ? (due_ns - now_ns) / CLOCK_NS_PER_MS + 1 : 1;
	uv_update_time(c->loop);
	(void)uv_timer_start(&c->tick, on_tick, wait_ms, 0);
}

/* When the primary was heard last, which the link knows better than the last tick. */
static void note_heard(struct clone *c)
{
	struct failover_update update;

	if (c->link != NULL && link_heard_ns(c->link) > 0)
		clone_decide_event(c,
				   (struct failover_event){ .type = FAILOVER_HEARD,
							    .now_ns = link_heard_ns(c->link) },
				   &update);
}

/* What a replica that waits or runs has, also one of an earlier life. */
static void look_at_room(struct clone *c)
{
	const bool held = seat_image(c->seat) != NULL || c->failover.state == FAILOVER_SERVING;
	struct err err;

	if (clock_now_ns() < c->room_look_ns)
		return;
	c->room_look_ns = clock_now_ns() + ROOM_LOOK_NS;
	if (held && image_room_look(c->memory_dir, &err) != RC_OK) {
		(void)snprintf(c->cramped, sizeof(c->cramped), "%s", err.text);
		repeat_log(&c->cramps, LOG_LEVEL_WARN, c->part, err.text);
	} else if (*c->cramped != '\0') {
		c->cramped[0] = '\0';
		c->cramps = (struct repeat){ 0 };
	}
}

static void on_tick(uv_timer_t *timer)
{
	struct clone *c = timer->data;

	note_heard(c);
	if (c->back_ns > clock_now_ns())
		clone_decide(c, FAILOVER_HEARD, 0);
	clone_decide(c, FAILOVER_TICK, 0);
	if (c->link != NULL)
		link_set_lease(c->link, failover_lease_ns(&c->failover), c->failover.term);
	clone_seek(c);
	clone_doubt_tick(c);
	clone_keep_again(c);
	look_at_room(c);
	clone_disks_tick(c);
	clone_recall_tick(c);
	clone_tell_hashes(c);
	clone_tell_superseded(c);
	if (c->stopping && !is_under_way(c))
		stop_parts(c);
	else
		arm_tick(c);
}

/* Connection --------------------------------------------------------------------------------- */

static void on_up(void *owner, const struct wire_hello *peer)
{
	struct clone *c = owner;
	uint64_t window = ((uint64_t)c->instance->standby_staging_mib << 20) / WINDOW_SHARE;

	c->link_up = true;
	*c->rival = '\0';
	c->said = FAILOVER_TICK;
	clone_decide(c, FAILOVER_HEARD, 0); /* before what it says */
	c->back_ns = 0;
	link_set_lease(c->link, failover_lease_ns(&c->failover), c->failover.term);
	if (c->gateway != NULL)
		gateway_link(c->gateway, c->link, c->failover.term);
	virtual_addresses_announce(c->addresses); /* a partition has healed */
	c->laid_out = c->fenced = false;
	hashes_end(&c->hashes);
	c->terms = (peer->features & WIRE_FEATURE_TERMS) != 0;
	c->receipts = (peer->features & WIRE_FEATURE_RECEIPTS) != 0;
	log_info(c->part, "site %s connected from %s", peer->site, link_peer(c->link));
	link_grant(c->link, window > LINK_WINDOW_MIN ? window : LINK_WINDOW_MIN);
	clone_tell_superseded(c);
}

static void on_link_closed(void *owner)
{
	struct clone *c = owner;

	c->link = NULL;
	c->link_closing = false;
	if (c->stopping)
		check_stopped(c);
}

static void on_quiet(void *owner)
{
	((struct clone *)owner)->draining = false;
}

void clone_drain(struct clone *c)
{
	if (seat_receiver(c->seat) == NULL)
		return;
	c->draining = true;
	receiver_keep(seat_receiver(c->seat), on_quiet);
}

/* It is told as ended; should it go on with another connection, it begins again, to who looks at it. */
static void lose_copy(struct clone *c, bool returns, const struct err *err)
{
	struct failover_update update;

	if (c->failover.state != FAILOVER_SYNCING)
		return;
	clone_decide_event(
		c, (struct failover_event){ .type = FAILOVER_UNPROTECTED, .why = err->text },
		&update);
	if (!returns)
		clone_copy_ended(c);
}

static void on_down(void *owner, const struct err *err)
{
	struct clone *c = owner;
	const bool returns = wire_reason_returns(link_refusal(c->link));

	c->link_up = false;
	note_heard(c);
	if (c->gateway != NULL)
		gateway_link(c->gateway, NULL, c->failover.term);
	c->back_ns = returns ? clock_now_ns() + RETURN_MS * CLOCK_NS_PER_MS : 0;
	log_write(returns ? LOG_LEVEL_INFO : LOG_LEVEL_WARN, c->part, "link lost: %s", err->text);
	lose_copy(c, returns, err);
	clone_disks_hurry(c); /* it may have ended for what was found of them */
	if (link_refusal(c->link) == WIRE_REASON_SHUTDOWN)
		clone_decide(c, FAILOVER_GOODBYE, 0);
	if (!c->link_closing) {
		c->link_closing = true;
		link_close(c->link, on_link_closed);
	}
	/* Also of a claim: should it come to nothing, the next connection begins with a layout, or goes on. */
	if (!failover_is_over(&c->failover) || c->failover.state == FAILOVER_CLAIMING)
		clone_drain(c);
}

static const struct link_ops link_callbacks = {
	.on_up = on_up, .on_frame = clone_on_frame, .on_room = clone_tell_hashes, .on_down = on_down
};

/* What is kept of one site's instance, or serves, is not replaced by another one of the same name. */
static int check_site(struct clone *c, const char *site, struct err *err)
{
	if (c->failover.epoch == 0 || *c->origin == '\0' || strcmp(site, c->origin) == 0)
		return RC_OK;
	(void)err_set(
		err, RC_REFUSED,
		"epoch %llu of the instance of site %s is kept here, and site %s has one of the same name: give "
		"it another name, or give that epoch up by `understudy release` at the standby while site %s is "
		"not connected",
		(unsigned long long)c->failover.epoch, c->origin, site, c->origin);
	if (strcmp(c->rival, site) != 0) {
		log_warn(c->part, "%s", err->text);
		if (c->failover.state == FAILOVER_UNATTENDED || c->failover.state == FAILOVER_ENDED)
			clone_say(c, err->text);
	}
	(void)snprintf(c->rival, sizeof(c->rival), "%s", site);
	return RC_REFUSED;
}

/* Why no connection is taken now; NULL: one is. */
static const char *busy_with(const struct clone *c)
{
	const enum failover_state state = c->failover.state;

	if (state == FAILOVER_FAILED || state == FAILOVER_TAKING_OVER || state == FAILOVER_CLAIMING)
		return CLONE_FAILED_TEXT;
	if (state == FAILOVER_RETURNING || (state == FAILOVER_EMPTY && c->survivor != NULL))
		return "it was taken over here before; the replica is being looked for";
	if (seat_is_restoring(c->seat))
		return "its journal is being read";
	return c->link != NULL || c->draining || c->stopping ? "there is a connection already" :
							       NULL;
}

int clone_accept(struct clone *c, struct link *link, const struct wire_hello *peer,
		 struct wire_hello *own, const struct link_ops **link_ops, void **link_owner,
		 uint16_t *reason, struct err *err)
{
	const char *why;

	if (!clone_is_clear(c)) {
		*reason = WIRE_REASON_DOUBT;
		return err_set(err, RC_REFUSED, "instance %s: %.450s", c->instance->name,
			       c->doubt_text);
	}
	if (check_site(c, peer->site, err) != RC_OK) {
		*reason = WIRE_REASON_SITE;
		return err_prefix(err, "instance %s: ", c->instance->name);
	}
	why = busy_with(c);
	if (why != NULL) {
		*reason = WIRE_REASON_BUSY;
		return err_set(err, RC_REFUSED, "instance %s: %s", c->instance->name, why);
	}
	c->link = link;
	own->session = c->session;
	own->epoch = seat_epoch(c->seat);
	own->identity = c->record.identity;
	memcpy(c->peer_site, peer->site, sizeof(c->peer_site));
	*link_ops = &link_callbacks;
	*link_owner = c;
	return RC_OK;
}

/* Gateway ------------------------------------------------------------------------------------ */

static void on_unprotected(void *owner)
{
	struct clone *c = owner;

	clone_decide(c, FAILOVER_OUTDATED, c->newest);
}

static const struct gateway_ops gateway_callbacks = { on_unprotected };

/* Life --------------------------------------------------------------------------------------- */

static int make_dirs(struct clone *c, struct err *err)
{
	int rc;

	(void)snprintf(c->dir, sizeof(c->dir), "%s/%s", c->config->state_dir, c->instance->name);
	(void)snprintf(c->memory_dir, sizeof(c->memory_dir), "%s/understudy-%s-%s",
		       c->config->memory_dir, c->config->site, c->instance->name);
	rc = files_make_dir(c->dir, err);
	clone_doubt_run_dir(c);
	if (rc == RC_OK)
		rc = files_make_dir(c->run_dir, err);
	if (rc == RC_OK)
		rc = files_make_dir(c->memory_dir, err);
	if (rc == RC_OK)
		rc = hypervisor_user_let_pass(c->dir, err);
	if (rc == RC_OK)
		rc = hypervisor_user_let_pass(c->memory_dir, err);
	return rc == RC_OK ? hypervisor_user_let_work(c->run_dir, err) : rc;
}

static const struct claimant_ops claimant_callbacks = { .on_answer = clone_on_answer };

/* What may not be there: the gateway, addresses beside the instance's, the witness. */
static int open_others(struct clone *c, uv_loop_t *loop, struct etcd *etcd, struct err *err)
{
	const struct claimant_options options = {
		.etcd = etcd,
		.instance = c->instance->name,
		.site = c->config->site,
		.server = WITNESS_STANDBY,
		.ttl_s = c->config->witness_ttl_s,
	};
	int rc = gateway_open(&c->gateway, loop, c->instance, &gateway_callbacks, c, err);

	if (rc == RC_OK)
		rc = virtual_addresses_open(&c->addresses, loop, c->instance, err);
	c->failover.witness = etcd != NULL;
	c->etcd = etcd;
	if (rc != RC_OK || etcd == NULL)
		return rc;
	return claimant_open(&c->claimant, loop, &options, &claimant_callbacks, c, err);
}

int clone_start(struct clone **out, uv_loop_t *loop, const struct config *config,
		const struct config_instance *instance, struct etcd *etcd, struct err *err)
{
	struct clone *c = mem_zalloc(1, sizeof(*c));
	int rc;

	if (c == NULL)
		return err_nomem(err, "a clone");
	c->config = config;
	c->instance = instance;
	(void)snprintf(c->part, sizeof(c->part), "clone %s", instance->name);
	failover_init(&c->failover, config->detect_ms,
		      instance->takeover == CONFIG_TAKEOVER_AUTOMATIC, clock_now_ns());
	rc = make_dirs(c, err);
	if (rc == RC_OK)
		rc = workers_open(&c->workers, loop, WORKERS, err);
	if (rc == RC_OK)
		rc = clone_takeover_open(c, loop, err);
	if (rc != RC_OK) {
		workers_close(c->workers);
		mem_free(c);
		return rc;
	}
	rc = open_others(c, loop, etcd, err);
	if (rc == RC_OK)
		rc = seat_create(&c->seat, loop, config, instance, c->dir, c->run_dir,
				 c->memory_dir, &seat_callbacks, c, err);
	if (rc != RC_OK) {
		if (c->claimant != NULL)
			claimant_close(c->claimant, NULL, NULL);
		if (c->gateway != NULL)
			gateway_close(c->gateway);
		virtual_addresses_close(c->addresses);
		term_store_close(c->store, NULL, NULL);
		workers_close(c->workers);
		mem_free(c);
		return rc;
	}
	clone_seek(c);
	clone_doubt_open(c);
	clone_keep(c);
	rewound_clear(c->part, c->dir, c->memory_dir);
	if (aftermath_stands(&c->record, &c->failover))
		seat_restore(c->seat);
	(void)uv_timer_init(loop, &c->tick);
	c->tick.data = c;
	arm_tick(c);
	*out = c;
	return RC_OK;
}

const char *clone_name(const struct clone *c)
{
	return c->instance->name;
}

static void on_part_closed(void *owner)
{
	struct clone *c = owner;

	c->open_parts--;
	check_stopped(c);
}

static void on_timer_closed(uv_handle_t *handle)
{
	on_part_closed(handle->data);
}

static void check_stopped(struct clone *c)
{
	void (*on_stopped)(void *) = c->on_stopped;
	void *owner = c->stop_owner;

	if (c->link != NULL || c->open_parts > 0)
		return;
	if (c->gateway != NULL)
		gateway_close(c->gateway);
	virtual_addresses_close(c->addresses);
	hashes_end(&c->hashes);
	workers_close(c->workers);
	mem_free(c);
	on_stopped(owner);
}

static void stop_parts(struct clone *c)
{
	c->open_parts = 5 + CLONE_TAKEOVER_PARTS + (c->claimant != NULL);
	if (c->claimant != NULL)
		claimant_close(c->claimant, on_part_closed, c);
	if (c->link != NULL && !c->link_closing) {
		c->link_closing = true;
		link_drop(c->link, WIRE_REASON_SHUTDOWN, "the standby ends");
		link_close(c->link, on_link_closed);
	}
	/* on_down() does not come any more, and the gateway's taps stay for as long as the replica. */
	c->link_up = false;
	if (c->gateway != NULL)
		gateway_link(c->gateway, NULL, c->failover.term);
	clone_past_close(c, on_part_closed);
	clone_listing_close(c, on_part_closed);
	clone_disks_close(c, on_part_closed);
	clone_takeover_close(c, on_part_closed);
	seat_close(c->seat, on_part_closed);
	uv_close((uv_handle_t *)&c->tick, on_timer_closed);
}

void clone_stop(struct clone *c, void (*on_stopped)(void *owner), void *owner)
{
	c->stopping = true;
	c->on_stopped = on_stopped;
	c->stop_owner = owner;
	if (is_under_way(c))
		log_warn(c->part, "a takeover is under way; the end waits for it");
	else
		stop_parts(c);
}
