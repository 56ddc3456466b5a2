#include "appliance/role_primary.h"

#include "appliance/base/clock.h"
#include "appliance/base/log.h"
#include "appliance/base/mem.h"
#include "appliance/process.h"
#include "appliance/protection.h"
#include "replica/guardian_keeper.h"

#include <string.h>

struct role {
	struct process process;
	const struct config *config;
	struct tls_identity *identity;
	struct guardian *guardian;
	struct guardian_keeper keeper;
	struct protection *protections[CONFIG_INSTANCES_MAX];
	size_t count, running;
};

static size_t count(void *owner)
{
	return ((struct role *)owner)->count;
}

static void fill(void *owner, size_t index, struct status_instance *status)
{
	protection_status(((struct role *)owner)->protections[index], status);
}

/* The guardian is kept until nothing is captured any more. */
static void end(struct role *role)
{
	guardian_keeper_end(&role->keeper);
	process_end(&role->process);
}

static int release(void *owner, const char *name, struct err *err)
{
	struct role *role = owner;
	size_t i;

	for (i = 0; i < role->count; i++) {
		if (strcmp(role->config->instances[i].name, name) == 0)
			return protection_release(role->protections[i], err);
	}
	return err_set(err, RC_INVALID, "there is no instance %s here", name);
}

static void on_protection_stopped(void *owner)
{
	struct role *role = owner;

	if (--role->running == 0)
		end(role);
}

static void on_end(void *owner)
{
	struct role *role = owner;
	size_t i, n = role->count;

	role->count = 0;
	if (n == 0)
		end(role);
	for (i = 0; i < n; i++)
		protection_stop(role->protections[i], on_protection_stopped, role);
}

static int start(struct role *role, struct err *err)
{
	struct protection_site site = {
		.loop = &role->process.loop,
		.config = role->config,
		.identity = role->identity,
		.guardian = role->guardian,
	};
	size_t i;
	int rc = guardian_keeper_begin(&role->keeper, &role->process.loop, role->guardian, err);

	for (i = 0; i < role->config->ninstances && rc == RC_OK; i++) {
		rc = protection_start(&role->protections[i], &site, &role->config->instances[i],
				      err);
		if (rc == RC_OK)
			role->running = ++role->count;
	}
	return rc;
}

int role_primary_run(const struct config *config)
{
	struct role *role = mem_zalloc(1, sizeof(*role));
	struct err err = { 0 };
	int rc;

	if (role == NULL)
		return 1;
	role->config = config;
	/* First of all: without one nothing is captured. */
	rc = guardian_start(&role->guardian, &err);
	if (rc == RC_OK)
		rc = tls_identity_load(&role->identity, config->tls_ca, config->tls_cert,
				       config->tls_key, &err);
	if (rc == RC_OK)
		rc = process_begin(&role->process, config, count, fill, NULL, release, on_end, role,
				   &err);
	if (rc == RC_OK) {
		rc = start(role, &err);
		if (rc != RC_OK) {
			log_error("primary", "%s", err.text);
			process_stop(&role->process);
		} else {
			log_info("primary", "site %s: %zu instance(s), standby at %s", config->site,
				 role->count, config->connect);
		}
		process_run(&role->process);
	} else {
		log_error("primary", "%s", err.text);
	}
	tls_identity_free(role->identity);
	if (role->guardian != NULL)
		guardian_stop(role->guardian);
	mem_free(role);
	return rc == RC_OK ? 0 : 1;
}
