#include "tests/unit/pki_fixture.h"

#include "appliance/base/mem.h"
#include "tests/unit/scratch.h"

#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

char pki_top[SCRATCH_MAX];
char pki_dir[SCRATCH_MAX + 8];
struct pki_made pki_made[PKI_MEMBERS];
struct err pki_err;

const char *const pki_files[PKI_FILES] = { "ca.crt",	  "ca.key",	 "primary.crt",
					   "primary.key", "standby.crt", "standby.key" };

int pki_fixture_open(void **state)
{
	(void)state;
	return scratch_make(pki_top, "pki");
}

int pki_fixture_close(void **state)
{
	(void)state;
	return rmdir(pki_top);
}

const char *pki_path(const char *name)
{
	static char paths[4][PKI_PATH_SIZE];
	static unsigned turn;
	char *path = paths[turn++ % 4];

	(void)snprintf(path, PKI_PATH_SIZE, "%s/%s", pki_dir, name);
	return path;
}

struct pki_request pki_fixture_request(void)
{
	return (struct pki_request){ .dir = pki_dir,
				     .ca_days = 20,
				     .site_days = 10,
				     .now = time(NULL),
				     .names = {
					     [PKI_PRIMARY] = "seoul", [PKI_STANDBY] = "busan" } };
}

int pki_fixture_try(void)
{
	struct pki_request wanted = pki_fixture_request();

	return pki_make(&wanted, pki_made, &pki_err);
}

void pki_fixture_make(void)
{
	if (pki_fixture_try() != RC_OK)
		fail_msg("%s", pki_err.text);
}

size_t pki_fixture_read(const char *name, char out[PKI_FILE_SIZE])
{
	FILE *file = fopen(pki_path(name), "r");
	size_t len;

	assert_non_null(file);
	len = fread(out, 1, PKI_FILE_SIZE - 1, file);
	(void)fclose(file);
	out[len] = '\0';
	return len;
}

size_t pki_fixture_entries(void)
{
	DIR *stream = opendir(pki_dir);
	size_t count = 0;

	if (stream == NULL)
		return 0;
	while (readdir(stream) != NULL)
		count++;
	(void)closedir(stream);
	return count - 2; /* . and .. */
}

void pki_fixture_clear(void)
{
	for (size_t i = 0; i < PKI_FILES; i++)
		(void)unlink(pki_path(pki_files[i]));
	assert_true(rmdir(pki_dir) == 0 || errno == ENOENT);
}

int pki_fixture_set_up(void **state)
{
	(void)state;
	(void)snprintf(pki_dir, sizeof(pki_dir), "%s/pki", pki_top);
	return 0;
}

int pki_fixture_tear_down(void **state)
{
	(void)state;
	fault_arm(FAULT_WRITE, 0);
	fault_arm(FAULT_RENAME, 0);
	fault_arm(FAULT_FSYNC, 0);
	pki_fixture_clear();
	return 0;
}
