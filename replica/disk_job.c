#include "replica/disk_job.h"

#include "replica/layout.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_MAX_LEN 32
#define JOB "us-mirror-"
#define NODE "us-target-"

static cJSON *named(const char *member, const char *prefix, size_t disk)
{
	cJSON *arguments = cJSON_CreateObject();
	char numbered[NAME_MAX_LEN];

	(void)snprintf(numbered, sizeof(numbered), "%s%zu", prefix, disk);
	if (cJSON_AddStringToObject(arguments, member, numbered) != NULL)
		return arguments;
	cJSON_Delete(arguments);
	return NULL;
}

cJSON *disk_job_named(size_t disk)
{
	return named("device", JOB, disk);
}

cJSON *disk_job_node(size_t disk)
{
	return named("node-name", NODE, disk);
}

static cJSON *whole(cJSON *arguments, bool done)
{
	if (done)
		return arguments;
	cJSON_Delete(arguments);
	return NULL;
}

cJSON *disk_job_target(size_t disk, const char *socket)
{
	cJSON *target = named("node-name", NODE, disk);
	cJSON *server = cJSON_AddObjectToObject(target, "server");

	return whole(target,
		     server != NULL && cJSON_AddStringToObject(target, "driver", "nbd") != NULL &&
			     cJSON_AddStringToObject(target, "export", DISK_JOB_EXPORT) != NULL &&
			     cJSON_AddStringToObject(target, "detect-zeroes", "on") != NULL &&
			     cJSON_AddStringToObject(server, "type", "unix") != NULL &&
			     cJSON_AddStringToObject(server, "path", socket) != NULL);
}

cJSON *disk_job_mirror(size_t disk, const char *node, uint64_t bytes_s)
{
	cJSON *mirror = named("job-id", JOB, disk);
	char target[NAME_MAX_LEN];

	(void)snprintf(target, sizeof(target), NODE "%zu", disk);
	return whole(mirror,
		     cJSON_AddStringToObject(mirror, "device", node) != NULL &&
			     cJSON_AddStringToObject(mirror, "target", target) != NULL &&
			     cJSON_AddStringToObject(mirror, "sync", "full") != NULL &&
			     cJSON_AddStringToObject(mirror, "copy-mode", "write-blocking") !=
				     NULL &&
			     cJSON_AddStringToObject(mirror, "on-source-error", "stop") != NULL &&
			     cJSON_AddStringToObject(mirror, "on-target-error", "stop") != NULL &&
			     cJSON_AddNumberToObject(mirror, "speed", (double)bytes_s) != NULL &&
			     cJSON_AddNumberToObject(mirror, "buf-size", DISK_JOB_BUFFER) != NULL);
}

static bool read_name(const cJSON *item, size_t *disk)
{
	const char *name = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(item, "device"));
	char *end;

	if (name == NULL || strncmp(name, JOB, strlen(JOB)) != 0)
		return false;
	name += strlen(JOB);
	*disk = (size_t)strtoul(name, &end, 10);
	return *name >= '0' && *name <= '9' && *end == '\0' && *disk < LAYOUT_DISKS_MAX;
}

bool disk_job_read(const cJSON *item, struct disk_job_state *state)
{
	const cJSON *offset = cJSON_GetObjectItemCaseSensitive(item, "offset");

	if (!read_name(item, &state->disk))
		return false;
	state->ready = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(item, "ready"));
	state->paused = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(item, "paused"));
	state->done = cJSON_IsNumber(offset) && offset->valuedouble >= 0 &&
				      offset->valuedouble <= (double)LAYOUT_BYTES_MAX ?
			      (uint64_t)offset->valuedouble :
			      0;
	return true;
}

bool disk_job_event(const cJSON *data, size_t *disk, char *why, size_t size)
{
	const char *error = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(data, "error"));

	if (!read_name(data, disk))
		return false;
	(void)snprintf(why, size, "%s", error != NULL ? error : "");
	return true;
}

bool disk_job_is_reading(const cJSON *data)
{
	const char *operation =
		cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(data, "operation"));

	return operation != NULL && strcmp(operation, "read") == 0;
}
