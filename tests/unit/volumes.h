/* First bytes of file systems, for tests of their labels. */
#ifndef TESTS_UNIT_VOLUMES_H
#define TESTS_UNIT_VOLUMES_H

#include <stdint.h>

#define VOLUMES_BYTES (64 << 10)

/* Both at `to`, of VOLUMES_BYTES, zeroed. Their labels are of 11 characters, or of 32. */
void volumes_put_iso9660(uint8_t *to, const char *label);
/* `root_label`: NULL: in the boot sector only. */
void volumes_put_fat16(uint8_t *to, const char *label, const char *root_label);
void volumes_put_fat32(uint8_t *to, const char *label, const char *root_label);

#endif
