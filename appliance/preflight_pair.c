/* Whether the two sites' files go together. */
#include "appliance/preflight_internal.h"

#include "appliance/safety.h"
#include "appliance/witness_place.h"
#include "net/address.h"

#include <string.h>

struct sites {
	const struct config *primary, *standby;
	char primary_witness[RESERVATION_WITNESS_MAX + 1];
	char standby_witness[RESERVATION_WITNESS_MAX + 1];
};

static const struct config_instance *find(const struct config *config, const char *name)
{
	for (size_t i = 0; i < config->ninstances; i++) {
		if (strcmp(config->instances[i].name, name) == 0)
			return &config->instances[i];
	}
	return NULL;
}

static bool is_gateway(const struct config_instance *primary)
{
	for (size_t i = 0; i < primary->nnics; i++) {
		if (primary->nics[i].tap != NULL)
			return false;
	}
	return primary->nnics > 0;
}

static bool has_nic(const struct config_instance *instance, const char *name)
{
	for (size_t i = 0; i < instance->nnics; i++) {
		if (strcmp(instance->nics[i].name, name) == 0)
			return true;
	}
	return false;
}

static void check_nics(struct preflight *preflight, const struct config_instance *one,
		       const struct config_instance *other, const char *site)
{
	for (size_t i = 0; i < one->nnics; i++) {
		if (!has_nic(other, one->nics[i].name))
			preflight_error(
				preflight,
				"instance %s: network card (nics) %s is not in the %s's file; its "
				"name has to be the same at both sites",
				one->name, one->nics[i].name, site);
	}
}

static bool has_disk(const struct config_instance *instance, const char *name)
{
	for (size_t i = 0; i < instance->ndisks; i++) {
		if (strcmp(instance->disks[i].name, name) == 0)
			return true;
	}
	return false;
}

static void check_disks(struct preflight *preflight, const struct config_instance *one,
			const struct config_instance *other, const char *site)
{
	for (size_t i = 0; i < one->ndisks; i++) {
		if (!has_disk(other, one->disks[i].name))
			preflight_error(preflight,
					"instance %s: disk (disks) %s is not in the %s's file; its "
					"name has to be the same at both sites",
					one->name, one->disks[i].name, site);
	}
}

static void check_instance(struct preflight *preflight, const struct sites *sites,
			   const struct config_instance *primary,
			   const struct config_instance *standby)
{
	const struct safety safety = {
		.automatic = standby->takeover == CONFIG_TAKEOVER_AUTOMATIC,
		.continues = primary->without_standby == CONFIG_ALONE_CONTINUE,
		.gateway = is_gateway(primary),
		.primary_witness = sites->primary_witness,
		.standby_witness = sites->standby_witness,
	};
	struct err err;

	if (safety_check(&safety, &err) != RC_OK)
		preflight_error(preflight, "instance %s: %s", primary->name, err.text);
	check_nics(preflight, primary, standby, "standby");
	check_nics(preflight, standby, primary, "primary");
	check_disks(preflight, primary, standby, "standby");
	check_disks(preflight, standby, primary, "primary");
}

static void check_ports(struct preflight *preflight, const struct sites *sites)
{
	struct address connect, listen;
	struct err err;

	if (address_parse(&connect, sites->primary->connect, false, &err) == RC_OK &&
	    address_parse(&listen, sites->standby->listen, false, &err) == RC_OK &&
	    connect.port != listen.port)
		preflight_warning(
			preflight,
			"link: the primary connects to port %u, the standby listens on %u: right only if "
			"something between them translates it",
			connect.port, listen.port);
}

static void check_pace(struct preflight *preflight, const struct sites *sites)
{
	const struct safety_pace primary = { sites->primary->heartbeat_ms,
					     sites->primary->detect_ms };
	const struct safety_pace standby = { sites->standby->heartbeat_ms,
					     sites->standby->detect_ms };
	struct err err;

	if (safety_check_pace(&primary, &standby, &err) != RC_OK)
		preflight_error(preflight, "%s", err.text);
}

static void check_sites(struct preflight *preflight, const struct sites *sites)
{
	const struct config *primary = sites->primary, *standby = sites->standby;
	const struct config_instance *other;

	if (strcmp(primary->site, standby->site) == 0)
		preflight_error(
			preflight,
			"site: both are \"%s\"; the witness and the logs tell sites by their names",
			primary->site);
	check_ports(preflight, sites);
	check_pace(preflight, sites);
	for (size_t i = 0; i < primary->ninstances; i++) {
		other = find(standby, primary->instances[i].name);
		if (other != NULL)
			check_instance(preflight, sites, &primary->instances[i], other);
		else
			preflight_error(preflight, "instance %s: not in the standby's file",
					primary->instances[i].name);
	}
	/* One standby can serve several primaries. */
	for (size_t i = 0; i < standby->ninstances; i++) {
		if (find(primary, standby->instances[i].name) == NULL)
			preflight_warning(
				preflight,
				"instance %s: only in the standby's file; right if it is of another primary",
				standby->instances[i].name);
	}
}

int preflight_pair(struct preflight *preflight, const struct config *peer, struct err *err)
{
	const struct config *own = &preflight->config;
	const bool is_primary = own->role == CONFIG_PRIMARY;
	struct sites sites = { .primary = is_primary ? own : peer,
			       .standby = is_primary ? peer : own };
	const size_t before = preflight->errors.len;

	witness_place(sites.primary_witness, sites.primary);
	witness_place(sites.standby_witness, sites.standby);
	if (own->role == peer->role)
		preflight_error(preflight, "both files are a %s's", config_role_name(own->role));
	else
		check_sites(preflight, &sites);
	if (preflight->errors.failed || preflight->warnings.failed)
		return err_nomem(err, preflight->name);
	return preflight->errors.len == before ?
		       RC_OK :
		       err_set(err, RC_INVALID, "%s: does not fit the other site's",
			       preflight->name);
}
