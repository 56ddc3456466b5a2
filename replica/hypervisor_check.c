#include "replica/hypervisor_check.h"

#include <stdio.h>
#include <string.h>

#define CAPABILITY "x-ignore-shared"

/* The first one that speaks is the result. A lost connection is told by its owner. */
static void settle(struct hypervisor_check *check, enum rc code, const char *what, const char *why)
{
	void (*done)(void *, const struct err *) = check->done;
	struct err result = { .code = code };

	if (done == NULL || code == RC_CLOSED || code == RC_CANCELLED)
		return;
	check->done = NULL;
	if (code != RC_OK)
		(void)err_set(&result, code, "%s: %s", what, why);
	done(check->owner, &result);
}

static void on_status(void *owner, const cJSON *reply, const struct err *err)
{
	const cJSON *status = cJSON_GetObjectItemCaseSensitive(reply, "status");

	if (reply == NULL)
		settle(owner, err->code, "query-status", err->text);
	else if (!cJSON_IsString(status) || strcmp(status->valuestring, "inmigrate") != 0)
		settle(owner, RC_STATE, "QEMU does not wait for its memory, its state is",
		       cJSON_IsString(status) ? status->valuestring : "unknown");
}

static void on_capabilities(void *owner, const cJSON *reply, const struct err *err)
{
	if (reply == NULL)
		settle(owner, err->code, "migration capability " CAPABILITY, err->text);
}

static int ask_address(struct hypervisor_check *check, struct err *err);

static void on_address(void *owner, const cJSON *reply, const struct err *err)
{
	struct hypervisor_check *check = owner;
	struct activation_block *block = &check->setup->blocks[check->asked];
	struct err why;

	if (check->done == NULL)
		return;
	if (reply == NULL) {
		settle(check, err->code, block->name, err->text);
	} else if (!cJSON_IsNumber(reply) || !(reply->valuedouble >= 0) ||
		   reply->valuedouble > (double)LAYOUT_BYTES_MAX) {
		settle(check, RC_INVALID, block->name, "QEMU tells no address for it");
	} else {
		block->address = (uint64_t)reply->valuedouble;
		check->asked++;
		if (check->asked == check->setup->nblocks)
			settle(check, RC_OK, "", "");
		else if (ask_address(check, &why) != RC_OK)
			settle(check, why.code, block->name, why.text);
	}
}

static int ask_address(struct hypervisor_check *check, struct err *err)
{
	cJSON *arguments = cJSON_CreateObject();

	if (cJSON_AddStringToObject(arguments, "path", check->setup->paths[check->asked]) == NULL ||
	    cJSON_AddStringToObject(arguments, "property", "addr") == NULL) {
		cJSON_Delete(arguments);
		return err_nomem(err, "qom-get");
	}
	return qmp_execute(check->qmp, "qom-get", arguments, on_address, check, err);
}

/*
 * {"capabilities": [{"capability": NAME, "state": true}, ...]}; "events" tells when a stream has
 * been taken in.
 */
static cJSON *capabilities(void)
{
	static const char *const names[] = { CAPABILITY, "events" };
	cJSON *arguments = cJSON_CreateObject();
	cJSON *list = cJSON_AddArrayToObject(arguments, "capabilities"), *item;
	bool done = list != NULL;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]) && done; i++) {
		item = cJSON_CreateObject();
		done = cJSON_AddItemToArray(list, item) &&
		       cJSON_AddStringToObject(item, "capability", names[i]) != NULL &&
		       cJSON_AddBoolToObject(item, "state", true) != NULL;
	}
	if (!done) {
		cJSON_Delete(arguments);
		return NULL;
	}
	return arguments;
}

int hypervisor_check(struct hypervisor_check *check, struct qmp *qmp,
		     struct hypervisor_setup *setup,
		     void (*done)(void *owner, const struct err *result), void *owner,
		     struct err *err)
{
	cJSON *arguments = capabilities();
	int rc;

	*check = (struct hypervisor_check){
		.qmp = qmp, .setup = setup, .done = done, .owner = owner
	};
	if (arguments == NULL)
		return err_nomem(err, "migration capabilities");
	rc = qmp_execute(qmp, "migrate-set-capabilities", arguments, on_capabilities, check, err);
	if (rc == RC_OK)
		rc = qmp_execute(qmp, "query-status", NULL, on_status, check, err);
	if (rc == RC_OK)
		rc = ask_address(check, err);
	if (rc != RC_OK)
		check->done = NULL;
	return rc;
}
