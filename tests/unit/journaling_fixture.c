#include "tests/unit/journaling_fixture.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <xxhash.h>

struct journaling_play journaling_play;

/* ---- what the receiver says --------------------------------------------------------------------- */

static void on_committed(void *owner, uint64_t epoch, uint64_t took_ns)
{
	struct journaling_status status;

	(void)owner;
	(void)took_ns;
	journaling_play.committed = epoch;
	journaling_status(receiver_journal(journaling_play.receiver), &status);
	if (status.durable && status.epoch < epoch)
		journaling_play.never_early = false;
}

static void on_fault(void *owner, uint64_t epoch, const struct err *err)
{
	(void)owner;
	(void)epoch;
	(void)err;
	journaling_play.faults++;
}

static void on_consumed(void *owner, size_t bytes)
{
	(void)owner;
	(void)bytes;
}

static void on_restored(void *owner, uint64_t epoch, const struct journal_origin *origin,
			bool behind, const struct err *why)
{
	(void)owner;
	journaling_play.restored = true;
	journaling_play.epoch = epoch;
	journaling_play.origin = *origin;
	journaling_play.behind = behind;
	journaling_play.why = *why;
}

static void on_more(void *owner)
{
	(void)owner;
	journaling_play.more = true;
}

void journaling_on_idle(void *owner)
{
	(void)owner;
	journaling_play.idle = true;
}

void journaling_on_closed(void *owner)
{
	(void)owner;
	journaling_play.closed = true;
}

static const struct receiver_ops callbacks = { on_committed, on_fault, on_consumed, on_restored,
					       on_more };

uint8_t **journaling_then(uint64_t epoch)
{
	return &journaling_play.then[epoch % KEPT];
}

/* ---- what is done ------------------------------------------------------------------------------- */

void journaling_wait_for(const bool *what)
{
	while (!*what)
		(void)uv_run(&journaling_play.loop, UV_RUN_ONCE);
}

const char *journaling_state(void)
{
	struct journaling_status status;

	journaling_status(receiver_journal(journaling_play.receiver), &status);
	return status.state;
}

void journaling_wait_for_state(const char *name)
{
	while (strcmp(journaling_state(), name) != 0)
		(void)uv_run(&journaling_play.loop, UV_RUN_ONCE);
}

void journaling_fixture_open(bool restore)
{
	struct err err;

	journaling_play.options.restore = restore;
	journaling_play.restored = journaling_play.closed = journaling_play.more = false;
	assert_int_equal(receiver_create(&journaling_play.receiver, &journaling_play.loop,
					 image_fixture.image, &journaling_play.options, &callbacks,
					 NULL, &err),
			 RC_OK);
	if (restore)
		journaling_wait_for(&journaling_play.restored);
}

void journaling_fixture_close(void)
{
	if (journaling_play.receiver == NULL)
		return;
	receiver_close(journaling_play.receiver, journaling_on_closed, NULL);
	journaling_wait_for(&journaling_play.closed);
	journaling_play.receiver = NULL;
}

/* No page of it is ever zero: each has storage from the first epoch on, so that no fault of a write is the image's. */
static void change_guest(unsigned changes)
{
	uint64_t i;

	pages_change(&image_fixture.guest, changes);
	for (i = 0; i < GUEST_PAGES; i++) {
		if (image_fixture.guest.dirty[i])
			*pages_at(&image_fixture.guest, i) |= 1;
	}
}

static void fill_guest(void)
{
	memset(image_fixture.guest.dirty, true, GUEST_PAGES * sizeof(bool));
	change_guest(3000);
}

/* The next epoch is on its way to the image; it is not waited for. */
void journaling_send_epoch(void)
{
	const struct journal_origin origin = { SESSION, TERM };
	struct wire_commit commit;
	struct err err;
	size_t i;

	if (image_fixture.epoch.number == 0)
		fill_guest();
	change_guest(60);
	image_fixture_capture(image_fixture.epoch.number > 0);
	free(*journaling_then(image_fixture.epoch.number));
	*journaling_then(image_fixture.epoch.number) = image_fixture_copy();
	journaling_play.sums[image_fixture.epoch.number % SUMS] =
		XXH64(image_fixture.guest.memory, GUEST_PAGES * LAYOUT_PAGE, 0);
	commit = (struct wire_commit){ .batches = image_fixture.epoch.count,
				       .pages = image_fixture.epoch.pages,
				       .hash = image_fixture.epoch.hash,
				       .device_state_len = DEVICE_STATE_LEN };
	assert_int_equal(receiver_begin(journaling_play.receiver, image_fixture.epoch.number,
					&origin, image_fixture.epoch.number == 1, &err),
			 RC_OK);
	for (i = 0; i < image_fixture.epoch.count; i++)
		assert_int_equal(receiver_batch(journaling_play.receiver,
						image_fixture.epoch.batches[i].data,
						image_fixture.epoch.batches[i].len, &err),
				 RC_OK);
	assert_int_equal(receiver_end(journaling_play.receiver, image_fixture.epoch.number, &commit,
				      &err),
			 RC_OK);
}

void journaling_send_epochs(unsigned count)
{
	while (count-- > 0) {
		journaling_send_epoch();
		while (journaling_play.committed < image_fixture.epoch.number &&
		       journaling_play.faults == 0)
			(void)uv_run(&journaling_play.loop, UV_RUN_ONCE);
		assert_int_equal(journaling_play.faults, 0);
	}
}

/* A standby that knows nothing but its journal; at least that epoch has to be there. */
void journaling_restart(uint64_t at_least)
{
	journaling_fixture_close();
	image_destroy(image_fixture.image, false);
	image_fixture.image = NULL;
	image_fixture_make(STAGING);
	journaling_fixture_open(true);
	if (journaling_play.why.code != RC_OK)
		fail_msg("restored: %s", journaling_play.why.text);
	assert_true(journaling_play.epoch >= at_least);
	assert_true(journaling_play.epoch == image_epoch(image_fixture.image));
	assert_true(journaling_play.origin.session == SESSION &&
		    journaling_play.origin.term == TERM);
	assert_int_equal(image_device_state_len(image_fixture.image), DEVICE_STATE_LEN);
	image_fixture_holds(*journaling_then(journaling_play.epoch));
	journaling_play.committed = journaling_play.epoch;
}

/* ---- files -------------------------------------------------------------------------------------- */

void journaling_each_file(const char *path, void (*what)(int dir, const char *name))
{
	DIR *dir = opendir(path);
	struct dirent *entry;

	while (dir != NULL && (entry = readdir(dir)) != NULL) {
		if (entry->d_name[0] != '.')
			what(dirfd(dir), entry->d_name);
	}
	if (dir != NULL)
		(void)closedir(dir);
}

void journaling_remove_one(int dir, const char *name)
{
	(void)unlinkat(dir, name, 0);
}

static uint64_t names; /* a sum over the files of a directory: other ones give another */

static void note_one(int dir, const char *name)
{
	(void)dir;
	names += XXH64(name, strlen(name), 0);
}

static uint64_t names_of(const char *path)
{
	names = 0;
	journaling_each_file(path, note_one);
	return names;
}

static void copy_one(int dir, const char *name)
{
	static uint8_t bytes[1 << 16];
	char path[SCRATCH_MAX + 64];
	int from = openat(dir, name, O_RDONLY | O_CLOEXEC), to;
	ssize_t got;

	(void)snprintf(path, sizeof(path), "%s/%s", journaling_play.copy, name);
	to = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	while (from >= 0 && (got = read(from, bytes, sizeof(bytes))) > 0)
		assert_int_equal(write(to, bytes, (size_t)got), got);
	(void)close(to);
	if (from >= 0)
		(void)close(from);
}

/* As they were at one moment: its writer goes on meanwhile. */
void journaling_copy_files(void)
{
	uint64_t before;

	do {
		journaling_each_file(journaling_play.copy, journaling_remove_one);
		before = names_of(journaling_play.dir);
		journaling_each_file(journaling_play.dir, copy_one);
	} while (names_of(journaling_play.dir) != before ||
		 names_of(journaling_play.copy) != before);
}

static uint64_t first_segment;

static void note_first(int dir, const char *name)
{
	const uint64_t sequence = journal_segment_sequence(name);

	(void)dir;
	if (sequence != 0 && (first_segment == 0 || sequence < first_segment))
		first_segment = sequence;
}

uint64_t journaling_first_segment(void)
{
	first_segment = 0;
	journaling_each_file(journaling_play.dir, note_first);
	return first_segment;
}

int journaling_fixture_begin(void **unused)
{
	memset(&journaling_play, 0, sizeof(journaling_play));
	journaling_play.never_early = true;
	if (image_fixture_setup(unused) != 0 ||
	    scratch_make(journaling_play.dir, "journaling") != 0 ||
	    scratch_make(journaling_play.copy, "journaling") != 0 ||
	    scratch_make(journaling_play.claim, "claim") != 0 ||
	    uv_loop_init(&journaling_play.loop) != 0)
		return -1;
	journaling_play.options = (struct journaling_options){
		.part = "test",
		.instance = "vm1",
		.claim_dir = journaling_play.claim,
		.place = { .dirs = { journaling_play.dir }, .count = 1, .quorum = 1 },
		.segment_bytes = SEGMENT,
		.backlog_bytes = (size_t)4 << 20,
		.copy_bytes = (uint64_t)1 << 40,
		.copy_backlog = JOURNALING_COPY_BACKLOG,
		.retry_ms = 1,
		.durable = true
	};
	image_fixture_make(STAGING);
	journaling_fixture_open(false);
	return 0;
}

int journaling_fixture_end(void **unused)
{
	size_t i;

	journaling_fixture_close();
	if (journaling_play.rewind != NULL) /* the test has failed */
		rewind_close(journaling_play.rewind, NULL, NULL);
	while (uv_run(&journaling_play.loop, UV_RUN_DEFAULT) != 0)
		;
	assert_int_equal(uv_loop_close(&journaling_play.loop), 0);
	journaling_each_file(journaling_play.dir, journaling_remove_one);
	journaling_each_file(journaling_play.copy, journaling_remove_one);
	journaling_each_file(journaling_play.claim, journaling_remove_one);
	for (i = 0; i < KEPT; i++)
		free(journaling_play.then[i]);
	assert_true(journaling_play.never_early);
	return rmdir(journaling_play.dir) != 0 || rmdir(journaling_play.copy) != 0 ||
			       rmdir(journaling_play.claim) != 0 ?
		       -1 :
		       image_fixture_teardown(unused);
}

/* The guest is where it was at that epoch. */
void journaling_rewind_guest(uint64_t epoch)
{
	memcpy(image_fixture.guest.memory, *journaling_then(epoch), GUEST_PAGES * LAYOUT_PAGE);
	memset(image_fixture.guest.dirty, true, GUEST_PAGES * sizeof(*image_fixture.guest.dirty));
	delta_state_forget(image_fixture.sender);
	image_fixture.epoch.number = epoch;
}

/* It takes the journal's place. */
void journaling_use_copy(void)
{
	char swap[SCRATCH_MAX];

	journaling_fixture_close();
	journaling_each_file(journaling_play.dir, journaling_remove_one);
	memcpy(swap, journaling_play.dir, sizeof(swap));
	memcpy(journaling_play.dir, journaling_play.copy, sizeof(swap));
	memcpy(journaling_play.copy, swap, sizeof(swap));
}

void journaling_damage(uint64_t segment)
{
	char name[JOURNAL_NAME_BYTES], path[SCRATCH_MAX + JOURNAL_NAME_BYTES + 1];
	uint8_t byte;
	int fd;

	journal_segment_name(name, segment);
	(void)snprintf(path, sizeof(path), "%s/%s", journaling_play.dir, name);
	fd = open(path, O_RDWR | O_CLOEXEC);
	assert_int_equal(pread(fd, &byte, 1, 5000), 1);
	byte ^= 4;
	assert_int_equal(pwrite(fd, &byte, 1, 5000), 1);
	(void)close(fd);
}
