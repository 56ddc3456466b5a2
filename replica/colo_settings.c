#include "replica/colo_settings.h"

#include "replica/first_copy.h"

#include <string.h>

/*
 * From the end of one checkpoint to QEMU's request for the next. It costs a wake-up of QEMU's main
 * loop that often, all the time: at 1 ms 2 % of a processor, at 10 ms nothing that could be
 * measured. Checkpoints follow one another by at least as much.
 */
#define CHECKPOINT_DELAY_MS 10

#define COPY_UNLIMITED_BYTES_S (UINT64_C(1) << 40) /* 0 means so too, but not to every QEMU */

/*
 * When passes do not get shorter, what is written during one is as much as is copied; QEMU slows
 * the guest down when it is more than this much of it, and not to less than 20 %.
 */
#define THROTTLE_THRESHOLD_PERCENT 70
#define THROTTLE_MAX_PERCENT 80

static const char *const wanted[] = { "x-colo", "events", "auto-converge" };

static bool is_wanted(const char *name)
{
	size_t i;

	for (i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
		if (strcmp(name, wanted[i]) == 0)
			return true;
	}
	return false;
}

/* {"capabilities": []}, and the list in it. */
static cJSON *capabilities(cJSON **list)
{
	cJSON *arguments = cJSON_CreateObject();

	*list = cJSON_AddArrayToObject(arguments, "capabilities");
	if (*list == NULL) {
		cJSON_Delete(arguments);
		return NULL;
	}
	return arguments;
}

static bool add_capability(cJSON *list, const char *name, bool state)
{
	cJSON *item = cJSON_CreateObject();

	if (cJSON_AddStringToObject(item, "capability", name) == NULL ||
	    cJSON_AddBoolToObject(item, "state", state) == NULL ||
	    !cJSON_AddItemToArray(list, item)) {
		cJSON_Delete(item);
		return false;
	}
	return true;
}

static int no_memory(struct colo_settings_change *change, struct err *err)
{
	cJSON_Delete(change->ours);
	cJSON_Delete(change->theirs);
	*change = (struct colo_settings_change){ NULL, NULL };
	return err_nomem(err, "migration settings");
}

/* Whether QEMU has x-colo, and whether it is on. */
static bool find_colo(const cJSON *reply, bool *on)
{
	const cJSON *item;

	cJSON_ArrayForEach(item, reply) {
		const char *name =
			cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(item, "capability"));

		if (name == NULL || strcmp(name, "x-colo") != 0)
			continue;
		*on = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(item, "state"));
		return true;
	}
	return false;
}

int colo_settings_capabilities(const cJSON *reply, struct colo_settings_change *change,
			       bool *leftover, struct err *err)
{
	cJSON *ours, *theirs;
	const cJSON *item;

	*change = (struct colo_settings_change){ NULL, NULL };
	if (!find_colo(reply, leftover))
		return err_set(err, RC_UNSUPPORTED, "this QEMU has no COLO (capability x-colo)");
	change->ours = capabilities(&ours);
	change->theirs = capabilities(&theirs);
	if (change->ours == NULL || change->theirs == NULL)
		return no_memory(change, err);
	cJSON_ArrayForEach(item, reply) {
		const char *name =
			cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(item, "capability"));
		bool state = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(item, "state")),
		     before = state;

		if (name == NULL)
			continue;
		if (*leftover && is_wanted(name))
			before = false;
		if (state == is_wanted(name) && state == before)
			continue;
		if (!add_capability(ours, name, is_wanted(name)) ||
		    !add_capability(theirs, name, before))
			return no_memory(change, err);
	}
	return RC_OK;
}

struct number {
	const char *name;
	uint64_t ours, standard; /* QEMU's default */
};

static bool change_number(const cJSON *reply, const struct number *number, bool leftover,
			  struct colo_settings_change *change)
{
	const cJSON *found = cJSON_GetObjectItemCaseSensitive(reply, number->name);
	double theirs;

	if (!cJSON_IsNumber(found))
		return true;
	theirs = leftover ? (double)number->standard : cJSON_GetNumberValue(found);
	return cJSON_AddNumberToObject(change->ours, number->name, (double)number->ours) != NULL &&
	       cJSON_AddNumberToObject(change->theirs, number->name, theirs) != NULL;
}

/* Only if QEMU has it and it is something else. */
static bool change_text(const cJSON *reply, const char *name, const char *ours,
			struct colo_settings_change *change)
{
	const char *found = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(reply, name));

	if (found == NULL || strcmp(found, ours) == 0)
		return true;
	return cJSON_AddStringToObject(change->ours, name, ours) != NULL &&
	       cJSON_AddStringToObject(change->theirs, name, found) != NULL;
}

int colo_settings_parameters(const cJSON *reply, const struct colo_settings *settings,
			     bool leftover, struct colo_settings_change *change, struct err *err)
{
	const struct number numbers[] = {
		{ "max-bandwidth",
		  settings->copy_bytes_s > 0 ? settings->copy_bytes_s : COPY_UNLIMITED_BYTES_S,
		  UINT64_C(128) << 20 },
		{ "downtime-limit", settings->downtime_ms, 300 },
		{ "avail-switchover-bandwidth", FIRST_COPY_SPEED, 0 },
		{ "x-checkpoint-delay", CHECKPOINT_DELAY_MS, 20000 },
		{ "throttle-trigger-threshold", THROTTLE_THRESHOLD_PERCENT, 50 },
		{ "max-cpu-throttle", THROTTLE_MAX_PERCENT, 99 },
	};
	bool ok = true;
	size_t i;

	change->ours = cJSON_CreateObject();
	change->theirs = cJSON_CreateObject();
	if (change->ours == NULL || change->theirs == NULL)
		return no_memory(change, err);
	for (i = 0; ok && i < sizeof(numbers) / sizeof(numbers[0]); i++)
		ok = change_number(reply, &numbers[i], leftover, change);
	/* The stream never leaves this machine unencrypted; TLS here would only cost. */
	ok = ok && change_text(reply, "tls-creds", "", change) &&
	     change_text(reply, "mode", "normal", change);
	return ok ? RC_OK : no_memory(change, err);
}
