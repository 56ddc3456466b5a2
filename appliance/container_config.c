#include "appliance/container_config.h"

#include "appliance/base/json_table.h"
#include "appliance/base/json_text.h"
#include "appliance/config_patterns.h"

#include <string.h>

#define USER_MOST 128
#define ADDRESSES_MAX 32

static int check_assignment(const char *text, struct err *err)
{
	const char *equals = strchr(text, '=');

	return equals != NULL && equals != text ?
		       RC_OK :
		       err_set(err, RC_INVALID, "\"%.100s\" is not NAME=VALUE", text);
}

static int check_user(const char *text, struct err *err)
{
	const size_t len = strlen(text);

	return len > 0 && len <= USER_MOST && *text != ':' ?
		       RC_OK :
		       err_set(err, RC_INVALID, "\"%.100s\" is neither USER nor USER:GROUP", text);
}

static int check_directory(const char *text, struct err *err)
{
	return *text == '/' ? RC_OK :
			      err_set(err, RC_INVALID, "\"%.200s\" does not begin with /", text);
}

#define AT(member) .offset = offsetof(struct container_config, member)

static const struct json_field fields[] = {
	{ .key = "hostname", .type = JSON_NAME, .text_fallback = "container", AT(hostname) },
	{ .key = "addresses",
	  .type = JSON_STRINGS,
	  .max = ADDRESSES_MAX,
	  .check = config_check_prefix,
	  AT(addresses) },
	{ .key = "routes",
	  .type = JSON_STRINGS,
	  .max = ADDRESSES_MAX,
	  .check = config_check_route,
	  AT(routes) },
	{ .key = "dns",
	  .type = JSON_STRINGS,
	  .max = ADDRESSES_MAX,
	  .check = config_check_ip,
	  AT(dns) },
	{ .key = "command", .type = JSON_STRINGS, .required = true, AT(command) },
	{ .key = "environment", .type = JSON_STRINGS, .check = check_assignment, AT(environment) },
	{ .key = "user", .type = JSON_TEXT, .text_fallback = "0", .check = check_user, AT(user) },
	{ .key = "directory",
	  .type = JSON_TEXT,
	  .text_fallback = "/",
	  .check = check_directory,
	  AT(directory) },
};
static const struct json_table table = JSON_TABLE(fields);

int container_config_parse(struct container_config *config, const char *text, size_t len,
			   struct err *err)
{
	static const char *const roles[] = { "container" };
	const struct json_reader reader = {
		.name = "container.json", .dir = "/", .role = 1, .role_names = roles
	};
	cJSON *root = NULL;
	int rc;

	*config = (struct container_config){ .hostname = NULL };
	rc = json_text_parse(&root, text, len, err);
	if (rc != RC_OK)
		return err_prefix(err, "container.json: ");
	rc = json_table_read(&table, &reader, root, config, err);
	cJSON_Delete(root);
	return rc;
}

void container_config_free(struct container_config *config)
{
	json_table_free(&table, config);
}
