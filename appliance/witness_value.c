#include "appliance/witness_value.h"

#include "appliance/base/clock.h"
#include "appliance/base/json_text.h"
#include "appliance/base/json_value.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static const char *const servers[] = {
	[WITNESS_PRIMARY] = "primary", [WITNESS_STANDBY] = "standby"
};
static_assert(sizeof(servers) / sizeof(servers[0]) == WITNESS_SERVERS, "a name for each");

const char *witness_server_name(enum witness_server server)
{
	return servers[server];
}

uint64_t witness_lease_end(uint64_t sent_ns, uint32_t ttl_s)
{
	uint64_t ttl_ns = ttl_s * CLOCK_NS_PER_S;

	return sent_ns + ttl_ns - ttl_ns / WITNESS_MARGIN;
}

int witness_value_keys(struct witness_keys *keys, const char *instance, struct err *err)
{
	static const char plain[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
	char escaped[3 * JSON_NAME_MAX + 1];
	size_t len = 0;

	if (instance[0] == '\0' || strlen(instance) > JSON_NAME_MAX)
		return err_set(err, RC_INVALID, "an instance's name has 1 to %d bytes",
			       JSON_NAME_MAX);
	for (; *instance != '\0'; instance++) {
		if (strchr(plain, *instance) != NULL)
			escaped[len++] = *instance;
		else
			len += (size_t)snprintf(escaped + len, sizeof(escaped) - len, "%%%02X",
						(unsigned char)*instance);
	}
	escaped[len] = '\0';
	(void)snprintf(keys->key, sizeof(keys->key), "/understudy/%s", escaped);
	(void)snprintf(keys->lease, sizeof(keys->lease), "/understudy/%s/lease", escaped);
	return RC_OK;
}

static bool is_claim(const char *text)
{
	size_t len = strlen(text);

	return len < WITNESS_CLAIM_MAX && strspn(text, "0123456789abcdef") == len;
}

int witness_value_print(char out[WITNESS_TEXT_MAX], const struct witness_value *value,
			struct err *err)
{
	if (value->term == 0 || value->term > WITNESS_TERM_MAX)
		return err_set(err, RC_INVALID, "%" PRIu64 " is no term", value->term);
	if (!json_value_is_name(value->site))
		return err_set(err, RC_INVALID, "\"%s\" is no site's name", value->site);
	assert(is_claim(value->claim));
	/* Of these texts none needs escaping. */
	(void)snprintf(out, WITNESS_TEXT_MAX,
		       "{\"term\":%" PRIu64 ",\"server\":\"%s\",\"site\":\"%s\",\"claim\":\"%s\"}",
		       value->term, witness_server_name(value->server), value->site, value->claim);
	return RC_OK;
}

static int take(struct witness_value *value, const cJSON *root, struct err *err)
{
	const cJSON *term = cJSON_GetObjectItemCaseSensitive(root, "term");
	const cJSON *server = cJSON_GetObjectItemCaseSensitive(root, "server");
	const cJSON *site = cJSON_GetObjectItemCaseSensitive(root, "site");
	const cJSON *claim = cJSON_GetObjectItemCaseSensitive(root, "claim");

	if (!cJSON_IsNumber(term) || !(term->valuedouble >= 1) ||
	    term->valuedouble > (double)WITNESS_TERM_MAX ||
	    floor(term->valuedouble) != term->valuedouble)
		return err_set(err, RC_INVALID, "\"term\" is no term");
	if (!cJSON_IsString(server) || (strcmp(server->valuestring, servers[0]) != 0 &&
					strcmp(server->valuestring, servers[1]) != 0))
		return err_set(err, RC_INVALID, "\"server\" is neither primary nor standby");
	if (!cJSON_IsString(site) || !json_value_is_name(site->valuestring))
		return err_set(err, RC_INVALID, "\"site\" is no site's name");
	if (claim != NULL && (!cJSON_IsString(claim) || !is_claim(claim->valuestring)))
		return err_set(err, RC_INVALID, "\"claim\" is no hexadecimal number");
	value->term = (uint64_t)term->valuedouble;
	value->server = strcmp(server->valuestring, servers[WITNESS_STANDBY]) == 0 ?
				WITNESS_STANDBY :
				WITNESS_PRIMARY;
	(void)snprintf(value->site, sizeof(value->site), "%s", site->valuestring);
	(void)snprintf(value->claim, sizeof(value->claim), "%s",
		       claim != NULL ? claim->valuestring : "");
	return RC_OK;
}

int witness_value_parse(struct witness_value *value, const char *text, size_t len, struct err *err)
{
	cJSON *root;
	int rc;

	rc = json_text_parse(&root, text, len, err);
	if (rc == RC_OK)
		rc = take(value, root, err); /* nothing is found in what is no object */
	cJSON_Delete(root);
	return rc;
}
