/*
 * Theory of operation
 *
 * ISO 9660 (ECMA-119): a descriptor of 2048 bytes, the 17th: type 1, "CD001", version 1; the label at byte 40.
 *
 * FAT: numbers are little-endian. A boot sector is one if it begins with a jump, ends (at 510) in 55 aa, and its numbers are
 * possible: bytes a sector (11), sectors a cluster (13), reserved sectors (14), FATs (16). FAT32 has no length of a FAT at 22 but
 * one at 36, the root directory's first cluster at 44 and the label at 71; the others, root entries at 17 and the label at 43.
 * The label counts if a signature 29 stands 5 bytes before it. Some systems write it into the root directory only (an entry
 * with attribute 08), which therefore counts more.
 */
#include "appliance/volume.h"

#include "appliance/base/bytes.h"

#include <string.h>
#include <strings.h>

#define ISO_AT (16 * 2048)
#define ISO_BYTES 2048
#define SECTOR 512
#define ENTRY 32 /* bytes of a directory */
#define FAT_LABEL 11
#define ATTRIBUTE_LABEL 0x08
#define ATTRIBUTES_LONG_NAME 0x0f
#define DELETED 0xe5

static void set_label(struct volume *volume, const uint8_t *from, size_t size)
{
	memcpy(volume->label, from, size);
	volume->label[size] = '\0';
	size = strlen(volume->label);
	while (size > 0 && volume->label[size - 1] == ' ')
		volume->label[--size] = '\0';
}

static bool is_power_of_two(unsigned n)
{
	return n != 0 && (n & (n - 1)) == 0;
}

static bool is_fat(const uint8_t *sector)
{
	const unsigned bytes = bytes_get_le16(sector + 11);

	return (sector[0] == 0xeb || sector[0] == 0xe9) && sector[510] == 0x55 &&
	       sector[511] == 0xaa && is_power_of_two(bytes) && bytes >= 512 && bytes <= 4096 &&
	       is_power_of_two(sector[13]) && bytes_get_le16(sector + 14) != 0 &&
	       (sector[16] == 1 || sector[16] == 2);
}

static void look_fat(struct volume *volume, const uint8_t *sector)
{
	const uint64_t bytes = bytes_get_le16(sector + 11), cluster = sector[13] * bytes;
	const uint64_t fats_at = bytes_get_le16(sector + 14) * bytes;
	const bool fat32 = bytes_get_le16(sector + 22) == 0;
	const uint64_t fat_bytes =
		(fat32 ? bytes_get_le32(sector + 36) : bytes_get_le16(sector + 22)) * bytes;
	const uint32_t first = bytes_get_le32(sector + 44);
	const uint8_t *label = sector + (fat32 ? 71 : 43);
	uint64_t root_len;

	volume->type = "vfat";
	if (label[-5] == 0x29)
		set_label(volume, label, FAT_LABEL);
	volume->root_at = fats_at + sector[16] * fat_bytes;
	root_len = (uint64_t)bytes_get_le16(sector + 17) * ENTRY;
	if (fat32) {
		volume->root_at += first >= 2 ? (first - 2) * cluster : 0;
		root_len = cluster;
	}
	volume->root_len = root_len < VOLUME_ROOT_MAX ? (size_t)root_len : VOLUME_ROOT_MAX;
}

void volume_look(struct volume *volume, const uint8_t *head, size_t len)
{
	static const uint8_t iso[] = { 1, 'C', 'D', '0', '0', '1', 1 };

	*volume = (struct volume){ 0 };
	if (len >= ISO_AT + ISO_BYTES && memcmp(head + ISO_AT, iso, sizeof(iso)) == 0) {
		volume->type = "iso9660";
		set_label(volume, head + ISO_AT + 40, VOLUME_LABEL_MAX);
	} else if (len >= SECTOR && is_fat(head)) {
		look_fat(volume, head);
	}
}

void volume_look_root(struct volume *volume, const uint8_t *root, size_t len)
{
	for (size_t at = 0; len - at >= ENTRY && root[at] != 0; at += ENTRY) {
		const uint8_t attributes = root[at + 11] & 0x3f;

		if (root[at] == DELETED || attributes == ATTRIBUTES_LONG_NAME ||
		    (attributes & ATTRIBUTE_LABEL) == 0)
			continue;
		set_label(volume, root + at, FAT_LABEL);
		return;
	}
}

bool volume_is_named(const struct volume *volume, const char *label)
{
	return volume->type != NULL && strcasecmp(volume->label, label) == 0;
}
