/*
 * What a disk or CD begins with, as anybody can have written it. First byte even: a boot sector, and what is read as the root
 * directory; odd: ISO 9660's descriptor. Whatever it is: a label that fits, and nothing to read that would not.
 */
#include "appliance/volume.h"

#include "tests/fuzz/fuzz.h"

#include <string.h>

#define SECTOR 512
#define DESCRIPTOR_AT (16 * 2048)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t head[VOLUME_HEAD];
	size_t at, len;
	struct volume volume;

	if (size == 0)
		return 0;
	at = data[0] % 2 == 0 ? 0 : DESCRIPTOR_AT;
	data++;
	len = size - 1 < sizeof(head) - at ? size - 1 : sizeof(head) - at;
	memset(head, 0, sizeof(head));
	memcpy(head + at, data, len);
	volume_look(&volume, head, sizeof(head));
	CHECK(strlen(volume.label) <= VOLUME_LABEL_MAX);
	CHECK(volume.root_len <= VOLUME_ROOT_MAX);
	CHECK(volume.type != NULL || (volume.root_len == 0 && volume.label[0] == '\0'));
	(void)volume_is_named(&volume, "UNDERSTUDY");
	if (size - 1 > SECTOR)
		volume_look_root(&volume, data + SECTOR, size - 1 - SECTOR);
	CHECK(strlen(volume.label) <= VOLUME_LABEL_MAX);
	volume_look(&volume, data, size - 1); /* as a device that has no more */
	return 0;
}
