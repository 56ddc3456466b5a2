/*
 * Network cards that are taps at the primary.
 *
 * The agent takes their frames from a bridge that the tap shares with one of its own, the standby's
 * gateway gives the replica's by -netdev dgram. The guest's card must not notice: of its state only
 * virtio-net's knows what back end it has, its frames' headers (a tap's vnet_hdr) and its queues. The
 * command line does not always tell (fd=), so the kernel is asked for that, appliance/guest_bridge.h.
 */
#include "replica/cmdline_derive.h"

#include "appliance/base/mem.h"

#include <stdio.h>
#include <string.h>

#define STEM_MAX 50 /* leaves room for the endings */

int cmdline_add_card(struct cmdline_spec *spec, const char *netdev, const char *name,
		     struct err *err)
{
	struct cmdline_card *card = &spec->cards[spec->ncards];

	if (spec->ncards == CMDLINE_CARDS_MAX)
		return err_set(err, RC_LIMIT, "more than %d network cards", CMDLINE_CARDS_MAX);
	if (strlen(netdev) > CMDLINE_NAME_MAX)
		return err_set(err, RC_LIMIT, "-netdev %.64s: its id is longer than %d bytes",
			       netdev, CMDLINE_NAME_MAX);
	*card = (struct cmdline_card){ .virtio = false };
	(void)snprintf(card->netdev, sizeof(card->netdev), "%s", netdev);
	(void)snprintf(card->socket, sizeof(card->socket), "%.*s.gateway", STEM_MAX, name);
	(void)snprintf(card->qemu_socket, sizeof(card->qemu_socket), "%.*s.replica", STEM_MAX,
		       name);
	spec->ncards++;
	return RC_OK;
}

const struct cmdline_card *cmdline_find_card(const struct cmdline_spec *spec, const char *netdev)
{
	for (size_t i = 0; i < spec->ncards && netdev != NULL; i++) {
		if (strcmp(spec->cards[i].netdev, netdev) == 0)
			return &spec->cards[i];
	}
	return NULL;
}

/* Reading the protected one's ---------------------------------------------------------------- */

static bool is_option(const struct cmdline_token *token, const char *name)
{
	return token->value != NULL && strcmp(cmdline_token_name(token), name) == 0;
}

static bool names_it(const struct optstring *options, const char *key, const char *netdev)
{
	const char *is = optstring_get(options, key);

	return is != NULL && strcmp(is, netdev) == 0;
}

static int check_tap(struct cmdline_card *card, const struct cmdline_token *token,
		     const struct optstring *options, struct err *err)
{
	const char *type = optstring_get(options, "type"), *name = optstring_get(options, "ifname");

	if (type == NULL || (strcmp(type, "tap") != 0 && strcmp(type, "bridge") != 0))
		return cmdline_refuse(
			token, options,
			"is no tap; a -netdev dgram is configured by socket and qemu_socket", err);
	if (optstring_is_on(options, "vhost") || optstring_get(options, "vhostfd") != NULL ||
	    optstring_get(options, "vhostfds") != NULL)
		return cmdline_refuse(
			token, options,
			"vhost has not been tried with checkpoints, so it is not taken: vhost=off",
			err);
	/* A pattern is the kernel's to fill in. */
	if (name != NULL && strchr(name, '%') == NULL)
		(void)snprintf(card->ifname, sizeof(card->ifname), "%s", name);
	return RC_OK;
}

/* *found: the option was the card's back end. */
static int check_option(struct cmdline_card *card, const struct cmdline_token *token, bool *found,
			struct err *err)
{
	bool is_netdev = is_option(token, "netdev");
	struct optstring options;
	const char *driver;
	int rc;

	if (!is_netdev && !is_option(token, "device"))
		return RC_OK;
	rc = cmdline_options(token, is_netdev ? "type" : "driver", &options, err);
	if (rc != RC_OK)
		return rc;
	if (is_netdev && names_it(&options, "id", card->netdev)) {
		*found = true;
		rc = check_tap(card, token, &options, err);
	} else if (!is_netdev && names_it(&options, "netdev", card->netdev)) {
		driver = optstring_get(&options, "driver");
		card->virtio = driver != NULL && strncmp(driver, "virtio-", 7) == 0;
	}
	optstring_free(&options);
	return rc;
}

static int check_card(struct cmdline_card *card, const struct cmdline_token *tokens, size_t count,
		      struct err *err)
{
	bool found = false;
	int rc = RC_OK;

	for (size_t i = 0; i < count && rc == RC_OK; i++)
		rc = check_option(card, &tokens[i], &found, err);
	if (rc == RC_OK && !found)
		rc = err_set(err, RC_UNSUPPORTED,
			     "QEMU was started without a -netdev of the id %s (nics, netdev)",
			     card->netdev);
	return rc;
}

int cmdline_check_cards(struct cmdline_spec *spec, const struct cmdline *source, struct err *err)
{
	struct cmdline_token *tokens;
	size_t count;
	int rc;

	if (spec->ncards == 0)
		return RC_OK;
	rc = cmdline_tokens(&tokens, &count, source->args, source->count, 1, err);
	for (size_t i = 0; i < spec->ncards && rc == RC_OK; i++)
		rc = check_card(&spec->cards[i], tokens, count, err);
	mem_free(tokens);
	return rc;
}

/* Writing the standby's ---------------------------------------------------------------------- */

int cmdline_reserve_cards(struct cmdline_derivation *d, struct err *err)
{
	int rc = RC_OK;

	for (size_t i = 0; i < d->spec->ncards && rc == RC_OK; i++) {
		rc = cmdline_add(&d->names, d->spec->cards[i].socket, err);
		if (rc == RC_OK)
			rc = cmdline_add(&d->names, d->spec->cards[i].qemu_socket, err);
	}
	return rc;
}

int cmdline_emit_card(struct cmdline_derivation *d, const struct cmdline_card *card,
		      struct err *err)
{
	const struct {
		const char *key, *value;
	} items[] = {
		{ "type", "dgram" },	   { "id", card->netdev },
		{ "local.type", "unix" },  { "local.path", card->qemu_socket },
		{ "remote.type", "unix" }, { "remote.path", card->socket },
	};
	struct optstring options = { .implied = true };
	int rc = RC_OK;

	for (size_t i = 0; i < sizeof(items) / sizeof(items[0]) && rc == RC_OK; i++)
		rc = optstring_set(&options, items[i].key, items[i].value, err);
	if (rc == RC_OK)
		rc = cmdline_emit_options(d, "-netdev", &options, err);
	optstring_free(&options);
	return rc;
}
