/*
 * What dirty pages of a real guest cost on the wire and in processor time: our delta, XBZRLE, LZ4
 * page by page, and memcpy, over one recorded trace.
 *
 * usage: bench_delta TRACE [CACHE_MIB]        (default 64; XBZRLE gets the same budget)
 *
 * A trace (little-endian): 8 bytes "USTRACE1", u64 pages of a layout, device state included
 * (indices are below it); then epoch after epoch: u32 number of pages, and for each: u64 index,
 * with bit 63 set if the page is all zeroes, else followed by its 4096 bytes. The first epoch is
 * the full copy, in which a page may come more than once; the others are checkpoints.
 *
 * Prints a JSON object per line. Sizes count the checkpoints, not the full copy (which has lines
 * of its own for our delta); rates are of the pages' bytes (4096 each, zero ones too) per second
 * of this thread's processor time. `both_mb_s` is encoding and decoding together on one
 * processor. What is encoded is decoded into plain memory, and compared at the end; "understudy
 * with image" decodes as a standby does, into staging, and commits (on tmpfs; the commit counts
 * as decoding and has its own rate too).
 *
 * XBZRLE has 8 bytes of header a page, for an encoded one 1 byte of flag and 2 of length; a
 * direct-mapped cache of the budget's whole pages (a power of two), which the full copy fills, as
 * it does ours (QEMU's stays empty until then: that would cost more bytes); a page whose encoding
 * does not fit into 4096 bytes travels raw; a zero page takes 9 bytes. LZ4: the same headers, 2
 * bytes of length.
 */
#include "replica/delta.h"
#include "replica/image.h"
#include "replica/layout.h"
#include "tests/bench/xbzrle.h"

#include <fcntl.h>
#include <inttypes.h>
#include <lz4.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PAGE LAYOUT_PAGE
#define ZERO_FLAG (UINT64_C(1) << 63)
/* What fits a chunk with the stream's headers */
#define CHUNK_DATA_PAGES (CHUNK_BYTES / (PAGE + 8))

struct trace {
	const uint8_t *data;
	size_t len;
	uint64_t pages;
};

struct result {
	uint64_t in, out;
	double encode_s, decode_s; /* of which: */
	double commit_s;
};

/*
 * One way of sending a chunk's pages: encodes into memory of its own, decodes that into `image`,
 * and notes both.
 */
struct codec {
	const char *name;
	void (*transfer)(const struct chunk *chunk, bool first_copy, struct result *r);
	void (*end)(struct result *r); /* of an epoch, or NULL */
	bool full_copy;		       /* has a line for it */
};

static uint8_t *image;
static uint8_t wire[CHUNK_PAGES * LZ4_COMPRESSBOUND(LAYOUT_PAGE)];
static const uint8_t zeroes[PAGE];

static double cpu_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void die(const char *what)
{
	(void)fprintf(stderr, "bench_delta: %s\n", what);
	exit(1);
}

static void *map_zeroes(size_t len)
{
	void *memory = mmap(NULL, len, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (memory == MAP_FAILED)
		die("out of memory");
	return memory;
}

/* ---- ours ------------------------------------------------------------------------------------ */

static struct delta_state *state;
static struct delta_stats stats;

static const uint8_t *sink_base(void *owner, uint64_t index)
{
	(void)owner;
	return image + index * PAGE;
}

static int sink_put(void *owner, uint64_t index, const uint8_t *data, struct err *err)
{
	(void)owner;
	(void)err;
	if (data != NULL)
		memcpy(image + index * PAGE, data, PAGE);
	else
		memset(image + index * PAGE, 0, PAGE);
	return RC_OK;
}

static void ours_transfer(const struct chunk *chunk, bool first_copy, struct result *r)
{
	struct buf out = { .limit = DELTA_BATCH_MAX };
	struct delta_sink sink = { .base = sink_base, .put = sink_put, .pages = UINT64_MAX };
	uint64_t sent = 0, received = 0, hash = 0, hash_received = 0;
	struct err err;
	double start = cpu_now(), encoded;

	if (delta_encode(state, chunk, !first_copy, &out, &hash, &sent, &stats, &err) != RC_OK)
		die(err.text);
	encoded = cpu_now();
	if (out.len > 0 &&
	    delta_decode(out.data, out.len, &sink, &hash_received, &received, &err) != RC_OK)
		die(err.text);
	if (sent != received || hash != hash_received)
		die("what was decoded is not what was encoded");
	r->encode_s += encoded - start;
	r->decode_s += cpu_now() - encoded;
	r->out += out.len;
	buf_free(&out);
}

/* ---- ours, into an image as a standby has it ------------------------------------------------- */

static struct image *replica;
static uint64_t epoch_hash, epoch_sent, epoch_number;
static bool epoch_open;

static void image_open(uint64_t pages)
{
	static struct layout layout;
	char dir[64], lock[80];
	struct image_shared shared = { .name = "ram" };
	struct err err;

	(void)snprintf(dir, sizeof(dir), "/dev/shm/bench-delta-XXXXXX");
	shared.bytes = pages * PAGE - LAYOUT_DEVICE_STATE_MAX;
	if (mkdtemp(dir) == NULL || layout_add(&layout, "ram", 3, shared.bytes, &err) != RC_OK ||
	    layout_finish(&layout, &err) != RC_OK ||
	    image_create(&replica, dir, "/tmp", &shared, 1, (size_t)64 << 20, &err) != RC_OK ||
	    image_set_layout(replica, &layout, &err) != RC_OK)
		die("cannot make an image in /dev/shm");
	/* Nobody else opens it, and so nothing is left behind whatever happens. */
	(void)snprintf(lock, sizeof(lock), "%s/.lock", dir);
	(void)unlink(shared.path);
	(void)unlink(lock);
	(void)rmdir(dir);
}

static void image_transfer(const struct chunk *chunk, bool first_copy, struct result *r)
{
	struct buf out = { .limit = DELTA_BATCH_MAX };
	struct err err;
	double start = cpu_now(), encoded;

	if (!epoch_open && image_begin(replica, ++epoch_number, &err) != RC_OK)
		die(err.text);
	epoch_open = true;
	if (delta_encode(state, chunk, !first_copy, &out, &epoch_hash, &epoch_sent, &stats, &err) !=
	    RC_OK)
		die(err.text);
	encoded = cpu_now();
	if (out.len > 0 && image_batch(replica, out.data, out.len, &err) != RC_OK)
		die(err.text);
	r->encode_s += encoded - start;
	r->decode_s += cpu_now() - encoded;
	r->out += out.len;
	buf_free(&out);
}

static void image_end(struct result *r)
{
	struct err err;
	double start = cpu_now();

	if (!epoch_open)
		return;
	if (image_commit(replica, epoch_sent, epoch_hash, 0, &err) != RC_OK)
		die(err.text);
	r->decode_s += cpu_now() - start;
	if (epoch_number > 1) /* the full copy went straight in */
		r->commit_s += cpu_now() - start;
	epoch_sent = epoch_hash = 0;
	epoch_open = false;
}

static void image_compare(const uint8_t *reference, uint64_t pages)
{
	uint64_t i;

	for (i = 0; i < pages; i++)
		if (memcmp(image_page(replica, i), reference + i * PAGE, PAGE) != 0)
			die("the image is not the guest");
	image_destroy(replica, true);
}

/* ---- XBZRLE ---------------------------------------------------------------------------------- */

static uint64_t *cached_index; /* plus 1 */
static uint8_t *cached_data;
static uint64_t cached_pages;

/*
 * Encodes a page at `to`; *how: 'z'ero, 'u'nchanged, 'x'bzrle, 'r'aw. Returns the bytes after the
 * header.
 */
static size_t xbzrle_page(const struct chunk_page *page, bool first_copy, uint8_t *to, char *how)
{
	uint64_t place = page->index & (cached_pages - 1);
	const uint8_t *data = page->data != NULL ? page->data : zeroes;
	uint8_t *old = cached_data + place * PAGE;
	size_t len = PAGE;

	*how = 'r';
	if (cached_index[place] == page->index + 1 && !first_copy) {
		len = xbzrle_encode(data, old, to);
		*how = len == 0 ? 'u' : len > PAGE ? 'r' : 'x';
	}
	if (page->data == NULL) {
		*how = 'z';
		len = 1;
	}
	if (*how == 'r') {
		memcpy(to, data, PAGE);
		len = PAGE;
	}
	if (*how != 'u') {
		cached_index[place] = page->index + 1;
		memcpy(old, data, PAGE);
	}
	return len;
}

static void xbzrle_transfer(const struct chunk *chunk, bool first_copy, struct result *r)
{
	static char how[CHUNK_PAGES];
	static size_t lens[CHUNK_PAGES];
	double start = cpu_now(), encoded;
	uint8_t *at = wire;
	uint32_t i;

	for (i = 0; i < chunk->npages; i++) {
		lens[i] = xbzrle_page(&chunk->pages[i], first_copy, at, &how[i]);
		at += lens[i];
		r->out += how[i] == 'u' ? 0 : how[i] == 'x' ? 8 + 1 + 2 + lens[i] : 8 + lens[i];
	}
	encoded = cpu_now();
	for (i = 0, at = wire; i < chunk->npages; at += lens[i++]) {
		uint8_t *to = image + chunk->pages[i].index * PAGE;

		if (how[i] == 'x')
			xbzrle_decode(at, lens[i], to);
		else if (how[i] == 'r')
			memcpy(to, at, PAGE);
		else if (how[i] == 'z')
			memset(to, 0, PAGE);
	}
	r->encode_s += encoded - start;
	r->decode_s += cpu_now() - encoded;
}

/* ---- LZ4 page by page, and copying ----------------------------------------------------------- */

static void lz4_transfer(const struct chunk *chunk, bool first_copy, struct result *r)
{
	static int lens[CHUNK_PAGES];
	double start = cpu_now(), encoded;
	uint8_t *at = wire;
	uint32_t i;

	(void)first_copy;
	for (i = 0; i < chunk->npages; i++) {
		lens[i] = 0;
		if (chunk->pages[i].data != NULL)
			lens[i] =
				LZ4_compress_default((const char *)chunk->pages[i].data, (char *)at,
						     (int)PAGE, LZ4_COMPRESSBOUND((int)PAGE));
		at += lens[i];
		r->out += lens[i] == 0 ? 9 :
					 8 + 2 + ((size_t)lens[i] < PAGE ? (size_t)lens[i] : PAGE);
	}
	encoded = cpu_now();
	for (i = 0, at = wire; i < chunk->npages; at += lens[i++]) {
		uint8_t *to = image + chunk->pages[i].index * PAGE;

		if (lens[i] == 0)
			memset(to, 0, PAGE);
		else if (LZ4_decompress_safe((char *)at, (char *)to, lens[i], (int)PAGE) !=
			 (int)PAGE)
			die("LZ4 does not give the page back");
	}
	r->encode_s += encoded - start;
	r->decode_s += cpu_now() - encoded;
}

static void memcpy_transfer(const struct chunk *chunk, bool first_copy, struct result *r)
{
	double start = cpu_now();
	uint32_t i;

	(void)first_copy;
	for (i = 0; i < chunk->npages; i++) {
		uint8_t *to = image + chunk->pages[i].index * PAGE;

		if (chunk->pages[i].data != NULL)
			memcpy(to, chunk->pages[i].data, PAGE);
		else
			memset(to, 0, PAGE);
	}
	r->encode_s += cpu_now() - start;
	r->out += (uint64_t)chunk->npages * PAGE;
}

/* ---- running over the trace ------------------------------------------------------------------ */

static const struct codec codecs[] = {
	{ "memcpy", memcpy_transfer, NULL, false },
	{ "understudy", ours_transfer, NULL, true },
	{ "understudy with image", image_transfer, image_end, true },
	{ "xbzrle", xbzrle_transfer, NULL, false },
	{ "lz4", lz4_transfer, NULL, false },
};

static void open_trace(struct trace *trace, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	void *data;

	if (fd < 0 || fstat(fd, &st) != 0)
		die("cannot read the trace");
	data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
	if (data == MAP_FAILED)
		die("cannot map the trace");
	close(fd);
	trace->data = data;
	trace->len = (size_t)st.st_size;
	if (trace->len < 16 || memcmp(data, "USTRACE1", 8) != 0)
		die("this is not a trace");
	memcpy(&trace->pages, trace->data + 8, 8);
	if (trace->pages <= LAYOUT_DEVICE_STATE_MAX / PAGE ||
	    trace->pages > LAYOUT_BYTES_MAX / PAGE)
		die("a trace of impossibly many pages");
}

/*
 * Gives one epoch's pages to the codec, in chunks as a capture fills them; returns where the next
 * epoch begins.
 */
static size_t run_epoch(const struct trace *trace, size_t at, const struct codec *codec,
			bool first_copy, struct result *r)
{
	static struct chunk chunk;
	uint32_t count, i;
	size_t with_data = 0;

	memcpy(&count, trace->data + at, 4);
	at += 4;
	for (i = 0; i < count; i++) {
		const uint8_t *data = NULL;
		uint64_t index;

		if (trace->len - at < 8)
			die("the trace is cut short");
		memcpy(&index, trace->data + at, 8);
		at += 8;
		if ((index & ~ZERO_FLAG) >= trace->pages ||
		    ((index & ZERO_FLAG) == 0 && trace->len - at < PAGE))
			die("the trace is cut short, or damaged");
		if ((index & ZERO_FLAG) == 0) {
			data = trace->data + at;
			at += PAGE;
		}
		chunk.pages[chunk.npages++] =
			(struct chunk_page){ .index = index & ~ZERO_FLAG, .data = data };
		with_data += data != NULL;
		if (chunk.npages == CHUNK_PAGES || with_data == CHUNK_DATA_PAGES ||
		    i + 1 == count) {
			codec->transfer(&chunk, first_copy, r);
			chunk.npages = 0;
			with_data = 0;
		}
	}
	if (codec->end != NULL)
		codec->end(r);
	r->in += (uint64_t)count * PAGE;
	return at;
}

static void print_result(const char *codec, const char *part, uint64_t epochs,
			 const struct result *r)
{
	double mb = (double)r->in / 1e6;

	printf("{\"bench\": \"delta\", \"codec\": \"%s\", \"part\": \"%s\", \"epochs\": %" PRIu64
	       ", \"bytes_in\": %" PRIu64 ", \"bytes_out\": %" PRIu64
	       ", \"ratio\": %.2f, \"encode_mb_s\": %.0f, \"decode_mb_s\": %.0f, "
	       "\"both_mb_s\": %.0f, \"commit_mb_s\": %.0f}\n",
	       codec, part, epochs, r->in, r->out,
	       (double)r->in / (double)(r->out > 0 ? r->out : 1),
	       r->encode_s > 0 ? mb / r->encode_s : 0, r->decode_s > 0 ? mb / r->decode_s : 0,
	       mb / (r->encode_s + r->decode_s), r->commit_s > 0 ? mb / r->commit_s : 0);
	(void)fflush(stdout);
}

static void run(const struct trace *trace, const struct codec *codec)
{
	struct result first = { 0 }, rest = { 0 };
	uint64_t epochs = 0;
	size_t at = 16;

	while (trace->len - at >= 4) {
		at = run_epoch(trace, at, codec, epochs == 0, epochs == 0 ? &first : &rest);
		epochs++;
	}
	if (epochs < 2)
		die("a trace without checkpoints");
	if (codec->full_copy)
		print_result(codec->name, "full copy", 1, &first);
	print_result(codec->name, "checkpoints", epochs - 1, &rest);
}

/* Our delta, with a state that knows nothing yet. */
static void open_state(uint64_t pages, size_t cache_bytes)
{
	struct err err;

	delta_state_destroy(state);
	if (delta_state_create(&state, pages, cache_bytes, &err) != RC_OK)
		die(err.text);
	stats = (struct delta_stats){ 0 };
}

static void run_all(const struct trace *trace, size_t cache_bytes)
{
	uint8_t *reference = NULL;
	size_t i;

	image_open(trace->pages);
	for (i = 0; i < sizeof(codecs) / sizeof(codecs[0]); i++) {
		open_state(trace->pages, cache_bytes);
		image = map_zeroes(trace->pages * PAGE);
		run(trace, &codecs[i]);
		if (codecs[i].end != NULL)
			image_compare(reference, trace->pages);
		else if (reference != NULL && memcmp(image, reference, trace->pages * PAGE) != 0)
			die("the decoded memory is not the guest's");
		if (reference == NULL)
			reference = image;
		else
			munmap(image, trace->pages * PAGE);
	}
}

int main(int argc, char **argv)
{
	size_t cache_mib = argc > 2 ? strtoul(argv[2], NULL, 10) : 64;
	struct trace trace;

	if (argc < 2 || argc > 3 || cache_mib == 0 || cache_mib > 65536) {
		(void)fprintf(stderr, "usage: bench_delta TRACE [CACHE_MIB]\n");
		return 2;
	}
	open_trace(&trace, argv[1]);
	for (cached_pages = 1; cached_pages * 2 * PAGE <= cache_mib << 20; cached_pages *= 2)
		;
	cached_index = map_zeroes(cached_pages * sizeof(*cached_index));
	cached_data = map_zeroes(cached_pages * PAGE);
	run_all(&trace, cache_mib << 20);
	delta_state_destroy(state);
	delta_trim();
	return 0;
}
