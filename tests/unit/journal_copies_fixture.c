#include "tests/unit/journal_copies_fixture.h"

#include "appliance/base/mem.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define NEVER_MS (1 << 24)

int copies_begin(void **state)
{
	const int r = journal_fixture_begin(state);

	journal_play.place.count = 3;
	journal_play.place.quorum = 2;
	journal_play.place.retry_ms = NEVER_MS;
	journal_play.place.patient = true;
	return r;
}

void copies_disarm(void)
{
	unsigned place;
	int kind;

	for (kind = 0; kind < FAULT_KINDS; kind++) {
		for (place = 1; place < FAULT_PLACES; place++)
			fault_arm_at((enum fault_kind)kind, place, 0, false);
	}
}

int copies_end(void **state)
{
	copies_disarm();
	return journal_fixture_end(state);
}

/* ---- files ------------------------------------------------------------------------------------ */

static size_t read_file(int dir, const char *name, uint8_t **bytes)
{
	int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
	struct stat st;
	size_t len;

	if (fd < 0)
		return SIZE_MAX;
	assert_int_equal(fstat(fd, &st), 0);
	len = (size_t)st.st_size;
	*bytes = malloc(len + 1);
	assert_int_equal(read(fd, *bytes, len), (ssize_t)len);
	(void)close(fd);
	return len;
}

/* What one has, the other has, byte for byte. */
static void has_all_of(unsigned copy, unsigned other)
{
	int left = open(journal_play.path[copy], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = opendir(journal_play.path[other]);
	struct dirent *entry;
	uint8_t *ours = NULL, *theirs = NULL;
	size_t len;

	while ((entry = readdir(dir)) != NULL) {
		if (entry->d_name[0] == '.' || strcmp(entry->d_name, "lock") == 0)
			continue;
		len = read_file(left, entry->d_name, &ours);
		if (len == SIZE_MAX)
			fail_msg("copy %u has no %s", copy, entry->d_name);
		assert_true(len == read_file(dirfd(dir), entry->d_name, &theirs));
		if (ours == NULL || theirs == NULL || memcmp(ours, theirs, len) != 0)
			fail_msg("%s differs in copies %u and %u", entry->d_name, copy, other);
		free(ours);
		free(theirs);
		ours = theirs = NULL;
	}
	(void)closedir(dir);
	(void)close(left);
}

void copies_are_the_same(void)
{
	has_all_of(0, 1);
	has_all_of(1, 0);
	has_all_of(1, 2);
	has_all_of(2, 1);
}

static void gone_name(unsigned copy, char out[SCRATCH_MAX + 16])
{
	(void)snprintf(out, SCRATCH_MAX + 16, "%s.gone", journal_play.path[copy]);
}

void copies_take_away(unsigned copy)
{
	char gone[SCRATCH_MAX + 16];

	gone_name(copy, gone);
	(void)rename(journal_play.path[copy], gone);
}

void copies_bring_back(unsigned copy)
{
	char gone[SCRATCH_MAX + 16];

	gone_name(copy, gone);
	if (access(gone, F_OK) != 0)
		return;
	journal_fixture_remove(copy);
	assert_int_equal(rename(gone, journal_play.path[copy]), 0);
}

void copies_path(unsigned copy, uint64_t segment, char out[SCRATCH_MAX + 64])
{
	char name[JOURNAL_NAME_BYTES];

	journal_segment_name(name, segment);
	(void)snprintf(out, SCRATCH_MAX + 64, "%s/%s", journal_play.path[copy], name);
}

void copies_path_of(int fd, char out[SCRATCH_MAX + 64])
{
	char name[32];
	ssize_t len;

	(void)snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	len = readlink(name, out, SCRATCH_MAX + 63);
	out[len > 0 ? len : 0] = '\0';
}

size_t copies_get(unsigned copy, uint64_t segment, uint8_t **bytes)
{
	char path[SCRATCH_MAX + 64];

	copies_path(copy, segment, path);
	return read_file(AT_FDCWD, path, bytes);
}

void copies_put(unsigned copy, uint64_t segment, const uint8_t *bytes, size_t len)
{
	char path[SCRATCH_MAX + 64];
	int fd;

	copies_path(copy, segment, path);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_int_equal(write(fd, bytes, len), (ssize_t)len);
	(void)close(fd);
}

void copies_flip(unsigned copy, uint64_t segment, off_t at)
{
	char path[SCRATCH_MAX + 64];
	uint8_t byte;
	int fd;

	copies_path(copy, segment, path);
	fd = open(path, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(pread(fd, &byte, 1, at), 1);
	byte ^= (uint8_t)(1U << at % 8);
	assert_int_equal(pwrite(fd, &byte, 1, at), 1);
	(void)close(fd);
}

/* ---- the journal ------------------------------------------------------------------------------ */

void copies_open(void)
{
	struct err err = { 0 };

	if (journal_fixture_open(&err) != RC_OK || journal_is_broken(journal_play.j, &err))
		fail_msg("%s", err.text);
	assert_false(journal_play.wrong);
	assert_true(journal_play.found.epoch == journal_play.seen);
}

struct journal_health copies_health(void)
{
	struct journal_health health;

	journal_health(journal_play.j, &health);
	return health;
}

void copies_wait_for_good(unsigned good)
{
	while (copies_health().good < good)
		(void)usleep(1000);
}

void copies_become_the_same(void)
{
	copies_wait_for_good(journal_play.place.count);
	journal_fixture_close();
	copies_are_the_same();
}
