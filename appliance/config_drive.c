#include "appliance/config_drive.h"

#include "appliance/base/files.h"
#include "appliance/iso9660.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define DRIVE_MAX ((size_t)16 << 20) /* files of CONFIG_FILE_MAX each, and what the format adds */

/* Each once: the same authority may serve for both. */
size_t config_drive_named(const struct config *config, const char *paths[CONFIG_DRIVE_FILES_MAX])
{
	const char *const all[] = { config->tls_ca,	config->tls_cert,     config->tls_key,
				    config->witness_ca, config->witness_cert, config->witness_key };
	size_t count = 0, i;

	for (size_t j = 0; j < sizeof(all) / sizeof(all[0]); j++) {
		if (all[j] == NULL)
			continue;
		for (i = 0; i < count && strcmp(paths[i], all[j]) != 0; i++)
			;
		if (i == count)
			paths[count++] = all[j];
	}
	return count;
}

static int read_file(struct iso9660_file *file, struct buf *text, int dir, const char *name,
		     struct err *err)
{
	int rc;

	text->limit = CONFIG_FILE_MAX;
	rc = files_read(text, dir, name, FILES_PLAIN, err);
	*file = (struct iso9660_file){ .name = name, .data = text->data, .len = text->len };
	return rc;
}

int config_drive_make(struct buf *out, const char *dir, const struct config *config,
		      struct err *err)
{
	struct iso9660_file files[1 + CONFIG_DRIVE_FILES_MAX];
	struct buf texts[1 + CONFIG_DRIVE_FILES_MAX] = { 0 };
	const char *paths[CONFIG_DRIVE_FILES_MAX];
	size_t count = config_drive_named(config, paths);
	const int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int rc = fd < 0 ? err_system(err, errno, "%s", dir) : RC_OK;

	if (rc == RC_OK)
		rc = read_file(&files[0], &texts[0], fd, CONFIG_DRIVE_CONFIG, err);
	for (size_t i = 0; rc == RC_OK && i < count; i++)
		rc = read_file(&files[1 + i], &texts[1 + i], fd, strrchr(paths[i], '/') + 1, err);
	out->limit = DRIVE_MAX;
	if (rc == RC_OK)
		rc = iso9660_write(out, CONFIG_DRIVE_LABEL, files, 1 + count, err);
	if (fd >= 0)
		(void)close(fd);
	for (size_t i = 0; i <= count; i++)
		files_free_secret(&texts[i]);
	return rc;
}
