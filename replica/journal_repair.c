/*
 * Theory of operation
 *
 * First everything goes that is not in the plan, the last segment first; but a file whose head cannot be read, as long as a copy
 * is missing: it may be of the opening that counts. Then, from the first segment on, each that is
 * not there as it should be is put together anew, each record from a copy in which it is good, and takes the place of what was there at
 * once (rename). So at every moment the copy holds what it held that counts, and a beginning of the rest.
 *
 * A segment that was closed was synced before the next one was begun: its head and its length are looked at; what rots
 * later is the scrub's to find. The last one, of the journal or of this copy, may be torn, and after a failed fdatasync() even
 * what can be read of it may not be on the disk, also for a process that knows nothing of that: it is checked record
 * for record, as the disk has it. Where it is known to have failed it is copied: the disk may have said so of its own cache.
 *
 * While something is copied, JOURNAL_REPAIRING says that the copy is not one of those that held what was
 * acknowledged.
 */
#include "replica/journal_repair.h"

#include "appliance/base/log.h"
#include "appliance/base/mem.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct journal_file *find(const struct journal_plan *plan, uint64_t sequence)
{
	size_t low = 0, high = plan->count, middle;

	while (low < high) {
		middle = low + (high - low) / 2;
		if (plan->files[middle].sequence < sequence)
			low = middle + 1;
		else
			high = middle;
	}
	return low < plan->count && plan->files[low].sequence == sequence ? &plan->files[low] :
									    NULL;
}

static int read_head(int dir, uint64_t sequence, struct journal_segment *head, uint64_t *bytes)
{
	uint8_t in[JOURNAL_SEGMENT_HEAD];
	char name[JOURNAL_NAME_BYTES];
	struct stat st = { 0 };
	struct err err;
	int fd, rc;

	journal_segment_name(name, sequence);
	fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	rc = fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) &&
			     pread(fd, in, sizeof(in), 0) == (ssize_t)sizeof(in) ?
		     journal_get_segment(head, in, &err) :
		     RC_IO;
	*bytes = (uint64_t)st.st_size;
	if (fd >= 0)
		(void)close(fd);
	return rc;
}

/* What is in the directory, in the order of the numbers, whatever it is; *newest: what was written to last there. */
static int remove_others(const struct journal_plan *plan, struct journal_dir *dir, uint64_t *newest,
			 bool *removed, struct err *err)
{
	struct journal_list list;
	int rc = journal_list_files(&list, dir->fd, err);
	size_t i;

	*newest = rc == RC_OK ? journal_list_newest(&list) : 0;
	for (i = rc == RC_OK ? list.count : 0; rc == RC_OK && i > 0; i--) {
		const struct journal_entry *entry = &list.entries[i - 1];

		if (find(plan, entry->sequence) != NULL || entry->sequence == plan->next)
			continue;
		if (entry->headless) {
			log_warn("journal", "%s: %016llx.journal has no head that can be read%s",
				 dir->path, (unsigned long long)entry->sequence,
				 plan->complete ? ", and none of the journal's: removed" :
						  "; it stays while a copy is missing");
			if (!plan->complete)
				continue;
		}
		rc = journal_dir_remove(dir, entry->sequence, err);
		*removed = true;
	}
	journal_list_free(&list);
	return rc;
}

static bool is_good(const struct journal_plan *plan, const struct journal_dir *dir,
		    const struct journal_file *file, uint64_t newest,
		    const struct journal_verify *how)
{
	const bool last = file + 1 == plan->files + plan->count;
	struct journal_segment head;
	uint64_t bytes;
	struct err err;

	if (plan->alone)
		return true;
	if (file->sequence == plan->suspect)
		return false;
	if (read_head(dir->fd, file->sequence, &head, &bytes) != RC_OK ||
	    head.journal != plan->journal || head.sequence != file->sequence ||
	    head.opening != file->opening)
		return false;
	if (last ? bytes < file->bytes : bytes != file->bytes)
		return false;
	return (!last && file->sequence != newest) ||
	       journal_verify(how, dir->fd, file, 0, &err) == RC_OK;
}

/*
 * From others, and what is good of its own. *copied: it was; if not, and without an error, no copy that is there has some of it, as `why`
 * says of one.
 */
static int fetch(struct journal_dir *dir, const struct journal_file *file,
		 const struct journal_dirs *others, const struct journal_verify *how, bool *copied,
		 struct err *why, struct err *err)
{
	struct journal_dirs from = *others;
	unsigned own = 0;
	bool wrote;
	int rc;

	while (own < from.count && from.fd[own] >= 0)
		own++;
	if (own < from.count) /* the place of this one in the list */
		from.fd[own] = dir->fd;
	rc = journal_copy_segment(how, &from, dir->fd, file, JOURNAL_COPIED, &wrote, why);
	*copied = rc == RC_OK;
	if (rc == RC_OK || (!wrote && rc != RC_CANCELLED && rc != RC_NOMEM))
		return RC_OK;
	*err = *why;
	return err_prefix(err, "%s: ", dir->path);
}

static int repair_one(const struct journal_plan *plan, struct journal_dir *dir,
		      const struct journal_file *file, uint64_t newest,
		      const struct journal_dirs *others, const struct journal_verify *how,
		      unsigned *copied, struct err *err)
{
	const bool last = file + 1 == plan->files + plan->count;
	bool fetched = false;
	struct err why;
	int rc = RC_OK;

	if (plan->first != NULL && file->sequence < atomic_load(plan->first))
		return RC_OK;
	if (!is_good(plan, dir, file, newest, how)) {
		if (*copied == 0)
			rc = journal_dir_mark(dir, JOURNAL_REPAIRING, true, err);
		if (rc == RC_OK)
			rc = fetch(dir, file, others, how, &fetched, &why, err);
		*copied += fetched;
		if (rc == RC_OK && !fetched && last)
			return err_set(
				err, RC_STATE,
				"%.200s: no copy that is there has the last segment whole: %.200s",
				dir->path, why.text);
		if (rc == RC_OK && !fetched)
			log_warn(
				"journal",
				"%s: segment %016llx is not whole in any copy that is there (%.200s); "
				"as long as that is so, what it leads to cannot be rewound to",
				dir->path, (unsigned long long)file->sequence, why.text);
	}
	return rc == RC_OK && last ? journal_dir_cut(dir, file->sequence, file->bytes, err) : rc;
}

int journal_repair(const struct journal_plan *plan, struct journal_dir *dir,
		   const struct journal_dirs *others, const struct journal_verify *how,
		   unsigned *copied, struct err *err)
{
	bool removed = false;
	uint64_t newest;
	size_t i;
	int rc = remove_others(plan, dir, &newest, &removed, err);

	*copied = 0;
	for (i = 0; rc == RC_OK && i < plan->count; i++)
		rc = repair_one(plan, dir, &plan->files[i], newest, others, how, copied, err);
	if (rc == RC_OK && (removed || *copied > 0))
		rc = journal_dir_sync_names(dir, err);
	if (rc == RC_OK)
		rc = journal_dir_mark(dir, JOURNAL_REPAIRING, false, err);
	return rc;
}
