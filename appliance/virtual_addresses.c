#include "appliance/virtual_addresses.h"

#include "appliance/base/mem.h"
#include "net/vrrp_speaker.h"

struct virtual_addresses {
	const struct config_instance *instance;
	struct vrrp_speaker *speakers[CONFIG_VRRP_MAX];
	size_t count;
};

static const struct vrrp_speaker_ops speaker_callbacks = { NULL };

static int open_group(struct vrrp_speaker **speaker, uv_loop_t *loop,
		      const struct config_vrrp *config, struct err *err)
{
	struct netlink_prefix prefixes[VRRP_ADDRESSES_MAX];
	struct netlink_route routes[VRRP_ROUTES_MAX];
	struct vrrp_speaker_options options = {
		.device = config->device,
		.group = (uint8_t)config->group,
		.priority = (uint8_t)config->priority,
		.patient = !config->preempt,
		.interval = (uint16_t)(config->interval_ms / CONFIG_VRRP_STEP_MS),
		.addresses = prefixes,
		.routes = routes,
	};
	int rc = RC_OK;

	while (config->addresses[options.address_count] != NULL && rc == RC_OK &&
	       options.address_count < VRRP_ADDRESSES_MAX) {
		rc = netlink_prefix_parse(&prefixes[options.address_count],
					  config->addresses[options.address_count], err);
		options.address_count++;
	}
	while (config->routes != NULL && config->routes[options.route_count] != NULL &&
	       rc == RC_OK && options.route_count < VRRP_ROUTES_MAX) {
		rc = netlink_route_parse(&routes[options.route_count],
					 config->routes[options.route_count], err);
		options.route_count++;
	}
	return rc == RC_OK ?
		       vrrp_speaker_open(speaker, loop, &options, &speaker_callbacks, NULL, err) :
		       rc;
}

int virtual_addresses_open(struct virtual_addresses **out, uv_loop_t *loop,
			   const struct config_instance *instance, struct err *err)
{
	struct virtual_addresses *addresses;
	int rc = RC_OK;

	*out = NULL;
	if (instance->nvrrp == 0)
		return RC_OK;
	addresses = mem_zalloc(1, sizeof(*addresses));
	if (addresses == NULL)
		return err_nomem(err, "virtual addresses");
	addresses->instance = instance;
	while (addresses->count < instance->nvrrp && rc == RC_OK) {
		rc = open_group(&addresses->speakers[addresses->count], loop,
				&instance->vrrp[addresses->count], err);
		if (rc == RC_OK)
			addresses->count++;
	}
	if (rc == RC_OK) {
		*out = addresses;
		return RC_OK;
	}
	if (rc == RC_IO)
		(void)err_append(err, "; %s", VIRTUAL_ADDRESSES_NEED);
	(void)err_prefix(err, "instance %s: vrrp[%zu]: ", instance->name, addresses->count);
	virtual_addresses_close(addresses);
	return rc;
}

void virtual_addresses_permit(struct virtual_addresses *addresses, bool serves)
{
	size_t i;

	for (i = 0; addresses != NULL && i < addresses->count; i++)
		vrrp_speaker_permit(addresses->speakers[i], serves);
}

void virtual_addresses_announce(struct virtual_addresses *addresses)
{
	size_t i;

	for (i = 0; addresses != NULL && i < addresses->count; i++)
		vrrp_speaker_announce(addresses->speakers[i]);
}

const struct vrrp *virtual_addresses_state(const struct virtual_addresses *addresses, size_t index,
					   const struct config_vrrp **config)
{
	if (addresses == NULL || index >= addresses->count)
		return NULL;
	*config = &addresses->instance->vrrp[index];
	return vrrp_speaker_state(addresses->speakers[index]);
}

const char *virtual_addresses_fault(const struct virtual_addresses *addresses)
{
	const char *fault = "";
	size_t i;

	for (i = 0; addresses != NULL && i < addresses->count && *fault == '\0'; i++)
		fault = vrrp_speaker_fault(addresses->speakers[i]);
	return fault;
}

void virtual_addresses_close(struct virtual_addresses *addresses)
{
	size_t i;

	for (i = 0; addresses != NULL && i < addresses->count; i++)
		vrrp_speaker_close(addresses->speakers[i]);
	mem_free(addresses);
}
