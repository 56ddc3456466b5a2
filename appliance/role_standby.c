#include "appliance/role_standby.h"

#include "appliance/base/log.h"
#include "appliance/base/mem.h"
#include "appliance/clone.h"
#include "appliance/process.h"
#include "appliance/state_dir.h"

#include <string.h>

struct role {
	struct process process;
	const struct config *config;
	struct tls_identity *identity;
	int state_lock;
	struct link_listener *listener;
	struct clone *clones[CONFIG_INSTANCES_MAX];
	size_t count, running;
};

static size_t count(void *owner)
{
	return ((struct role *)owner)->count;
}

static void fill(void *owner, size_t index, struct status_instance *status)
{
	clone_status(((struct role *)owner)->clones[index], status);
}

static struct clone *find(struct role *role, const char *name)
{
	size_t i;

	for (i = 0; i < role->count; i++) {
		if (strcmp(clone_name(role->clones[i]), name) == 0)
			return role->clones[i];
	}
	return NULL;
}

static int takeover(void *owner, const char *name, struct err *err)
{
	struct clone *clone = find(owner, name);

	if (clone == NULL)
		return err_set(err, RC_INVALID, "there is no instance %s here", name);
	return clone_takeover(clone, err);
}

static int release(void *owner, const char *name, struct err *err)
{
	struct clone *clone = find(owner, name);

	if (clone == NULL)
		return err_set(err, RC_INVALID, "there is no instance %s here", name);
	return clone_release(clone, err);
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

static void on_clone_stopped(void *owner)
{
	struct role *role = owner;

	if (--role->running == 0)
		process_end(&role->process);
}

static void stop_clones(void *owner)
{
	struct role *role = owner;
	size_t i, n = role->count;

	role->count = 0;
	if (n == 0)
		process_end(&role->process);
	for (i = 0; i < n; i++)
		clone_stop(role->clones[i], on_clone_stopped, role);
}

static void on_end(void *owner)
{
	struct role *role = owner;

	if (role->listener != NULL)
		link_listener_close(role->listener, stop_clones);
	else
		stop_clones(role);
}

static int start(struct role *role, struct err *err)
{
	const struct config *config = role->config;
	const struct link_options options = {
		.identity = role->identity,
		.site = config->site,
		.heartbeat_ms = config->heartbeat_ms,
		.dead_ms = config->detect_ms * LINK_DEAD_FACTOR,
	};
	size_t i;
	int rc = RC_OK;

	for (i = 0; i < config->ninstances && rc == RC_OK; i++) {
		rc = clone_start(&role->clones[i], &role->process.loop, config,
				 &config->instances[i], err);
		if (rc == RC_OK)
			role->running = ++role->count;
	}
	if (rc == RC_OK)
		rc = link_listen(&role->listener, &role->process.loop, config->listen, &options,
				 &accept_callbacks, role, err);
	return rc;
}

int role_standby_run(const struct config *config)
{
	struct role *role = mem_zalloc(1, sizeof(*role));
	struct err err = { 0 };
	int rc;

	if (role == NULL)
		return 1;
	role->config = config;
	/* Before anything that another standby on the same directory could be disturbed by. */
	rc = state_dir_take(config->state_dir, &role->state_lock, &err);
	if (rc != RC_OK)
		(void)err_prefix(&err, "state_dir: ");
	if (rc == RC_OK)
		rc = tls_identity_load(&role->identity, config->tls_ca, config->tls_cert,
				       config->tls_key, &err);
	if (rc == RC_OK)
		rc = process_begin(&role->process, config, count, fill, takeover, release, on_end,
				   role, &err);
	if (rc == RC_OK) {
		rc = start(role, &err);
		if (rc != RC_OK) {
			log_error("standby", "%s", err.text);
			process_stop(&role->process);
		} else {
			log_info("standby", "site %s: %zu instance(s), listening at %s",
				 config->site, role->count, config->listen);
		}
		process_run(&role->process);
	} else {
		log_error("standby", "%s", err.text);
	}
	tls_identity_free(role->identity);
	state_dir_let_go(role->state_lock);
	mem_free(role);
	return rc == RC_OK ? 0 : 1;
}
