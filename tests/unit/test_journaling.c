/*
 * Epochs through the receiver into the journal, and back: whatever the moment at which a standby dies, its
 * journal holds every epoch that was acknowledged, and brings the image to one of them byte for byte.
 */
#include "appliance/base/mem.h"
#include "replica/history_target.h"
#include "replica/receiver.h"
#include "replica/rewind.h"
#include "tests/unit/image_fixture.h"

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

#define EPOCHS_MAX 400
#define KEPT 16 /* epochs that may come back */
#define SUMS 8192
#define SESSION 77
#define TERM 3
#define SEGMENT ((uint64_t)1 << 20) /* small: an image takes several */

static struct play {
	uv_loop_t loop;
	char dir[SCRATCH_MAX], copy[SCRATCH_MAX];
	struct receiver *receiver;
	struct rewind *rewind;
	struct journaling_options options;
	uint8_t *then[KEPT]; /* the guest, per epoch */
	uint64_t sums[SUMS]; /* of it, of the last epochs */
	uint64_t committed, faults;
	bool idle, closed, restored, behind, never_early, rewound;
	uint64_t epoch; /* restored */
	struct journal_origin origin;
	struct err why;
} play;

/* ---- what the receiver says --------------------------------------------------------------------- */

static void on_committed(void *owner, uint64_t epoch, uint64_t took_ns)
{
	struct journaling_status status;

	(void)owner;
	(void)took_ns;
	play.committed = epoch;
	journaling_status(receiver_journal(play.receiver), &status);
	if (status.durable && status.epoch < epoch)
		play.never_early = false;
}

static void on_fault(void *owner, uint64_t epoch, const struct err *err)
{
	(void)owner;
	(void)epoch;
	(void)err;
	play.faults++;
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
	play.restored = true;
	play.epoch = epoch;
	play.origin = *origin;
	play.behind = behind;
	play.why = *why;
}

static void on_idle(void *owner)
{
	(void)owner;
	play.idle = true;
}

static void on_closed(void *owner)
{
	(void)owner;
	play.closed = true;
}

static const struct receiver_ops callbacks = { on_committed, on_fault, on_consumed, on_restored };

static uint8_t **then(uint64_t epoch)
{
	return &play.then[epoch % KEPT];
}

/* ---- what is done ------------------------------------------------------------------------------- */

static void wait_for(const bool *what)
{
	while (!*what)
		(void)uv_run(&play.loop, UV_RUN_ONCE);
}

static const char *state(void)
{
	struct journaling_status status;

	journaling_status(receiver_journal(play.receiver), &status);
	return status.state;
}

static void wait_for_state(const char *name)
{
	while (strcmp(state(), name) != 0)
		(void)uv_run(&play.loop, UV_RUN_ONCE);
}

static void open_receiver(bool restore)
{
	struct err err;

	play.options.restore = restore;
	play.restored = play.closed = false;
	assert_int_equal(receiver_create(&play.receiver, &play.loop, image_fixture.image,
					 &play.options, &callbacks, NULL, &err),
			 RC_OK);
	if (restore)
		wait_for(&play.restored);
}

static void close_receiver(void)
{
	if (play.receiver == NULL)
		return;
	receiver_close(play.receiver, on_closed, NULL);
	wait_for(&play.closed);
	play.receiver = NULL;
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
static void send_epoch(void)
{
	const struct journal_origin origin = { SESSION, TERM };
	struct wire_commit commit;
	struct err err;
	size_t i;

	if (image_fixture.epoch.number == 0)
		fill_guest();
	change_guest(60);
	image_fixture_capture(image_fixture.epoch.number > 0);
	free(*then(image_fixture.epoch.number));
	*then(image_fixture.epoch.number) = image_fixture_copy();
	play.sums[image_fixture.epoch.number % SUMS] =
		XXH64(image_fixture.guest.memory, GUEST_PAGES * LAYOUT_PAGE, 0);
	commit = (struct wire_commit){ .batches = image_fixture.epoch.count,
				       .pages = image_fixture.epoch.pages,
				       .hash = image_fixture.epoch.hash,
				       .device_state_len = DEVICE_STATE_LEN };
	assert_int_equal(receiver_begin(play.receiver, image_fixture.epoch.number, &origin,
					image_fixture.epoch.number == 1, &err),
			 RC_OK);
	for (i = 0; i < image_fixture.epoch.count; i++)
		assert_int_equal(receiver_batch(play.receiver, image_fixture.epoch.batches[i].data,
						image_fixture.epoch.batches[i].len, &err),
				 RC_OK);
	assert_int_equal(receiver_end(play.receiver, image_fixture.epoch.number, &commit, &err),
			 RC_OK);
}

static void send_epochs(unsigned count)
{
	while (count-- > 0) {
		send_epoch();
		while (play.committed < image_fixture.epoch.number && play.faults == 0)
			(void)uv_run(&play.loop, UV_RUN_ONCE);
		assert_int_equal(play.faults, 0);
	}
}

/* A standby that knows nothing but its journal; at least that epoch has to be there. */
static void restart(uint64_t at_least)
{
	close_receiver();
	image_destroy(image_fixture.image, false);
	image_fixture.image = NULL;
	image_fixture_make(STAGING);
	open_receiver(true);
	if (play.why.code != RC_OK)
		fail_msg("restored: %s", play.why.text);
	assert_true(play.epoch >= at_least);
	assert_true(play.epoch == image_epoch(image_fixture.image));
	assert_true(play.origin.session == SESSION && play.origin.term == TERM);
	assert_int_equal(image_device_state_len(image_fixture.image), DEVICE_STATE_LEN);
	image_fixture_holds(*then(play.epoch));
	play.committed = play.epoch;
}

/* ---- files -------------------------------------------------------------------------------------- */

static void each_file(const char *path, void (*what)(int dir, const char *name))
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

static void remove_one(int dir, const char *name)
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
	each_file(path, note_one);
	return names;
}

static void copy_one(int dir, const char *name)
{
	static uint8_t bytes[1 << 16];
	char path[SCRATCH_MAX + 64];
	int from = openat(dir, name, O_RDONLY | O_CLOEXEC), to;
	ssize_t got;

	(void)snprintf(path, sizeof(path), "%s/%s", play.copy, name);
	to = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	while (from >= 0 && (got = read(from, bytes, sizeof(bytes))) > 0)
		assert_int_equal(write(to, bytes, (size_t)got), got);
	(void)close(to);
	if (from >= 0)
		(void)close(from);
}

/* As they were at one moment: its writer goes on meanwhile. */
static void copy_files(void)
{
	uint64_t before;

	do {
		each_file(play.copy, remove_one);
		before = names_of(play.dir);
		each_file(play.dir, copy_one);
	} while (names_of(play.dir) != before || names_of(play.copy) != before);
}

static int begin(void **unused)
{
	memset(&play, 0, sizeof(play));
	play.never_early = true;
	if (image_fixture_setup(unused) != 0 || scratch_make(play.dir, "journaling") != 0 ||
	    scratch_make(play.copy, "journaling") != 0 || uv_loop_init(&play.loop) != 0)
		return -1;
	play.options = (struct journaling_options){ .part = "test",
						    .dir = play.dir,
						    .segment_bytes = SEGMENT,
						    .backlog_bytes = (size_t)4 << 20,
						    .copy_bytes = (uint64_t)1 << 40,
						    .copy_backlog = JOURNALING_COPY_BACKLOG,
						    .retry_ms = 1,
						    .durable = true };
	image_fixture_make(STAGING);
	open_receiver(false);
	return 0;
}

static int end(void **unused)
{
	size_t i;

	close_receiver();
	if (play.rewind != NULL) /* the test has failed */
		rewind_close(play.rewind, NULL, NULL);
	while (uv_run(&play.loop, UV_RUN_DEFAULT) != 0)
		;
	assert_int_equal(uv_loop_close(&play.loop), 0);
	each_file(play.dir, remove_one);
	each_file(play.copy, remove_one);
	for (i = 0; i < KEPT; i++)
		free(play.then[i]);
	assert_true(play.never_early);
	return rmdir(play.dir) != 0 || rmdir(play.copy) != 0 ? -1 : image_fixture_teardown(unused);
}

/* ---- tests -------------------------------------------------------------------------------------- */

static void what_was_acknowledged_comes_back_and_goes_on(void **unused)
{
	(void)unused;
	wait_for_state("bare");
	send_epochs(1);
	wait_for_state("based"); /* nothing else comes meanwhile */
	send_epochs(20);
	restart(21);
	assert_int_equal(play.epoch, 21);
	assert_false(play.behind);
	assert_string_equal(state(), "based");
	send_epochs(10);
	restart(31);
	assert_int_equal(play.epoch, 31);
}

static void the_image_is_copied_while_epochs_go_on(void **unused)
{
	(void)unused;
	wait_for_state("bare");
	send_epochs(1);
	do {
		send_epoch();
		send_epoch();
		send_epochs(1); /* two are queued: there is no moment without work */
	} while (strcmp(state(), "based") != 0);
	assert_true(image_fixture.epoch.number > 3);
	send_epochs(3);
	restart(image_fixture.epoch.number);
}

static void another_copy_takes_the_place_of_the_first(void **unused)
{
	struct journaling_status status;
	uint64_t most = 0;

	(void)unused;
	play.options.copy_bytes = 1;
	close_receiver();
	open_receiver(false);
	wait_for_state("bare");
	send_epochs(1);
	wait_for_state("based");
	while (image_fixture.epoch.number < EPOCHS_MAX - 20) {
		send_epochs(1);
		journaling_status(receiver_journal(play.receiver), &status);
		if (status.bytes + SEGMENT < most)
			break; /* segments have gone */
		most = status.bytes > most ? status.bytes : most;
	}
	assert_true(image_fixture.epoch.number < EPOCHS_MAX - 20);
	send_epochs(5);
	restart(image_fixture.epoch.number);
}

/* The guest is where it was at that epoch. */
static void rewind_guest(uint64_t epoch)
{
	memcpy(image_fixture.guest.memory, *then(epoch), GUEST_PAGES * LAYOUT_PAGE);
	memset(image_fixture.guest.dirty, true, GUEST_PAGES * sizeof(*image_fixture.guest.dirty));
	delta_state_forget(image_fixture.sender);
	image_fixture.epoch.number = epoch;
}

/* It takes the journal's place. */
static void use_copy(void)
{
	char swap[SCRATCH_MAX];

	close_receiver();
	each_file(play.dir, remove_one);
	memcpy(swap, play.dir, sizeof(swap));
	memcpy(play.dir, play.copy, sizeof(swap));
	memcpy(play.copy, swap, sizeof(swap));
}

/* At any moment, what is on the disk is copied, as a power cut or SIGKILL would leave it. */
static void killed_at_any_moment_it_holds_what_was_acknowledged(void **unused)
{
	unsigned round, turns;
	uint64_t acknowledged;

	(void)unused;
	wait_for_state("bare");
	send_epochs(1);
	wait_for_state("based");
	play.options.copy_bytes = 1;
	for (round = 0; round < 40; round++) {
		send_epochs((unsigned)pages_random(&image_fixture.guest, 4));
		send_epoch();
		send_epoch();
		for (turns = (unsigned)pages_random(&image_fixture.guest, 16); turns > 0; turns--)
			(void)uv_run(&play.loop, UV_RUN_NOWAIT);
		acknowledged = play.committed;
		copy_files();
		use_copy();
		restart(acknowledged);
		rewind_guest(play.epoch);
	}
}

/* Each write and each sync fails once: the epochs go on, and so does the journal after a while. */
static void a_disk_that_fails_costs_the_journal_and_not_the_epochs(void **unused)
{
	static const enum fault_kind kinds[] = { FAULT_WRITE, FAULT_FSYNC, FAULT_OPEN };
	struct journaling_status status;
	unsigned long nth;
	size_t kind;

	(void)unused;
	wait_for_state("bare");
	send_epochs(1);
	for (kind = 0; kind < 3; kind++) {
		for (nth = 1; nth < 8; nth += 2) {
			wait_for_state("based");
			fault_arm(kinds[kind], nth);
			while (!fault_fired(kinds[kind]) && kinds[kind] != FAULT_OPEN)
				send_epochs(1);
			send_epochs(2);
			fault_arm(kinds[kind], 0);
			journaling_status(receiver_journal(play.receiver), &status);
			if (kinds[kind] != FAULT_OPEN)
				assert_true(*status.problem != '\0' || status.durable);
			while (strcmp(state(), "based") != 0)
				send_epochs(1);
			send_epochs(1);
		}
	}
	assert_int_equal(play.faults, 0);
	restart(image_fixture.epoch.number);
}

static void what_was_acknowledged_without_it_is_told(void **unused)
{
	uint64_t last;

	(void)unused;
	play.options.retry_ms = 1 << 30;
	close_receiver();
	open_receiver(false);
	wait_for_state("bare");
	send_epochs(1);
	wait_for_state("based");
	send_epochs(4);
	last = play.committed;
	fault_arm(FAULT_FSYNC, 1);
	send_epochs(3);
	fault_arm(FAULT_FSYNC, 0);
	assert_string_equal(state(), "broken");
	restart(last);
	assert_true(play.behind);
	rewind_guest(play.epoch);
	send_epochs(2); /* and is true again once the journal leads on from there */
	restart(play.committed);
	assert_false(play.behind);
}

static void another_image_is_another_history(void **unused)
{
	const uint64_t before = 3;

	(void)unused;
	wait_for_state("bare");
	send_epochs(1);
	wait_for_state("based");
	send_epochs((unsigned)before - 1);
	image_forget(image_fixture.image);
	rewind_guest(before);
	send_epochs(2);
	close_receiver(); /* the other image's epochs were not waited for */
	open_receiver(false);
	wait_for_state("bare");
	send_epochs(1);
	wait_for_state("based");
	send_epochs(1);
	restart(before + 4);
	assert_false(play.behind);
}

/* The journal then ends with a base that leads nowhere, behind one that does. */
static void a_copy_that_was_cut_short_leaves_what_was_there_before(void **unused)
{
	(void)unused;
	wait_for_state("bare");
	send_epochs(1);
	wait_for_state("based");
	send_epochs(4);
	play.options.copy_backlog = 0; /* no piece is copied any more */
	restart(5);
	image_forget(image_fixture.image);
	rewind_guest(5);
	send_epochs(3);
	assert_string_equal(state(), "copying");
	restart(5);
	assert_int_equal(play.epoch, 5);
	assert_true(play.behind);
}

/* ---- the past ----------------------------------------------------------------------------------- */

static struct history_place place;
static const char *target;
static bool pinned;
static size_t bases, marks;
static uint64_t oldest, newest, newest_base;

static void look(void *owner, const struct history *history)
{
	struct err *err = owner;

	bases = history->nbases;
	marks = history->nmarks;
	newest_base = bases > 0 ? history->bases[bases - 1].sequence : 0;
	oldest = bases > 0 ? history->bases[0].first : 0;
	newest = bases > 0 ? history->bases[bases - 1].last : 0;
	err->code = RC_OK;
	if (target != NULL &&
	    history_find(history, target, UINT64_C(1) << 42, &place, err) != RC_OK)
		place.base = 0;
}

/* False: it is not there, and why. */
static bool find(const char *wanted, struct err *err)
{
	target = wanted;
	assert_true(journaling_history(receiver_journal(play.receiver), look, err));
	return err->code == RC_OK;
}

static void count_bases(void)
{
	struct err err;

	(void)find(NULL, &err);
}

static void on_rewound(void *owner, uint64_t epoch, uint64_t ms, const struct err *result)
{
	(void)owner;
	assert_true(result->code != RC_OK || ms > 0);
	play.epoch = epoch;
	play.why = *result;
	play.rewound = true;
}

static uint64_t sum_of(const struct image *image)
{
	XXH64_state_t *state = XXH64_createState();
	uint64_t i, sum;

	(void)XXH64_reset(state, 0);
	for (i = 0; i < GUEST_PAGES; i++)
		(void)XXH64_update(state, image_page(image, i), LAYOUT_PAGE);
	sum = XXH64_digest(state);
	(void)XXH64_freeState(state);
	return sum;
}

/* Another image is brought to where find() has led, while this one goes on. */
static void rewind_to_place(void)
{
	struct image_shared shared = image_fixture.shared;
	struct rewind_options options = { .dir = play.dir, .place = place };
	char dir[SCRATCH_MAX];
	struct err err;

	assert_int_equal(scratch_make(dir, "rewound"), 0);
	assert_int_equal(image_create(&options.image, dir, dir, &shared, 1, STAGING, &err), RC_OK);
	play.rewound = play.closed = false;
	pinned = journaling_pin(receiver_journal(play.receiver), place.base);
	assert_int_equal(rewind_open(&play.rewind, &play.loop, &options, on_rewound, NULL, &err),
			 RC_OK);
	send_epochs(2);
	wait_for(&play.rewound);
	if (play.why.code == RC_OK) {
		assert_true(image_epoch(options.image) == play.epoch);
		assert_int_equal(image_device_state_len(options.image), DEVICE_STATE_LEN);
		assert_true(sum_of(options.image) == play.sums[play.epoch % SUMS]);
	}
	rewind_close(play.rewind, on_closed, NULL);
	wait_for(&play.closed);
	play.rewind = NULL;
	(void)journaling_pin(receiver_journal(play.receiver), 0);
	play.closed = false;
	image_destroy(options.image, false);
	each_file(dir, remove_one);
	assert_int_equal(rmdir(dir), 0);
}

static void rewind_to(uint64_t epoch)
{
	char text[24];
	struct err err;

	(void)snprintf(text, sizeof(text), "%llu", (unsigned long long)epoch);
	if (!find(text, &err))
		return; /* it has gone meanwhile */
	rewind_to_place();
	if (!pinned && play.why.code == RC_IO)
		return;
	if (play.why.code != RC_OK)
		fail_msg("%s: %s", text, play.why.text);
	assert_true(play.epoch == epoch);
}

/* A journal with a history of several bases. */
static void have_bases(size_t count)
{
	play.options.copy_bytes = 1;
	if (play.options.history.bytes == 0)
		play.options.history.bytes = UINT64_C(1) << 40;
	close_receiver();
	open_receiver(false);
	wait_for_state("bare");
	send_epochs(1);
	wait_for_state("based");
	for (count_bases(); bases < count && image_fixture.epoch.number < EPOCHS_MAX; count_bases())
		send_epochs(1);
	assert_int_equal(bases, count);
}

static void any_epoch_of_the_past_is_brought_back_while_others_come(void **unused)
{
	unsigned round;
	struct err err;

	(void)unused;
	have_bases(3);
	send_epochs(5);
	rewind_to(oldest);
	for (round = 0; round < 8; round++)
		rewind_to(oldest + pages_random(&image_fixture.guest, (uint32_t)(newest - oldest)));
	count_bases();
	rewind_to(newest);
	assert_false(find("999999", &err));
	restart(image_fixture.epoch.number); /* from the last base on, and it knows of the others */
	count_bases();
	assert_true(bases >= 3);
	rewind_to(oldest);
	rewind_to(newest);
}

static void a_mark_and_a_moment_lead_to_their_epochs(void **unused)
{
	const char long_ago[] = "2001-01-01T00:00:00Z";
	uint64_t epoch;
	struct err err;

	(void)unused;
	assert_int_equal(journaling_mark(receiver_journal(play.receiver), "early", &epoch, &err),
			 RC_STATE);
	have_bases(2);
	assert_int_equal(
		journaling_mark(receiver_journal(play.receiver), "before it", &epoch, &err), RC_OK);
	assert_true(epoch == image_fixture.epoch.number);
	send_epochs(3);
	restart(image_fixture.epoch.number);
	assert_true(find("before it", &err));
	rewind_to_place();
	assert_true(play.epoch == epoch);
	assert_false(find(long_ago, &err));
	assert_true(find("-0s", &err)); /* of a clock that is ahead */
	rewind_to_place();
	assert_true(play.epoch >= epoch + 3);
	find("1", &err);
	place.until_ms = 1; /* the first that there is, whenever that was */
	assert_true(find("before it", &err));
	place.epoch = UINT64_MAX;
	place.until_ms = 1;
	rewind_to_place();
	assert_int_equal(play.why.code, RC_OK);
	assert_true(play.epoch <= epoch);
}

static void what_is_too_much_of_the_past_goes_and_recovery_stays(void **unused)
{
	struct journaling_status status;
	uint64_t first;
	unsigned round;

	(void)unused;
	play.options.history.bytes = (uint64_t)3 << 20; /* two bases and their epochs */
	have_bases(2);
	for (round = 0; round < 12; round++) {
		for (count_bases(), first = newest_base; newest_base == first; count_bases())
			send_epochs(1);
		assert_true(bases >= 1 && bases <= 5);
		journaling_status(receiver_journal(play.receiver), &status);
		assert_true(status.bytes < (uint64_t)8 << 20);
		rewind_to(oldest);
	}
	assert_true(oldest > 1);
	restart(image_fixture.epoch.number);
	count_bases();
	rewind_to(oldest);
}

/* Whenever the disk is full, it is the past that makes room, and nobody hears of it. */
static void a_full_disk_takes_the_past_first(void **unused)
{
	unsigned long nth;
	size_t before;

	(void)unused;
	have_bases(4);
	for (nth = 1; nth < 30; nth += 7) {
		for (count_bases(); bases < 3; count_bases())
			send_epochs(1);
		before = bases;
		fault_arm(FAULT_WRITE, nth);
		while (!fault_fired(FAULT_WRITE))
			send_epochs(1);
		fault_arm(FAULT_WRITE, 0);
		send_epochs(1);
		assert_string_equal(state(), "based");
		count_bases();
		assert_true(bases <= before); /* another one may have come */
	}
	assert_true(oldest > 40);
	restart(image_fixture.epoch.number);
	count_bases();
	rewind_to(oldest);
}

static void a_past_that_goes_while_it_is_read_is_told(void **unused)
{
	struct err err;

	(void)unused;
	have_bases(2);
	assert_true(find("-0s", &err));
	place.base = 1;
	place.epoch = 1 << 20;
	rewind_to_place(); /* no BASE of that number leads there */
	assert_int_equal(play.why.code, RC_INVALID);
	assert_non_null(strstr(play.why.text, play.dir));
	place.base = 2;
	rewind_to_place();
	assert_int_equal(play.why.code, RC_IO);
	assert_non_null(strstr(play.why.text, "not in the journal any more"));
}

static uint64_t first_segment;

static void note_first(int dir, const char *name)
{
	const uint64_t sequence = journal_segment_sequence(name);

	(void)dir;
	if (sequence != 0 && (first_segment == 0 || sequence < first_segment))
		first_segment = sequence;
}

/* A recovery does not need it; who reads it is told where it is. */
static void damage_in_the_past_is_found_by_who_goes_there(void **unused)
{
	char name[JOURNAL_NAME_BYTES], path[SCRATCH_MAX + JOURNAL_NAME_BYTES + 1];
	struct err err;
	uint8_t byte;
	int fd;

	(void)unused;
	have_bases(3);
	close_receiver();
	first_segment = 0;
	each_file(play.dir, note_first);
	journal_segment_name(name, first_segment);
	(void)snprintf(path, sizeof(path), "%s/%s", play.dir, name);
	fd = open(path, O_RDWR | O_CLOEXEC);
	assert_int_equal(pread(fd, &byte, 1, 5000), 1);
	byte ^= 4;
	assert_int_equal(pwrite(fd, &byte, 1, 5000), 1);
	(void)close(fd);
	restart(image_fixture.epoch.number);
	count_bases();
	assert_true(bases >= 3);
	(void)snprintf(path, sizeof(path), "%llu", (unsigned long long)oldest);
	assert_true(find(path, &err));
	rewind_to_place();
	assert_int_equal(play.why.code, RC_INVALID);
	assert_non_null(strstr(play.why.text, "damaged: segment"));
	rewind_to(newest);
}

/* As above, but what a copy of the files leads to is also its past. */
static void killed_at_any_moment_its_past_is_as_it_was(void **unused)
{
	unsigned round, turns;
	uint64_t acknowledged;

	(void)unused;
	play.options.history.bytes = (uint64_t)3 << 20;
	have_bases(2);
	for (round = 0; round < 12; round++) {
		send_epochs((unsigned)pages_random(&image_fixture.guest, 12));
		send_epoch();
		for (turns = (unsigned)pages_random(&image_fixture.guest, 16); turns > 0; turns--)
			(void)uv_run(&play.loop, UV_RUN_NOWAIT);
		acknowledged = play.committed;
		copy_files();
		use_copy();
		restart(acknowledged);
		rewind_guest(play.epoch);
		count_bases();
		assert_true(bases >= 1 && newest >= acknowledged);
		rewind_to(oldest);
		rewind_to(oldest + (newest - oldest) / 2);
	}
}

static void a_takeover_does_not_wait_for_the_disk(void **unused)
{
	(void)unused;
	wait_for_state("bare");
	send_epochs(1);
	wait_for_state("based");
	send_epoch();
	receiver_drop(play.receiver, true, on_idle);
	wait_for(&play.idle);
	assert_int_equal(play.committed, image_fixture.epoch.number);
	image_fixture_holds(*then(image_fixture.epoch.number));
	play.never_early = true; /* nobody is told of that one any more */
}

static void what_is_damaged_is_told_and_left_alone(void **unused)
{
	char name[JOURNAL_NAME_BYTES], path[SCRATCH_MAX + JOURNAL_NAME_BYTES + 1];
	uint8_t byte;
	int fd;

	(void)unused;
	wait_for_state("bare");
	send_epochs(1);
	wait_for_state("based");
	send_epochs(5);
	close_receiver();
	journal_segment_name(name, 1);
	(void)snprintf(path, sizeof(path), "%s/%s", play.dir, name);
	fd = open(path, O_RDWR | O_CLOEXEC);
	assert_int_equal(pread(fd, &byte, 1, 5000), 1);
	byte ^= 4;
	assert_int_equal(pwrite(fd, &byte, 1, 5000), 1);
	(void)close(fd);
	image_destroy(image_fixture.image, false);
	image_fixture.image = NULL;
	image_fixture_make(STAGING);
	open_receiver(true);
	assert_int_equal(play.epoch, 0);
	assert_int_equal(play.why.code, RC_INVALID);
	assert_non_null(strstr(play.why.text, "damaged"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
	const struct CMUnitTest tests[] = {
		TEST(what_was_acknowledged_comes_back_and_goes_on),
		TEST(the_image_is_copied_while_epochs_go_on),
		TEST(another_copy_takes_the_place_of_the_first),
		TEST(killed_at_any_moment_it_holds_what_was_acknowledged),
		TEST(a_disk_that_fails_costs_the_journal_and_not_the_epochs),
		TEST(what_was_acknowledged_without_it_is_told),
		TEST(another_image_is_another_history),
		TEST(a_copy_that_was_cut_short_leaves_what_was_there_before),
		TEST(any_epoch_of_the_past_is_brought_back_while_others_come),
		TEST(a_mark_and_a_moment_lead_to_their_epochs),
		TEST(what_is_too_much_of_the_past_goes_and_recovery_stays),
		TEST(a_full_disk_takes_the_past_first),
		TEST(a_past_that_goes_while_it_is_read_is_told),
		TEST(damage_in_the_past_is_found_by_who_goes_there),
		TEST(killed_at_any_moment_its_past_is_as_it_was),
		TEST(a_takeover_does_not_wait_for_the_disk),
		TEST(what_is_damaged_is_told_and_left_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
