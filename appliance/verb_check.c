/*
 * `understudy check`: everything about a configuration that can be told without starting anything.
 * What makes it unusable is a problem (exit status 1); what an operator should know before trusting
 * it is a warning.
 */
#include "appliance/base/files.h"
#include "appliance/base/json_text.h"
#include "appliance/base/mem.h"
#include "appliance/config.h"
#include "appliance/options.h"
#include "appliance/pki.h"
#include "appliance/state_dir.h"
#include "appliance/verb.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DAYS_LEFT_WARN 30 /* time to make new certificates without haste */

static const char about[] =
	"Checks a configuration file and the files it names. The role is told from link.connect or link.listen.\n"
	"Exit status: 0 fine, 1 not usable, 2 wrong usage.";

struct findings {
	const char *name;	       /* of the file */
	const char *role;	       /* NULL: not known (yet) */
	struct buf problems, warnings; /* a line each */
};

static void note(struct buf *to, const char *name, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static void note(struct buf *to, const char *name, const char *format, ...)
{
	char text[ERR_TEXT_MAX];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	(void)buf_printf(to, "%s: %s\n", name, text);
}
#define problem(findings, ...) note(&(findings)->problems, (findings)->name, __VA_ARGS__)
#define warning(findings, ...) note(&(findings)->warnings, (findings)->name, __VA_ARGS__)

/* ---- the checks ---- */

static bool check_file(struct findings *findings, const char *key, const char *path, int mode)
{
	if (path == NULL || access(path, mode) == 0)
		return true;
	problem(findings, "%s: %s: %s", key, path, strerror(errno));
	return false;
}

static void check_directory(struct findings *findings, const char *key, const char *path)
{
	struct stat st;

	if (!check_file(findings, key, path, R_OK | X_OK) || path == NULL)
		return;
	if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode))
		problem(findings, "%s: %s: is no directory", key, path);
}

static void check_tls(struct findings *findings, const struct config *config)
{
	bool there = check_file(findings, "tls.ca", config->tls_ca, R_OK);
	int64_t days_left;
	struct err err;

	there = check_file(findings, "tls.cert", config->tls_cert, R_OK) && there;
	there = check_file(findings, "tls.key", config->tls_key, R_OK) && there;
	if (!there)
		return;
	if (pki_inspect(config->tls_ca, config->tls_cert, config->tls_key,
			config_role_name(config->role), time(NULL), &days_left, &err) != RC_OK)
		problem(findings, "tls: %s", err.text);
	else if (days_left < DAYS_LEFT_WARN)
		warning(findings, "tls.cert: runs out in %lld days", (long long)days_left);
}

static bool is_local(const char *http)
{
	return strncmp(http, "unix:", 5) == 0 || strncmp(http, "127.", 4) == 0 ||
	       strncmp(http, "[::1]:", 6) == 0 || strncmp(http, "localhost:", 10) == 0;
}

static void check_http(struct findings *findings, const struct config *config)
{
	if (config->http == NULL)
		warning(findings,
			"http.listen: absent; nothing will answer `understudy status`, `takeover` or a monitor");
	else if (!is_local(config->http))
		warning(findings, "http.listen: everybody who reaches %s may read the status%s",
			config->http,
			config->role == CONFIG_STANDBY ? " and order a takeover" : "");
}

static void check_standby(struct findings *findings, const struct config *config)
{
	struct err err;
	bool lasting;

	(void)check_file(findings, "hypervisor.program", config->hypervisor, X_OK);
	check_directory(findings, "hypervisor.firmware", config->firmware);
	if (files_try(config->memory_dir, false, &err) != RC_OK)
		problem(findings, "memory_dir: %s", err.text);
	if (state_dir_try(config->state_dir, &lasting, &err) != RC_OK)
		problem(findings, "state_dir: %s", err.text);
	else if (!lasting)
		warning(findings,
			"state_dir: %s: is on a tmpfs; who serves would be forgotten when the machine restarts",
			config->state_dir);
	for (size_t i = 0; i < config->ninstances; i++) {
		if (config->instances[i].takeover == CONFIG_TAKEOVER_AUTOMATIC)
			warning(findings,
				"instances[%zu].takeover: automatic: if only the link between the sites fails, both may "
				"serve at once",
				i);
	}
}

static void check_primary(struct findings *findings, const struct config *config)
{
	const char *qmp;
	struct stat st;

	for (size_t i = 0; i < config->ninstances; i++) {
		qmp = config->instances[i].qmp;
		if (stat(qmp, &st) != 0)
			warning(findings, "instances[%zu].qmp: %s: %s (is its QEMU running?)", i,
				qmp, strerror(errno));
		else if (!S_ISSOCK(st.st_mode))
			problem(findings, "instances[%zu].qmp: %s: is no socket", i, qmp);
	}
}

static void check_surroundings(struct findings *findings, const struct config *config)
{
	check_tls(findings, config);
	check_http(findings, config);
	if (config->role == CONFIG_PRIMARY)
		check_primary(findings, config);
	else
		check_standby(findings, config);
}

/* ---- what is printed ---- */

static bool add_lines(cJSON *root, const char *key, const struct buf *lines)
{
	cJSON *list = cJSON_AddArrayToObject(root, key);
	size_t start = 0, end;
	bool done = list != NULL;
	char *line;

	for (; done && start < lines->len; start = end + 1) {
		for (end = start; lines->data[end] != '\n';)
			end++;
		line = mem_strndup((const char *)lines->data + start, end - start);
		done = line != NULL && cJSON_AddItemToArray(list, cJSON_CreateString(line));
		mem_free(line);
	}
	return done;
}

static int print_json(const struct findings *findings)
{
	bool fine = findings->problems.len == 0, done;
	char *text = NULL;
	cJSON *root;

	json_text_use_mem();
	root = cJSON_CreateObject();
	done = cJSON_AddBoolToObject(root, "ok", fine) != NULL &&
	       (findings->role == NULL ||
		cJSON_AddStringToObject(root, "role", findings->role) != NULL) &&
	       add_lines(root, "problems", &findings->problems) &&
	       add_lines(root, "warnings", &findings->warnings);
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

/* Each line of `lines` behind a word. */
static void print_lines(FILE *to, const char *word, const struct buf *lines)
{
	size_t start = 0, len;

	for (; start < lines->len; start += len) {
		for (len = 1; lines->data[start + len - 1] != '\n';)
			len++;
		(void)fprintf(to, "%s: %.*s", word, (int)len, (const char *)lines->data + start);
	}
}

static int print_text(const struct findings *findings, const struct config *config)
{
	bool fine = findings->problems.len == 0;

	print_lines(stderr, "error", &findings->problems);
	print_lines(stderr, "warning", &findings->warnings);
	if (!fine)
		return EXIT_FAILED;
	(void)printf("%s: fine: %s at site %s, %zu instance%s\n", findings->name,
		     config_role_name(config->role), config->site, config->ninstances,
		     config->ninstances == 1 ? "" : "s");
	return EXIT_FINE;
}

/* ---- the verb ---- */

/* Reads and checks the file. `role_name` NULL: the role is to be told from it, RC_STATE if it cannot. */
static int examine(struct findings *findings, struct config *config, const char *path,
		   const char *role_name, struct err *err)
{
	enum config_role role = CONFIG_PRIMARY;
	char *dir = config_directory(path);
	struct buf text = { 0 };
	int rc;

	rc = dir != NULL ? config_read(&text, path, err) : err_nomem(err, path);
	if (rc == RC_OK && (role_name == NULL || !config_role_named(role_name, &role)))
		rc = config_infer_role(&role, findings->name, (const char *)text.data, text.len,
				       err);
	if (rc == RC_OK) {
		findings->role = config_role_name(role);
		rc = config_check(config, role, findings->name, dir, (const char *)text.data,
				  text.len, &findings->problems, err);
	}
	if (rc == RC_OK)
		check_surroundings(findings, config);
	else if (findings->problems.len == 0)
		(void)buf_printf(&findings->problems, "%s\n", err->text);
	buf_free(&text);
	mem_free(dir);
	return rc;
}

static int check(const struct command *command, const char *path, const char *role_name, bool json)
{
	struct findings findings = { .name = strcmp(path, "-") == 0 ? "standard input" : path };
	struct config config = { 0 };
	struct err err;
	int status;

	if (examine(&findings, &config, path, role_name, &err) == RC_STATE)
		status = options_wrong(command, "%s; say --role", err.text);
	else if (findings.problems.failed || findings.warnings.failed)
		status = options_failed("check: out of memory");
	else if (json)
		status = print_json(&findings);
	else
		status = print_text(&findings, &config);
	config_free(&config);
	buf_free(&findings.problems);
	buf_free(&findings.warnings);
	return status;
}

static int print_tables(bool schema, enum config_role role)
{
	struct buf out = { 0 };
	struct err err;
	int rc = schema ? config_schema(role, &out, &err) : config_explain(role, &out, &err);

	if (rc == RC_OK)
		(void)fwrite(out.data, 1, out.len, stdout);
	buf_free(&out);
	return rc == RC_OK ? EXIT_FINE : options_failed(err.text);
}

int verb_check(int argc, char **argv)
{
	const char *path = NULL, *role_name = NULL, *schema = NULL;
	bool json = false, explain = false;
	enum config_role role = CONFIG_PRIMARY;
	const struct option options[] = {
		{ .name = "config",
		  .value = "FILE",
		  .text = &path,
		  .doc = "the file; -: standard input" },
		{ .name = "role",
		  .value = "ROLE",
		  .text = &role_name,
		  .doc = "primary or standby, if it cannot be told" },
		{ .name = "json", .flag = &json, .doc = "print what was found as JSON" },
		{ .name = "schema",
		  .value = "ROLE",
		  .text = &schema,
		  .doc = "print the JSON Schema of a role's file" },
		{ .name = "explain",
		  .flag = &explain,
		  .doc = "list the keys of the role's file (without --role: of both)" },
	};
	const struct command command = {
		.synopsis =
			"check (--config FILE [--role ROLE] [--json] | --schema ROLE | --explain [--role ROLE])",
		.about = about,
		.options = options,
		.count = sizeof(options) / sizeof(options[0])
	};
	const char *named;
	int status;

	if (!options_parse(&command, argc, argv, &status))
		return status;
	named = schema != NULL ? schema : role_name;
	if ((path != NULL) + (schema != NULL) + explain != 1)
		return options_wrong(&command, "one of --config, --schema and --explain is needed");
	if (named != NULL && !config_role_named(named, &role))
		return options_wrong(&command, "role '%s' is neither primary nor standby", named);
	if (path != NULL)
		return check(&command, path, role_name, json);
	if (schema != NULL || role_name != NULL)
		return print_tables(schema != NULL, role);
	(void)printf("# Keys of a primary's configuration\n\n");
	status = print_tables(false, CONFIG_PRIMARY);
	(void)printf("\n# Keys of a standby's configuration\n\n");
	return status == EXIT_FINE ? print_tables(false, CONFIG_STANDBY) : status;
}
