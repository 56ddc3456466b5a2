/*
 * The standby's image of one instance: shared files that a warm QEMU already has mapped as its memory,
 * private memory for the blocks that it cannot share, disk images that it has open, and the epoch that
 * is being received.
 *
 * Guarantees: the image always holds exactly one committed epoch, or none (`image_epoch()` is 0:
 * the first copy is still coming in); a received batch is decoded and verified at once into
 * staging memory, beyond a limit into an unlinked file; the image itself changes only in
 * image_commit(), after page count and hash of the whole epoch were found right. Without a
 * committed epoch batches go straight to the image: there is nothing to protect yet.
 */
#ifndef REPLICA_IMAGE_H
#define REPLICA_IMAGE_H

#include "appliance/base/buf.h"
#include "appliance/base/err.h"
#include "replica/disk_place.h"
#include "replica/layout.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define IMAGE_DISK_NAME_MAX DISK_PLACE_NAME_MAX

struct image;

/* A block that QEMU shares: its RAM block name and size; `path` (out) is the file made for it. */
struct image_shared {
	char name[LAYOUT_NAME_MAX + 1];
	uint64_t bytes;
	char path[512];
};

/*
 * Makes (or reopens, when they have the right size: their contents are then known to be stale but
 * useful for a resync) one file per shared block in `dir`, mode 0600, sparse. RC_REFUSED while
 * another image, or a QEMU that has one mapped (image_lock()), is in `dir`. It should be on
 * tmpfs or hugetlbfs for speed. `staging_bytes` bounds what an epoch in flight takes in memory;
 * `spill_dir` takes the rest.
 */
int image_create(struct image **image, const char *dir, const char *spill_dir,
		 struct image_shared *shared, size_t nshared, size_t staging_bytes,
		 struct err *err);

/*
 * A disk that comes with the memory: the raw image at `path`, which is made, sparse, when it is not
 * there. Before the layout. What it needs is written by write(2) and read by read(2), so that a disk that
 * is full or broken costs an epoch, or the image, but no signal. RC_REFUSED: there is something else, of
 * another size, or in use.
 */
struct image_disk {
	char name[IMAGE_DISK_NAME_MAX + 1];
	uint64_t bytes;
	char path[DISK_PLACE_PATH_MAX];
	/*
	 * Not a file but an NBD export of the QEMU that is to run the replica (image_target.h): its unix socket, and its name
	 * (empty: a file). `path` is what errors call it. Both may come later than the image.
	 */
	char socket[108], export[IMAGE_DISK_NAME_MAX + 1];
};
int image_add_disk(struct image *image, const struct image_disk *disk, struct err *err);
/* Where its disks are that are files: how many. disk_place_look() needs no image. */
size_t image_disk_places(const struct image *image, struct disk_place places[LAYOUT_DISKS_MAX]);

/*
 * The instance's layout: checks the shared blocks against it (RC_REFUSED) and makes the private
 * ones. Again with an equal layout: nothing happens. With another one: RC_STATE while there is an
 * epoch, committed or open (image_forget() first); else the private blocks are empty again.
 */
int image_set_layout(struct image *image, const struct layout *layout, struct err *err);

const struct layout *image_layout(const struct image *image); /* NULL before image_set_layout() */
uint64_t image_epoch(const struct image *image);	      /* committed; 0: none */
/* Its files were there before image_create(): stale, but most pages will still be right. */
bool image_was_reopened(const struct image *image);
bool image_is_shared(const struct image *image, const struct layout_block *block);

/* delta_content_hash() of `count` pages from index `first`, for a resync. */
void image_hashes(const struct image *image, uint64_t first, size_t count, uint64_t *hashes);

/* These will be asked for soon: what is on a disk is read ahead. Does not wait. */
void image_prefetch(const struct image *image, uint64_t first, uint64_t count);

/*
 * An epoch in three steps, with a number above the committed one's. image_batch() may be called
 * from several threads at once if no page is in two of the batches; the others not. After an error
 * of image_batch() the epoch can only be dropped; the committed one is as it was.
 */
int image_begin(struct image *image, uint64_t epoch, struct err *err);
int image_batch(struct image *image, const uint8_t *batch, size_t len, struct err *err);
/*
 * Verifies the sums as the primary stated them, then applies. On an error nothing was applied and
 * the epoch is dropped; with three exceptions, a spill file that could be read once and not again, a disk that has room and
 * cannot be written (RC_IO), and a disk's file that has another size (RC_INVALID): then image_epoch() is 0, the image holds a mixture and counts as having no epoch.
 */
int image_commit(struct image *image, uint64_t pages, uint64_t hash, uint32_t device_state_len,
		 struct err *err);
/* Drops the epoch being received, if there is one. */
void image_abort(struct image *image);

/*
 * Forgets that there is a committed epoch (a new capture session begins from nothing), and drops
 * an open one. The pages stay, for a resync.
 */
void image_forget(struct image *image);

/*
 * A copy of the image, in pieces, from any thread, but not while an epoch is committed: appends one delta
 * batch of the next pages that are not zero, from index *next on, which goes to where the following piece
 * begins. Nothing is appended where there was no such page; it is all there when *next is the layout's
 * number of pages, or beyond it. RC_NOMEM, RC_IO: *next is as it was.
 */
int image_dump(struct image *image, uint64_t *next, struct buf *out, struct err *err);

/*
 * The way back, from batches that image_dump() made and epochs that were committed between them. First the
 * image becomes all zeroes, as of `epoch` (0: nothing); then image_restore_pages() takes effect at
 * once, and epochs do as they always do, but for their hash, which cannot be right before
 * image_restore_end(). There is a layout, and no epoch is open. RC_INVALID: the device state would not fit.
 */
int image_restore_begin(struct image *image, uint64_t epoch, uint32_t device_state_len,
			struct err *err);
int image_restore_pages(struct image *image, const uint8_t *batch, size_t len, struct err *err);
void image_restore_end(struct image *image);

/*
 * Committed content of a page of memory or device state; valid until the next commit. Zero pages may
 * come as a shared constant page.
 */
const uint8_t *image_page(const struct image *image, uint64_t index);
/* The same of any page: *content may be in `room` (LAYOUT_PAGE bytes). RC_IO: it could not be read. */
int image_read(const struct image *image, uint64_t index, uint8_t *room, const uint8_t **content,
	       struct err *err);
uint32_t image_device_state_len(const struct image *image);

/* Bytes staged now (memory and spill), for credit and status. */
uint64_t image_staged(const struct image *image);

#define IMAGE_LOCK ".lock" /* in its directory; no block's file has such a name */
/*
 * The lock on its directory: a process that maps the files has to inherit this descriptor and keep
 * it, so that nobody takes them from under it when this process is gone. image_held_by() says which
 * process that is, for who is refused.
 */
int image_lock(const struct image *image);
void image_held_by(const struct image *image, pid_t pid);

/*
 * That its disks are stores of their own, and no other instance's (image_apart.h). It holds no epoch, and the QEMU that exports them is
 * there. Blocking; nobody else touches the image. RC_REFUSED: which are one.
 */
int image_disks_apart(struct image *image, struct err *err);

/*
 * The QEMU that the image's disks are exported by has ended. True: what was written to one of them may be lost with
 * it, so the image holds no epoch any more (image_epoch() is 0, the open one fails).
 */
bool image_disks_lost(struct image *image);
/* The image will be destroyed: nobody waits for such a disk any more, it fails. From the loop. */
void image_give_up(struct image *image);

/* Unmaps; removes the files unless `keep`. NULL is fine. */
void image_destroy(struct image *image, bool keep);

#endif
