/*
 * What a file system is called: the label of a FAT or ISO 9660 file system, from its first bytes, which may be anybody's. No
 * I/O here; who reads a device does this:
 *
 *   volume_look() at its first VOLUME_HEAD bytes (fewer, where it has no more); if volume.root_len is not 0, that many bytes at
 *   volume.root_at to volume_look_root().
 */
#ifndef APPLIANCE_VOLUME_H
#define APPLIANCE_VOLUME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VOLUME_HEAD ((size_t)34 << 10) /* up to the end of ISO 9660's descriptor */
#define VOLUME_LABEL_MAX 32
#define VOLUME_ROOT_MAX \
	((size_t)16 << 10) /* of a root directory: 512 entries, as a floppy's and more */

struct volume {
	const char *type; /* as mount(2) calls it: "iso9660", "vfat"; NULL: neither */
	char label[VOLUME_LABEL_MAX + 1]; /* without spaces at its end; of whatever bytes but NUL */
	/* FAT: where the root directory begins, which may have another label, and as much of it as is worth reading */
	uint64_t root_at;
	size_t root_len;
};

void volume_look(struct volume *volume, const uint8_t *head, size_t len);
void volume_look_root(struct volume *volume, const uint8_t *root, size_t len);

/* Case does not matter: what one system writes in small letters another shows in capitals. */
bool volume_is_named(const struct volume *volume, const char *label);

#endif
