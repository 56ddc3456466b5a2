#include "appliance/role_primary.h"

#include "appliance/base/log.h"
#include "appliance/base/mem.h"
#include "appliance/process.h"
#include "appliance/protection.h"
#include "replica/guardian_keeper.h"

#include <string.h>

struct role {
	struct process process;
	const struct config *config;
	struct guardian *guardian;
	struct guardian_keeper keeper;
};

static int release(void *owner, const char *name, struct err *err)
{
	struct role *role = owner;

	for (size_t i = 0; i < role->process.count; i++) {
		if (strcmp(role->config->instances[i].name, name) == 0)
			return protection_release(role->process.parts[i], err);
	}
	return err_set(err, RC_INVALID, "there is no instance %s here", name);
}

static int start(void *owner, struct err *err)
{
	struct role *role = owner;
	const struct protection_site site = {
		.loop = &role->process.loop,
		.config = role->config,
		.identity = role->process.identity,
		.guardian = role->guardian,
		.etcd = role->process.witness.etcd,
	};
	struct protection *protection;
	int rc = guardian_keeper_begin(&role->keeper, &role->process.loop, role->guardian, err);

	for (size_t i = 0; i < role->config->ninstances && rc == RC_OK; i++) {
		rc = protection_start(&protection, &site, &role->config->instances[i], err);
		if (rc == RC_OK)
			process_add(&role->process, protection);
	}
	return rc;
}

/* The guardian is kept until nothing is captured any more. */
static void ended(void *owner)
{
	guardian_keeper_end(&((struct role *)owner)->keeper);
}

static void status(const void *part, struct status_instance *status)
{
	protection_status(part, status);
}

static void stop(void *part, void (*on_stopped)(void *owner), void *owner)
{
	protection_stop(part, on_stopped, owner);
}

static const struct process_role callbacks = {
	.start = start,
	.status = status,
	.stop = stop,
	.ended = ended,
	.release = release,
};

int role_primary_run(const struct config *config)
{
	struct role *role = mem_zalloc(1, sizeof(*role));
	struct err err;
	int exit_status = 1;

	if (role == NULL)
		return 1;
	role->config = config;
	/* First of all: without one nothing is captured. */
	if (guardian_start(&role->guardian, &err) != RC_OK) {
		log_error("primary", "%s", err.text);
	} else {
		exit_status = process_run(&role->process, config, &callbacks, role);
		guardian_stop(role->guardian);
	}
	mem_free(role);
	return exit_status;
}
