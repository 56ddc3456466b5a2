#include "replica/journal_claim.h"

#include "appliance/base/bytes.h"
#include "appliance/base/clock.h"
#include "appliance/base/files.h"
#include "appliance/base/log.h"
#include "appliance/base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <xxhash.h>

#define MAGIC "USTDACKD"
#define VERSION 2
#define BYTES ((size_t)48)
#define HASH ((size_t)8)
#define AGAIN_NS CLOCK_NS_PER_S

static int failed(const struct journal_claim *c, const char *what, struct err *err)
{
	char name[FILES_CLIP + 1];

	files_clip(name, c->path);
	return err_system(err, errno, "%s: %s", name, what);
}

/* ---- bytes ------------------------------------------------------------------------------------ */

static void encode(uint8_t out[BYTES], const struct journal_reached *says)
{
	memset(out, 0, BYTES);
	memcpy(out, MAGIC, sizeof(MAGIC) - 1);
	bytes_put_le16(out + 8, VERSION);
	out[10] = (uint8_t)says->copies;
	out[11] = (uint8_t)says->quorum;
	bytes_put_le64(out + 16, says->journal);
	bytes_put_le64(out + 24, says->sequence);
	bytes_put_le64(out + 32, says->opening);
	bytes_put_le64(out + BYTES - HASH, XXH64(out, BYTES - HASH, 0));
}

static bool decode(struct journal_claim *c, const uint8_t *in, size_t len)
{
	uint8_t same[BYTES];

	if (len != BYTES)
		return false;
	c->says = (struct journal_reached){ .journal = bytes_get_le64(in + 16),
					    .sequence = bytes_get_le64(in + 24),
					    .opening = bytes_get_le64(in + 32),
					    .copies = in[10],
					    .quorum = in[11] };
	encode(same, &c->says);
	return memcmp(in, same, BYTES) == 0 && c->says.copies <= JOURNAL_COPIES_MAX &&
	       c->says.quorum > 0 && c->says.quorum <= c->says.copies;
}

/* ---- reading ---------------------------------------------------------------------------------- */

static void look(struct journal_claim *c)
{
	struct buf in = { .limit = BYTES };
	struct stat st;
	struct err err;

	c->stands = fstatat(c->dir, JOURNAL_CLAIM_NAME, &st, AT_SYMLINK_NOFOLLOW) == 0 ||
		    errno != ENOENT;
	if (c->stands && files_read(&in, c->dir, JOURNAL_CLAIM_NAME, FILES_NO_LINK, &err) == RC_OK)
		c->known = decode(c, in.data, in.len);
	buf_free(&in);
}

int journal_claim_open(struct journal_claim *c, const char *dir, struct err *err)
{
	*c = (struct journal_claim){ .fd = -1 };
	(void)snprintf(c->path, sizeof(c->path), "%s/" JOURNAL_CLAIM_NAME, dir);
	c->dir = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (c->dir < 0)
		return failed(c, "its directory", err);
	look(c);
	return RC_OK;
}

void journal_claim_close(struct journal_claim *c)
{
	if (c->fd >= 0)
		(void)close(c->fd);
	if (c->dir >= 0)
		(void)close(c->dir);
	c->fd = c->dir = -1;
}

struct journal_reached journal_claim_reached(const struct journal_claim *c)
{
	return c->known ? c->says : (struct journal_reached){ .journal = c->says.journal };
}

bool journal_claim_holds(const struct journal_claim *c, const struct journal_found *found)
{
	return c->known && c->says.journal == found->journal && found->opening >= c->says.opening &&
	       found->next_sequence >= c->says.sequence;
}

/* ---- writing ---------------------------------------------------------------------------------- */

static int sync_it(const struct journal_claim *c, int fd, struct err *err)
{
	errno = EIO;
	return !fault_here(FAULT_FSYNC) && fsync(fd) == 0 ? RC_OK : failed(c, "fsync", err);
}

static int write_it(const struct journal_claim *c, const struct journal_reached *says,
		    struct err *err)
{
	uint8_t out[BYTES];
	ssize_t r = -1;

	encode(out, says);
	errno = ENOSPC;
	if (!fault_here(FAULT_WRITE))
		r = pwrite(c->fd, out, sizeof(out), 0);
	if (r == (ssize_t)sizeof(out))
		return RC_OK;
	errno = r >= 0 ? ENOSPC : errno;
	return failed(c, "writing", err);
}

static int open_it(struct journal_claim *c, struct err *err)
{
	errno = EACCES;
	if (!fault_here(FAULT_OPEN))
		c->fd = openat(c->dir, JOURNAL_CLAIM_NAME,
			       O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
	return c->fd >= 0 ? RC_OK : failed(c, "making it", err);
}

/* For good, in the directory, too. */
static int make(struct journal_claim *c, const struct journal_reached *says, struct err *err)
{
	int rc = RC_OK;

	c->stands = true;
	c->known = false;
	if (c->fd < 0)
		rc = open_it(c, err);
	if (rc == RC_OK)
		rc = write_it(c, says, err);
	if (rc == RC_OK &&
	    ftruncate(c->fd, (off_t)BYTES) != 0) /* of something that was none of ours */
		rc = failed(c, "its length", err);
	if (rc == RC_OK)
		rc = sync_it(c, c->fd, err);
	return rc == RC_OK ? sync_it(c, c->dir, err) : rc;
}

/* As `make` has done it before: the name is there for good. */
static int raise_it(const struct journal_claim *c, const struct journal_reached *says,
		    uint64_t segment, struct err *err)
{
	int rc = write_it(c, says, err);

	return rc == RC_OK && segment != c->segment ? sync_it(c, c->fd, err) : rc;
}

int journal_claim_make(struct journal_claim *c, const struct journal_reached *reached,
		       uint64_t segment, struct err *err)
{
	const bool there = c->known && c->fd >= 0 && c->says.journal == reached->journal;
	int rc = there ? raise_it(c, reached, segment, err) : make(c, reached, err);

	c->known = rc == RC_OK;
	if (rc != RC_OK)
		return rc;
	c->says = *reached;
	c->segment = segment;
	return RC_OK;
}

void journal_claim_keep(struct journal_claim *c, const struct journal_reached *reached,
			uint64_t segment)
{
	const uint64_t now_ns = clock_now_ns();
	struct err err;

	if (now_ns < c->again_ns)
		return;
	if (journal_claim_make(c, reached, segment, &err) == RC_OK) {
		c->told = false;
		return;
	}
	c->again_ns = now_ns + AGAIN_NS;
	if (!c->told)
		log_error("journal",
			  "%s; if the standby is restarted, it will say that clients may know more",
			  err.text);
	c->told = true;
}

bool journal_claim_renew(struct journal_claim *claim, const struct journal_reached *reached,
			 uint64_t segment)
{
	const struct journal_reached was = journal_claim_reached(claim);
	struct err none;

	return (was.copies == reached->copies && was.quorum == reached->quorum) ||
	       journal_claim_make(claim, reached, segment, &none) == RC_OK;
}

int journal_claim_withdraw(struct journal_claim *c, struct err *err)
{
	int rc;

	if (!c->stands)
		return RC_OK;
	c->known = false;
	if (c->fd >= 0)
		(void)close(c->fd);
	c->fd = -1;
	errno = EROFS;
	if (fault_here(FAULT_RENAME) ||
	    (unlinkat(c->dir, JOURNAL_CLAIM_NAME, 0) != 0 && errno != ENOENT))
		return failed(c, "removing it", err);
	rc = sync_it(c, c->dir,
		     err); /* also where an earlier attempt has removed it, and was not synced */
	c->stands = rc != RC_OK;
	return rc;
}

int journal_claim_drop(const char *dir, struct err *err)
{
	struct journal_claim claim;
	int rc = journal_claim_open(&claim, dir, err);

	if (rc == RC_OK)
		rc = journal_claim_withdraw(&claim, err);
	journal_claim_close(&claim);
	return rc;
}
