#include "tests/unit/journal_fixture.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define BATCH_MAX 400

struct journal_play journal_play;

const uint8_t journal_fixture_session[JOURNAL_BEGIN_BYTES] = { 5 };

/* Batch `n` of an epoch: its length and its bytes follow from both numbers. */
static uint32_t batch_of(uint64_t epoch, uint64_t n, uint8_t bytes[BATCH_MAX])
{
	const uint32_t len = 1 + (uint32_t)((epoch * 131 + n * 37) % BATCH_MAX);
	uint32_t i;

	for (i = 0; i < len; i++)
		bytes[i] = (uint8_t)(epoch * 7 + n * 13 + i);
	return len;
}

static uint64_t batches_of(uint64_t epoch)
{
	return epoch % 4; /* also none */
}

static int on_record(void *owner, const struct journal_record *record, const uint8_t *payload,
		     struct err *err)
{
	struct journal_play *play = owner;
	uint8_t expected[BATCH_MAX];
	struct journal_commit commit;

	(void)err;
	switch (record->kind) {
	case JOURNAL_BEGIN:
		play->open = record->epoch;
		play->batches = 0;
		break;
	case JOURNAL_BATCH:
		play->batches++;
		if (record->epoch != play->open ||
		    batch_of(record->epoch, play->batches, expected) != record->length ||
		    memcmp(payload, expected, record->length) != 0)
			play->wrong = true;
		break;
	case JOURNAL_COMMIT:
		journal_get_commit(&commit, payload);
		if (record->epoch != play->open || commit.batches != batches_of(record->epoch) ||
		    commit.hash != record->epoch * 3)
			play->wrong = true;
		play->seen = record->epoch;
		break;
	default:
		break;
	}
	return RC_OK;
}

int journal_fixture_open(struct err *err)
{
	journal_play.seen = 0;
	journal_play.wrong = false;
	return journal_open(&journal_play.j, &journal_play.place, JOURNAL_NUMBER,
			    journal_play.segment_bytes, on_record, &journal_play,
			    &journal_play.found, err);
}

void journal_fixture_close(void)
{
	journal_close(journal_play.j);
	journal_play.j = NULL;
}

/* It becomes whole two epochs later; the first one, of nothing, at once. */
static int write_base(uint64_t epoch, bool cut, struct err *err)
{
	uint8_t base[JOURNAL_BASE_BYTES + 4] = { 0 };
	int rc;

	journal_put_base(base, &(struct journal_base){ .origin = { 5, 1 }, .cut = cut });
	rc = journal_append(journal_play.j, JOURNAL_BASE, epoch, base, sizeof(base), err);
	if (rc == RC_OK)
		rc = journal_append(journal_play.j, JOURNAL_PAGES, epoch, base, 7, err);
	return rc == RC_OK && cut ?
		       journal_append(journal_play.j, JOURNAL_WHOLE, epoch, NULL, 0, err) :
		       rc;
}

int journal_fixture_write(uint64_t epoch, bool durable, struct err *err)
{
	const struct journal_commit commit = { .batches = batches_of(epoch), .hash = epoch * 3 };
	uint8_t bytes[BATCH_MAX];
	uint64_t n;
	int rc = RC_OK;

	journal_play.begun = epoch;
	if (epoch % 5 == 1)
		rc = write_base(epoch - 1, epoch == 1, err);
	if (rc == RC_OK && epoch % 5 == 3)
		rc = journal_append(journal_play.j, JOURNAL_WHOLE, epoch - 1, NULL, 0, err);
	if (rc == RC_OK)
		rc = journal_append(journal_play.j, JOURNAL_BEGIN, epoch, journal_fixture_session,
				    JOURNAL_BEGIN_BYTES, err);
	for (n = 1; rc == RC_OK && n <= batches_of(epoch); n++)
		rc = journal_append(journal_play.j, JOURNAL_BATCH, epoch, bytes,
				    batch_of(epoch, n, bytes), err);
	if (rc == RC_OK)
		rc = journal_commit(journal_play.j, epoch, &commit, err);
	if (rc == RC_OK && durable)
		rc = journal_sync(journal_play.j, err);
	if (rc == RC_OK && durable)
		journal_play.acknowledged = epoch;
	return rc;
}

void journal_fixture_write_all(uint64_t from, uint64_t to)
{
	struct err err;

	for (; from <= to; from++) {
		if (journal_fixture_write(from, true, &err) != RC_OK)
			fail_msg("epoch %llu: %s", (unsigned long long)from, err.text);
	}
}

void journal_fixture_remove(unsigned copy)
{
	DIR *dir = opendir(journal_play.path[copy]);
	struct dirent *entry;

	while (dir != NULL && (entry = readdir(dir)) != NULL)
		(void)unlinkat(dirfd(dir), entry->d_name, 0);
	if (dir != NULL)
		(void)closedir(dir);
	(void)rmdir(journal_play.path[copy]);
}

int journal_fixture_begin(void **state)
{
	unsigned i;

	(void)state;
	memset(&journal_play, 0, sizeof(journal_play));
	journal_play.segment_bytes = JOURNAL_SMALL;
	if (scratch_make(journal_play.dir, "journal") != 0)
		return -1;
	for (i = 0; i < JOURNAL_COPIES_MAX; i++) {
		(void)snprintf(journal_play.path[i], sizeof(journal_play.path[i]), "%s/j%u",
			       journal_play.dir, i);
		journal_play.place.dirs[i] = journal_play.path[i];
	}
	journal_play.place.count = journal_play.place.quorum = 1;
	return 0;
}

int journal_fixture_end(void **state)
{
	unsigned i;

	(void)state;
	journal_fixture_close();
	for (i = 0; i < JOURNAL_COPIES_MAX; i++)
		journal_fixture_remove(i);
	return rmdir(journal_play.dir);
}
