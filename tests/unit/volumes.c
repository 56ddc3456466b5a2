#include "tests/unit/volumes.h"

#include "appliance/base/bytes.h"

#include <string.h>

/* In capitals or not, filled with spaces. */
static void put_label(uint8_t *to, size_t size, const char *label)
{
	for (size_t i = 0; i < size; i++)
		to[i] = (uint8_t)(*label != '\0' ? *label++ : ' ');
}

void volumes_put_iso9660(uint8_t *to, const char *label)
{
	static const uint8_t head[] = { 1, 'C', 'D', '0', '0', '1', 1 };
	uint8_t *descriptor = to + 16 * 2048;

	memcpy(descriptor, head, sizeof(head));
	put_label(descriptor + 40, 32, label);
}

static void put_entry(uint8_t *to, const char *name, uint8_t attributes)
{
	put_label(to, 11, name);
	to[11] = attributes;
}

/* A deleted label, a long name, a file; then, perhaps, the label. */
static void put_root(uint8_t *root, const char *label)
{
	put_entry(root, "XLD LABEL", 0x08);
	root[0] = 0xe5;
	put_entry(root + 32, "long name", 0x0f);
	put_entry(root + 64, "CONFIG~1JSO", 0x20);
	if (label != NULL)
		put_entry(root + 96, label, 0x08);
}

static void put_boot(uint8_t *to, unsigned fat_sectors)
{
	to[0] = 0xeb; /* a jump */
	bytes_put_le16(to + 11, 512);
	to[13] = 4; /* sectors a cluster */
	bytes_put_le16(to + 14, 2);
	to[16] = 2;
	to[510] = 0x55;
	to[511] = 0xaa;
	if (fat_sectors != 0) {
		bytes_put_le16(to + 17, 512);
		bytes_put_le16(to + 22, (uint16_t)fat_sectors);
	}
}

void volumes_put_fat16(uint8_t *to, const char *label, const char *root_label)
{
	put_boot(to, 3);
	to[38] = 0x29;
	put_label(to + 43, 11, label);
	put_root(to + (size_t)(2 + 2 * 3) * 512, root_label);
}

void volumes_put_fat32(uint8_t *to, const char *label, const char *root_label)
{
	put_boot(to, 0);
	bytes_put_le32(to + 36, 5);
	bytes_put_le32(to + 44, 3); /* the root directory's cluster; data begin with number 2 */
	to[66] = 0x29;
	put_label(to + 71, 11, label);
	put_root(to + (size_t)(2 + 2 * 5 + 4) * 512, root_label);
}
