/*
 * An agent ends when QEMU has let go of every instance. One that does not (it is stopped, or in slow
 * storage) may take for ever, and somebody waits for this process: after LEAVE_MS, or sooner when a
 * signal comes again, the rest is left to the guardian. That knows only one thing, the end of its
 * agent, so the process ends as if it were killed, and says so by its exit status.
 */
#include "appliance/role_primary.h"

#include "appliance/base/log.h"
#include "appliance/base/mem.h"
#include "appliance/options.h"
#include "appliance/process.h"
#include "appliance/protection.h"
#include "replica/guardian_keeper.h"

#include <string.h>
#include <unistd.h>

#define LEAVE_MS 20000	    /* well within what systemd grants (90 s) before it kills */
#define LEAVE_SOON_MS 1000  /* after a second signal: what is said to the standby gets out */
#define LEAVE_AGAIN_MS 1000 /* when there is no guardian at that moment */

struct role {
	struct process process;
	const struct config *config;
	struct guardian *guardian;
	struct guardian_keeper keeper;
	uv_timer_t leave;
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
		.etcd = witness_client_etcd(role->process.witness),
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

static void on_leave(uv_timer_t *timer)
{
	const struct role *role = timer->data;
	char names[256];

	if (guardian_watched(role->guardian, names, sizeof(names)) == 0 ||
	    !guardian_alive(role->guardian))
		return;
	log_error("primary",
		  "ending although QEMU has not let go of %s: the guardian process %d stays until "
		  "it does",
		  names, (int)guardian_pid(role->guardian));
	_exit(EXIT_LEFT);
}

static void leave_in(struct role *role, uint64_t ms)
{
	(void)uv_timer_start(&role->leave, on_leave, ms, LEAVE_AGAIN_MS);
}

static void end(void *owner)
{
	struct role *role = owner;

	(void)uv_timer_init(&role->process.loop, &role->leave);
	role->leave.data = role;
	leave_in(role, LEAVE_MS);
	process_stop_parts(&role->process);
}

static void hurry(void *owner)
{
	struct role *role = owner;

	if (uv_timer_get_due_in(&role->leave) > LEAVE_SOON_MS)
		leave_in(role, LEAVE_SOON_MS);
}

/* The guardian is kept until nothing is captured any more. */
static void ended(void *owner)
{
	struct role *role = owner;

	uv_close((uv_handle_t *)&role->leave, NULL);
	guardian_keeper_end(&role->keeper);
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
	.end = end,
	.hurry = hurry,
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
