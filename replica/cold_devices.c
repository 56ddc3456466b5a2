/*
 * What cannot be counted exactly is counted too high: a device that was added unseen is what there
 * was before, an instance that is refused for nothing is not. -drive and its short forms make an
 * unnamed device for if=virtio, and on machines whose disks are that by default. An option that we
 * do not know, or a file of options, may make any.
 */
#include "replica/cold_devices.h"

#include "appliance/base/mem.h"
#include "appliance/base/words.h"
#include "replica/cmdline_derive.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

void cold_devices_free(struct cold_devices *cold)
{
	cmdline_free(&cold->ids);
	*cold = (struct cold_devices){ 0 };
}

static int add_device(struct cold_devices *cold, const struct optstring *options, struct err *err)
{
	bool named = false;
	int rc = RC_OK;

	/* Of an id that is there twice it takes one or the other. */
	for (size_t i = 0; i < options->count && rc == RC_OK; i++) {
		if (strcmp(options->items[i].key, "id") != 0 || options->items[i].value == NULL)
			continue;
		named = true;
		rc = cmdline_add(&cold->ids, options->items[i].value, err);
	}
	cold->unnamed += !named;
	return rc;
}

static int add_drive(struct cold_devices *cold, const struct optstring *options)
{
	const char *interface = optstring_get(options, "if");

	cold->unnamed += interface == NULL || strcmp(interface, "virtio") == 0;
	return RC_OK;
}

static int add(struct cold_devices *cold, const struct cmdline_token *token, struct err *err)
{
	static const char *const makes_one[] = {
		"", "hda", "hdb", "hdc", "hdd", "cdrom", "watchdog"
	};
	const char *name = cmdline_token_name(token);
	const bool device = strcmp(name, "device") == 0;
	struct optstring options;
	int rc;

	if (!device && strcmp(name, "drive") != 0) {
		cold->unnamed += WORDS_ONE_OF(name, makes_one);
		return RC_OK;
	}
	rc = cmdline_options(token, device ? "driver" : NULL, &options, err);
	if (rc != RC_OK)
		return rc;
	rc = device ? add_device(cold, &options, err) : add_drive(cold, &options);
	optstring_free(&options);
	return rc;
}

static bool is_understood(const struct cmdline_token *token)
{
	return token->option == NULL ||
	       (token->rule != NULL && strcmp(token->rule->name, "readconfig") != 0);
}

int cold_devices_read(struct cold_devices *cold, const struct cmdline *source, struct err *err)
{
	struct cmdline_token *tokens = NULL;
	size_t count = 0;
	int rc;

	*cold = (struct cold_devices){ .known = true };
	rc = cmdline_tokens(&tokens, &count, source->args, source->count, 1, err);
	for (size_t i = 0; i < count && rc == RC_OK; i++) {
		cold->known &= is_understood(&tokens[i]);
		rc = add(cold, &tokens[i], err);
	}
	mem_free(tokens);
	return rc;
}

bool cold_devices_lack(const struct cold_devices *cold, const char *id)
{
	for (size_t i = 0; i < cold->ids.count; i++) {
		if (strcmp(cold->ids.args[i], id) == 0)
			return false;
	}
	return cold->known;
}

bool cold_devices_lack_unnamed(const struct cold_devices *cold, const char *name)
{
	static const char prefix[] = "device[";

	if (!cold->known || strncmp(name, prefix, strlen(prefix)) != 0)
		return false;
	name += strlen(prefix);
	return isdigit((unsigned char)*name) && strtoul(name, NULL, 10) >= cold->unnamed;
}
