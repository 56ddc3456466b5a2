/* `understudy config-drive`: checks what can be checked here, makes the drive, and says what is on it and what is not. */
#include "appliance/base/files.h"
#include "appliance/base/mem.h"
#include "appliance/config_drive.h"
#include "appliance/options.h"
#include "appliance/preflight.h"
#include "appliance/verb.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATH_MAX_BYTES 512
#define DEFAULT_OUTPUT "understudy-config.iso"

static const char about[] =
	"Makes the drive that configures an appliance's image: DIR/config.json and the certificates and keys that\n"
	"it names, which have to be in DIR, too. What else is there is left out. The drive is an ISO 9660 image,\n"
	"labelled " CONFIG_DRIVE_LABEL
	", mode 0600: attach it as a disk or as a CD. The configuration is checked as by\n"
	"`understudy check`, as far as that can be done on another machine.";

static bool is_named(const char *name, const char *const *paths, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (strcmp(strrchr(paths[i], '/') + 1, name) == 0)
			return true;
	}
	return strcmp(name, CONFIG_DRIVE_CONFIG) == 0;
}

static void print_left_out(const char *dir, const char *const *paths, size_t count)
{
	struct dirent *entry;
	DIR *all = opendir(dir);

	while (all != NULL && (entry = readdir(all)) != NULL) {
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
		    !is_named(entry->d_name, paths, count))
			(void)fprintf(stderr,
				      "warning: %s/%s: not named in " CONFIG_DRIVE_CONFIG
				      ", left out\n",
				      dir, entry->d_name);
	}
	if (all != NULL)
		(void)closedir(all);
}

/* `output`: NULL: none was made. */
static void print_done(const char *dir, const char *output, const struct config *config)
{
	const char *paths[CONFIG_DRIVE_FILES_MAX];
	const size_t count = config_drive_named(config, paths);

	print_left_out(dir, paths, count);
	if (output != NULL)
		(void)printf("%s: ", output);
	(void)printf(CONFIG_DRIVE_CONFIG);
	for (size_t i = 0; i < count; i++)
		(void)printf(" %s", strrchr(paths[i], '/') + 1);
	(void)printf("\n");
	if (output != NULL)
		(void)printf(
			"It has the site's private key in it: who can read it can pass for the site.\n");
}

static int write_drive(const char *output, const struct buf *drive, struct err *err)
{
	const char *slash = strrchr(output, '/');
	char *dir = config_directory(output);
	int rc;

	if (dir == NULL)
		return err_nomem(err, output);
	rc = files_replace(dir, slash != NULL ? slash + 1 : output, drive->data, drive->len, err);
	mem_free(dir);
	return rc;
}

/* `output`: NULL: only to see whether it could be. */
static int make(const char *dir, const char *output, struct err *err)
{
	char path[PATH_MAX_BYTES];
	struct preflight preflight;
	struct buf drive = { 0 };
	const int n = snprintf(path, sizeof(path), "%s/" CONFIG_DRIVE_CONFIG, dir);
	int rc;

	if (n < 0 || (size_t)n >= sizeof(path))
		return err_set(err, RC_LIMIT, "%.64s...: the path is too long", dir);
	rc = preflight_run_appliance(&preflight, path, err);
	preflight_print(&preflight);
	if (rc == RC_OK)
		rc = config_drive_make(&drive, dir, &preflight.config, err);
	if (rc == RC_OK && output != NULL)
		rc = write_drive(output, &drive, err);
	if (rc == RC_OK)
		print_done(dir, output, &preflight.config);
	files_free_secret(&drive);
	preflight_free(&preflight);
	return rc;
}

int verb_config_drive(int argc, char **argv)
{
	const char *dir = NULL, *output = NULL;
	bool names = false;
	const struct option options[] = {
		{ .name = "output",
		  .value = "FILE",
		  .text = &output,
		  .doc = "the drive (default: " DEFAULT_OUTPUT ")" },
		{ .name = "names",
		  .flag = &names,
		  .doc = "make none; print the names of the files that would be on it" },
	};
	const struct command command = { .synopsis = "config-drive DIR [--output FILE | --names]",
					 .about = about,
					 .options = options,
					 .count = 2,
					 .operand = &dir,
					 .operand_name = "DIR" };
	char whole[PATH_MAX];
	struct err err;
	int status;

	if (!options_parse(&command, argc, argv, &status))
		return status;
	if (names && output != NULL)
		return options_wrong(&command, "--output and --names exclude each other");
	if (!names && output == NULL)
		output = DEFAULT_OUTPUT;
	if (realpath(dir, whole) == NULL)
		(void)err_system(&err, errno, "%s", dir);
	else if (make(whole, output, &err) == RC_OK)
		return EXIT_FINE;
	(void)err_prefix(&err, "config-drive: ");
	return options_failed(err.text);
}
