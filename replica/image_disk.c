/*
 * A disk's pages in a raw image file: all by pread(2) and pwrite(2). Through a mapping a full or broken
 * file system would be a SIGBUS, and some, which never write in place, are full for pages that have
 * storage already.
 *
 * QEMU has the file open as well, but before its activation it neither reads it (a replica has no
 * firmware run) nor locks it; both sides go through the same page cache, so nothing has to be told to it.
 * Whoever else has the file as a QEMU's disk holds locks on it, which are looked for; and this image takes one
 * of its own, so that one file, by whatever names, is no two disks.
 */
#include "replica/image_block.h"

#include "appliance/base/files.h"
#include "appliance/base/mem.h"
#include "replica/hypervisor_user.h"
#include "replica/zero_page.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Where QEMU's locks on its images lie (block/file-posix.c): permissions taken, and not shared. */
#define QEMU_LOCKS 100
#define QEMU_LOCKS_LEN 200
/* Ours, of the image: another byte. Two opens of one file are two owners of such a lock, also in one process. */
#define OUR_LOCK 64
/* Shorter runs of zeroes are written: a hole tears the file apart. */
#define PUNCH_PAGES 16

static off_t offset_of(uint64_t page)
{
	return (off_t)(page * LAYOUT_PAGE);
}

/* The last page may go beyond the disk's end. */
static size_t length_of(const struct image_block *block, uint64_t page)
{
	const uint64_t left = block->bytes - page * LAYOUT_PAGE;

	return left < LAYOUT_PAGE ? (size_t)left : LAYOUT_PAGE;
}

static int failed(const struct image_block *block, int errnum, struct err *err)
{
	char where[FILES_CLIP + 1];

	files_clip(where, block->path);
	return err_system(err, errnum, "disk image %s", where);
}

static const struct image_disk_ops file_ops;

static bool is_locked(int fd)
{
	struct flock lock = { .l_type = F_WRLCK,
			      .l_whence = SEEK_SET,
			      .l_start = QEMU_LOCKS,
			      .l_len = QEMU_LOCKS_LEN };

	return fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

/* False: it is the image of another disk. Where there are no locks nothing is known. */
static bool lock_it(int fd)
{
	struct flock lock = {
		.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = OUR_LOCK, .l_len = 1
	};

	return fcntl(fd, F_OFD_SETLK, &lock) == 0 || (errno != EAGAIN && errno != EACCES);
}

static int look_at(struct image_block *block, bool *existed, struct err *err)
{
	char where[FILES_CLIP + 1];
	struct stat st = { 0 };

	files_clip(where, block->path);
	if (fstat(block->fd, &st) != 0)
		return failed(block, errno, err);
	if (!S_ISREG(st.st_mode))
		return err_set(
			err, RC_REFUSED,
			"%s: not a file: a disk image is one; name a block device as target, "
			"{\"driver\": \"host_device\", \"filename\": ...}",
			where);
	if (is_locked(block->fd))
		return err_set(err, RC_REFUSED, "%s: in use by another program", where);
	if (!lock_it(block->fd))
		return err_set(err, RC_REFUSED,
			       "%s: is the image of another disk, maybe by another name: each disk "
			       "needs a file of its own",
			       where);
	if (st.st_size != 0 && (uint64_t)st.st_size != block->bytes)
		return err_set(err, RC_REFUSED,
			       "%s: has %" PRIu64 " bytes, the instance's disk %" PRIu64
			       ": remove it, or name another file",
			       where, (uint64_t)st.st_size, block->bytes);
	block->device = st.st_dev;
	block->inode = st.st_ino;
	*existed = st.st_size != 0;
	if (!*existed && ftruncate(block->fd, (off_t)block->bytes) != 0)
		return failed(block, errno, err);
	return RC_OK;
}

int image_disk_open(struct image_block *block, bool *existed, struct err *err)
{
	int rc;

	block->disk = &file_ops;
	block->fd = open(block->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0600);
	if (block->fd < 0)
		return failed(block, errno, err);
	rc = look_at(block, existed, err);
	return rc == RC_OK ? hypervisor_user_give(block->fd, block->path, err) : rc;
}

static int file_read(struct image_block *block, uint64_t page, uint8_t *room, struct err *err)
{
	const size_t len = length_of(block, page);
	size_t done = 0;
	ssize_t r;

	while (done < len) {
		r = pread(block->fd, room + done, len - done, offset_of(page) + (off_t)done);
		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			return failed(block, r < 0 ? errno : EIO, err); /* somebody cut it short */
		done += (size_t)r;
	}
	memset(room + len, 0, LAYOUT_PAGE - len);
	return RC_OK;
}

static void file_prefetch(struct image_block *block, uint64_t page, uint64_t count)
{
	(void)posix_fadvise(block->fd, offset_of(page), offset_of(count), POSIX_FADV_WILLNEED);
}

static int file_write(struct image_block *block, uint64_t page, const uint8_t *data,
		      struct err *err)
{
	const size_t len = length_of(block, page);
	size_t done = 0;
	ssize_t r;

	if (fault_here(FAULT_WRITE))
		return failed(block, ENOSPC, err);
	while (done < len) {
		r = pwrite(block->fd, data + done, len - done, offset_of(page) + (off_t)done);
		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			return failed(block, r < 0 ? errno : EIO, err);
		done += (size_t)r;
	}
	return RC_OK;
}

static int file_reserve(struct image_block *block, uint64_t page, struct err *err)
{
	int r;

	if (fault_here(FAULT_WRITE))
		return failed(block, ENOSPC, err);
	do
		r = fallocate(block->fd, FALLOC_FL_KEEP_SIZE, offset_of(page),
			      (off_t)length_of(block, page));
	while (r != 0 && errno == EINTR);
	if (r == 0)
		return RC_OK;
	if (errno != EOPNOTSUPP)
		return failed(block, errno, err);
	return file_write(block, page, zero_page, err); /* it is a hole: all zeroes */
}

static int file_zero(struct image_block *block, uint64_t page, uint64_t count, bool *punched,
		     struct err *err)
{
	int rc = RC_OK;

	*punched = count >= PUNCH_PAGES &&
		   fallocate(block->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset_of(page),
			     offset_of(count)) == 0;
	for (; rc == RC_OK && !*punched && count > 0; page++, count--)
		rc = file_write(block, page, zero_page, err);
	return rc;
}

static const struct image_disk_ops file_ops = {
	.read = file_read,
	.write = file_write,
	.zero = file_zero,
	.reserve = file_reserve,
	.prefetch = file_prefetch,
};
