/*
 * How long a checkpoint holds a real guest: captures epochs of the QEMU behind a QMP socket and
 * measures.
 *
 * usage: bench_capture QMP_SOCKET [option=value]...
 *   epochs=100     checkpoints to take, after the first copy
 *   interval=100   milliseconds from one to the next
 *   rounds=1       captures, one after the other: open, first copy, epochs, close
 *   pool=64        staging buffers, MiB
 *   limit=2000     milliseconds that the guest may stand
 *   slow=0         milliseconds that each chunk is kept before it goes back, as on a slow link
 *   cut=0          close each capture after this many milliseconds instead, whatever it is doing
 *   guard=0        1: with a guardian, which lets the guest go if this program is killed
 *   trace=FILE     write the pages of the last round, in the format of bench_delta.c
 *
 * Prints a JSON object per round: `pause_ms` as QEMU's STOP and RESUME events have it, `hold_ms` as
 * we see it (answer sent until LOADED sent), per checkpoint; the first copy's own pause; pages; and
 * what the trace needs to become a machine again. Ends with 1 if anything is not as it should be:
 * an epoch out of order, a chunk of another epoch, a page beyond the layout, a lost capture.
 */
#include "appliance/base/clock.h"
#include "appliance/base/log.h"
#include "replica/capture.h"
#include "replica/chunk_list.h"
#include "replica/guardian.h"
#include "replica/guardian_process.h"
#include "replica/qmp.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EPOCHS_MAX 100000
#define ZERO_FLAG (UINT64_C(1) << 63)

struct options {
	uint64_t epochs, interval, rounds, pool, limit, slow, cut, guard;
	const char *trace;
};

struct samples {
	double ms[EPOCHS_MAX];
	size_t count;
};

static struct options options = {
	.epochs = 100, .interval = 100, .rounds = 1, .pool = 64, .limit = 2000
};
static uv_loop_t *loop;
static struct qmp *qmp;
static struct guardian *guardian;
static struct capture *capture;
static struct chunk_pool *pool;
static uv_timer_t next_timer, slow_timer, cut_timer;
static struct layout layout;
static struct samples pauses, holds;
static struct chunk_list slow_chunks;
static uint64_t round_number, opened_ns, first_ns, epoch_ns, expected, pages, epoch_pages,
	stopped_us;
static double first_pause_ms;
static uint32_t device_state_len;
static FILE *trace;
static long trace_head; /* where this epoch's number of pages belongs */
static bool failed, closing;

static void fail(const char *what)
{
	(void)fprintf(stderr, "bench_capture: %s\n", what);
	failed = true;
}

/* ---- trace ----------------------------------------------------------------------------------- */

static void write_le(uint64_t value, size_t bytes)
{
	if (trace != NULL && fwrite(&value, bytes, 1, trace) != 1)
		fail("trace: cannot write");
}

static void begin_trace_epoch(void)
{
	if (trace == NULL)
		return;
	trace_head = ftell(trace);
	write_le(0, 4);
}

static void end_trace_epoch(uint64_t count)
{
	if (trace == NULL)
		return;
	(void)fseek(trace, trace_head, SEEK_SET);
	write_le(count, 4);
	(void)fseek(trace, 0, SEEK_END);
}

static void trace_chunk(const struct chunk *chunk)
{
	uint32_t i;

	for (i = 0; trace != NULL && i < chunk->npages; i++) {
		write_le(chunk->pages[i].index | (chunk->pages[i].data == NULL ? ZERO_FLAG : 0), 8);
		if (chunk->pages[i].data != NULL &&
		    fwrite(chunk->pages[i].data, LAYOUT_PAGE, 1, trace) != 1)
			fail("trace: cannot write");
	}
}

/* ---- report ---------------------------------------------------------------------------------- */

static int compare(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static void print_samples(const char *name, struct samples *samples)
{
	double *ms = samples->ms;
	size_t count = samples->count;

	if (count == 0)
		return;
	qsort(ms, count, sizeof(ms[0]), compare);
	printf(", \"%s\": {\"median\": %.3f, \"p99\": %.3f, \"min\": %.3f, \"max\": %.3f, "
	       "\"count\": %zu}",
	       name, ms[count / 2], ms[count * 99 / 100], ms[0], ms[count - 1], count);
}

static void report(void)
{
	double first_s = (double)(first_ns - opened_ns) / 1e9;
	uint32_t i;

	printf("{\"round\": %" PRIu64
	       ", \"first_copy_s\": %.3f, \"first_copy_pause_ms\": %.3f, \"first_copy_mib_s\": %.1f",
	       round_number, first_s, first_pause_ms,
	       first_s > 0 ? (double)layout.ram_pages / 256 / first_s : 0);
	print_samples("pause_ms", &pauses);
	print_samples("hold_ms", &holds);
	printf(", \"pages_per_epoch\": %.1f, \"device_state_bytes\": %u, \"configuration\": \"%.*s\", "
	       "\"ram\": [%u, %u, %u], \"blocks\": [",
	       holds.count > 0 ? (double)pages / (double)holds.count : 0, device_state_len,
	       (int)layout.configuration_len, (const char *)layout.configuration, layout.section,
	       layout.instance, layout.version);
	for (i = 0; i < layout.ram_blocks; i++)
		printf("%s[\"%s\", %" PRIu64 "]", i > 0 ? ", " : "", layout.blocks[i].name,
		       layout.blocks[i].pages);
	printf("], \"ok\": %s}\n", failed ? "false" : "true");
	(void)fflush(stdout);
}

/* ---- capture --------------------------------------------------------------------------------- */

static void begin_round(void);

static void finish(void)
{
	chunk_list_return(&slow_chunks);
	uv_close((uv_handle_t *)&next_timer, NULL);
	uv_close((uv_handle_t *)&slow_timer, NULL);
	uv_close((uv_handle_t *)&cut_timer, NULL);
	qmp_close(qmp, NULL);
}

static void on_closed(void *owner)
{
	(void)owner;
	capture = NULL;
	closing = false;
	report();
	if (chunk_pool_in_use(pool) != slow_chunks.count)
		fail("chunks are missing from the pool");
	if (round_number < options.rounds && !failed)
		begin_round();
	else
		finish();
}

static void close_capture(void)
{
	closing = true;
	(void)uv_timer_stop(&next_timer);
	(void)uv_timer_stop(&cut_timer);
	capture_close(capture, on_closed);
}

static void on_layout(void *owner, const struct layout *found)
{
	(void)owner;
	layout = *found;
	if (trace != NULL && ftell(trace) == 8)
		write_le(layout.pages, 8);
	begin_trace_epoch();
}

static void on_progress(void *owner, uint64_t done_bytes, uint64_t total_bytes)
{
	(void)owner;
	log_info("bench", "first copy: %u of %u MiB", (unsigned)(done_bytes >> 20),
		 (unsigned)(total_bytes >> 20));
}

static void on_slow_timer(uv_timer_t *timer)
{
	struct chunk *chunk = chunk_list_take(&slow_chunks);

	(void)timer;
	if (chunk != NULL)
		chunk_put(chunk);
}

static void on_chunk(void *owner, struct chunk *chunk)
{
	uint32_t i;

	(void)owner;
	if (chunk->epoch != expected || chunk->npages == 0)
		fail("a chunk of another epoch, or an empty one");
	for (i = 0; i < chunk->npages; i++) {
		if (chunk->pages[i].index >= layout.pages)
			fail("a page beyond the layout");
	}
	epoch_pages += chunk->npages;
	trace_chunk(chunk);
	if (options.slow > 0)
		chunk_list_add(&slow_chunks, chunk);
	else
		chunk_put(chunk);
}

static void on_epoch(void *owner, const struct capture_epoch *epoch)
{
	(void)owner;
	if (epoch->epoch != expected || epoch->pages != epoch_pages)
		fail("an epoch out of order, or of other pages than it says");
	end_trace_epoch(epoch_pages);
	device_state_len = epoch->device_state_len;
	if (expected == 1) {
		first_ns = clock_now_ns();
	} else {
		pages += epoch->pages;
		if (holds.count < EPOCHS_MAX)
			holds.ms[holds.count++] = clock_ms(epoch->pause_ns);
	}
	expected++;
	epoch_pages = 0;
	if (holds.count < options.epochs)
		begin_trace_epoch();
}

static void on_next(uv_timer_t *timer)
{
	(void)timer;
	epoch_ns = clock_now_ns();
	capture_checkpoint(capture);
}

static void on_ready(void *owner)
{
	uint64_t now_ms = clock_now_ns() / CLOCK_NS_PER_MS,
		 due_ms = epoch_ns / CLOCK_NS_PER_MS + options.interval;

	(void)owner;
	if (holds.count >= options.epochs && options.cut == 0)
		close_capture();
	else
		(void)uv_timer_start(&next_timer, on_next, due_ms > now_ms ? due_ms - now_ms : 0,
				     0);
}

static void on_lost(void *owner, const struct err *err)
{
	(void)owner;
	fail(err->text);
	close_capture();
}

static bool may_run(void *owner)
{
	(void)owner;
	return true;
}

static bool has_stopped(void *owner)
{
	(void)owner;
	return false;
}

static const struct capture_ops capture_ops = {
	.may_run = may_run,
	.has_stopped = has_stopped,
	.on_layout = on_layout,
	.on_progress = on_progress,
	.on_chunk = on_chunk,
	.on_epoch = on_epoch,
	.on_ready = on_ready,
	.on_lost = on_lost,
};

static void on_cut(uv_timer_t *timer)
{
	(void)timer;
	close_capture();
}

static void begin_round(void)
{
	struct capture_options wanted = { .name = "bench",
					  .first_epoch = 1,
					  .pause_limit_ms = (uint32_t)options.limit };
	struct err err;

	round_number++;
	if (options.trace != NULL && round_number == options.rounds) {
		trace = fopen(options.trace, "wb");
		if (trace == NULL || fwrite("USTRACE1", 8, 1, trace) != 1)
			fail("trace: cannot write");
	}
	pauses.count = holds.count = 0;
	pages = epoch_pages = stopped_us = 0;
	first_pause_ms = 0;
	expected = 1;
	opened_ns = first_ns = clock_now_ns();
	if (capture_open(&capture, loop, qmp, guardian, pool, &wanted, &capture_ops, NULL, &err) !=
	    RC_OK) {
		capture = NULL;
		fail(err.text);
		finish();
		return;
	}
	if (options.cut > 0)
		(void)uv_timer_start(&cut_timer, on_cut, options.cut, 0);
}

/* ---- QMP ------------------------------------------------------------------------------------- */

static void on_qmp_ready(void *owner)
{
	(void)owner;
	begin_round();
}

static void on_qmp_event(void *owner, const char *name, const cJSON *data, uint64_t time_us)
{
	double ms;

	(void)owner;
	if (capture != NULL)
		capture_event(capture, name, data);
	if (strcmp(name, "STOP") == 0)
		stopped_us = time_us;
	if (strcmp(name, "RESUME") != 0 || stopped_us == 0)
		return;
	ms = (double)(time_us - stopped_us) / 1e3;
	stopped_us = 0;
	if (closing || failed) {
		log_info("bench", "let go: the guest stood for %.3f ms", ms);
		return;
	}
	if (first_pause_ms == 0)
		first_pause_ms = ms;
	else if (expected > 2 && pauses.count < EPOCHS_MAX)
		pauses.ms[pauses.count++] = ms;
}

static void on_qmp_lost(void *owner, const struct err *err)
{
	(void)owner;
	fail(err->text);
	if (capture == NULL)
		finish();
	else
		close_capture();
}

static const struct qmp_ops qmp_ops = { .on_ready = on_qmp_ready,
					.on_event = on_qmp_event,
					.on_lost = on_qmp_lost };

static void parse(int argc, char **argv)
{
	const struct {
		const char *name;
		uint64_t *value;
	} numbers[] = {
		{ "epochs", &options.epochs }, { "interval", &options.interval },
		{ "rounds", &options.rounds }, { "pool", &options.pool },
		{ "limit", &options.limit },   { "slow", &options.slow },
		{ "cut", &options.cut },       { "guard", &options.guard },
	};
	const char *value;
	size_t i, len;
	int a;

	for (a = 2; a < argc; a++) {
		value = strchr(argv[a], '=');
		len = value != NULL ? (size_t)(value - argv[a]) : 0;
		for (i = 0; len > 0 && i < sizeof(numbers) / sizeof(numbers[0]); i++) {
			if (strlen(numbers[i].name) == len &&
			    strncmp(argv[a], numbers[i].name, len) == 0)
				break;
		}
		if (len == 5 && strncmp(argv[a], "trace", 5) == 0) {
			options.trace = value + 1;
		} else if (len > 0 && i < sizeof(numbers) / sizeof(numbers[0])) {
			*numbers[i].value = strtoull(value + 1, NULL, 10);
		} else {
			(void)fprintf(
				stderr,
				"bench_capture: what is \"%s\"? See the head of bench_capture.c\n",
				argv[a]);
			exit(2);
		}
	}
}

int main(int argc, char **argv)
{
	struct err err;

	if (guardian_process_is_one(argc, argv))
		guardian_process_run();
	if (argc < 2) {
		(void)fprintf(stderr, "usage: bench_capture QMP_SOCKET [option=value]...\n");
		return 2;
	}
	parse(argc, argv);
	if (options.guard != 0 && guardian_start(&guardian, &err) != RC_OK) {
		fail(err.text);
		return 1;
	}
	loop = uv_default_loop();
	(void)uv_timer_init(loop, &next_timer);
	(void)uv_timer_init(loop, &slow_timer);
	(void)uv_timer_init(loop, &cut_timer);
	if (options.slow > 0)
		(void)uv_timer_start(&slow_timer, on_slow_timer, options.slow, options.slow);
	if (chunk_pool_create(&pool, (size_t)options.pool << 20, &err) != RC_OK ||
	    qmp_connect(&qmp, loop, argv[1], 5000, &qmp_ops, NULL, &err) != RC_OK) {
		fail(err.text);
		return 1;
	}
	(void)uv_run(loop, UV_RUN_DEFAULT);
	(void)uv_loop_close(loop);
	chunk_pool_destroy(pool);
	if (guardian != NULL)
		guardian_stop(guardian);
	if (trace != NULL && fclose(trace) != 0)
		fail("trace: cannot write");
	return failed ? 1 : 0;
}
