/*
 * What a guest's ports are connected to outside of QEMU: terminals, files, sockets, network back
 * ends, sound.
 *
 * The guest keeps every port it had. Output that went to a file or a terminal of the primary goes
 * to a log in the replica's own directory; a socket that the primary's QEMU listens on is listened
 * on there too, without waiting for somebody to connect. Names are relative (the directory is
 * QEMU's working directory), free of anything but letters, digits, dots, dashes and underscores,
 * and given out once.
 */
#include "replica/cmdline_derive.h"

#include "appliance/base/mem.h"
#include "appliance/base/words.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#define NAME_MAX_LEN 64 /* of a file of ours: a unix socket's whole path has 107 bytes */
#define NAME_TRIES 99 /* "qga.sock", "qga.sock-2" ...: more ports of one name than QEMU has ports */
#define TEXT_MAX_LEN 4096 /* of a rewritten legacy device string: a path and some flags */

/* Names -------------------------------------------------------------------------------------- */

static bool is_taken(const struct cmdline_derivation *d, const char *name)
{
	for (size_t i = 0; i < d->names.count; i++) {
		if (strcmp(d->names.args[i], name) == 0)
			return true;
	}
	return cmdline_is_own_file(name);
}

/* A free name made from the last part of `wanted`. */
static int take_name(struct cmdline_derivation *d, char name[NAME_MAX_LEN], const char *wanted,
		     struct err *err)
{
	const char *slash = strrchr(wanted, '/');
	const char *base = slash != NULL ? slash + 1 : wanted;
	char clean[NAME_MAX_LEN - 4];
	size_t len = 0;

	for (; base[len] != '\0' && len + 1 < sizeof(clean); len++) {
		char c = base[len];
		bool ok = isalnum((unsigned char)c) || (strchr("._-", c) != NULL && len > 0);

		clean[len] = ok ? c : '_';
	}
	clean[len] = '\0';
	(void)snprintf(name, NAME_MAX_LEN, "%s", len > 0 ? clean : "port");
	for (int i = 2; is_taken(d, name) && i <= NAME_TRIES; i++)
		(void)snprintf(name, NAME_MAX_LEN, "%s-%d", len > 0 ? clean : "port", i);
	return cmdline_add(&d->names, name, err);
}

/* Nobody may be there to connect when the replica starts. */
static int do_not_wait(struct optstring *options, struct err *err)
{
	optstring_remove(options, "nowait");
	optstring_remove(options, "wait");
	return optstring_set_bool(options, "wait", false, err);
}

static int redirect(struct cmdline_derivation *d, struct optstring *options, const char *key,
		    struct err *err)
{
	const char *path = optstring_get(options, key);
	char name[NAME_MAX_LEN];
	int rc;

	if (path == NULL)
		return RC_OK;
	rc = take_name(d, name, path, err);
	return rc == RC_OK ? optstring_set(options, key, name, err) : rc;
}

/* -serial, -parallel, -debugcon -------------------------------------------------------------- */

static bool starts_with(const char *text, const char *prefix)
{
	return strncmp(text, prefix, strlen(prefix)) == 0;
}

static bool is_terminal_or_file(const char *value)
{
	static const char *const prefixes[] = { "vc",	 "stdio", "pty", "file:",
						"pipe:", "con:",  "COM", "/dev/" };

	for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++) {
		if (starts_with(value, prefixes[i]))
			return true;
	}
	return false;
}

static int log_port(struct cmdline_derivation *d, const struct cmdline_token *token,
		    const char *kind, unsigned index, struct err *err)
{
	char log[NAME_MAX_LEN], name[NAME_MAX_LEN], text[NAME_MAX_LEN + 8];
	int rc;

	(void)snprintf(log, sizeof(log), "%s-%u.log", kind, index);
	rc = take_name(d, name, log, err);
	(void)snprintf(text, sizeof(text), "file:%s", name);
	return rc == RC_OK ? cmdline_emit(d, token->option, text, err) : rc;
}

/* "unix:PATH,server" and "tcp:HOST:PORT,server": what follows `head`, as options. */
static int listen_at(struct cmdline_derivation *d, const struct cmdline_token *token,
		     const char *value, size_t head, struct optstring *options, struct err *err)
{
	char text[TEXT_MAX_LEN];
	char *rest = NULL;
	int len = 0, rc;

	rc = do_not_wait(options, err);
	if (rc == RC_OK)
		rc = redirect(d, options, "path", err);
	if (rc == RC_OK)
		rc = optstring_print(options, &rest, err);
	if (rc == RC_OK)
		len = snprintf(text, sizeof(text), "%.*s%s", (int)head, value, rest);
	if (rc == RC_OK && (len < 0 || (size_t)len >= sizeof(text)))
		rc = cmdline_refuse(token, NULL, "is too long", err);
	if (rc == RC_OK)
		rc = cmdline_emit(d, token->option, text, err);
	mem_free(rest);
	return rc;
}

static int apply_port(struct cmdline_derivation *d, const struct cmdline_token *token,
		      const char *kind, unsigned index, struct err *err)
{
	const char *value = token->value, *comma;
	bool is_unix, is_server;
	struct optstring options;
	size_t head;
	int rc;

	if (starts_with(value, "mon:"))
		value += strlen("mon:"); /* the monitor goes, the port stays */
	if (is_terminal_or_file(value))
		return log_port(d, token, kind, index, err);
	is_unix = starts_with(value, "unix:");
	comma = strchr(value, ',');
	if (!is_unix && (comma == NULL || starts_with(value, "udp:")))
		return cmdline_emit(d, token->option, value, err);
	head = is_unix ? strlen("unix:") : (size_t)(comma + 1 - value);
	if (optstring_parse(&options, value + head, is_unix ? "path" : NULL, err) != RC_OK)
		return cmdline_name(token, err);
	is_server = optstring_is_on(&options, "server");
	if (is_server)
		rc = listen_at(d, token, value, head, &options, err);
	else if (is_unix)
		rc = log_port(d, token, kind, index, err);
	else
		rc = cmdline_emit(d, token->option, value, err);
	optstring_free(&options);
	return rc;
}

int cmdline_apply_serial(struct cmdline_derivation *d, const struct cmdline_token *token,
			 struct err *err)
{
	return apply_port(d, token, "console", d->serials++, err);
}

int cmdline_apply_parallel(struct cmdline_derivation *d, const struct cmdline_token *token,
			   struct err *err)
{
	return apply_port(d, token, "parallel", d->parallels++, err);
}

int cmdline_apply_debugcon(struct cmdline_derivation *d, const struct cmdline_token *token,
			   struct err *err)
{
	return apply_port(d, token, "debugcon", d->debugcons++, err);
}

/* -chardev ----------------------------------------------------------------------------------- */

/* A monitor names it, and nothing that stays does. */
static bool is_monitors_only(const struct cmdline_derivation *d, const struct cmdline_token *own,
			     const char *id)
{
	bool by_monitor = false;

	for (size_t i = 0; i < d->ntokens; i++) {
		const struct cmdline_token *t = &d->tokens[i];

		if (t != own && t->value != NULL && cmdline_is_dropped(t) &&
		    cmdline_mentions(t->value, id))
			by_monitor = true;
	}
	return by_monitor && !cmdline_is_used(d, own, id);
}

/* Another back end for the same id; a multiplexer stays one. */
static int replace_chardev(struct cmdline_derivation *d, const struct optstring *old,
			   const char *id, bool log, struct err *err)
{
	struct optstring new = { 0 };
	const char *mux = optstring_get(old, "mux");
	char wanted[LAYOUT_NAME_MAX], name[NAME_MAX_LEN];
	int rc = optstring_set(&new, "backend", log ? "file" : "null", err);

	new.implied = true;
	(void)snprintf(wanted, sizeof(wanted), "%.200s.log", id);
	if (rc == RC_OK)
		rc = optstring_set(&new, "id", id, err);
	if (rc == RC_OK && log)
		rc = take_name(d, name, wanted, err);
	if (rc == RC_OK && log)
		rc = optstring_set(&new, "path", name, err);
	if (rc == RC_OK && mux != NULL)
		rc = optstring_set(&new, "mux", mux, err);
	if (rc == RC_OK)
		rc = cmdline_emit_options(d, "-chardev", &new, err);
	optstring_free(&new);
	return rc;
}

/*
 * All that use it are back ends whose other end is a program of the instance's: swtpm, virtiofsd,
 * a switch.
 */
static bool is_for_daemons(const struct cmdline_derivation *d, const struct cmdline_token *own,
			   const char *id)
{
	struct optstring options;
	bool daemons = true;
	struct err ignored;

	for (size_t i = 0; i < d->ntokens && daemons; i++) {
		const struct cmdline_token *t = &d->tokens[i];

		if (t == own || t->value == NULL || cmdline_is_dropped(t) ||
		    !cmdline_mentions(t->value, id))
			continue;
		daemons = t->rule != NULL &&
			  optstring_parse(&options, t->value, t->rule->implied, &ignored) == RC_OK;
		if (daemons) {
			daemons = cmdline_is_daemons(t, &options);
			optstring_free(&options);
		}
	}
	return daemons;
}

static int keep_chardev(struct cmdline_derivation *d, const struct cmdline_token *token,
			struct optstring *options, const char *backend, struct err *err)
{
	int rc = cmdline_no_descriptors(token, options, err);

	if (rc == RC_OK && strcmp(backend, "socket") == 0 && optstring_is_on(options, "server")) {
		rc = do_not_wait(options, err);
		if (rc == RC_OK)
			rc = redirect(d, options, "path", err);
	}
	if (rc == RC_OK)
		rc = redirect(d, options, "logfile", err);
	if (rc == RC_OK)
		rc = cmdline_emit_options(d, token->option, options, err);
	return rc;
}

int cmdline_apply_chardev(struct cmdline_derivation *d, const struct cmdline_token *token,
			  struct err *err)
{
	static const char *const logged[] = { "file", "stdio", "pty",	 "pipe",     "console",
					      "vc",   "tty",   "serial", "parallel", "parport" };
	static const char *const gone[] = { "spicevmc", "spiceport", "qemu-vdagent", "dbus" };
	struct optstring options;
	const char *backend, *id;
	int rc = cmdline_options(token, "backend", &options, err);

	if (rc != RC_OK)
		return rc;
	backend = optstring_get(&options, "backend");
	id = optstring_get(&options, "id");
	if (backend == NULL || id == NULL)
		rc = cmdline_keep(d, token, err); /* the primary's QEMU would not have taken it */
	else if (is_monitors_only(d, token, id))
		rc = RC_OK;
	else if (WORDS_ONE_OF(backend, logged) ||
		 (optstring_get(&options, "path") != NULL && !optstring_is_on(&options, "server") &&
		  !is_for_daemons(d, token, id)))
		rc = replace_chardev(d, &options, id, true, err);
	else if (WORDS_ONE_OF(backend, gone))
		rc = replace_chardev(d, &options, id, false, err);
	else
		rc = keep_chardev(d, token, &options, backend, err);
	optstring_free(&options);
	return rc;
}

/* Network and sound -------------------------------------------------------------------------- */

/*
 * Unix sockets of `-netdev dgram` and `stream` move to the replica's directory, both ends: the
 * guest's port there is the standby's own.
 */
static int redirect_sockets(struct cmdline_derivation *d, struct optstring *options,
			    struct err *err)
{
	static const char *const addresses[] = { "local", "remote", "addr" };
	char type[16], path[16];
	const char *is;
	int rc = RC_OK;

	for (size_t i = 0; i < sizeof(addresses) / sizeof(addresses[0]) && rc == RC_OK; i++) {
		(void)snprintf(type, sizeof(type), "%s.type", addresses[i]);
		(void)snprintf(path, sizeof(path), "%s.path", addresses[i]);
		is = optstring_get(options, type);
		if (is != NULL && strcmp(is, "unix") == 0)
			rc = redirect(d, options, path, err);
	}
	return rc;
}

static bool has_descriptor_address(const struct optstring *options)
{
	static const char *const types[] = { "local.type", "remote.type", "addr.type" };

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		const char *is = optstring_get(options, types[i]);

		if (is != NULL && strcmp(is, "fd") == 0)
			return true;
	}
	return false;
}

/* Also those that QEMU runs unless told otherwise. */
static int stop_scripts(struct cmdline_derivation *d, struct optstring *options, struct err *err)
{
	static const char *const keys[] = { "script", "downscript" };
	const char *type = optstring_get(options, "type");
	int rc = RC_OK;

	if (type == NULL || strcmp(type, "tap") != 0)
		return RC_OK;

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]) && rc == RC_OK; i++) {
		const char *is = optstring_get(options, keys[i]);

		if (is != NULL && strcmp(is, "no") == 0)
			continue;
		rc = optstring_set(options, keys[i], "no", err);
		if (rc == RC_OK)
			rc = cmdline_note(d,
					  "a tap's scripts do not run at the standby: make the "
					  "replica's interface there beforehand",
					  err);
	}
	return rc;
}

int cmdline_apply_net(struct cmdline_derivation *d, const struct cmdline_token *token,
		      struct err *err)
{
	const struct cmdline_card *card;
	struct optstring options;
	int rc = cmdline_options(token, "type", &options, err);

	if (rc != RC_OK)
		return rc;
	card = cmdline_find_card(d->spec, optstring_get(&options, "id"));
	if (card != NULL) {
		optstring_free(&options);
		return cmdline_emit_card(d, card, err);
	}
	rc = cmdline_no_descriptors(token, &options, err);
	if (rc == RC_OK && has_descriptor_address(&options))
		rc = cmdline_cannot_travel(token, &options, "an address of type fd", err);
	if (rc == RC_OK)
		rc = redirect_sockets(d, &options, err);
	if (rc == RC_OK)
		rc = stop_scripts(d, &options, err);
	if (rc == RC_OK)
		rc = cmdline_emit_options(d, token->option, &options, err);
	optstring_free(&options);
	return rc;
}

int cmdline_apply_audio(struct cmdline_derivation *d, const struct cmdline_token *token,
			struct err *err)
{
	static const char *const keys[] = { "id", "model" };
	struct optstring old, new = { 0 };
	const char *value;
	int rc = cmdline_options(token, "driver", &old, err);

	if (rc != RC_OK)
		return rc;
	rc = optstring_set(&new, "driver", "none", err);
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]) && rc == RC_OK; i++) {
		value = optstring_get(&old, keys[i]);
		if (value != NULL)
			rc = optstring_set(&new, keys[i], value, err);
	}
	if (rc == RC_OK)
		rc = cmdline_emit_options(d, token->option, &new, err);
	optstring_free(&old);
	optstring_free(&new);
	return rc;
}
