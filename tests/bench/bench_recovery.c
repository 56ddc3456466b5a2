/*
 * How long a standby takes to bring a replica back from its journal, beside what cannot be avoided: reading
 * the same files and decompressing what LZ4 has compressed in them. In turns, each with nothing of the
 * journal in the page cache.
 *
 * usage: bench_recovery JOURNAL MEMORY_DIR [ROUNDS]     MEMORY_DIR: on tmpfs. A line of JSON.
 */
#include "appliance/base/clock.h"
#include "appliance/base/mem.h"
#include "replica/delta_format.h"
#include "replica/journal_replay.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ROUNDS_MAX 99

struct bench {
	int dir;
	uint64_t bytes, content; /* of the files; of what LZ4 makes of them */
	uint64_t took[2][ROUNDS_MAX];
	struct image_shared shared;
	uint8_t part[DELTA_CONTROL_MAX > CHUNK_BYTES ? DELTA_CONTROL_MAX : CHUNK_BYTES];
};

static void let_go(struct bench *b)
{
	DIR *dir = fdopendir(openat(b->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	struct dirent *entry;
	int fd;

	while (dir != NULL && (entry = readdir(dir)) != NULL) {
		fd = openat(b->dir, entry->d_name, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			continue;
		(void)fdatasync(fd);
		(void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
		(void)close(fd);
	}
	if (dir != NULL)
		(void)closedir(dir);
}

/* ---- what cannot be avoided ----------------------------------------------------------------- */

static int unpack(struct bench *b, const uint8_t *data, uint32_t stored, uint32_t len,
		  struct err *err)
{
	if (stored < len && LZ4_decompress_safe((const char *)data, (char *)b->part, (int)stored,
						(int)sizeof(b->part)) != (int)len)
		return err_set(err, RC_INVALID, "not what LZ4 made");
	b->content += len;
	return RC_OK;
}

/* The heads are followed, and nothing is checked. */
static int walk(struct bench *b, const uint8_t *bytes, size_t len, struct err *err)
{
	struct delta_header header;
	struct cursor c;
	size_t at = JOURNAL_SEGMENT_HEAD, length;
	uint16_t kind;
	int rc = RC_OK;

	while (rc == RC_OK && at + JOURNAL_RECORD_HEAD <= len) {
		length = bytes_get_le32(bytes + at);
		kind = bytes_get_le16(bytes + at + 4);
		if (kind == JOURNAL_PAGES || kind == JOURNAL_BATCH) {
			c = cursor_of(bytes + at + JOURNAL_RECORD_HEAD + 16, 20);
			header.pages = cursor_le32(&c);
			header.control = cursor_le32(&c);
			header.control_stored = cursor_le32(&c);
			header.content = cursor_le32(&c);
			header.content_stored = cursor_le32(&c);
			rc = unpack(b, c.at, header.control_stored, header.control, err);
			if (rc == RC_OK)
				rc = unpack(b, c.at + header.control_stored, header.content_stored,
					    header.content, err);
		}
		at += journal_record_bytes((uint32_t)length);
	}
	return rc;
}

static int read_one(void *owner, uint64_t sequence, uint64_t bytes, struct err *err)
{
	struct bench *b = owner;
	uint8_t *data = malloc(bytes);
	char name[JOURNAL_NAME_BYTES];
	size_t have = 0;
	ssize_t got = 1;
	int fd, rc;

	journal_segment_name(name, sequence);
	fd = openat(b->dir, name, O_RDONLY | O_CLOEXEC);
	while (data != NULL && have < bytes && got > 0) {
		got = read(fd, data + have, bytes - have);
		have += got > 0 ? (size_t)got : 0;
	}
	(void)close(fd);
	b->bytes += have;
	rc = have == bytes ? walk(b, data, have, err) : err_set(err, RC_IO, "%s", name);
	free(data);
	return rc;
}

/* ---- what a standby does ---------------------------------------------------------------------- */

static int find_shared(void *owner, const struct journal_record *record, const uint8_t *payload,
		       struct err *err)
{
	static struct layout layout;
	struct bench *b = owner;
	uint32_t i;
	int rc;

	if (record->kind != JOURNAL_BASE)
		return RC_OK;
	memset(&layout, 0, sizeof(layout));
	rc = layout_decode(&layout, payload + JOURNAL_BASE_BYTES,
			   record->length - JOURNAL_BASE_BYTES, err);
	for (i = 0; rc == RC_OK && i < layout.ram_blocks; i++) {
		if (layout.blocks[i].pages * LAYOUT_PAGE <= b->shared.bytes)
			continue;
		b->shared.bytes = layout.blocks[i].pages * LAYOUT_PAGE;
		memcpy(b->shared.name, layout.blocks[i].name, sizeof(b->shared.name));
	}
	return rc;
}

/* *took: until the image is there; its end is not part of it. */
static int recover(struct bench *b, const char *memory, uint64_t *took, struct err *err)
{
	const uint64_t start = clock_now_ns();
	struct journal_replay replay = { 0 };
	struct image_shared shared = b->shared;
	struct journal_found found;
	const struct journal_dirs dirs = { .fd = { b->dir }, .count = 1 };
	struct image *image;
	int rc = image_create(&image, memory, memory, &shared, 1, (size_t)64 << 20, err);

	if (rc != RC_OK)
		return rc;
	replay.image = image;
	rc = journal_scan(&dirs, 0, journal_replay_visit, &replay, &found, err);
	if (rc == RC_OK)
		rc = journal_replay_end(&replay, &dirs, &found, err);
	if (rc == RC_OK && replay.epoch == 0)
		rc = err_set(err, RC_INVALID, "the journal holds nothing");
	*took = clock_now_ns() - start;
	image_destroy(image, false);
	return rc;
}

static int by_size(const void *a, const void *b)
{
	const uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;

	return left < right ? -1 : left > right;
}

static int measure(struct bench *b, const char *memory, size_t rounds, struct err *err)
{
	const struct journal_dirs dirs = { .fd = { b->dir }, .count = 1 };
	int rc = journal_scan(&dirs, 0, find_shared, b, &(struct journal_found){ 0 }, err);
	uint64_t start;
	size_t i;

	for (i = 0; rc == RC_OK && i < 2 * rounds; i++) {
		b->bytes = b->content = i % 2 == 0 ? 0 : b->content;
		let_go(b);
		start = clock_now_ns();
		rc = i % 2 == 0 ? journal_segments(b->dir, read_one, b, err) :
				  recover(b, memory, &b->took[1][i / 2], err);
		if (i % 2 == 0)
			b->took[0][i / 2] = clock_now_ns() - start;
	}
	return rc;
}

int main(int argc, char **argv)
{
	static struct bench b;
	const size_t rounds = argc > 3 ? strtoul(argv[3], NULL, 10) : 5;
	struct err err = { 0 };
	double ours, bare;

	if (argc < 3 || rounds == 0 || rounds > ROUNDS_MAX) {
		(void)fprintf(stderr,
			      "usage: bench_recovery JOURNAL MEMORY_DIR [ROUNDS (1 to %d)]\n",
			      ROUNDS_MAX);
		return 2;
	}
	b.dir = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (b.dir < 0 || measure(&b, argv[2], rounds, &err) != RC_OK) {
		(void)fprintf(stderr, "bench_recovery: %s: %s\n", argv[1], err.text);
		return 1;
	}
	qsort(b.took[0], rounds, sizeof(b.took[0][0]), by_size);
	qsort(b.took[1], rounds, sizeof(b.took[1][0]), by_size);
	bare = clock_ms(b.took[0][rounds / 2]);
	ours = clock_ms(b.took[1][rounds / 2]);
	printf("{\"content_bytes\": %llu, \"memory_bytes\": %llu, \"ours_ms\": %.1f, \"bare_ms\": %.1f, \"ratio\": %.3f}\n",
	       (unsigned long long)b.content, (unsigned long long)b.shared.bytes, ours, bare,
	       bare / ours);
	return 0;
}
