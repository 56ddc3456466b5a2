#include "appliance/role_standby.h"

#include "appliance/base/log.h"
#include "appliance/base/mem.h"
#include "appliance/clone.h"
#include "appliance/process.h"
#include "appliance/state_dir.h"
#include "replica/confine.h"
#include "replica/hypervisor_user.h"
#include "replica/oom.h"

#include <string.h>
#include <unistd.h>

struct role {
	struct process process;
	const struct config *config;
	int state_lock;
	struct link_listener *listener;
};

static struct clone *find(const struct role *role, const char *name)
{
	struct clone *clone;

	for (size_t i = 0; i < role->process.count; i++) {
		clone = role->process.parts[i];
		if (strcmp(clone_name(clone), name) == 0)
			return clone;
	}
	return NULL;
}

/* NULL, and `err` says why. */
static struct clone *need(const struct role *role, const char *name, struct err *err)
{
	struct clone *clone = find(role, name);

	if (clone == NULL)
		(void)err_set(err, RC_INVALID, "there is no instance %s here", name);
	return clone;
}

static int takeover(void *owner, const char *name, struct err *err)
{
	struct clone *clone = need(owner, name, err);

	return clone != NULL ? clone_takeover(clone, err) : RC_INVALID;
}

static int release(void *owner, const char *name, struct err *err)
{
	struct clone *clone = need(owner, name, err);

	return clone != NULL ? clone_release(clone, err) : RC_INVALID;
}

static int history(void *owner, const struct past_query *query, cJSON *object, struct err *err)
{
	struct clone *clone = need(owner, query->instance, err);

	return clone != NULL ? clone_history(clone, query, object, err) : RC_INVALID;
}

static int mark(void *owner, const char *name, const char *text, uint64_t *epoch, struct err *err)
{
	struct clone *clone = need(owner, name, err);

	return clone != NULL ? clone_mark(clone, text, epoch, err) : RC_INVALID;
}

static int rewind_to(void *owner, const char *name, const char *target, bool serve, struct err *err)
{
	struct clone *clone = need(owner, name, err);

	return clone != NULL ? clone_rewind(clone, target, serve, err) : RC_INVALID;
}

static int rewind_end(void *owner, const char *name, struct err *err)
{
	struct clone *clone = need(owner, name, err);

	return clone != NULL ? clone_rewind_end(clone, err) : RC_INVALID;
}

static int on_hello(void *owner, struct link *link, const struct wire_hello *peer,
		    struct wire_hello *own, const struct link_ops **link_ops, void **link_owner,
		    uint16_t *reason, struct err *err)
{
	struct clone *clone = find(owner, peer->instance);

	if (clone == NULL) {
		*reason = WIRE_REASON_INSTANCE;
		return err_set(err, RC_REFUSED,
			       "instance %s is not in this standby's configuration",
			       peer->instance);
	}
	return clone_accept(clone, link, peer, own, link_ops, link_owner, reason, err);
}

static const struct link_accept_ops accept_callbacks = { .on_hello = on_hello };

static void on_listener_closed(void *owner)
{
	process_stop_parts(&((struct role *)owner)->process);
}

static void end(void *owner)
{
	struct role *role = owner;

	if (role->listener != NULL)
		link_listener_close(role->listener, on_listener_closed);
	else
		process_stop_parts(&role->process);
}

static void status(const void *part, struct status_instance *status)
{
	clone_status(part, status);
}

static void stop(void *part, void (*on_stopped)(void *owner), void *owner)
{
	clone_stop(part, on_stopped, owner);
}

static int start(void *owner, struct err *err)
{
	struct role *role = owner;
	const struct config *config = role->config;
	const struct link_options options = {
		.identity = role->process.identity,
		.site = config->site,
		.heartbeat_ms = config->heartbeat_ms,
		.dead_ms = config->detect_ms * LINK_DEAD_FACTOR,
	};
	struct clone *clone;
	int rc;

	for (size_t i = 0; i < config->ninstances; i++) {
		rc = clone_start(&clone, &role->process.loop, config, &config->instances[i],
				 witness_client_etcd(role->process.witness), err);
		if (rc != RC_OK)
			return rc;
		process_add(&role->process, clone);
	}
	rc = link_listen(&role->listener, &role->process.loop, config->listen, &options,
			 &accept_callbacks, role, err);
	return rc == RC_OK ? rc : err_prefix(err, "link.listen: ");
}

static const struct process_role callbacks = {
	.start = start,
	.end = end,
	.status = status,
	.stop = stop,
	.takeover = takeover,
	.release = release,
	.history = history,
	.mark = mark,
	.rewind = rewind_to,
	.rewind_end = rewind_end,
};

/*
 * Before it has threads, and before it hears anybody. Its QEMUs have what it has at most, so one that is not to be confined needs a
 * standby that is not. A kernel that cannot do this is told of: serving unconfined is better than not at all.
 */
static void confine_standby(const struct config *config)
{
	const struct confine_subject subject = { .whom = CONFINE_STANDBY };
	struct err err;

	if (!config->confine)
		log_warn("standby", "neither the standby nor its hypervisors are confined: "
				    "hypervisor.confine is false");
	else if (confine(&subject, confine_standby_capabilities(), &err) != RC_OK)
		log_warn("standby", "it is not confined: %s", err.text);
}

/* Before there are threads. */
static int set_user(const struct config *config, struct err *err)
{
	struct hypervisor_user user;
	int rc = hypervisor_user_find(&user, config->user, config->confine, err);

	if (rc != RC_OK)
		return rc;
	hypervisor_user_set(&user);
	if (user.uid != geteuid())
		log_info("standby", "hypervisors run as user %u, group %u", (unsigned)user.uid,
			 (unsigned)user.gid);
	return hypervisor_user_let_pass(config->state_dir, err);
}

int role_standby_run(const struct config *config)
{
	struct role *role = mem_zalloc(1, sizeof(*role));
	struct err err;
	int exit_status = 1;

	if (role == NULL)
		return 1;
	role->config = config;
	oom_set(getpid(), OOM_STANDBY);
	confine_standby(config);
	/* Before anything that another standby on the same directory could be disturbed by. */
	if (state_dir_take(config->state_dir, &role->state_lock, &err) != RC_OK) {
		log_error("standby", "state_dir: %s", err.text);
	} else if (set_user(config, &err) != RC_OK) {
		log_error("standby", "hypervisor.user: %s", err.text);
		state_dir_let_go(role->state_lock);
	} else {
		exit_status = process_run(&role->process, config, &callbacks, role);
		state_dir_let_go(role->state_lock);
	}
	mem_free(role);
	return exit_status;
}
