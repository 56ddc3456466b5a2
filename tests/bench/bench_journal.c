/*
 * What the journal costs beside the disk: epochs of some size, each committed durably, in turns with a
 * bare write() and fdatasync() of as many bytes at the end of a file in the same directory. With COPIES (2 to 5) the journal has
 * so many, in directories DIR.1 and so on beside DIR, of which the majority acknowledges.
 *
 * usage: bench_journal DIR [EPOCHS [COPIES]]       DIR is made, and is the caller's. One line of JSON for each size.
 */
#include "appliance/base/clock.h"
#include "replica/journal.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BATCH_BYTES 65536U
#define EPOCHS_MAX 10000

static uint8_t batch[BATCH_BYTES];
static uint64_t taken[2][EPOCHS_MAX]; /* by the journal, by the bare file */

static int by_size(const void *a, const void *b)
{
	const uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;

	return left < right ? -1 : left > right;
}

static double median_ms(uint64_t *values, size_t count)
{
	qsort(values, count, sizeof(*values), by_size);
	return clock_ms(values[count / 2]);
}

static int put_epoch(struct journal *journal, uint64_t epoch, uint32_t bytes, struct err *err)
{
	const struct journal_commit commit = { .batches = (bytes + BATCH_BYTES - 1) / BATCH_BYTES };
	const uint8_t session[JOURNAL_BEGIN_BYTES] = { 1 };
	uint32_t piece;
	int rc = journal_append(journal, JOURNAL_BEGIN, epoch, session, sizeof(session), err);

	for (; rc == RC_OK && bytes > 0; bytes -= piece) {
		piece = bytes < BATCH_BYTES ? bytes : BATCH_BYTES;
		rc = journal_append(journal, JOURNAL_BATCH, epoch, batch, piece, err);
	}
	if (rc == RC_OK)
		rc = journal_commit(journal, epoch, &commit, err);
	return rc == RC_OK ? journal_sync(journal, err) : rc;
}

static int put_bare(int fd, const uint8_t *bytes, size_t len, struct err *err)
{
	return write(fd, bytes, len) == (ssize_t)len && fdatasync(fd) == 0 ?
		       RC_OK :
		       err_set(err, RC_IO, "the bare file cannot be written to");
}

/* What an epoch takes in the journal, with the heads of its records. */
static size_t bytes_of(uint32_t bytes)
{
	size_t whole = journal_record_bytes(JOURNAL_BEGIN_BYTES) +
		       journal_record_bytes(JOURNAL_COMMIT_BYTES);

	for (; bytes > BATCH_BYTES; bytes -= BATCH_BYTES)
		whole += journal_record_bytes(BATCH_BYTES);
	return whole + journal_record_bytes(bytes);
}

/* One epoch, one way or the other; *took: by the clock. */
static int put(struct journal *journal, int fd, bool ours, uint32_t bytes, uint64_t epoch,
	       const uint8_t *bare, size_t len, uint64_t *took, struct err *err)
{
	const uint64_t start = clock_now_ns();
	int rc = ours ? put_epoch(journal, epoch, bytes, err) : put_bare(fd, bare, len, err);

	*took = clock_now_ns() - start;
	return rc;
}

/* Which of the two comes first changes: the disk may like one place better. */
static int measure(struct journal *journal, int fd, uint32_t bytes, size_t epochs, uint64_t *epoch,
		   struct err *err)
{
	const size_t len = bytes_of(bytes);
	uint8_t *bare = calloc(1, len);
	double ours, beside;
	int rc = bare != NULL ? RC_OK : err_nomem(err, "an epoch");
	size_t i, way;

	for (i = 0; rc == RC_OK && i < 2 * epochs; i++) {
		way = (i / 2 + i) % 2;
		rc = put(journal, fd, way == 0, bytes, *epoch += way == 0, bare, len,
			 &taken[way][i / 2], err);
	}
	free(bare);
	if (rc != RC_OK)
		return rc;
	ours = median_ms(taken[0], epochs);
	beside = median_ms(taken[1], epochs);
	printf("{\"bytes\": %u, \"epochs\": %zu, \"journal_ms\": %.3f, \"bare_ms\": %.3f, \"ratio\": %.3f}\n",
	       bytes, epochs, ours, beside, ours / beside);
	return RC_OK;
}

static void set_place(struct journal_place *place, const char *dir, unsigned long copies)
{
	static char beside[JOURNAL_COPIES_MAX][256];

	*place = (struct journal_place){ .dirs = { dir }, .patient = true, .retry_ms = 1000 };
	for (place->count = 1; place->count < copies; place->count++) {
		(void)snprintf(beside[place->count], sizeof(beside[0]), "%.200s.%u", dir,
			       place->count);
		place->dirs[place->count] = beside[place->count];
	}
	place->quorum = place->count / 2 + 1;
}

int main(int argc, char **argv)
{
	static const uint32_t sizes[] = { 16384, 131072, 1048576 };
	const size_t epochs = argc > 2 ? strtoul(argv[2], NULL, 10) : 200;
	const size_t copies = argc > 3 ? strtoul(argv[3], NULL, 10) : 1;
	struct journal_place place;
	struct journal_found found;
	struct journal *journal;
	struct err err = { 0 };
	uint64_t epoch = 0;
	char path[256];
	size_t i;
	int fd, rc;

	if (argc < 2 || epochs == 0 || epochs > EPOCHS_MAX || copies < 1 ||
	    copies > JOURNAL_COPIES_MAX) {
		(void)fprintf(stderr, "usage: bench_journal DIR [EPOCHS (1 to %d) [COPIES]]\n",
			      EPOCHS_MAX);
		return 2;
	}
	for (i = 0; i < sizeof(batch); i++)
		batch[i] = (uint8_t)(i * 31 + i / 256);
	set_place(&place, argv[1], copies);
	rc = journal_open(&journal, &place, 1, JOURNAL_SEGMENT_BYTES, NULL, NULL, &found, &err);
	(void)snprintf(path, sizeof(path), "%.200s/bare", argv[1]);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0600);
	if (rc == RC_OK && fd < 0)
		rc = err_set(&err, RC_IO, "%s cannot be made", path);
	for (i = 0; rc == RC_OK && i < sizeof(sizes) / sizeof(sizes[0]); i++)
		rc = measure(journal, fd, sizes[i], epochs, &epoch, &err);
	if (rc != RC_OK)
		(void)fprintf(stderr, "bench_journal: %s\n", err.text);
	return rc == RC_OK ? 0 : 1;
}
