/*
 * A configuration file of either role (byte 0 chooses). Whatever it holds: no crash, no leak, and a
 * reason with every refusal; what is taken keeps the bounds that the rest of the program relies on.
 * Collecting all problems must come to the same verdict as stopping at the first.
 */
#include "appliance/config.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

static void check_primary(const struct config_instance *instance)
{
	CHECK(strlen(instance->qmp) <= 107);
	CHECK(instance->min_ms >= 1 && instance->min_ms <= instance->target_ms);
	CHECK(instance->target_ms <= instance->max_ms && instance->max_ms <= 60000);
	CHECK(instance->staging_mib >= 2 && instance->inflight_mib >= 1 &&
	      instance->cache_mib >= 1);
}

static void check_standby(const struct config_instance *instance)
{
	CHECK(instance->standby_staging_mib >= 2);
	CHECK(instance->takeover <= CONFIG_TAKEOVER_AUTOMATIC);
}

static void check_process(const struct config *config)
{
	CHECK(config->site != NULL && config->tls_ca != NULL);
	CHECK(config->tls_cert != NULL && config->tls_key != NULL);
	CHECK(config->detect_ms >= 3 * config->heartbeat_ms && config->heartbeat_ms > 0);
	CHECK(config->ninstances >= 1 && config->ninstances <= CONFIG_INSTANCES_MAX);
	if (config->role == CONFIG_PRIMARY) {
		CHECK(config->connect != NULL);
	} else {
		CHECK(config->listen != NULL && config->state_dir != NULL);
		CHECK(config->hypervisor != NULL && config->memory_dir != NULL);
	}
}

static void check_taken(const struct config *config)
{
	check_process(config);
	for (size_t i = 0; i < config->ninstances; i++) {
		CHECK(strlen(config->instances[i].name) <= 64);
		CHECK(strchr(config->instances[i].name, '/') == NULL);
		if (config->role == CONFIG_PRIMARY)
			check_primary(&config->instances[i]);
		else
			check_standby(&config->instances[i]);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	enum config_role role, inferred;
	struct config config, again;
	struct buf problems = { 0 };
	const char *text;
	struct err err;
	int rc;

	if (size == 0)
		return 0;
	role = data[0] % 2 == 0 ? CONFIG_PRIMARY : CONFIG_STANDBY;
	text = (const char *)data + 1;
	err.text[0] = '\0';
	rc = config_parse(&config, role, "f", "/d", text, size - 1, &err);
	if (rc == RC_OK)
		check_taken(&config);
	else
		CHECK(strncmp(err.text, "f: ", 3) == 0);
	config_free(&config);
	CHECK((config_check(&again, role, "f", "/d", text, size - 1, &problems, &err) == RC_OK) ==
	      (rc == RC_OK));
	CHECK((problems.len == 0) == (rc == RC_OK));
	config_free(&again);
	buf_free(&problems);
	(void)config_infer_role(&inferred, "f", text, size - 1, &err);
	return 0;
}
