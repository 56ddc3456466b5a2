/*
 * Theory of operation
 *
 * Records are gathered and written in large pieces, always behind what was written before. The order in
 * which things become durable is journal_format.h's; each step here that can fail ends the writing. How it is done in
 * several directories is journal_copies.h's.
 *
 * What an opening goes on from is what the disk has. After a failed fdatasync() the kernel shows what was not written as if it were
 * there, also to the next process; so the segment that was written to last is synced and read anew.
 */
#include "replica/journal.h"

#include "appliance/base/buf.h"
#include "appliance/base/files.h"
#include "appliance/base/mem.h"
#include "replica/journal_start.h"

#include <string.h>
#include <time.h>

#define GATHERED ((size_t)1 << 20)		    /* that much is written at once */
#define GATHERED_MAX (GATHERED + ((size_t)2 << 20)) /* and the longest record */

struct journal {
	struct journal_copies *copies;
	unsigned count, quorum; /* of them */
	uint64_t segment_bytes, opening;
	uint64_t number;
	uint64_t next; /* sequence number to come */
	struct buf gathered;
	struct err broken;
};

/* ---- the disks -------------------------------------------------------------------------------- */

static int fails(struct journal *j, const struct err *err)
{
	if (j->broken.code == RC_OK)
		j->broken = *err;
	return (int)err->code;
}

static int refuse(const struct journal *j, struct err *err)
{
	return err_set(err, RC_STATE, "the journal cannot be written to since: %.460s",
		       j->broken.text);
}

static uint64_t present_bytes(const struct journal *j)
{
	size_t count;
	const struct journal_file *files = journal_copies_files(j->copies, &count);

	return files[count - 1].bytes;
}

static int sync_all(struct journal *j, struct err *err)
{
	return journal_copies_sync(j->copies, err) == RC_OK ? RC_OK : fails(j, err);
}

static int flush(struct journal *j, struct err *err)
{
	return journal_copies_write(j->copies, &j->gathered, err) == RC_OK ? RC_OK : fails(j, err);
}

static int begin_segment(struct journal *j, struct err *err)
{
	return journal_copies_begin(j->copies, j->next, j->opening, err) == RC_OK ? RC_OK :
										    fails(j, err);
}

/* ---- opening ---------------------------------------------------------------------------------- */

/*
 * A number that no opening had. Where as many copies are missing as could have acknowledged something, later is higher
 * by the clock.
 */
static uint64_t next_opening(const struct journal_list *list)
{
	struct timespec now;
	uint64_t ms;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
	return list->opening >= ms && list->opening < UINT64_MAX ? list->opening + 1 : ms;
}

/* What counts of what was found: up to the end. A head that nothing follows gives way to the next opening's. */
static int join(struct journal *j, const struct journal_list *list,
		const struct journal_found *found, struct err *err)
{
	struct journal_file *files = mem_zalloc(list->count + 1, sizeof(*files));
	size_t count = 0, i;
	int rc;

	if (files == NULL)
		return err_nomem(err, "a journal's segments");
	for (i = 0; i < list->count && list->entries[i].sequence <= found->segment; i++) {
		if (list->entries[i].headless) /* what is beside another one's records */
			continue;
		files[count++] = (struct journal_file){
			.sequence = list->entries[i].sequence,
			.opening = list->entries[i].opening,
			.bytes = list->entries[i].sequence == found->segment ?
					 found->end :
					 list->entries[i].bytes,
		};
	}
	if (count > 0 && files[count - 1].bytes <= JOURNAL_SEGMENT_HEAD)
		count--;
	rc = journal_copies_join(j->copies, j->number, files, count, j->next, err);
	mem_free(files);
	return rc;
}

/* Reading begins in a copy that ends where the journal does. */
static uint64_t start_of(const struct journal_dirs *dirs, const struct journal_list *list)
{
	unsigned i;

	for (i = 0; i < dirs->count; i++) {
		if ((list->tips >> i & 1) != 0)
			return journal_start(dirs->fd[i]);
	}
	return 0;
}

/*
 * In how many copies what was acknowledged had to be: as the claim says of that time, since those that are to be there now may be
 * others, or more, or fewer.
 */
static void judge_copies(const struct journal *j, const struct journal_reached *reached,
			 unsigned there, struct journal_found *found)
{
	const bool told = reached->journal == j->number && reached->quorum > 0;
	const unsigned copies = told ? reached->copies : j->count;
	const unsigned quorum = told ? reached->quorum : j->quorum;
	const unsigned present = (unsigned)__builtin_popcount(there);

	found->missing = j->number != 0 ? j->count - present : 0;
	found->whole = found->whole && (j->number == 0 || copies < present + quorum);
}

static int read_it(struct journal *j, struct journal_list *list, uint64_t number,
		   journal_visit visit, void *owner, struct journal_found *found,
		   const struct journal_place *place, struct err *err)
{
	struct journal_dirs dirs;
	unsigned there;
	int rc = journal_copies_look(j->copies, &dirs, &j->number, &there, err);

	if (rc == RC_OK)
		rc = journal_dirs_ask_disk(&dirs, err);
	if (rc == RC_OK)
		rc = journal_list_read(list, &dirs, j->number, err);
	if (rc == RC_OK)
		rc = journal_scan_list(&dirs, list, start_of(&dirs, list), &place->reached, visit,
				       owner, found, err);
	if (rc != RC_OK)
		return rc;
	judge_copies(j, &place->reached, there, found);
	if ((list->count == 0 || found->segment == 0) && place->reached.sequence != 0)
		return err_set(
			err, RC_STATE,
			"what was acknowledged is not there: nothing is written before that is "
			"back, or a primary protects the instance again");
	if (list->count == 0 || found->segment == 0) {
		*found = (struct journal_found){ .torn = found->torn, .whole = found->whole };
		found->journal = number;
		found->next_sequence = 1;
	}
	j->number = found->journal;
	j->next = found->next_sequence;
	j->opening = next_opening(list);
	return RC_OK;
}

static int open_journal(struct journal *j, const struct journal_place *place, uint64_t number,
			journal_visit visit, void *owner, struct journal_found *found,
			struct err *err)
{
	struct journal_list list = { 0 };
	int rc = journal_copies_open(&j->copies, place, err);

	if (rc == RC_OK)
		rc = read_it(j, &list, number, visit, owner, found, place, err);
	if (rc != RC_OK) {
		journal_list_free(&list);
		return rc;
	}
	rc = join(j, &list, found, err);
	if (rc == RC_OK)
		rc = begin_segment(j, err);
	journal_list_free(&list);
	if (rc == RC_OK || place->count == 1)
		return rc;
	(void)fails(j, err); /* what was read may be used; nothing can be written */
	return RC_OK;
}

int journal_open(struct journal **out, const struct journal_place *place, uint64_t number,
		 uint64_t segment_bytes, journal_visit visit, void *owner,
		 struct journal_found *found, struct err *err)
{
	struct journal *j = mem_zalloc(1, sizeof(*j));
	char name[FILES_CLIP + 1];
	int rc;

	if (j == NULL)
		return err_nomem(err, "a journal");
	j->count = place->count;
	j->quorum = place->quorum;
	j->segment_bytes = segment_bytes;
	j->gathered.limit = GATHERED_MAX;
	rc = open_journal(j, place, number, visit, owner, found, err);
	if (rc != RC_OK) {
		journal_close(j);
		files_clip(name, place->dirs[0]);
		return strstr(err->text, name) != NULL ? rc : err_prefix(err, "%s: ", name);
	}
	*out = j;
	return RC_OK;
}

bool journal_is_broken(const struct journal *j, struct err *err)
{
	if (j->broken.code != RC_OK)
		*err = j->broken;
	return j->broken.code != RC_OK;
}

void journal_set_room(struct journal *j, bool (*make_room)(void *owner), void *owner)
{
	journal_copies_set_room(j->copies, make_room, owner);
}

void journal_health(struct journal *j, struct journal_health *health)
{
	journal_copies_health(j->copies, health);
}

void journal_close(struct journal *j)
{
	if (j == NULL)
		return;
	journal_copies_close(j->copies);
	buf_free(&j->gathered);
	mem_free(j);
}

/* ---- writing ---------------------------------------------------------------------------------- */

/* Whether a record of that kind begins something that a segment need not share with what is before. */
static bool begins(enum journal_kind kind)
{
	return kind != JOURNAL_BATCH && kind != JOURNAL_COMMIT;
}

/* Where reading may begin there is a segment's beginning. */
static bool needs_segment(const struct journal *j, enum journal_kind kind)
{
	const uint64_t bytes = present_bytes(j) + j->gathered.len;

	return (begins(kind) && bytes >= j->segment_bytes) ||
	       (kind == JOURNAL_BASE && bytes > JOURNAL_SEGMENT_HEAD);
}

static int gather(struct journal *j, struct journal_record *record, const uint8_t *payload,
		  struct err *err)
{
	static const uint8_t zeroes[8];
	const size_t whole = journal_record_bytes(record->length);
	uint8_t head[JOURNAL_RECORD_HEAD];

	journal_put_record(head, j->number, record, payload);
	(void)buf_append(&j->gathered, head, sizeof(head));
	(void)buf_append(&j->gathered, payload, record->length);
	(void)buf_append(&j->gathered, zeroes, whole - sizeof(head) - record->length);
	if (j->gathered.failed) {
		(void)err_nomem(err, "a record of the journal");
		return fails(j, err);
	}
	j->next++;
	return j->gathered.len >= GATHERED ? flush(j, err) : RC_OK;
}

int journal_append(struct journal *j, enum journal_kind kind, uint64_t epoch,
		   const uint8_t *payload, uint32_t len, struct err *err)
{
	struct journal_record record = { .kind = kind, .length = len, .epoch = epoch };
	int rc = RC_OK;

	if (j->broken.code != RC_OK)
		return refuse(j, err);
	if (needs_segment(j, kind)) {
		rc = flush(j, err);
		if (rc == RC_OK)
			rc = sync_all(j, err);
		if (rc == RC_OK)
			rc = begin_segment(j, err);
	}
	record.sequence = j->next;
	return rc == RC_OK ? gather(j, &record, payload, err) : rc;
}

int journal_commit(struct journal *j, uint64_t epoch, const struct journal_commit *commit,
		   struct err *err)
{
	struct journal_record record = { .kind = JOURNAL_COMMIT,
					 .length = JOURNAL_COMMIT_BYTES,
					 .epoch = epoch };
	uint8_t payload[JOURNAL_COMMIT_BYTES];
	int rc;

	if (j->broken.code != RC_OK)
		return refuse(j, err);
	journal_put_commit(payload, commit);
	record.sequence = j->next;
	rc = gather(j, &record, payload, err);
	return rc == RC_OK ? flush(j, err) : rc;
}

int journal_sync(struct journal *j, struct err *err)
{
	int rc;

	if (j->broken.code != RC_OK)
		return refuse(j, err);
	rc = flush(j, err);
	return rc == RC_OK ? sync_all(j, err) : rc;
}

int journal_trim(struct journal *j, uint64_t sequence, unsigned *removed, struct err *err)
{
	size_t count, gone = 0;
	const struct journal_file *files = journal_copies_files(j->copies, &count);

	while (gone + 1 < count && files[gone + 1].sequence <= sequence)
		gone++;
	*removed = (unsigned)gone;
	return journal_copies_remove(j->copies, gone, err);
}

uint64_t journal_next_sequence(const struct journal *j)
{
	return j->next;
}

uint64_t journal_first_sequence(const struct journal *j)
{
	size_t count;
	const struct journal_file *files = journal_copies_files(j->copies, &count);

	return count > 0 ? files[0].sequence : j->next;
}

uint64_t journal_present_segment(const struct journal *j)
{
	size_t count;
	const struct journal_file *files = journal_copies_files(j->copies, &count);

	return count > 0 ? files[count - 1].sequence : j->next;
}

struct journal_reached journal_reached(const struct journal *j)
{
	return (struct journal_reached){ .journal = j->number,
					 .sequence = j->next,
					 .opening = j->opening,
					 .copies = j->count,
					 .quorum = j->quorum };
}

uint64_t journal_bytes_from(const struct journal *j, uint64_t sequence)
{
	uint64_t bytes = 0;
	size_t i;
	const struct journal_file *files = journal_copies_files(j->copies, &i);

	for (; i > 0; i--) {
		bytes += files[i - 1].bytes;
		if (files[i - 1].sequence <= sequence)
			break;
	}
	return bytes;
}

uint64_t journal_bytes(const struct journal *j)
{
	return journal_bytes_from(j, 0);
}
