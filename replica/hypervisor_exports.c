/*
 * nbd-server-start -> block-export-add, for each -> query-named-block-nodes, for their sizes -> done
 *
 * All are sent at once; the first error is the result. An export makes its node active, which belongs to the device that
 * is above it only when QEMU is activated; so what the device reads then is what the exports' clients have written.
 *
 * The end of the server ends its connections and waits for what they have asked for: 0.5 ms in 7.2 and 10.0, with an idle client.
 * In 7.2 it waits for ever for one that has not said which export it wants, so nobody may be about to connect.
 */
#include "replica/hypervisor_exports.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void settle(struct hypervisor_exports *exports, const struct err *result)
{
	void (*done)(void *, const struct err *) = exports->done;

	if (done == NULL || result->code == RC_CLOSED || result->code == RC_CANCELLED)
		return;
	exports->done = NULL;
	done(exports->owner, result);
}

static void refused(struct hypervisor_exports *exports, const char *command, const struct err *err)
{
	struct err result = *err;

	(void)err_prefix(&result, "%s: ", command);
	settle(exports, &result);
}

static void on_started(void *owner, const cJSON *reply, const struct err *err)
{
	if (reply == NULL)
		refused(owner, "nbd-server-start", err);
}

static void on_added(void *owner, const cJSON *reply, const struct err *err)
{
	if (reply == NULL)
		refused(owner, "block-export-add", err);
}

/* Of a node that QEMU tells of; 0: it does not. */
static uint64_t size_of(const cJSON *nodes, const char *name)
{
	const cJSON *node, *is, *image, *size;

	cJSON_ArrayForEach(node, nodes) {
		is = cJSON_GetObjectItemCaseSensitive(node, "node-name");
		image = cJSON_GetObjectItemCaseSensitive(node, "image");
		size = cJSON_GetObjectItemCaseSensitive(image, "virtual-size");
		if (cJSON_IsString(is) && strcmp(is->valuestring, name) == 0 &&
		    cJSON_IsNumber(size) && size->valuedouble > 0 && size->valuedouble < 0x1p63)
			return (uint64_t)size->valuedouble;
	}
	return 0;
}

static void on_nodes(void *owner, const cJSON *reply, const struct err *err)
{
	struct hypervisor_exports *exports = owner;
	const struct hypervisor_setup *setup = exports->setup;
	struct err result = { .code = RC_OK };

	if (reply == NULL) {
		refused(exports, "query-named-block-nodes", err);
		return;
	}
	for (size_t i = 0; i < setup->nexports && result.code == RC_OK; i++) {
		const struct hypervisor_export *export = &setup->exports[i];
		const uint64_t bytes = size_of(reply, export->node);

		if (bytes != export->bytes)
			(void)err_set(&result, RC_REFUSED,
				      "disk %s: its target has %" PRIu64
				      " bytes, the instance's disk %" PRIu64
				      ": name a target of that size",
				      export->disk, bytes, export->bytes);
	}
	settle(exports, &result);
}

static cJSON *server_arguments(const char *path)
{
	cJSON *arguments = cJSON_CreateObject();
	cJSON *address = cJSON_AddObjectToObject(arguments, "addr");
	cJSON *data = cJSON_AddObjectToObject(address, "data");

	if (cJSON_AddStringToObject(address, "type", "unix") != NULL &&
	    cJSON_AddStringToObject(data, "path", path) != NULL)
		return arguments;
	cJSON_Delete(arguments);
	return NULL;
}

static cJSON *export_arguments(const struct hypervisor_export *export)
{
	cJSON *arguments = cJSON_CreateObject();

	if (cJSON_AddStringToObject(arguments, "type", "nbd") != NULL &&
	    cJSON_AddStringToObject(arguments, "id", export->node) != NULL &&
	    cJSON_AddStringToObject(arguments, "node-name", export->node) != NULL &&
	    cJSON_AddStringToObject(arguments, "name", export->disk) != NULL &&
	    cJSON_AddBoolToObject(arguments, "writable", true) != NULL)
		return arguments;
	cJSON_Delete(arguments);
	return NULL;
}

static cJSON *nodes_arguments(void)
{
	cJSON *arguments = cJSON_CreateObject();

	if (cJSON_AddBoolToObject(arguments, "flat", true) != NULL)
		return arguments;
	cJSON_Delete(arguments);
	return NULL;
}

/* Takes the arguments over. */
static int execute(struct hypervisor_exports *exports, const char *command, cJSON *arguments,
		   qmp_reply_cb cb, struct err *err)
{
	return arguments != NULL ? qmp_execute(exports->qmp, command, arguments, cb, exports, err) :
				   err_nomem(err, command);
}

int hypervisor_exports_start(struct hypervisor_exports *exports, struct qmp *qmp,
			     const struct hypervisor_setup *setup,
			     void (*done)(void *owner, const struct err *result), void *owner,
			     struct err *err)
{
	int rc;

	*exports = (struct hypervisor_exports){
		.qmp = qmp, .setup = setup, .done = done, .owner = owner
	};
	rc = execute(exports, "nbd-server-start", server_arguments(setup->disks_path), on_started,
		     err);
	for (size_t i = 0; i < setup->nexports && rc == RC_OK; i++)
		rc = execute(exports, "block-export-add", export_arguments(&setup->exports[i]),
			     on_added, err);
	if (rc == RC_OK)
		rc = execute(exports, "query-named-block-nodes", nodes_arguments(), on_nodes, err);
	if (rc != RC_OK)
		exports->done = NULL;
	return rc;
}

int hypervisor_exports_stop(struct qmp *qmp, const struct hypervisor_setup *setup, qmp_reply_cb cb,
			    void *owner, struct err *err)
{
	return setup->nexports > 0 ? qmp_execute(qmp, "nbd-server-stop", NULL, cb, owner, err) :
				     RC_OK;
}
