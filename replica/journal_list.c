#include "replica/journal_list.h"

#include "appliance/base/log.h"
#include "appliance/base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SEGMENTS_MAX 65536 /* in a directory: 4 TiB of them */

int journal_dirs_open(struct journal_dirs *dirs, const char *const *paths, unsigned count,
		      struct err *err)
{
	unsigned i, there = 0;

	*dirs = (struct journal_dirs){ .count = count };
	for (i = 0; i < count; i++) {
		dirs->fd[i] = open(paths[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		there += dirs->fd[i] >= 0;
		if (there == 0)
			(void)err_system(err, errno, "%s: opening it", paths[i]);
	}
	return there > 0 ? RC_OK : (int)err->code;
}

void journal_dirs_close(struct journal_dirs *dirs)
{
	unsigned i;

	for (i = 0; i < dirs->count; i++) {
		if (dirs->fd[i] >= 0)
			(void)close(dirs->fd[i]);
	}
	dirs->count = 0;
}

/* ---- one directory ---------------------------------------------------------------------------- */

struct file {
	struct journal_entry entry;
	unsigned dir;
};

struct files {
	struct file *file;
	size_t count, size;
};

static int note(struct files *files, const struct file *file, struct err *err)
{
	const size_t size = files->size < 64 ? 64 : 2 * files->size;
	struct file *grown;

	if (files->count == files->size) {
		grown = mem_realloc(files->file, size * sizeof(*grown));
		if (grown == NULL)
			return err_nomem(err, "a journal's segments");
		files->file = grown;
		files->size = size;
	}
	files->file[files->count++] = *file;
	return RC_OK;
}

static int open_list(int dir, DIR **list, struct err *err)
{
	int fd = fault_here(FAULT_OPEN) ? -1 : openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	*list = fd >= 0 ? fdopendir(fd) : NULL;
	if (*list != NULL)
		return RC_OK;
	(void)err_system(err, errno, "reading the journal's directory");
	if (fd >= 0)
		(void)close(fd);
	return RC_IO;
}

/* What the file's head says; of another journal: it is none of ours. False: the disk does not give it back. */
static bool read_head(int dir, const char *name, uint64_t journal, struct journal_entry *entry,
		      bool *ours)
{
	uint8_t bytes[JOURNAL_SEGMENT_HEAD];
	struct journal_segment head;
	struct stat st = { 0 };
	bool read = true;
	struct err err;
	int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	ssize_t got = fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) ?
			      pread(fd, bytes, sizeof(bytes), 0) :
			      -1;

	if (got < 0 && fd >= 0 && S_ISREG(st.st_mode))
		read = false;
	if (fd >= 0)
		(void)close(fd);
	entry->bytes = (uint64_t)st.st_size;
	entry->records = entry->bytes > JOURNAL_SEGMENT_HEAD;
	entry->headless = got != (ssize_t)sizeof(bytes) ||
			  journal_get_segment(&head, bytes, &err) != RC_OK ||
			  head.sequence != entry->sequence;
	*ours = entry->headless || journal == 0 || head.journal == journal;
	if (!entry->headless)
		entry->opening = head.opening;
	return read;
}

static int list_one(struct files *files, const struct journal_dirs *dirs, unsigned i,
		    uint64_t journal, unsigned *unread, struct err *err)
{
	struct file file = { .dir = i };
	struct dirent *entry;
	size_t count = 0;
	bool ours;
	DIR *list;
	int rc = open_list(dirs->fd[i], &list, err);

	if (rc != RC_OK)
		return rc;
	errno = 0;
	while (rc == RC_OK && (entry = readdir(list)) != NULL) {
		file.entry = (struct journal_entry){
			.sequence = journal_segment_sequence(entry->d_name),
			.where = 1U << i,
		};
		if (file.entry.sequence == 0)
			continue;
		if (!read_head(dirs->fd[i], entry->d_name, journal, &file.entry, &ours) &&
		    dirs->count > 1) {
			*unread |= 1U << i;
			continue;
		}
		if (++count > SEGMENTS_MAX)
			rc = err_set(err, RC_LIMIT, "more than %d segments", SEGMENTS_MAX);
		else if (ours)
			rc = note(files, &file, err);
		errno = 0;
	}
	if (rc == RC_OK && errno != 0)
		rc = err_system(err, errno, "reading the journal's directory");
	(void)closedir(list);
	return rc;
}

int journal_number_of(int dir, uint64_t *number, struct err *err)
{
	char first[JOURNAL_NAME_BYTES] = "";
	uint64_t sequence;
	uint8_t bytes[JOURNAL_SEGMENT_HEAD];
	struct journal_segment head;
	struct dirent *entry;
	struct err why;
	DIR *list;
	int fd, rc = open_list(dir, &list, err);

	*number = 0;
	while (rc == RC_OK && (entry = readdir(list)) != NULL) {
		sequence = journal_segment_sequence(entry->d_name);
		if (sequence == 0)
			continue;
		fd = openat(dir, entry->d_name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
		if (fd < 0)
			continue;
		if (pread(fd, bytes, sizeof(bytes), 0) == (ssize_t)sizeof(bytes) &&
		    journal_get_segment(&head, bytes, &why) == RC_OK) {
			if (*number != 0 && head.journal != *number)
				rc = err_set(err, RC_REFUSED,
					     "%s and %s are of different journals; move those away "
					     "that are not this instance's",
					     first, entry->d_name);
			*number = head.journal;
			journal_segment_name(first, sequence);
		}
		(void)close(fd);
	}
	if (list != NULL)
		(void)closedir(list);
	return rc;
}

bool journal_list_elect(const struct journal_dirs *dirs, uint64_t numbers[JOURNAL_COPIES_MAX],
			uint64_t *number)
{
	unsigned i, j, votes, most = 0;
	bool sure = true;
	struct err err;

	*number = 0;
	for (i = 0; i < dirs->count; i++) {
		numbers[i] = 0;
		if (dirs->fd[i] >= 0 && journal_number_of(dirs->fd[i], &numbers[i], &err) != RC_OK)
			numbers[i] = 0;
		if (numbers[i] != 0 && numbers[i] == dirs->journal)
			*number = dirs->journal;
	}
	if (*number != 0)
		return true;
	for (i = 0; i < dirs->count; i++) {
		for (j = 0, votes = 0; j < dirs->count; j++)
			votes += numbers[j] == numbers[i];
		if (numbers[i] == 0 || numbers[i] == *number || votes < most)
			continue;
		sure = votes > most;
		most = votes;
		*number = *number == 0 || sure ? numbers[i] : *number;
	}
	return sure;
}

/* ---- what of them counts ---------------------------------------------------------------------- */

/* Of one number the latest opening first. */
static int by_number(const void *a, const void *b)
{
	const struct journal_entry *left = &((const struct file *)a)->entry;
	const struct journal_entry *right = &((const struct file *)b)->entry;

	if (left->sequence != right->sequence)
		return left->sequence < right->sequence ? -1 : 1;
	return left->opening > right->opening ? -1 : left->opening < right->opening;
}

/* The same segment in several directories is one. */
static size_t join(struct file *file, size_t count)
{
	size_t kept = 0, i;

	for (i = 0; i < count; i++) {
		const struct journal_entry *entry = &file[i].entry;
		struct journal_entry *last = kept > 0 ? &file[kept - 1].entry : NULL;

		if (last != NULL && entry->headless && last->sequence == entry->sequence &&
		    !last->headless)
			continue; /* another copy's is good */
		if (last == NULL || last->sequence != entry->sequence ||
		    last->opening != entry->opening) {
			file[kept++] = file[i];
			continue;
		}
		last->where |= entry->where;
		last->records = last->records || entry->records;
		last->bytes = last->bytes > entry->bytes ? last->bytes : entry->bytes;
	}
	return kept;
}

/* A segment is written to when a quorum has it: of these copies so many that nobody could have been told of what is in there. */
static bool never_counted(const struct journal_dirs *dirs, const struct journal_list *list,
			  const struct journal_entry *entry)
{
	const unsigned may_have = entry->where | list->unread;

	return entry->headless && (unsigned)__builtin_popcount(may_have) < dirs->holders;
}

static void leave_out(struct files *files, const struct journal_dirs *dirs,
		      const struct journal_list *list)
{
	size_t kept = 0, i;

	for (i = 0; i < files->count; i++) {
		if (!never_counted(dirs, list, &files->file[i].entry))
			files->file[kept++] = files->file[i];
		else
			log_warn("journal",
				 "segment %016llx is none, and fewer copies have it than any that "
				 "counts: it is left out",
				 (unsigned long long)files->file[i].entry.sequence);
	}
	files->count = kept;
}

/* Without those of earlier openings that a later one has replaced, and heads that nothing was written behind. */
static void keep_valid(const struct files *files, struct journal_list *list)
{
	uint64_t reached = 0, behind = UINT64_MAX;
	size_t i;

	for (i = 0; i < files->count; i++) {
		const struct journal_entry *entry = &files->file[i].entry;

		list->opening = list->opening > entry->opening ? list->opening : entry->opening;
		if (!entry->headless && entry->opening < reached)
			continue;
		if (!entry->headless && !entry->records && i + 1 < files->count)
			continue;
		reached = entry->headless ? reached : entry->opening;
		list->entries[list->count++] = *entry;
	}
	for (i = list->count; i > 0; i--) {
		struct journal_entry *entry = &list->entries[i - 1];

		if (i < list->count && list->entries[i].records &&
		    list->entries[i].opening > entry->opening)
			behind = list->entries[i].sequence;
		entry->bound = behind;
	}
}

static unsigned find_tips(const struct files *all, const struct journal_entry *last)
{
	unsigned tips = 0;
	size_t i;

	for (i = 0; i < all->count; i++) {
		const struct journal_entry *entry = &all->file[i].entry;

		if (entry->sequence == last->sequence && entry->opening == last->opening &&
		    entry->bytes == last->bytes)
			tips |= 1U << all->file[i].dir;
	}
	return tips;
}

static int list_all(struct files *files, struct journal_list *list, const struct journal_dirs *dirs,
		    uint64_t journal, struct err *err)
{
	int rc = RC_OK;
	unsigned i;

	*list = (struct journal_list){ 0 };
	for (i = 0; rc == RC_OK && i < dirs->count; i++) {
		if (dirs->fd[i] < 0)
			continue;
		rc = list_one(files, dirs, i, journal, &list->unread, err);
		if (rc == RC_IO && dirs->count > 1) {
			list->unread |= 1U << i;
			rc = RC_OK;
		}
	}
	if (rc != RC_OK || files->count == 0)
		return rc;
	qsort(files->file, files->count, sizeof(*files->file), by_number);
	list->entries = mem_zalloc(files->count, sizeof(*list->entries));
	return list->entries != NULL ? RC_OK : err_nomem(err, "a journal's segments");
}

static int ended(struct files *files, struct journal_list *list, int rc)
{
	mem_free(files->file);
	if (rc != RC_OK)
		journal_list_free(list);
	return rc;
}

int journal_list_read(struct journal_list *list, const struct journal_dirs *dirs, uint64_t journal,
		      struct err *err)
{
	struct files files = { 0 }, joined;
	int rc = list_all(&files, list, dirs, journal, err);

	if (rc != RC_OK || files.count == 0)
		return ended(&files, list, rc);
	joined = (struct files){ .file = mem_zalloc(files.count, sizeof(*joined.file)) };
	if (joined.file == NULL)
		return ended(&files, list, err_nomem(err, "a journal's segments"));
	memcpy(joined.file, files.file, files.count * sizeof(*joined.file));
	joined.count = join(joined.file, files.count);
	leave_out(&joined, dirs, list);
	keep_valid(&joined, list);
	mem_free(joined.file);
	if (list->count > 0)
		list->tips = find_tips(&files, &list->entries[list->count - 1]);
	return ended(&files, list, RC_OK);
}

int journal_list_files(struct journal_list *list, int dir, struct err *err)
{
	const struct journal_dirs one = { .fd = { dir }, .count = 1 };
	struct files files = { 0 };
	int rc = list_all(&files, list, &one, 0, err);

	for (; rc == RC_OK && list->count < files.count; list->count++)
		list->entries[list->count] = files.file[list->count].entry;
	return ended(&files, list, rc);
}

uint64_t journal_list_newest(const struct journal_list *files)
{
	size_t i = files->count;

	while (i > 0 && files->entries[i - 1].headless)
		i--;
	return i > 0 ? files->entries[i - 1].sequence : 0;
}

void journal_file_ask_disk(int fd)
{
	/* Should it fail, what could not be written is not there, and is not to be seen. */
	(void)fdatasync(fd);
	(void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
}

int journal_dirs_ask_disk(const struct journal_dirs *dirs, struct err *err)
{
	char name[JOURNAL_NAME_BYTES];
	struct journal_list list;
	unsigned i, asked = 0;
	int fd, rc = RC_OK;

	for (i = 0; i < dirs->count; i++) {
		if (dirs->fd[i] < 0)
			continue;
		rc = journal_list_files(&list, dirs->fd[i], err);
		if (rc == RC_NOMEM)
			return rc;
		if (rc != RC_OK)
			continue;
		asked++;
		journal_segment_name(name, journal_list_newest(&list));
		fd = openat(dirs->fd[i], name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
		if (fd >= 0) {
			journal_file_ask_disk(fd);
			(void)close(fd);
		}
		journal_list_free(&list);
	}
	return asked > 0 ? RC_OK : rc;
}

void journal_list_free(struct journal_list *list)
{
	mem_free(list->entries);
	*list = (struct journal_list){ 0 };
}
