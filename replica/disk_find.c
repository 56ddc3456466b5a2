#include "replica/disk_find.h"

#include "replica/layout.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static const char *text_of(const cJSON *object, const char *key)
{
	const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, key));

	return text != NULL ? text : "";
}

/* "virtio0", or as a path of QEMU's objects "/machine/peripheral/virtio0/virtio-backend". */
static bool is_device(const char *qdev, const char *device)
{
	static const char prefix[] = "/machine/peripheral/";
	size_t len = strlen(device);

	if (strcmp(qdev, device) == 0)
		return true;
	if (strncmp(qdev, prefix, strlen(prefix)) != 0)
		return false;
	qdev += strlen(prefix);
	return strncmp(qdev, device, len) == 0 && (qdev[len] == '\0' || qdev[len] == '/');
}

static bool is_it(const cJSON *block, const cJSON *inserted, const char *device)
{
	return strcmp(text_of(block, "device"), device) == 0 ||
	       strcmp(text_of(inserted, "node-name"), device) == 0 ||
	       is_device(text_of(block, "qdev"), device);
}

static int take(const cJSON *inserted, const char *device, struct disk_found *found,
		struct err *err)
{
	const cJSON *image = cJSON_GetObjectItemCaseSensitive(inserted, "image");
	const cJSON *size = cJSON_GetObjectItemCaseSensitive(image, "virtual-size");
	const char *node = text_of(inserted, "node-name");

	if (!cJSON_IsObject(inserted))
		return err_set(err, RC_UNSUPPORTED, "disk %.64s: there is no medium in it", device);
	if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(inserted, "ro")))
		return err_set(err, RC_UNSUPPORTED,
			       "disk %.64s: it is read-only: nothing of it changes", device);
	if (*node == '\0' || strlen(node) > DISK_NODE_MAX || !cJSON_IsNumber(size) ||
	    !(size->valuedouble >= 1 && size->valuedouble <= (double)LAYOUT_BYTES_MAX))
		return err_set(err, RC_UNSUPPORTED,
			       "disk %.64s: QEMU does not tell its node and its size", device);
	(void)snprintf(found->node, sizeof(found->node), "%s", node);
	found->bytes = (uint64_t)size->valuedouble;
	return RC_OK;
}

int disk_find(const cJSON *blocks, const char *device, struct disk_found *found, struct err *err)
{
	const cJSON *block, *inserted;

	cJSON_ArrayForEach(block, blocks) {
		inserted = cJSON_GetObjectItemCaseSensitive(block, "inserted");
		if (is_it(block, inserted, device))
			return take(inserted, device, found, err);
	}
	return err_set(err, RC_UNSUPPORTED,
		       "disk %.64s: QEMU has no drive, node or device of that name", device);
}

static bool is_found(const char *node, const struct disk_found *found, size_t count)
{
	while (count > 0 && strcmp(found[count - 1].node, node) != 0)
		count--;
	return count > 0;
}

void disk_others(const cJSON *blocks, const struct disk_found *found, size_t count, char *names,
		 size_t size)
{
	const cJSON *block, *inserted;
	const char *node, *name;
	size_t len = 0;

	*names = '\0';
	cJSON_ArrayForEach(block, blocks) {
		inserted = cJSON_GetObjectItemCaseSensitive(block, "inserted");
		node = text_of(inserted, "node-name");
		if (!cJSON_IsFalse(cJSON_GetObjectItemCaseSensitive(inserted, "ro")) ||
		    is_found(node, found, count))
			continue;
		name = text_of(block, "device");
		(void)snprintf(names + len, size - len, "%s%.40s", len > 0 ? ", " : "",
			       *name != '\0' ? name : node);
		len += strlen(names + len);
	}
}
