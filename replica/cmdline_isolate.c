#include "replica/cmdline_isolate.h"

#include "appliance/base/mem.h"
#include "replica/cmdline_derive.h"

#include <string.h>

#define HAS(list, word) has(list, sizeof(list) / sizeof((list)[0]), word)

static bool has(const char *const *list, size_t count, const char *word)
{
	size_t i;

	for (i = 0; i < count && strcmp(list[i], word) != 0; i++)
		;
	return i < count;
}

static bool begins(const char *text, const char *prefix)
{
	return strncmp(text, prefix, strlen(prefix)) == 0;
}

static bool is_read_only(const struct optstring *options)
{
	const char *media = optstring_get(options, "media");

	return optstring_is_on(options, "readonly") || optstring_is_on(options, "read-only") ||
	       (media != NULL && strcmp(media, "cdrom") == 0);
}

/* A disk of which the copy has an image of its own, by the same name in its directory. */
static bool is_own_disk(const struct cmdline_spec *spec, const struct optstring *options)
{
	const char *file = optstring_get(options, "file");
	size_t i;

	if (file == NULL)
		file = optstring_get(options, "file.filename");
	for (i = 0; file != NULL && i < spec->ndisks; i++)
		if (strcmp(spec->disks[i].file, file) == 0)
			return true;
	return false;
}

static int check_disk(const struct cmdline_spec *spec, const struct cmdline_token *token,
		      const struct optstring *options, struct err *err)
{
	if (is_read_only(options) || is_own_disk(spec, options))
		return RC_OK;
	return cmdline_refuse(
		token, options,
		"a disk that the instance itself may be writing to: beside it no copy can have that",
		err);
}

/* ---- network ------------------------------------------------------------------------------------ */

static int remove_all(struct optstring *options, const char *prefix, struct err *err)
{
	size_t i = 0;
	char *key;

	while (i < options->count) {
		if (!begins(options->items[i].key, prefix)) {
			i++;
			continue;
		}
		key = mem_strdup(options->items[i].key); /* which goes with it */
		if (key == NULL)
			return err_nomem(err, "a command line");
		optstring_remove(options, key);
		mem_free(key);
		i = 0;
	}
	return RC_OK;
}

/* A socket in the replica's own directory, at both ends. */
static bool is_own_socket(const struct optstring *options)
{
	static const char *const keys[] = { "local.type", "remote.type", "addr.type" };
	bool any = false;
	size_t i;

	for (i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		const char *type = optstring_get(options, keys[i]);

		if (type != NULL && strcmp(type, "unix") != 0)
			return false;
		any = any || type != NULL;
	}
	return any;
}

static int isolate_network(const struct cmdline_token *token, struct optstring *options,
			   struct err *err)
{
	static const char *const harmless[] = { "none", "nic", "hubport" };
	static const char *const sockets[] = { "dgram", "stream" };
	const char *type = optstring_get(options, "type");
	int rc;

	if (type == NULL || HAS(harmless, type) || (HAS(sockets, type) && is_own_socket(options)))
		return RC_OK;
	if (strcmp(type, "tap") == 0) {
		optstring_remove(options, "ifname");
		optstring_remove(options, "br");
		return RC_OK;
	}
	if (strcmp(type, "user") == 0) {
		rc = remove_all(options, "hostfwd", err);
		return rc == RC_OK ? optstring_set_bool(options, "restrict", true, err) : rc;
	}
	return cmdline_refuse(token, options, "a network that no copy can be kept out of", err);
}

/* ---- ports -------------------------------------------------------------------------------------- */

static int check_chardev(const struct cmdline_token *token, const struct optstring *options,
			 struct err *err)
{
	const char *kind = optstring_get(options, "backend");

	if (kind == NULL || (strcmp(kind, "udp") != 0 && optstring_get(options, "host") == NULL &&
			     optstring_get(options, "port") == NULL))
		return RC_OK;
	return cmdline_refuse(token, options, "a port that leads to the network", err);
}

static int check_port(const struct cmdline_token *token, struct err *err)
{
	static const char *const kinds[] = { "tcp:", "telnet:", "udp:", "websocket:" };
	size_t i;

	for (i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (begins(token->value, kinds[i]))
			return cmdline_refuse(token, NULL, "a port that leads to the network", err);
	}
	return RC_OK;
}

/* ---- all ---------------------------------------------------------------------------------------- */

/* *text: what becomes of its value, mem_free(); NULL: it stays. */
static int isolate_options(const struct cmdline_spec *spec, const struct cmdline_token *token,
			   const char *name, char **text, struct err *err)
{
	static const char *const networks[] = { "netdev", "nic", "net" };
	const bool network = HAS(networks, name);
	struct optstring options;
	int rc = cmdline_options(token, token->rule->implied, &options, err);

	*text = NULL;
	if (rc != RC_OK)
		return rc;
	if (network)
		rc = isolate_network(token, &options, err);
	else if (strcmp(name, "chardev") == 0)
		rc = check_chardev(token, &options, err);
	else
		rc = check_disk(spec, token, &options, err);
	if (rc == RC_OK && network)
		rc = optstring_print(&options, text, err);
	optstring_free(&options);
	return rc;
}

static int isolate(const struct cmdline_spec *spec, const struct cmdline_token *token, char **text,
		   struct err *err)
{
	static const char *const listed[] = {
		"netdev", "nic", "net", "chardev", "drive", "blockdev"
	};
	static const char *const images[] = { "hda", "hdb", "hdc",    "hdd",	 "fda",
					      "fdb", "sd",  "pflash", "mtdblock" };
	static const char *const ports[] = { "serial", "parallel", "debugcon" };
	const char *name = token->option != NULL ? cmdline_token_name(token) : "";

	*text = NULL;
	if (token->option == NULL || HAS(images, name))
		return cmdline_refuse(token, NULL,
				      "a disk that the instance itself may be writing to: beside "
				      "it no copy can have that",
				      err);
	if (token->value != NULL && HAS(listed, name))
		return isolate_options(spec, token, name, text, err);
	return token->value != NULL && HAS(ports, name) ? check_port(token, err) : RC_OK;
}

static int copy(struct cmdline *out, const struct cmdline_spec *spec,
		const struct cmdline_token *token, struct err *err)
{
	char *text;
	int rc = isolate(spec, token, &text, err);

	if (rc == RC_OK)
		rc = cmdline_add(out, token->option, err);
	if (rc == RC_OK && token->value != NULL)
		rc = cmdline_add(out, text != NULL ? text : token->value, err);
	mem_free(text);
	return rc;
}

/* Without any of these options QEMU adds a card by itself, with a way to the network. */
static int check_default_card(const struct cmdline_token *tokens, size_t count, struct err *err)
{
	static const char *const names[] = { "nodefaults", "netdev", "nic", "net" };
	size_t i;

	for (i = 0; i < count; i++) {
		if (tokens[i].option != NULL && HAS(names, cmdline_token_name(&tokens[i])))
			return RC_OK;
	}
	return err_set(err, RC_UNSUPPORTED,
		       "its network card is QEMU's own default, which no copy can be kept out of");
}

int cmdline_isolate(struct cmdline_spec *out, const struct cmdline_spec *spec, struct err *err)
{
	struct cmdline_token *tokens;
	size_t count, i;
	int rc;

	*out = (struct cmdline_spec){ .nbackends = spec->nbackends, .ndisks = spec->ndisks };
	memcpy(out->disks, spec->disks, sizeof(out->disks));
	for (i = 0; i < out->ndisks; i++)
		out->disks[i].target = NULL; /* its images are files of its own */
	memcpy(out->backends, spec->backends, sizeof(out->backends));
	memcpy(out->accel, spec->accel, sizeof(out->accel));
	rc = cmdline_tokens(&tokens, &count, spec->args.args, spec->args.count, 0, err);
	if (rc != RC_OK)
		return rc;
	rc = check_default_card(tokens, count, err);
	for (i = 0; rc == RC_OK && i < count; i++)
		rc = copy(&out->args, spec, &tokens[i], err);
	mem_free(tokens);
	return rc;
}
