/*
 * A file's page that holds nothing yet is written with pwrite(2), not through the mapping: when
 * the file system is full, that is an error, where the mapping would be a SIGBUS. Once it has
 * storage, copying into the mapping cannot fail and is cheaper. A page's bit is set when it has
 * storage, so a set bit also says that the mapping is safe.
 *
 * hugetlbfs has no write(2) and frees whole huge pages only; there, storage comes from
 * fallocate(2), and zeroing is writing zeroes. It does not tell what of a file has storage, either
 * (to SEEK_DATA all is data, and mincore(2) knows this process's mapping only): touching a hole
 * without a free huge page is a SIGBUS, so a file that was there is made anew.
 */
#include "replica/image_block.h"

#include "appliance/base/mem.h"
#include "replica/hypervisor_user.h"
#include "replica/image_apart.h"
#include "replica/image_room.h"
#include "replica/image_target.h"
#include "replica/zero_page.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

/* Shorter runs of zeroes are written: a hole costs a system call and every mapping's page table. */
#define PUNCH_PAGES 16

static bool is_populated(const struct image_block *block, uint64_t page)
{
	return (__atomic_load_n(&block->populated[page / 64], __ATOMIC_ACQUIRE) >> (page % 64) &
		1) != 0;
}

static void set_populated(struct image_block *block, uint64_t page)
{
	__atomic_fetch_or(&block->populated[page / 64], UINT64_C(1) << (page % 64),
			  __ATOMIC_RELEASE);
}

static void clear_populated(struct image_block *block, uint64_t page)
{
	__atomic_fetch_and(&block->populated[page / 64], ~(UINT64_C(1) << (page % 64)),
			   __ATOMIC_RELEASE);
}

void image_block_holds(struct image_block *block, uint64_t page)
{
	set_populated(block, page);
}

static off_t offset_of(uint64_t page)
{
	return (off_t)(page * LAYOUT_PAGE);
}

/* Bits and mapping; `fd` and `pages` are set. */
static int map_block(struct image_block *block, struct err *err)
{
	int flags = block->fd >= 0 ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS;
	void *map;

	block->populated = mem_zalloc(block->pages / 64 + 1, sizeof(*block->populated));
	if (block->populated == NULL)
		return err_nomem(err, "memory image");
	map = mmap(NULL, block->pages * LAYOUT_PAGE, PROT_READ | PROT_WRITE, flags | MAP_NORESERVE,
		   block->fd, 0);
	if (map == MAP_FAILED)
		return err_system(err, errno, "memory image: mapping %zu MiB",
				  (size_t)(block->pages * LAYOUT_PAGE) >> 20);
	block->map = map;
	madvise(map, block->pages * LAYOUT_PAGE,
		MADV_DONTDUMP); /* a guest's memory has no place in a core file */
	return RC_OK;
}

/* Which pages of a file that was there have storage. */
static void find_populated(struct image_block *block)
{
	off_t at = 0, end = offset_of(block->pages), hole;
	uint64_t page;

	while (at < end) {
		at = lseek(block->fd, at, SEEK_DATA);
		if (at < 0 && errno == ENXIO)
			return; /* a hole to the end */
		hole = at < 0 ? -1 : lseek(block->fd, at, SEEK_HOLE);
		if (hole < 0) { /* the file system cannot tell */
			at = 0;
			hole = end;
		}
		for (page = (uint64_t)at / LAYOUT_PAGE;
		     page * LAYOUT_PAGE < (uint64_t)hole && page < block->pages; page++)
			set_populated(block, page);
		at = hole;
	}
}

/* Opens or makes the file and checks that it is ours. */
static int open_file(const char *path, int *fd, struct stat *st, struct err *err)
{
	*fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
	if (*fd < 0)
		return err_system(err, errno, "%s", path);
	if (fstat(*fd, st) != 0)
		return err_system(err, errno, "%s", path);
	if (!S_ISREG(st->st_mode) || st->st_uid != geteuid() || st->st_nlink != 1)
		return err_set(err, RC_REFUSED,
			       "%s: there is something that is not a memory image of ours", path);
	return RC_OK;
}

static bool is_huge(int fd)
{
	struct statfs fs;

	return fstatfs(fd, &fs) == 0 && fs.f_type == HUGETLBFS_MAGIC;
}

static int open_or_renew(const char *path, uint64_t bytes, int *fd, bool *existed, struct err *err)
{
	struct stat st = { 0 };
	int rc;

	rc = open_file(path, fd, &st, err);
	if (rc == RC_OK && st.st_size != 0 && ((uint64_t)st.st_size != bytes || is_huge(*fd))) {
		if (unlink(path) != 0)
			return err_system(err, errno, "%s", path);
		close(*fd);
		rc = open_file(path, fd, &st, err);
	}
	if (rc != RC_OK)
		return rc;
	*existed = (uint64_t)st.st_size == bytes;
	if (!*existed && ftruncate(*fd, (off_t)bytes) != 0)
		return err_system(err, errno, "%s: making it %zu MiB long", path,
				  (size_t)bytes >> 20);
	if (fchmod(*fd, 0600) != 0)
		return err_system(err, errno, "%s", path);
	return hypervisor_user_give(*fd, path, err);
}

int image_block_open(struct image_block *block, const char *path, uint64_t pages, bool *existed,
		     struct err *err)
{
	int rc;

	*block = (struct image_block){ .pages = pages, .fd = -1, .path = mem_strdup(path) };
	if (block->path == NULL)
		return err_nomem(err, "memory image");
	rc = open_or_renew(path, pages * LAYOUT_PAGE, &block->fd, existed, err);
	if (rc == RC_OK)
		rc = map_block(block, err);
	block->huge = rc == RC_OK && is_huge(block->fd);
	if (rc != RC_OK)
		image_block_close(block);
	else if (*existed)
		find_populated(block);
	return rc;
}

int image_block_disk(struct image_block *block, const struct image_disk *disk, bool *existed,
		     struct err *err)
{
	int rc;

	*block = (struct image_block){ .pages = (disk->bytes + LAYOUT_PAGE - 1) / LAYOUT_PAGE,
				       .bytes = disk->bytes,
				       .fd = -1,
				       .path = mem_strdup(disk->path) };
	block->populated = mem_zalloc(block->pages / 64 + 1, sizeof(*block->populated));
	*existed = true; /* what a target holds is found out later */
	if (block->path == NULL || block->populated == NULL)
		rc = err_nomem(err, "disk image");
	else if (*disk->export != '\0')
		rc = image_target_open(block, disk->socket, disk->export, err);
	else
		rc = image_disk_open(block, existed, err);
	if (rc != RC_OK) {
		image_block_close(block);
		return rc;
	}
	if (*existed && block->fd >= 0)
		find_populated(block);
	image_apart_join(block);
	return RC_OK;
}

int image_block_private(struct image_block *block, uint64_t pages, struct err *err)
{
	int rc;

	*block = (struct image_block){ .pages = pages, .fd = -1 };
	rc = map_block(block, err);
	if (rc != RC_OK)
		image_block_close(block);
	return rc;
}

void image_block_close(struct image_block *block)
{
	if (block->map != NULL)
		munmap(block->map, block->pages * LAYOUT_PAGE);
	else
		image_apart_leave(block);
	if (block->fd >= 0)
		close(block->fd);
	if (block->target != NULL)
		block->disk->close(block);
	mem_free(block->populated);
	mem_free(block->path);
	*block = (struct image_block){ .fd = -1 };
}

uint64_t image_block_stored(const struct image_block *block)
{
	uint64_t pages = 0, i;

	for (i = 0; i <= block->pages / 64; i++)
		pages += (uint64_t)__builtin_popcountll(
			__atomic_load_n(&block->populated[i], __ATOMIC_RELAXED));
	return pages * LAYOUT_PAGE;
}

/* Of a write. */
static int no_storage(const struct image_block *block, struct err *err)
{
	return image_room_error(block->path, errno, block->pages * LAYOUT_PAGE,
				image_block_stored(block), err);
}

const uint8_t *image_block_page(const struct image_block *block, uint64_t page)
{
	assert(page < block->pages && block->map != NULL);
	return is_populated(block, page) ? block->map + page * LAYOUT_PAGE : NULL;
}

/* Which pages of it hold something is known. */
static int be_ready(struct image_block *block, struct err *err)
{
	return block->disk != NULL && block->disk->ready != NULL ? block->disk->ready(block, err) :
								   RC_OK;
}

int image_block_read(struct image_block *block, uint64_t page, uint8_t *room,
		     const uint8_t **content, struct err *err)
{
	int rc = be_ready(block, err);

	*content = NULL;
	if (rc != RC_OK)
		return rc;
	if (block->map != NULL)
		*content = image_block_page(block, page);
	else if (is_populated(block, page))
		*content = room;
	return *content == room ? block->disk->read(block, page, room, err) : RC_OK;
}

static bool write_file(const struct image_block *block, uint64_t page, const uint8_t *data)
{
	size_t done = 0;
	ssize_t r;

	if (fault_here(FAULT_WRITE)) {
		errno = ENOSPC;
		return false;
	}
	while (done < LAYOUT_PAGE) {
		r = pwrite(block->fd, data + done, LAYOUT_PAGE - done,
			   offset_of(page) + (off_t)done);
		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			return false;
		done += (size_t)r;
	}
	return true;
}

static bool allocate(const struct image_block *block, uint64_t page)
{
	int r;

	if (fault_here(FAULT_WRITE)) {
		errno = ENOSPC;
		return false;
	}
	do
		r = fallocate(block->fd, 0, offset_of(page), (off_t)LAYOUT_PAGE);
	while (r != 0 && errno == EINTR);
	return r == 0;
}

int image_block_reserve(struct image_block *block, uint64_t page, struct err *err)
{
	int rc = be_ready(block, err);

	if (rc != RC_OK || is_populated(block, page))
		return rc;
	if (block->map == NULL) {
		rc = block->disk->reserve(block, page, err);
		if (rc == RC_OK)
			set_populated(block, page);
		return rc;
	}
	/* What has no fallocate(2) has write(2). */
	if (block->fd >= 0 && !allocate(block, page) &&
	    (errno != EOPNOTSUPP || !write_file(block, page, zero_page)))
		return no_storage(block, err);
	set_populated(block, page);
	return RC_OK;
}

int image_block_write(struct image_block *block, uint64_t page, const uint8_t *data,
		      struct err *err)
{
	int rc;

	assert(page < block->pages);
	if (block->map == NULL) {
		rc = block->disk->write(block, page, data, err);
		if (rc == RC_OK)
			set_populated(block, page);
		return rc;
	}
	if (!is_populated(block, page) && block->fd >= 0) {
		if (write_file(block, page, data)) {
			set_populated(block, page);
			return RC_OK;
		}
		if (errno != EINVAL) /* hugetlbfs */
			return no_storage(block, err);
	}
	rc = image_block_reserve(block, page, err);
	if (rc == RC_OK)
		memcpy(block->map + page * LAYOUT_PAGE, data, LAYOUT_PAGE);
	return rc;
}

static bool punch(const struct image_block *block, uint64_t page, uint64_t count)
{
	if (count < PUNCH_PAGES || block->huge)
		return false;
	if (block->fd < 0)
		return madvise(block->map + page * LAYOUT_PAGE, count * LAYOUT_PAGE,
			       MADV_DONTNEED) == 0;
	return fallocate(block->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset_of(page),
			 offset_of(count)) == 0;
}

/* A run of populated pages. */
static int zero_run(struct image_block *block, uint64_t page, uint64_t count, struct err *err)
{
	bool punched;
	uint64_t i;
	int rc = RC_OK;

	if (block->map == NULL) {
		rc = block->disk->zero(block, page, count, &punched, err);
	} else {
		punched = punch(block, page, count);
		if (!punched)
			memset(block->map + page * LAYOUT_PAGE, 0, count * LAYOUT_PAGE);
	}
	for (i = 0; rc == RC_OK && punched && i < count; i++)
		clear_populated(block, page + i);
	return rc;
}

int image_block_zero(struct image_block *block, uint64_t page, uint64_t count, struct err *err)
{
	uint64_t end = page + count, start;
	int rc = be_ready(block, err);

	assert(end <= block->pages);
	while (rc == RC_OK && page < end) {
		for (start = page; page < end && is_populated(block, page); page++)
			;
		if (page > start)
			rc = zero_run(block, start, page - start, err);
		else
			page++;
	}
	return rc;
}

void image_block_resize(struct image_block *block)
{
	if (block->fd >= 0)
		(void)ftruncate(block->fd,
				(off_t)block->bytes); /* if it fails, the next look tells */
}

int image_block_settle(struct image_block *block, bool durable, struct err *err)
{
	return block->disk != NULL && block->disk->settle != NULL ?
		       block->disk->settle(block, durable, err) :
		       RC_OK;
}
