#include "appliance/container_inspect.h"

#include "appliance/base/json_text.h"

#include <stdio.h>
#include <string.h>

static const cJSON *member(const cJSON *object, const char *name)
{
	return cJSON_GetObjectItemCaseSensitive(object, name);
}

/* "" if it is none. */
static const char *text_of(const cJSON *object, const char *name)
{
	const char *text = cJSON_GetStringValue(member(object, name));

	return text != NULL ? text : "";
}

/* What is not there, or "", is not said: container.json has a value for it. */
static bool put_text(cJSON *to, const char *key, const char *text)
{
	return *text == '\0' || cJSON_AddStringToObject(to, key, text) != NULL;
}

static bool add_text(cJSON *list, const char *text)
{
	cJSON *item = cJSON_CreateString(text);

	return item != NULL && cJSON_AddItemToArray(list, item) != 0;
}

/* The strings of a list, if it has any, behind `first`, NULL for none. */
static bool put_list(cJSON *to, const char *key, const char *first, const cJSON *list)
{
	const cJSON *item;
	cJSON *out;

	if (first == NULL && cJSON_GetArraySize(list) == 0)
		return true;
	out = cJSON_AddArrayToObject(to, key);
	if (out == NULL || (first != NULL && !add_text(out, first)))
		return false;
	cJSON_ArrayForEach(item, list) {
		if (cJSON_IsString(item) && !add_text(out, item->valuestring))
			return false;
	}
	return true;
}

/* ---- the network ----------------------------------------------------------------------------- */

static bool add_address(cJSON *list, const char *address, const cJSON *bits)
{
	char text[80];

	if (*address == '\0' || !cJSON_IsNumber(bits))
		return true;
	(void)snprintf(text, sizeof(text), "%.60s/%d", address, bits->valueint);
	return add_text(list, text);
}

static bool add_route(cJSON *list, const char *gateway)
{
	char text[80];

	if (*gateway == '\0')
		return true;
	(void)snprintf(text, sizeof(text), "default via %.60s", gateway);
	return add_text(list, text);
}

/* Those of all its networks are on one card; the way out is the first network's. */
static bool put_network(cJSON *to, const cJSON *answer)
{
	const cJSON *networks = member(member(answer, "NetworkSettings"), "Networks"), *network;
	cJSON *addresses = cJSON_CreateArray(), *routes = cJSON_CreateArray();
	bool put = addresses != NULL && routes != NULL;

	cJSON_ArrayForEach(network, networks) {
		put = put &&
		      add_address(addresses, text_of(network, "IPAddress"),
				  member(network, "IPPrefixLen")) &&
		      add_address(addresses, text_of(network, "GlobalIPv6Address"),
				  member(network, "GlobalIPv6PrefixLen"));
		if (put && cJSON_GetArraySize(routes) == 0)
			put = add_route(routes, text_of(network, "Gateway")) &&
			      add_route(routes, text_of(network, "IPv6Gateway"));
	}
	put = put && put_list(to, "addresses", NULL, addresses) &&
	      put_list(to, "routes", NULL, routes);
	cJSON_Delete(addresses);
	cJSON_Delete(routes);
	return put;
}

/* ---- what does not come along ---------------------------------------------------------------- */

static void tell_left_out(struct buf *out, const cJSON *answer)
{
	static const char *const lists[][2] = {
		{ "Devices", "a device of the host" },
		{ "CapAdd", "a capability that it was given" },
		{ "Links", "a link to another container" },
		{ "Sysctls", "a setting of the kernel" },
	};
	const cJSON *host = member(answer, "HostConfig"), *item;
	const char *mode = text_of(host, "NetworkMode");

	cJSON_ArrayForEach(item, member(answer, "Mounts"))
		(void)buf_printf(out, "the volume at %s\n", text_of(item, "Destination"));
	cJSON_ArrayForEach(item, member(host, "Tmpfs"))
		(void)buf_printf(out, "the tmpfs at %s\n", item->string);
	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		if (cJSON_GetArraySize(member(host, lists[i][0])) > 0)
			(void)buf_printf(out, "%s (HostConfig.%s)\n", lists[i][1], lists[i][0]);
	}
	if (strcmp(mode, "host") == 0 || strncmp(mode, "container:", strlen("container:")) == 0)
		(void)buf_printf(out, "the network that it shares (%s)\n", mode);
	if (cJSON_IsTrue(member(host, "Privileged")))
		(void)buf_printf(out, "the host's devices, which it may use (privileged)\n");
}

/* ---- all of it ------------------------------------------------------------------------------- */

static bool put_all(cJSON *to, const cJSON *answer)
{
	const cJSON *config = member(answer, "Config");

	return put_text(to, "hostname", text_of(config, "Hostname")) && put_network(to, answer) &&
	       put_list(to, "dns", NULL, member(member(answer, "HostConfig"), "Dns")) &&
	       put_list(to, "command", text_of(answer, "Path"), member(answer, "Args")) &&
	       put_list(to, "environment", NULL, member(config, "Env")) &&
	       put_text(to, "user", text_of(config, "User")) &&
	       put_text(to, "directory", text_of(config, "WorkingDir"));
}

int container_inspect(struct buf *json, struct buf *left_out, const cJSON *answer, struct err *err)
{
	char *text = NULL;
	cJSON *root;

	if (*text_of(answer, "Path") == '\0' || !cJSON_IsObject(member(answer, "Config")))
		return err_set(err, RC_INVALID,
			       "the engine's answer does not say what the container runs");
	json_text_use_mem();
	root = cJSON_CreateObject();
	if (root != NULL && put_all(root, answer))
		text = cJSON_PrintUnformatted(root);
	cJSON_Delete(root);
	if (text == NULL || !buf_append(json, text, strlen(text))) {
		cJSON_free(text);
		return err_nomem(err, "container.json");
	}
	cJSON_free(text);
	tell_left_out(left_out, answer);
	return left_out->failed ? err_nomem(err, "what does not come along") : RC_OK;
}
