#include "appliance/run_role.h"

#include "appliance/base/log.h"
#include "appliance/options.h"
#include "appliance/preflight.h"
#include "appliance/version.h"

#include <sys/prctl.h>
#include <sys/resource.h>

/*
 * A core would hold keys and guest memory; and while it is written the sockets of a dead agent stay
 * open, so that its guardian would not see its end. And no process of the same user, a QEMU that a guest has broken out of, say, gets
 * at this one's memory by /proc.
 */
static void keep_memory_private(void)
{
	const struct rlimit none = { 0, 0 };

	(void)setrlimit(RLIMIT_CORE, &none);
	(void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}

/* Logs what the checks found; whether the role may be started. */
static bool is_ready(struct preflight *preflight, enum config_role role, const char *path,
		     bool debug)
{
	const struct config *config = &preflight->config;
	struct err err;
	int rc = preflight_run(preflight, &role, path, &err), len;
	const char *line;
	size_t at;

	log_setup(config->log_debug || debug ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO, config->log_json);
	for (at = 0; (line = preflight_line(&preflight->warnings, &at, &len)) != NULL;)
		log_warn("config", "%.*s", len, line);
	for (at = 0; (line = preflight_line(&preflight->errors, &at, &len)) != NULL;)
		log_error("config", "%.*s", len, line);
	if (rc == RC_NOMEM)
		log_error("config", "%s", err.text);
	return rc == RC_OK;
}

int run_role(enum config_role role, const char *synopsis, const char *about,
	     int (*run)(const struct config *config), int argc, char **argv)
{
	const char *path = NULL, *problems = NULL;
	bool debug = false;
	const struct option options[] = {
		{ .name = "config",
		  .value = "FILE",
		  .text = &path,
		  .doc = "its configuration (JSON); -: standard input" },
		{ .name = "problems",
		  .value = "FILE",
		  .text = &problems,
		  .doc = "what is wrong with the machine, a line each, as process 1 of the image knows it: is told at /healthz, too" },
		{ .name = "debug", .flag = &debug, .doc = "log more, whatever log.debug says" },
	};
	const struct command command = {
		.synopsis = synopsis, .about = about, .options = options, .count = 3
	};
	struct preflight preflight;
	int status;

	if (!options_parse(&command, argc, argv, &status))
		return status;
	if (path == NULL)
		return options_wrong(&command, "--config FILE is missing");
	keep_memory_private(); /* before there is a key in it */
	if (!is_ready(&preflight, role, path, debug)) {
		status = EXIT_FAILED;
	} else {
		preflight.config.machine_problems = problems;
		log_info("main", "understudy %s, %s at site %s, configuration %s",
			 UNDERSTUDY_VERSION, config_role_name(role), preflight.config.site, path);
		status = run(&preflight.config);
	}
	preflight_free(&preflight);
	return status;
}
