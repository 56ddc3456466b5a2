#include "appliance/outlet.h"

#include "appliance/base/clock.h"
#include "appliance/base/log.h"
#include "appliance/base/mem.h"
#include "appliance/guest_ports.h"
#include "appliance/lease_keeper.h"
#include "appliance/restraint.h"

#include <stdatomic.h>

#define LOOK_MS 250 /* whether it is silent: a fraction of SILENCE_MOMENT_NS */

struct outlet {
	const char *part; /* for the log */
	const struct outlet_ops *ops;
	void *owner;
	struct guest_ports *ports; /* NULL: none */
	struct lease_keeper *keeper;
	struct link *link;
	struct restraint *restraint;
	const char *instance;
	bool superseded;
	bool clients; /* at this site */
	bool witness;
	uint64_t heartbeat_ns, term;
	struct silence silence;
	enum silence_kind silent;
	char silence_text[ERR_TEXT_MAX];
	uv_timer_t look;
	unsigned open_parts;
	void (*on_closed)(void *owner);
	void *close_owner;
	bool holds;		   /* what clients at this site get waits here for commits */
	_Atomic uint64_t until_ns; /* it may run: for the capture's thread */
};

/* The right to answer ------------------------------------------------------------------------ */

bool outlet_may_run(const struct outlet *outlet)
{
	return !outlet->superseded && !outlet_has_yielded(outlet) &&
	       (outlet->ports != NULL || lease_keeper_may_serve(outlet->keeper));
}

const char *outlet_needs(const struct outlet *outlet)
{
	if (outlet_has_yielded(outlet))
		return "it runs again when the standby says that it does not take over, or after `understudy "
		       "release` here if that standby is known not to serve";
	if (!outlet->clients || outlet->superseded || lease_keeper_may_serve(outlet->keeper))
		return "";
	if (outlet->witness)
		return "it answers only when a standby lets it, or the witness after a restart of the agent";
	return "it answers only when a standby lets it, or with \"without_standby\": \"continue\" "
	       "after a restart of the agent";
}

bool outlet_stands(const struct outlet *outlet)
{
	return restraint_stands(outlet->restraint);
}

bool outlet_is_stopping(const struct outlet *outlet)
{
	return restraint_is_stopping(outlet->restraint);
}

bool outlet_has_stopped(const struct outlet *outlet)
{
	return restraint_has_stopped(outlet->restraint);
}

static void restrain(struct outlet *outlet)
{
	atomic_store(&outlet->until_ns,
		     outlet_may_run(outlet) ? lease_keeper_until_ns(outlet->keeper) : 0);
	restraint_set(outlet->restraint, outlet->superseded	? RESTRAINT_KEEP :
					 outlet_may_run(outlet) ? RESTRAINT_RUN :
								  RESTRAINT_STAND);
}

/* By the witness's word alone. */
static bool heard_of_another(const struct outlet *outlet)
{
	return lease_keeper_is_superseded(outlet->keeper) && !outlet->superseded;
}

/* Notes whether it may answer now; says once what does not pass by itself. */
static void look(struct outlet *outlet)
{
	const struct silence_facts facts = {
		.instance = outlet->instance,
		.why = lease_keeper_reason(outlet->keeper),
		.round_trip_ns = outlet->link != NULL ? link_round_trip_ns(outlet->link) : 0,
		.lease_ns = outlet->link != NULL ? link_lease_length_ns(outlet->link) : 0,
		.heartbeat_ns = outlet->heartbeat_ns,
		.another = heard_of_another(outlet),
		.yielded = outlet_has_yielded(outlet),
		.term = outlet->term,
	};
	const enum silence_kind was = outlet->silent;
	/* What has yielded stands, wherever its clients are. */
	const bool answers =
		outlet->superseded || (outlet->clients ? lease_keeper_may_serve(outlet->keeper) :
							 !outlet_has_yielded(outlet));

	silence_note(&outlet->silence, answers, clock_now_ns());
	outlet->silent = silence_explain(&outlet->silence, &facts, outlet->silence_text);
	if (outlet->silent > SILENCE_LASTING && outlet->silent != was)
		log_warn(outlet->part, "%s", outlet->silence_text);
}

static void on_look(uv_timer_t *timer)
{
	look(timer->data);
}

static void on_right(void *owner, bool serves, const char *reason)
{
	struct outlet *outlet = owner;

	look(outlet);
	log_write(serves ? LOG_LEVEL_INFO : LOG_LEVEL_WARN, outlet->part, "%s: %s",
		  serves ? "the instance may answer" : "the instance may not answer", reason);
	restrain(outlet);
	if (outlet->ports != NULL && serves)
		guest_ports_permitted(outlet->ports);
	if (serves && !outlet_has_stopped(outlet))
		outlet->ops->on_right(outlet->owner); /* else on_free() */
}

static void on_lease(void *owner, uint64_t until_ns)
{
	struct outlet *outlet = owner;

	if (outlet->ports != NULL)
		return;
	if (outlet_may_run(outlet))
		atomic_store(&outlet->until_ns, until_ns);
	restraint_until(outlet->restraint, until_ns);
}

static void on_stands(void *owner)
{
	struct outlet *outlet = owner;

	outlet->ops->on_stands(outlet->owner);
}

static void on_free(void *owner)
{
	struct outlet *outlet = owner;

	if (outlet_may_run(outlet))
		outlet->ops->on_right(outlet->owner);
}

static void on_term(void *owner, uint64_t term, bool untold)
{
	struct outlet *outlet = owner;

	outlet->term = term;
	look(outlet); /* it may be of another site's */
	outlet->ops->on_term(outlet->owner, term, untold);
}

static const struct lease_keeper_ops keeper_callbacks = { on_right, on_lease, on_term };
static const struct restraint_ops restraint_callbacks = { on_free, on_stands };

static bool may_serve(void *owner)
{
	return lease_keeper_may_serve(((struct outlet *)owner)->keeper);
}

static bool is_free(void *owner)
{
	return lease_keeper_is_free(((struct outlet *)owner)->keeper);
}

static void on_output(void *owner)
{
	struct outlet *outlet = owner;

	outlet->ops->on_output(outlet->owner);
}

static const struct guest_ports_ops ports_callbacks = { on_output, may_serve, is_free };

/* Life --------------------------------------------------------------------------------------- */

/* Whether clients at this site could have its answers without the standby. */
static bool answers_alone(const struct config_instance *instance)
{
	size_t i;

	for (i = 0; i < instance->nnics; i++) {
		if (instance->nics[i].tap != NULL)
			return true;
	}
	return instance->nnics == 0;
}

static bool holds(const struct config_instance *instance)
{
	size_t i;

	for (i = 0; i < instance->nnics; i++) {
		if (instance->nics[i].tap != NULL && instance->nics[i].output_commit)
			return true;
	}
	return false;
}

int outlet_open(struct outlet **out, uv_loop_t *loop, const struct config *config,
		const struct config_instance *instance, struct etcd *etcd,
		struct guardian *guardian, const char *part, const struct outlet_ops *ops,
		void *owner, struct err *err)
{
	struct outlet *outlet = mem_zalloc(1, sizeof(*outlet));
	const struct lease_keeper_options lease = {
		.hold = instance->without_standby == CONFIG_ALONE_HOLD,
		.period_ms = config->heartbeat_ms,
		.term = 1,
		/* In gateway mode it would only keep the standby from serving. */
		.etcd = answers_alone(instance) ? etcd : NULL,
		.instance = instance->name,
		.site = config->site,
		.ttl_s = config->witness_ttl_s,
	};
	int rc;

	if (outlet == NULL)
		return err_nomem(err, "an outlet");
	outlet->part = part;
	outlet->ops = ops;
	outlet->owner = owner;
	outlet->instance = instance->name;
	outlet->clients = answers_alone(instance);
	outlet->witness = etcd != NULL;
	outlet->heartbeat_ns = config->heartbeat_ms * CLOCK_NS_PER_MS;
	outlet->holds = holds(instance);
	rc = guest_ports_open(&outlet->ports, loop, instance, &ports_callbacks, outlet, err);
	if (rc == RC_OK)
		rc = lease_keeper_open(&outlet->keeper, loop, &lease, &keeper_callbacks, outlet,
				       err);
	if (rc == RC_OK)
		rc = restraint_open(
			&outlet->restraint, loop, part,
			outlet->ports == NULL && (lease.hold || etcd != NULL) ? guardian : NULL,
			instance->name, &restraint_callbacks, outlet, err);
	if (rc == RC_OK) {
		restrain(outlet);
		(void)uv_timer_init(loop, &outlet->look);
		outlet->look.data = outlet;
		(void)uv_timer_start(&outlet->look, on_look, 0, LOOK_MS);
		*out = outlet;
		return RC_OK;
	}
	if (outlet->keeper != NULL)
		lease_keeper_close(outlet->keeper, NULL, NULL);
	if (outlet->ports != NULL)
		guest_ports_close(outlet->ports);
	mem_free(outlet);
	return rc;
}

static void part_closed(void *owner)
{
	struct outlet *outlet = owner;
	void (*on_closed)(void *) = outlet->on_closed;
	void *close_owner = outlet->close_owner;

	if (--outlet->open_parts > 0)
		return;
	mem_free(outlet);
	if (on_closed != NULL)
		on_closed(close_owner);
}

static void on_timer_closed(uv_handle_t *handle)
{
	part_closed(handle->data);
}

void outlet_close(struct outlet *outlet, void (*on_closed)(void *owner), void *owner)
{
	outlet->on_closed = on_closed;
	outlet->close_owner = owner;
	outlet->open_parts = 2;
	if (outlet->ports != NULL)
		guest_ports_close(outlet->ports);
	restraint_close(outlet->restraint);
	lease_keeper_close(outlet->keeper, part_closed, outlet);
	uv_close((uv_handle_t *)&outlet->look, on_timer_closed);
}

/* What is only the cards' -------------------------------------------------------------------- */

/* One whose right ends inside a checkpoint is not let out of it to run; also if only this thread goes on. */
static bool may_thaw(void *owner)
{
	return clock_now_ns() < atomic_load(&((struct outlet *)owner)->until_ns);
}

struct capture_hooks outlet_hooks(struct outlet *outlet)
{
	if (outlet->ports != NULL)
		return guest_ports_hooks(outlet->ports);
	return (struct capture_hooks){ .may_thaw = may_thaw, .owner = outlet };
}

void outlet_released(struct outlet *outlet)
{
	if (outlet->ports != NULL)
		guest_ports_released(outlet->ports);
}

void outlet_gone(struct outlet *outlet)
{
	lease_keeper_instance(outlet->keeper, false);
	if (outlet->ports != NULL)
		guest_ports_gone(outlet->ports);
}

bool outlet_may_capture(const struct outlet *outlet)
{
	return !lease_keeper_is_alone(outlet->keeper) && outlet_may_run(outlet);
}

bool outlet_is_alone(const struct outlet *outlet)
{
	return lease_keeper_is_alone(outlet->keeper);
}

bool outlet_waits_in_vain(const struct outlet *outlet)
{
	return outlet->holds && lease_keeper_is_free(outlet->keeper);
}

void outlet_captured(struct outlet *outlet, uint64_t epoch)
{
	if (outlet->ports != NULL)
		guest_ports_captured(outlet->ports, epoch);
}

void outlet_committed(struct outlet *outlet, uint64_t epoch)
{
	if (outlet->ports != NULL)
		guest_ports_committed(outlet->ports, epoch);
}

/* What either needs -------------------------------------------------------------------------- */

void outlet_attach(struct outlet *outlet, struct qmp *qmp)
{
	lease_keeper_instance(outlet->keeper, true);
	restraint_attach(outlet->restraint, qmp);
	if (outlet->ports != NULL)
		guest_ports_attach(outlet->ports, qmp_peer_pid(qmp));
}

void outlet_detach(struct outlet *outlet)
{
	restraint_attach(outlet->restraint, NULL);
}

void outlet_event(struct outlet *outlet, const char *name, const cJSON *data)
{
	restraint_event(outlet->restraint, name, data);
}

void outlet_leave(struct outlet *outlet)
{
	restraint_leave(outlet->restraint);
}

void outlet_dialled(struct outlet *outlet, struct link *link)
{
	outlet->link = link;
	lease_keeper_link(outlet->keeper, link);
}

void outlet_up(struct outlet *outlet, uint64_t term, uint64_t newest)
{
	if (outlet->ports != NULL)
		guest_ports_link(outlet->ports, outlet->link, term, newest);
}

void outlet_down(struct outlet *outlet)
{
	if (outlet->ports != NULL)
		guest_ports_link(outlet->ports, NULL, 0, 0);
}

int outlet_frame(struct outlet *outlet, const struct wire_header *header, const uint8_t *payload,
		 struct err *err)
{
	if (outlet->ports == NULL)
		return RC_OK; /* the standby's configuration has cards, ours none: it says so itself */
	if (header->type == WIRE_FRAMES)
		return guest_ports_frames(outlet->ports, payload, header->length, err);
	guest_ports_uncommitted(outlet->ports, header->epoch);
	return RC_OK;
}

enum silence_kind outlet_silence(const struct outlet *outlet, const char **why)
{
	*why = outlet->silence_text;
	return outlet->silent;
}

void outlet_yield(struct outlet *outlet, uint64_t term)
{
	lease_keeper_yield(outlet->keeper, term);
	look(outlet);
	restrain(outlet);
}

bool outlet_has_yielded(const struct outlet *outlet)
{
	return lease_keeper_has_yielded(outlet->keeper);
}

bool outlet_takes(const struct outlet *outlet, uint64_t standby)
{
	return lease_keeper_takes(outlet->keeper, standby);
}

void outlet_seated(struct outlet *outlet)
{
	lease_keeper_seated(outlet->keeper);
}

void outlet_supersede(struct outlet *outlet, uint64_t term)
{
	outlet->superseded = true;
	lease_keeper_supersede(outlet->keeper, term);
	look(outlet);
	restrain(outlet);
}

void outlet_let_go(struct outlet *outlet, uint64_t term)
{
	outlet->superseded = false;
	lease_keeper_release(outlet->keeper, term);
	look(outlet);
	restrain(outlet);
}

void outlet_status(const struct outlet *outlet, struct status_instance *status)
{
	struct guest_ports_counters counters;

	status->lease = lease_keeper_state(outlet->keeper);
	status->lease_ms = lease_keeper_left_ms(outlet->keeper);
	if (status->healthy && !restraint_is_safe(outlet->restraint)) {
		status->healthy = false;
		status->reason =
			"nobody would pause the instance in place of this agent: see the log";
	}
	if (outlet->ports == NULL)
		return;
	if (status->healthy && *guest_ports_fault(outlet->ports) != '\0') {
		status->healthy = false;
		status->reason = guest_ports_fault(outlet->ports);
	}
	counters = guest_ports_counters(outlet->ports);
	status->frames_to_clients = (double)counters.from_instance;
	status->frames_from_clients = (double)counters.to_instance;
	status->frames_held = (double)counters.held;
	status->frames_dropped = (double)counters.dropped;
	status->frames_refused = (double)counters.refused;
}
