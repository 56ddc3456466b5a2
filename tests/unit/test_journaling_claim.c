/*
 * Whether a standby that comes back from its journal knows that clients have seen nothing later: only if so, whatever became of
 * the journal, and whatever fails beside it.
 */
#include "appliance/base/mem.h"
#include "replica/journal_claim.h"
#include "tests/unit/journaling_fixture.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

static void begin_with(unsigned epochs)
{
	journaling_wait_for_state("bare");
	journaling_send_epochs(1);
	journaling_wait_for_state("based");
	journaling_send_epochs(epochs - 1);
}

/* ---- the journal has lost its end ---------------------------------------------------------------- */

static char newest[32];

static void note_newest(int dir, const char *name)
{
	(void)dir;
	if (journal_segment_sequence(name) > journal_segment_sequence(newest))
		(void)snprintf(newest, sizeof(newest), "%s", name);
}

static void lose_end(bool removed, uint64_t bytes)
{
	char path[SCRATCH_MAX + sizeof(newest) + 1];

	*newest = '\0';
	journaling_each_file(journaling_play.dir, note_newest);
	(void)snprintf(path, sizeof(path), "%s/%s", journaling_play.dir, newest);
	assert_int_equal(removed ? unlink(path) : truncate(path, (off_t)bytes), 0);
}

static uint64_t newest_bytes(void)
{
	char path[SCRATCH_MAX + sizeof(newest) + 1];
	struct stat st;

	*newest = '\0';
	journaling_each_file(journaling_play.dir, note_newest);
	(void)snprintf(path, sizeof(path), "%s/%s", journaling_play.dir, newest);
	assert_int_equal(stat(path, &st), 0);
	return (uint64_t)st.st_size;
}

/* The end lies some epochs in the last of several segments. */
static uint64_t begin_with_segments(void)
{
	uint64_t last, grown = 0;
	char before[sizeof(newest)];

	begin_with(5);
	(void)newest_bytes();
	memcpy(before, newest, sizeof(before));
	while (strcmp(before, newest) == 0 || grown < 5) {
		journaling_send_epochs(1);
		(void)newest_bytes();
		grown = strcmp(before, newest) == 0 ? 0 : grown + 1;
	}
	last = journaling_play.committed;
	journaling_fixture_close();
	return last;
}

static void a_last_segment_that_is_gone_is_told(void **unused)
{
	uint64_t last;

	(void)unused;
	last = begin_with_segments();
	lose_end(true, 0);
	journaling_restart(1);
	assert_true(journaling_play.epoch < last && journaling_play.behind);
}

static void one_epoch_that_is_missing_is_told(void **unused)
{
	uint64_t last;

	(void)unused;
	last = begin_with_segments();
	lose_end(false, newest_bytes() - 1);
	journaling_restart(1);
	assert_true(journaling_play.epoch == last - 1 && journaling_play.behind);
}

static void without_any_of_that_nothing_is_told(void **unused)
{
	uint64_t last;

	(void)unused;
	last = begin_with_segments();
	journaling_restart(last);
	assert_false(journaling_play.behind);
	last = journaling_play.committed;
	journaling_restart(last); /* and so it stays */
	assert_false(journaling_play.behind);
}

/* ---- there was another one, or none, for a while -------------------------------------------------- */

static void what_was_acknowledged_into_another_journal_is_told(void **unused)
{
	char there[SCRATCH_MAX];

	(void)unused;
	begin_with(5);
	memcpy(there, journaling_play.dir, sizeof(there));
	journaling_play.options.place.dirs[0] = journaling_play.copy;
	journaling_fixture_close();
	journaling_fixture_open(false);
	begin_with(2);
	journaling_play.options.place.dirs[0] = there;
	journaling_restart(5);
	assert_true(journaling_play.behind);
}

/* ---- nothing can be written ----------------------------------------------------------------------- */

static bool claimed(void)
{
	struct journal_claim claim;
	struct err err;
	bool is;

	assert_int_equal(journal_claim_open(&claim, journaling_play.claim, &err), RC_OK);
	is = claim.known;
	journal_claim_close(&claim);
	return is;
}

/* It cannot be removed: there is a directory where it was. */
static void hold_claim(bool held)
{
	char path[SCRATCH_MAX + 16], away[SCRATCH_MAX + 16];

	(void)snprintf(path, sizeof(path), "%s/" JOURNAL_CLAIM_NAME, journaling_play.claim);
	(void)snprintf(away, sizeof(away), "%s/away", journaling_play.claim);
	if (held) {
		assert_int_equal(rename(path, away), 0);
		assert_int_equal(mkdir(path, 0700), 0);
	} else {
		assert_int_equal(rmdir(path), 0);
		assert_int_equal(rename(away, path), 0);
	}
}

/* The journal cannot be written to, nor the claim removed. */
static void what_cannot_be_taken_back_is_not_outdone(void **unused)
{
	struct journaling_status status;
	uint64_t last;

	(void)unused;
	journaling_play.options.retry_ms = 1 << 30;
	journaling_fixture_close();
	journaling_fixture_open(false);
	begin_with(5);
	last = journaling_play.committed;
	hold_claim(true);
	fault_arm(FAULT_FSYNC, 1);
	journaling_send_epoch();
	while (journaling_play.faults == 0)
		(void)uv_run(&journaling_play.loop, UV_RUN_ONCE);
	fault_arm(FAULT_FSYNC, 0);
	assert_string_equal(journaling_state(), "broken");
	journaling_status(receiver_journal(journaling_play.receiver), &status);
	assert_non_null(strstr(status.problem, "fdatasync"));
	assert_non_null(strstr(status.problem, "/" JOURNAL_CLAIM_NAME ": removing it"));
	receiver_drop(journaling_play.receiver, false, journaling_on_idle);
	journaling_wait_for(&journaling_play.idle);
	journaling_send_epoch(); /* nor is the next one */
	while (journaling_play.faults == 1)
		(void)uv_run(&journaling_play.loop, UV_RUN_ONCE);
	receiver_drop(journaling_play.receiver, false, NULL);
	journaling_send_epoch(); /* nor one that is taken over from */
	receiver_drop(journaling_play.receiver, true, NULL);
	while (journaling_play.faults == 2)
		(void)uv_run(&journaling_play.loop, UV_RUN_ONCE);
	assert_true(journaling_play.committed == last);
	hold_claim(false);
	journaling_restart(last);
	assert_false(journaling_play.behind); /* for so it is */
}

static void as_soon_as_it_can_be_taken_back_epochs_go_on(void **unused)
{
	(void)unused;
	begin_with(5);
	hold_claim(true);
	fault_arm(FAULT_FSYNC, 1);
	journaling_send_epoch();
	while (journaling_play.faults == 0)
		(void)uv_run(&journaling_play.loop, UV_RUN_ONCE);
	receiver_drop(journaling_play.receiver, false, journaling_on_idle);
	journaling_wait_for(&journaling_play.idle);
	hold_claim(false);
	journaling_play.faults = 0;
	journaling_wait_for_state("bare");
	assert_false(claimed());
	journaling_send_epochs(1);
	journaling_wait_for_state("based");
	assert_false(claimed());
	journaling_send_epochs(2);
	assert_true(claimed());
	journaling_restart(journaling_play.committed);
	assert_false(journaling_play.behind);
}

/* ---- whatever fails, and whenever -------------------------------------------------------------- */

/*
 * What a power cut may leave of the claim: what is in the file, what was when it was synced, and what was in one that was
 * removed, until its directory is synced. The calls that do so are seen here first, because they are defined here.
 */
enum { NOW, SYNCED, REMOVED, STATES };

struct left {
	bool may;
	struct journal_claim claim;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct left left[STATES];

/* A call that does not come back before it is let go of. */
enum call { NONE, REMOVAL, SYNC };

static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static enum call held, inside;

static void hold(enum call call)
{
	(void)pthread_mutex_lock(&lock);
	held = call;
	(void)pthread_cond_broadcast(&changed);
	(void)pthread_mutex_unlock(&lock);
}

/* With `lock`. */
static void pass(enum call call)
{
	while (held == call) {
		inside = call;
		(void)pthread_cond_wait(&changed, &lock);
	}
	inside = NONE;
}

static bool is_inside(enum call call)
{
	bool is;

	(void)pthread_mutex_lock(&lock);
	is = inside == call;
	(void)pthread_mutex_unlock(&lock);
	return is;
}

/* Of the segment that was synced last. */
static ino_t segment;
static off_t bytes;
static bool early;

/* Where the claim is synced, the journal has been. */
static void judge_order(void)
{
	char path[SCRATCH_MAX + sizeof(newest) + 1];
	struct stat st;

	*newest = '\0';
	journaling_each_file(journaling_play.options.place.dirs[0], note_newest);
	(void)snprintf(path, sizeof(path), "%s/%s", journaling_play.options.place.dirs[0], newest);
	early = early || stat(path, &st) != 0 || st.st_ino != segment || st.st_size != bytes;
}

int fdatasync(int fd)
{
	struct stat st;

	(void)pthread_mutex_lock(&lock);
	pass(SYNC);
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
		segment = st.st_ino;
		bytes = st.st_size;
	}
	(void)pthread_mutex_unlock(&lock);
	return (int)syscall(SYS_fdatasync, fd);
}

static void read_claim(struct left *into)
{
	struct err err;

	if (journal_claim_open(&into->claim, journaling_play.claim, &err) == RC_OK)
		journal_claim_close(&into->claim);
	into->may = into->claim.known;
}

int fsync(int fd)
{
	struct stat st = { 0 }, dir, file;
	char path[SCRATCH_MAX + 16];

	(void)snprintf(path, sizeof(path), "%s/" JOURNAL_CLAIM_NAME, journaling_play.claim);
	(void)pthread_mutex_lock(&lock);
	if (fstat(fd, &st) == 0 && stat(path, &file) == 0 && st.st_ino == file.st_ino) {
		read_claim(&left[SYNCED]);
		judge_order();
	}
	if (stat(journaling_play.claim, &dir) == 0 && st.st_ino == dir.st_ino) {
		left[REMOVED].may = false;
		left[SYNCED].may = left[SYNCED].may && access(path, F_OK) == 0;
	}
	(void)pthread_mutex_unlock(&lock);
	return (int)syscall(SYS_fsync, fd);
}

int unlinkat(int dir, const char *name, int flags)
{
	int r;

	(void)pthread_mutex_lock(&lock);
	if (strcmp(name, JOURNAL_CLAIM_NAME) == 0) {
		pass(REMOVAL);
		if (!left[REMOVED].may)
			read_claim(&left[REMOVED]);
	}
	r = (int)syscall(SYS_unlinkat, dir, name, flags);
	(void)pthread_mutex_unlock(&lock);
	return r;
}

static uint64_t checks;

static void judge(const struct left *may, const struct journal_found *found)
{
	const bool holds = may->may && found->whole && journal_claim_holds(&may->claim, found);

	if (holds && (found->base == 0 || found->epoch < journaling_play.committed))
		fail_msg("epoch %llu was acknowledged, %llu is claimed to be all",
			 (unsigned long long)journaling_play.committed,
			 (unsigned long long)found->epoch);
	checks += holds;
}

/* What a standby would find that begins now. */
static void look_at_what_is_there(void)
{
	const char *dir = journaling_play.dir;
	struct left may[STATES];
	struct journal_dirs dirs;
	struct journal_found found;
	struct err err;
	unsigned i;

	(void)pthread_mutex_lock(&lock);
	read_claim(&left[NOW]);
	memcpy(may, left, sizeof(may));
	(void)pthread_mutex_unlock(&lock);
	assert_int_equal(journal_dirs_open(&dirs, &dir, 1, &err), RC_OK);
	if (journal_scan(&dirs, 0, NULL, NULL, &found, &err) == RC_OK) {
		for (i = 0; i < STATES; i++)
			judge(&may[i], &found);
	}
	journal_dirs_close(&dirs);
}

/* One epoch, in which the nth call of that kind fails (0: none) once it is on its way. */
static void send_one(enum fault_kind kind, unsigned long nth)
{
	const uint64_t before = journaling_play.committed;

	journaling_send_epoch();
	if (nth > 0)
		fault_arm(kind, nth);
	while (journaling_play.committed == before && journaling_play.faults == 0)
		(void)uv_run(&journaling_play.loop, UV_RUN_ONCE);
	if (kind == FAULT_ALLOC)
		fault_arm(kind, 0);
	look_at_what_is_there();
	if (journaling_play.faults == 0)
		return;
	journaling_play.idle = false;
	receiver_drop(journaling_play.receiver, false, journaling_on_idle);
	journaling_wait_for(&journaling_play.idle);
	journaling_play.faults = 0;
}

static void go_on_until_based(void)
{
	while (strcmp(journaling_state(), "based") != 0)
		send_one(FAULT_ALLOC, 0);
}

/*
 * Epochs, and a cut between them, while the nth call of one kind fails: of the journal, or of the claim. At each
 * acknowledgement what is there is looked at, as a standby that begins then would find it.
 */
static void at_no_acknowledgement_anything_false_is_claimed(void **unused)
{
	static const enum fault_kind kinds[] = { FAULT_FSYNC, FAULT_WRITE, FAULT_OPEN,
						 FAULT_RENAME };
	unsigned long nth;
	unsigned kind, i;

	(void)unused;
	checks = 0;
	begin_with(3);
	for (kind = 0; kind < 4; kind++) {
		for (nth = 1; nth <= 10; nth++) {
			fault_arm(kinds[kind], nth);
			for (i = 0; i < 6 && !fault_fired(kinds[kind]); i++) {
				if (i == 2)
					journaling_cut(receiver_journal(journaling_play.receiver));
				send_one(FAULT_ALLOC, 0);
				go_on_until_based();
			}
			fault_arm(kinds[kind], 0);
			go_on_until_based();
		}
	}
	assert_true(checks > 20);
}

/* A record that is lost for want of memory ends the journal; its epoch waits until that has been taken into account. */
static void nor_when_memory_is_short(void **unused)
{
	unsigned long nth;

	(void)unused;
	checks = 0;
	begin_with(3);
	for (nth = 1; nth <= 12; nth++) {
		send_one(FAULT_ALLOC, nth);
		go_on_until_based();
		send_one(FAULT_ALLOC, 0);
	}
	assert_true(checks > 10);
}

/* ---- while the disk takes its time -------------------------------------------------------------- */

static void send_until_in_the_image(void)
{
	journaling_send_epoch();
	while (!receiver_is_idle(journaling_play.receiver))
		(void)uv_run(&journaling_play.loop, UV_RUN_NOWAIT);
	assert_true(image_epoch(image_fixture.image) == image_fixture.epoch.number);
}

static void let_go_until(uint64_t epoch)
{
	look_at_what_is_there();
	hold(NONE);
	while (journaling_play.committed != epoch)
		(void)uv_run(&journaling_play.loop, UV_RUN_ONCE);
	look_at_what_is_there();
}

static void no_epoch_counts_before_the_claim_is_gone(void **unused)
{
	(void)unused;
	begin_with(5);
	hold(REMOVAL);
	journaling_cut(receiver_journal(journaling_play.receiver));
	send_until_in_the_image();
	while (!is_inside(REMOVAL))
		(void)uv_run(&journaling_play.loop, UV_RUN_NOWAIT);
	send_until_in_the_image();
	send_until_in_the_image();
	assert_true(journaling_play.committed == 5);
	let_go_until(8);
	assert_false(claimed());
}

static void what_waits_for_the_disk_does_not_count_because_of_a_cut(void **unused)
{
	(void)unused;
	begin_with(5);
	hold(SYNC);
	send_until_in_the_image();
	journaling_cut(receiver_journal(journaling_play.receiver));
	assert_true(journaling_play.committed == 5);
	let_go_until(6);
}

/* The agent began anew, with lower numbers: each of them waits for what it has to wait for itself. */
static void nor_does_another_sessions_epoch_because_of_its_number(void **unused)
{
	(void)unused;
	begin_with(5);
	hold(SYNC);
	send_until_in_the_image();
	image_forget(image_fixture.image);
	journaling_rewind_guest(2);
	send_until_in_the_image();
	assert_true(journaling_play.committed == 5);
	let_go_until(3);
	assert_false(claimed());
}

static void hurry(void)
{
	journaling_play.idle = false;
	receiver_drop(journaling_play.receiver, true, journaling_on_idle);
	journaling_wait_for(&journaling_play.idle);
	assert_true(image_epoch(image_fixture.image) == image_fixture.epoch.number);
}

static void nor_because_of_a_takeover_in_a_hurry(void **unused)
{
	(void)unused;
	begin_with(5);
	hold(SYNC);
	journaling_send_epoch();
	journaling_send_epoch();
	hurry();
	assert_true(journaling_play.committed == 5);
	let_go_until(7);
}

static void what_is_given_up_meanwhile_is_never_told(void **unused)
{
	struct journaling_status status;

	(void)unused;
	begin_with(5);
	hold(SYNC);
	journaling_send_epoch();
	hurry();
	receiver_forget(journaling_play.receiver);
	hold(NONE);
	do {
		(void)uv_run(&journaling_play.loop, UV_RUN_NOWAIT);
		journaling_status(receiver_journal(journaling_play.receiver), &status);
	} while (status.epoch != 6);
	assert_true(journaling_play.committed == 5 && journaling_play.faults == 0);
}

static int begin(void **unused)
{
	memset(left, 0, sizeof(left));
	early = false;
	return journaling_fixture_begin(unused);
}

static int end(void **unused)
{
	char away[SCRATCH_MAX + 16];

	hold(NONE);
	(void)snprintf(away, sizeof(away), "%s/" JOURNAL_CLAIM_NAME, journaling_play.claim);
	(void)rmdir(away);
	assert_false(early);
	return journaling_fixture_end(unused);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
	const struct CMUnitTest tests[] = {
		TEST(a_last_segment_that_is_gone_is_told),
		TEST(one_epoch_that_is_missing_is_told),
		TEST(without_any_of_that_nothing_is_told),
		TEST(what_was_acknowledged_into_another_journal_is_told),
		TEST(what_cannot_be_taken_back_is_not_outdone),
		TEST(as_soon_as_it_can_be_taken_back_epochs_go_on),
		TEST(at_no_acknowledgement_anything_false_is_claimed),
		TEST(nor_when_memory_is_short),
		TEST(no_epoch_counts_before_the_claim_is_gone),
		TEST(what_waits_for_the_disk_does_not_count_because_of_a_cut),
		TEST(nor_does_another_sessions_epoch_because_of_its_number),
		TEST(nor_because_of_a_takeover_in_a_hurry),
		TEST(what_is_given_up_meanwhile_is_never_told),
	};

	(void)setenv("TMPDIR", "/dev/shm", 1); /* syncs are counted, not waited for */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
