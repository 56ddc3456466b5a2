/*
 * `understudy check`: prints what preflight.c finds. An error makes the configuration unusable (exit
 * status 1, and the daemons do not start); a warning is what an operator should know before trusting
 * it.
 */
#include "appliance/base/json_text.h"
#include "appliance/base/mem.h"
#include "appliance/options.h"
#include "appliance/preflight.h"
#include "appliance/verb.h"

#include <cjson/cJSON.h>
#include <stdio.h>

static const char about[] =
	"Checks a configuration file and the files it names. The role is told from link.connect or link.listen.\n"
	"Exit status: 0 fine, 1 not usable, 2 wrong usage.";

static bool add_lines(cJSON *root, const char *key, const struct buf *lines)
{
	cJSON *list = cJSON_AddArrayToObject(root, key);
	bool done = list != NULL;
	const char *line;
	size_t at = 0;
	char *text;
	int len;

	while (done && (line = preflight_line(lines, &at, &len)) != NULL) {
		text = mem_strndup(line, (size_t)len);
		done = text != NULL && cJSON_AddItemToArray(list, cJSON_CreateString(text));
		mem_free(text);
	}
	return done;
}

static int print_json(const struct preflight *preflight)
{
	bool fine = preflight->errors.len == 0, done;
	char *text = NULL;
	cJSON *root;

	json_text_use_mem();
	root = cJSON_CreateObject();
	done = cJSON_AddBoolToObject(root, "ok", fine) != NULL &&
	       (!preflight->role_known ||
		cJSON_AddStringToObject(root, "role", config_role_name(preflight->config.role)) !=
			NULL) &&
	       add_lines(root, "problems", &preflight->errors) &&
	       add_lines(root, "warnings", &preflight->warnings);
	if (done)
		text = cJSON_Print(root);
	if (text != NULL)
		(void)printf("%s\n", text);
	mem_free(text);
	cJSON_Delete(root);
	if (text == NULL)
		return options_failed("check: out of memory");
	return fine ? EXIT_FINE : EXIT_FAILED;
}

static int print_text(const struct preflight *preflight)
{
	const struct config *config = &preflight->config;

	preflight_print(preflight);
	if (preflight->errors.len > 0)
		return EXIT_FAILED;
	(void)printf("%s: fine: %s at site %s, %zu instance%s\n", preflight->name,
		     config_role_name(config->role), config->site, config->ninstances,
		     config->ninstances == 1 ? "" : "s");
	return EXIT_FINE;
}

/* ---- the verb ---- */

/* The other site's file, for what only both can tell. */
static int check_peer(struct preflight *preflight, const char *peer_path, struct err *err)
{
	struct config peer;
	int rc = config_load(&peer, peer_path, err);

	if (rc == RC_OK)
		rc = preflight_pair(preflight, &peer, err);
	else
		(void)buf_printf(&preflight->errors, "%s\n", err->text);
	config_free(&peer);
	return rc;
}

static int check(const char *path, const char *peer_path, const enum config_role *role, bool json)
{
	struct preflight preflight;
	struct err err;
	int status, rc = preflight_run(&preflight, role, path, &err);

	if (rc == RC_STATE)
		(void)buf_printf(&preflight.errors, "%s; say --role\n", err.text);
	if (rc == RC_OK)
		rc = preflight_look(&preflight, &err);
	if (rc == RC_OK && peer_path != NULL)
		rc = check_peer(&preflight, peer_path, &err);

	if (rc == RC_NOMEM || preflight.errors.failed)
		status = options_failed("check: out of memory");
	else if (json)
		status = print_json(&preflight);
	else
		status = print_text(&preflight);
	preflight_free(&preflight);
	return status;
}

static int print(int rc, struct buf *out, const struct err *err)
{
	if (rc == RC_OK)
		(void)fwrite(out->data, 1, out->len, stdout);
	buf_free(out);
	return rc == RC_OK ? EXIT_FINE : options_failed(err->text);
}

static int print_schema(const enum config_role *role)
{
	struct buf out = { 0 };
	struct err err;
	int rc = config_schema(role, &out, &err);

	return print(rc, &out, &err);
}

/* NULL: the keys of both roles. */
static int print_keys(const enum config_role *only)
{
	struct buf out = { 0 };
	struct err err;
	int rc = RC_OK;

	(void)buf_printf(&out, "Relative paths are relative to the configuration file.\n");
	for (enum config_role role = 0; role < CONFIG_ROLES && rc == RC_OK; role++) {
		if (only != NULL && role != *only)
			continue;
		(void)buf_printf(&out, "\n# Keys of a %s's configuration\n\n",
				 config_role_name(role));
		rc = config_explain(role, &out, &err);
	}
	return print(rc, &out, &err);
}

/* An option without effect would be a wish that nobody hears. NULL: they go together. */
static const char *misfit(bool config, bool schema, bool explain, bool peer, bool json)
{
	if (config + schema + explain > 1)
		return "--config, --schema and --explain exclude each other";
	if (config + schema + explain == 0)
		return "--config, --schema or --explain is needed";
	if (peer && !config)
		return "--peer is for --config only";
	if (json && !config)
		return schema ? "--json is for --config only; --schema prints JSON without it" :
				"--json is for --config only; --schema prints the keys as JSON";
	return NULL;
}

int verb_check(int argc, char **argv)
{
	const char *path = NULL, *peer_path = NULL, *role_name = NULL;
	bool json = false, schema = false, explain = false;
	enum config_role role = CONFIG_PRIMARY;
	const struct option options[] = {
		{ .name = "config",
		  .value = "FILE",
		  .text = &path,
		  .doc = "the file; -: standard input" },
		{ .name = "peer",
		  .value = "FILE",
		  .text = &peer_path,
		  .doc = "the other site's file: may the two be used together?" },
		{ .name = "role",
		  .value = "ROLE",
		  .text = &role_name,
		  .doc = "primary or standby: of a file, if it cannot be told; of the keys that are listed" },
		{ .name = "json", .flag = &json, .doc = "print what was found as JSON" },
		{ .name = "schema",
		  .flag = &schema,
		  .doc = "print the JSON Schema of the role's file (without --role: of either)" },
		{ .name = "explain",
		  .flag = &explain,
		  .doc = "list the keys of the role's file (without --role: of both)" },
	};
	const struct command command = {
		.synopsis =
			"check (--config FILE [--peer FILE] [--json] | --schema | --explain) [--role ROLE]",
		.about = about,
		.options = options,
		.count = sizeof(options) / sizeof(options[0])
	};
	const enum config_role *named;
	const char *wrong;
	int status;

	if (!options_parse(&command, argc, argv, &status))
		return status;
	wrong = misfit(path != NULL, schema, explain, peer_path != NULL, json);
	if (wrong != NULL)
		return options_wrong(&command, "%s", wrong);
	if (role_name != NULL && !config_role_named(role_name, &role))
		return options_wrong(&command, "role '%s' is neither primary nor standby",
				     role_name);
	named = role_name != NULL ? &role : NULL;
	if (path != NULL)
		return check(path, peer_path, named, json);
	return schema ? print_schema(named) : print_keys(named);
}
