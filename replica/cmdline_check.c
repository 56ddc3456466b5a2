/*
 * What a standby takes from a primary.
 *
 * Whoever holds a primary's certificate writes these arguments, and the guest behind them. They
 * must not give him a program that runs here, nor a file that is written outside of the replica's
 * directory, which is QEMU's working directory. QEMU has many ways to both, so this is a list of
 * what may be, not of what may not. An argument is taken if and only if
 *
 *   (1) the table of rules (cmdline_rules.c) names the option, and does not call it the standby's
 *       own,
 *   (2) its value does not begin with a dash (but for -append): nothing that is a value to us can
 *       be an option to a QEMU that knows an option otherwise,
 *   (3) it is JSON only where QEMU takes JSON: elsewhere QEMU would read other keys than we do,
 *   (4) no value in it holds a slash or is "..", so that what it names lies in the replica's
 *       directory; but for the options and keys of the table with which the instance opens its
 *       images, firmware, keys and devices: these are its own choice, and QEMU's user is the limit,
 *   (5) but for the same, none is the name of a file of ours in that directory,
 *   (6) it is none of the exceptions below, which run a program, make a monitor or talk to other
 *       programs without naming a path. A tap says script=no and downscript=no: unsaid, QEMU runs
 *       its own scripts. -netdev bridge is not taken at all: there is always a helper that runs.
 *
 * A unix socket elsewhere is connected to only by what speaks a protocol of QEMU's own there:
 * vhost-user, the TPM emulator, the helper for persistent reservations, and a disk on a server (NBD,
 * Gluster), which says nothing before the server has greeted it. Who listens and is no such server
 * gets nothing of the guest's. It would from a serial port, which is not taken: a container engine,
 * another QEMU's monitor. Disks are not looked at for that, because it would be in vain: not only
 * the argument, also an image's header names a server (its backing file).
 */
#include "replica/cmdline_derive.h"

#include "appliance/base/mem.h"
#include "appliance/base/words.h"

#include <stdio.h>
#include <string.h>

struct checked {
	const struct cmdline_token *token;
	struct optstring options; /* of an option whose every path is allowed: empty */
};

/* Names and paths ---------------------------------------------------------------------------- */

bool cmdline_is_own_file(const char *name)
{
	static const char *const own[] = { CMDLINE_QMP_NAME, CMDLINE_TERM_NAME,
					   CMDLINE_TERM_NAME ".tmp", CMDLINE_DISKS_NAME };

	return WORDS_ONE_OF(name, own);
}

/* Beyond the working directory, where a value is the name of a file at all. */
static bool is_outside(const char *value)
{
	return strchr(value, '/') != NULL || strcmp(value, "..") == 0;
}

/* "file:NAME", "unix:NAME", "DIRECTORY/NAME" */
static const char *bare_name(const char *value)
{
	for (const char *at = value; *at != '\0'; at++) {
		if (*at == ':' || *at == '/')
			value = at + 1;
	}
	return value;
}

static int refuse_key(const struct checked *c, const char *key, const char *why, struct err *err)
{
	char text[128];

	(void)snprintf(text, sizeof(text), "%.40s%s%s", key, *key != '\0' ? "= " : "", why);
	return cmdline_refuse(c->token, &c->options, text, err);
}

static bool has_path_key(const struct cmdline_rule *rule, const char *key)
{
	for (const char *const *k = rule->paths; k != NULL && *k != NULL; k++) {
		if (strcmp(*k, key) == 0)
			return true;
	}
	return false;
}

/* Who talks through a chardev ---------------------------------------------------------------- */

bool cmdline_is_daemons(const struct cmdline_token *user, const struct optstring *options)
{
	static const char *const keys[] = { "type", "driver", "qom-type" };
	const char *name = cmdline_token_name(user);
	const char *kind = NULL;

	if (strcmp(name, "tpmdev") == 0)
		return true;
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]) && kind == NULL; i++)
		kind = optstring_get(options, keys[i]);
	return kind != NULL && (strncmp(kind, "vhost-user", strlen("vhost-user")) == 0 ||
				strcmp(kind, "cryptodev-vhost-user") == 0);
}

static bool names_id(const struct checked *c, const char *id)
{
	for (size_t i = 0; i < c->options.count; i++) {
		const struct optstring_item *item = &c->options.items[i];

		if (strcmp(bare_name(item->value != NULL ? item->value : item->key), id) == 0)
			return true;
	}
	return false;
}

/* NULL as well when it comes twice: QEMU takes the first. */
static const char *only_id(const struct optstring *options)
{
	const char *id = NULL;

	for (size_t i = 0; i < options->count; i++) {
		if (strcmp(options->items[i].key, "id") != 0)
			continue;
		if (id != NULL)
			return NULL;
		id = options->items[i].value;
	}
	return id;
}

static bool is_for_daemons(const struct checked *all, size_t count, const struct checked *chardev)
{
	const char *id = only_id(&chardev->options);

	for (size_t i = 0; i < count; i++) {
		if (id == NULL || (&all[i] != chardev && names_id(&all[i], id) &&
				   !cmdline_is_daemons(all[i].token, &all[i].options)))
			return false;
	}
	return true;
}

/* A server's socket is made anew: whatever file has its name goes. */
static bool may_listen(const struct optstring *options)
{
	for (size_t i = 0; i < options->count; i++) {
		if (strcmp(options->items[i].key, "server") == 0 &&
		    (options->items[i].value == NULL ||
		     strcmp(options->items[i].value, "off") != 0))
			return true;
	}
	return false;
}

static bool is_daemons_socket(const struct checked *all, size_t count, const struct checked *c,
			      const char *key)
{
	const char *backend = optstring_get(&c->options, "backend");

	return strcmp(cmdline_token_name(c->token), "chardev") == 0 && strcmp(key, "path") == 0 &&
	       backend != NULL && strcmp(backend, "socket") == 0 && !may_listen(&c->options) &&
	       is_for_daemons(all, count, c);
}

/* The exceptions ----------------------------------------------------------------------------- */

int cmdline_check_machine(const struct cmdline_token *token, const struct optstring_item *item,
			  struct err *err)
{
	if (strcmp(item->key, "accel") == 0)
		return cmdline_refuse(token, NULL, "accel= is the standby's own to set", err);
	return RC_OK;
}

int cmdline_check_object(const struct cmdline_token *token, const struct optstring_item *item,
			 struct err *err)
{
	static const char *const kinds[] = { "filter-dump", "qtest" }; /* write, obey */

	if (strcmp(item->key, "qom-type") != 0 || item->value == NULL)
		return RC_OK;
	if (cmdline_is_memory_kind(item->value))
		return cmdline_refuse(token, NULL, "memory is the standby's own to set", err);
	if (WORDS_ONE_OF(item->value, kinds))
		return cmdline_refuse(token, NULL, "an object of this kind is not taken", err);
	return RC_OK;
}

static bool has_suffix(const char *text, const char *suffix)
{
	size_t len = strlen(text), end = strlen(suffix);

	return len >= end && strcmp(text + len - end, suffix) == 0;
}

int cmdline_check_net(const struct cmdline_token *token, const struct optstring_item *item,
		      struct err *err)
{
	/* Not vde and passt: what they are told may be a program. */
	static const char *const types[] = { "none",   "nic",	 "user",       "tap",
					     "socket", "stream", "dgram",      "hubport",
					     "l2tpv3", "af-xdp", "vhost-user", "vhost-vdpa" };
	static const char *const scripts[] = { "script", "downscript" };
	static const char *const programs[] = { "helper", "smb", "guestfwd" };
	const char *value = item->value != NULL ? item->value : "";
	const char *key = item->key;

	/* "noscript" alone is script=off to QEMU: a program of that name. */
	if (item->value == NULL && strncmp(key, "no", 2) == 0)
		key += 2;
	if (has_suffix(key, ".type") && strcmp(value, "fd") == 0)
		return cmdline_refuse(token, NULL, "a file descriptor is not taken", err);
	if (strcmp(key, "type") == 0 && strcmp(value, "bridge") == 0)
		return cmdline_refuse(token, NULL,
				      "bridge runs QEMU's helper: only a tap that is there already "
				      "is taken, tap,ifname=NAME,script=no,downscript=no",
				      err);
	if (strcmp(key, "type") == 0 && !WORDS_ONE_OF(value, types))
		return cmdline_refuse(token, NULL, "a network of this type is not taken", err);
	if (WORDS_ONE_OF(key, scripts) && strcmp(value, "no") != 0)
		return cmdline_refuse(
			token, NULL,
			"script= and downscript= run programs: only \"no\" is taken from a primary",
			err);
	if (WORDS_ONE_OF(key, programs) || strncmp(key, "guestfwd.", 9) == 0)
		return cmdline_refuse(token, NULL, "helper=, smb= and guestfwd= run programs", err);
	return RC_OK;
}

/* Of several types QEMU takes the last; each has to do. */
static bool is_tap(const struct optstring *options)
{
	for (size_t i = 0; i < options->count; i++) {
		const struct optstring_item *item = &options->items[i];

		if (strcmp(item->key, "type") == 0 && item->value != NULL &&
		    strcmp(item->value, "tap") == 0)
			return true;
	}
	return false;
}

int cmdline_check_scripts(const struct cmdline_token *token, const struct optstring *options,
			  struct err *err)
{
	if (is_tap(options) && (optstring_get(options, "script") == NULL ||
				optstring_get(options, "downscript") == NULL))
		return cmdline_refuse(
			token, options,
			"a tap without script=no,downscript=no, for which QEMU runs its own scripts",
			err);
	return RC_OK;
}

int cmdline_check_display(const struct cmdline_token *token, const struct optstring_item *item,
			  struct err *err)
{
	if (strcmp(item->key, "none") != 0)
		return cmdline_refuse(token, NULL, "none is the only one that is taken", err);
	return RC_OK;
}

int cmdline_check_port(const struct cmdline_token *token, const struct optstring_item *item,
		       struct err *err)
{
	if (strncmp(item->key, "mon:", 4) == 0)
		return cmdline_refuse(token, NULL, "a monitor is not taken", err);
	return RC_OK;
}

/* All together ------------------------------------------------------------------------------- */

static int check_item(const struct checked *all, size_t count, const struct checked *c,
		      const struct optstring_item *item, struct err *err)
{
	const struct cmdline_rule *rule = c->token->rule;
	const char *key = item->value != NULL ? item->key : "";
	const char *value = item->value != NULL ? item->value : item->key;

	if (is_outside(key) || (is_outside(value) && !has_path_key(rule, key) &&
				!is_daemons_socket(all, count, c, key)))
		return refuse_key(c, key, "names something outside of the replica's directory",
				  err);
	if (cmdline_is_own_file(bare_name(value)))
		return refuse_key(c, key, "names a file of the standby's own", err);
	if (strcmp(item->key, "abstract") == 0)
		return refuse_key(c, "abstract", "is not taken: a socket outside of any directory",
				  err);
	return rule->check != NULL ? rule->check(c->token, item, err) : RC_OK;
}

static int check_items(const struct checked *all, size_t count, const struct checked *c,
		       struct err *err)
{
	int rc = cmdline_no_descriptors(c->token, &c->options, err);

	for (size_t i = 0; i < c->options.count && rc == RC_OK; i++)
		rc = check_item(all, count, c, &c->options.items[i], err);
	if (rc == RC_OK && c->token->rule != NULL && c->token->rule->check_whole != NULL)
		rc = c->token->rule->check_whole(c->token, &c->options, err);
	return rc;
}

/* (1) to (3); then the option's keys are read, for the rest. */
static int open_option(struct checked *c, struct err *err)
{
	const struct cmdline_token *token = c->token;
	const struct cmdline_rule *rule = token->rule;

	if (token->option == NULL)
		return RC_OK; /* an image */
	if (rule == NULL)
		return cmdline_refuse(token, NULL, "is no option that a standby takes", err);
	if (rule->ours)
		return cmdline_refuse(token, NULL, "is the standby's own to set", err);
	if (token->value == NULL || strcmp(rule->name, "append") == 0)
		return RC_OK;
	if (token->value[0] == '-')
		return cmdline_refuse(token, NULL, "a value that begins with a dash", err);
	if (token->value[0] == '{' && !rule->json)
		return cmdline_refuse(token, NULL, "takes no JSON", err);
	if (token->value[0] == '{' && strstr(token->value, "\\u0000") != NULL)
		return cmdline_refuse(token, NULL, "a NUL in JSON", err);
	return rule->any_path ? RC_OK : cmdline_options(token, rule->implied, &c->options, err);
}

static int check_all(struct checked *all, const struct cmdline_token *tokens, size_t count,
		     struct err *err)
{
	size_t opened = 0;
	int rc = RC_OK;

	for (; opened < count && rc == RC_OK; opened++) {
		all[opened].token = &tokens[opened];
		rc = open_option(&all[opened], err);
	}
	for (size_t i = 0; i < count && rc == RC_OK; i++)
		rc = check_items(all, count, &all[i], err);
	for (size_t i = 0; i < opened; i++)
		optstring_free(&all[i].options);
	return rc;
}

int cmdline_check(const struct cmdline_spec *spec, struct err *err)
{
	struct cmdline_token *tokens;
	struct checked *all;
	size_t count;
	int rc;

	rc = cmdline_tokens(&tokens, &count, spec->args.args, spec->args.count, 0, err);
	if (rc != RC_OK)
		return rc;
	all = mem_zalloc(count, sizeof(*all));
	if (all == NULL)
		rc = err_nomem(err, "a command line");
	else
		rc = check_all(all, tokens, count, err);
	mem_free(all);
	mem_free(tokens);
	return rc;
}
