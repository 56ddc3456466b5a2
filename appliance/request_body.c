#include "appliance/request_body.h"

#include "appliance/base/json_text.h"

int request_body_read(void *order, const struct json_table *table, const char *shape,
		      const struct http_request *request, struct err *err)
{
	static const char *const roles[] = { "process" };
	const struct json_reader reader = {
		.name = "the body", .dir = "", .role = 1, .role_names = roles
	};
	cJSON *root = NULL;
	int rc = json_text_parse(&root, (const char *)request->body, request->body_len, err);

	if (rc != RC_OK)
		return err_prefix(err, "the body must be %s: ", shape);
	rc = json_table_read(table, &reader, root, order, err);
	cJSON_Delete(root);
	return rc;
}
