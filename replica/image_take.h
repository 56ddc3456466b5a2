/*
 * Makes an image what another one is, page by page where they differ, so that what has it mapped need not change. Blocking: for a
 * worker thread; nobody else touches either image meanwhile, and there is no open epoch.
 */
#ifndef REPLICA_IMAGE_TAKE_H
#define REPLICA_IMAGE_TAKE_H

#include "replica/image.h"

struct image_take;

/*
 * Looks for what differs, and gets storage for it: the image is as it was, whatever comes of it. RC_REFUSED: `from` is of no epoch, or of
 * other memory. image_take_close() also after a failure (NULL is fine).
 */
int image_take_open(struct image_take **take, struct image *image, const struct image *from,
		    struct err *err);
uint64_t image_take_pages(const struct image_take *take); /* that differ */
/* Then: from its beginning the image has no epoch, and that of `from` at its end. An error (RC_IO) leaves it without; it may be done again. */
int image_take_copy(struct image_take *take, struct err *err);
void image_take_close(struct image_take *take);

#endif
