/*
 * The configuration drive: a file system labelled CONFIG_DRIVE_LABEL (ISO 9660 or FAT) with config.json and the files that it
 * names, and no directories. Here it is made; init_drive.c finds it.
 */
#ifndef APPLIANCE_CONFIG_DRIVE_H
#define APPLIANCE_CONFIG_DRIVE_H

#include "appliance/config.h"

#define CONFIG_DRIVE_LABEL "UNDERSTUDY" /* FAT has 11 characters for it */
#define CONFIG_DRIVE_CONFIG "config.json"
#define CONFIG_DRIVE_FILES_MAX 8 /* that a configuration can name: certificates and keys */

/* The paths of files that have to travel with a configuration; its own strings. Returns how many. */
size_t config_drive_named(const struct config *config, const char *paths[CONFIG_DRIVE_FILES_MAX]);

/*
 * Into an empty buffer, to be released by files_free_secret(): the drive with the config.json of a directory and the files beside
 * it that it names. The same files give the same bytes.
 */
int config_drive_make(struct buf *out, const char *dir, const struct config *config,
		      struct err *err);

#endif
