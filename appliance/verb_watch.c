/*
 * Theory of operation. One loop: the watch tells, each event is a line. Lines are kept together for as long as there is more to
 * read, and written before anybody waits.
 */
#include "appliance/base/log.h"
#include "appliance/base/repeat.h"
#include "appliance/base/utf8.h"
#include "appliance/options.h"
#include "appliance/verb.h"
#include "fs-watch/timeline.h"
#include "fs-watch/timeline_format.h"
#include "fs-watch/watch.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

static const char about[] =
	"Tells of every change below a directory: create, write, close (after writing), attribute, rename, delete. By fanotify where the\n"
	"kernel and our rights allow it (root), else by inotify. 'lost' says that the kernel has lost some; 'found' is then\n"
	"each thing that has changed since. With --log the events are kept in files of that directory as well, each line of which is\n"
	"checked by the next one: --verify reads such a log. Ends with an interrupt.";

#define PATH_TEXT_MAX 4096

struct watching {
	uv_loop_t loop;
	struct watch *watch;
	const char *dir, *log;
	struct timeline *timeline; /* of `log` */
	struct repeat unkept;	   /* why it cannot be written */
	bool json;
	bool kinds[WATCH_KINDS];
	struct buf line;
	uv_prepare_t prepare;
	uv_signal_t signals[2];
	int status;
};

/* ---- lines ----------------------------------------------------------------------------------- */

static void print_plain(struct buf *line, const struct watch_event *event)
{
	char path[PATH_TEXT_MAX], from[PATH_TEXT_MAX] = "";

	(void)snprintf(path, sizeof(path), "%s", *event->path != '\0' ? event->path : ".");
	utf8_make_plain(path);
	if (event->from != NULL)
		(void)snprintf(from, sizeof(from), "%s", event->from);
	utf8_make_plain(from);
	(void)buf_printf(line, "%-9s %s%s%s%s%s", watch_kind_name(event->kind), from,
			 event->from != NULL ? " -> " : "", path, event->is_dir ? "/" : "",
			 event->scanned ? "  (scanned)" : "");
}

/* The log has what could be written; that the rest is not there is in it, too. */
static void kept(struct watching *w, int rc, const struct err *err)
{
	if (rc != RC_OK)
		repeat_log(&w->unkept, LOG_LEVEL_ERROR, "watch", err->text);
	else
		w->unkept = (struct repeat){ 0 };
}

static void on_event(void *owner, const struct watch_event *event)
{
	struct watching *w = owner;
	struct err err;

	if (!w->kinds[event->kind])
		return;
	if (w->timeline != NULL)
		kept(w, timeline_add(w->timeline, w->dir, event, &err), &err);
	buf_reset(&w->line);
	if (w->json)
		(void)timeline_format_event(&w->line, w->dir, event);
	else
		print_plain(&w->line, event);
	(void)buf_append_u8(&w->line, '\n');
	(void)fwrite(w->line.data, 1, w->line.len, stdout);
}

static void end(struct watching *w)
{
	watch_close(w->watch, NULL, NULL);
	w->watch = NULL;
	uv_close((uv_handle_t *)&w->prepare, NULL);
	for (size_t i = 0; i < 2; i++)
		uv_close((uv_handle_t *)&w->signals[i], NULL);
}

static void on_failed(void *owner, const struct err *err)
{
	struct watching *w = owner;

	w->status = options_failed(err->text);
	uv_stop(&w->loop);
}

static void on_signal(uv_signal_t *signal, int number)
{
	(void)number;
	uv_stop(signal->loop);
}

/* Before anybody waits. Who reads may have gone. */
static void on_prepare(uv_prepare_t *prepare)
{
	struct watching *w = prepare->data;
	struct err err;

	if (w->timeline != NULL)
		kept(w, timeline_flush(w->timeline, &err), &err);
	if (fflush(stdout) != 0)
		uv_stop(prepare->loop);
}

/* ---- the log --------------------------------------------------------------------------------- */

#define FILE_BYTES (UINT64_C(16) << 20)
#define FILES_DEFAULT 16

/* It would tell of itself: by inotify our own changes are told, too. */
static int check_log_apart(const struct watching *w, struct err *err)
{
	char tree[PATH_MAX], log[PATH_MAX];
	size_t len;

	if (realpath(w->dir, tree) == NULL || realpath(w->log, log) == NULL)
		return err_system(err, errno, "%.200s", w->log);
	len = strcmp(tree, "/") == 0 ? 0 : strlen(tree);
	if (strncmp(tree, log, len) != 0 || (log[len] != '/' && log[len] != '\0'))
		return RC_OK;
	return err_set(err, RC_INVALID, "--log %.200s: it is in the tree that is watched", w->log);
}

static int open_log(struct watching *w, unsigned files, struct err *err)
{
	const struct timeline_limits limits = { .file_bytes = FILE_BYTES, .files = files };
	int rc = w->log != NULL ? timeline_open(&w->timeline, w->log, &limits, err) : RC_OK;

	return rc == RC_OK && w->log != NULL ? check_log_apart(w, err) : rc;
}

static int verify(const char *dir)
{
	struct timeline_found found;
	struct err err;

	if (timeline_verify(dir, &found, &err) != RC_OK)
		return options_failed(err.text);
	(void)printf("%u files, %llu lines%s\n", found.files, (unsigned long long)found.lines,
		     found.torn ? "; a file ends within a line: who wrote it was ended" : "");
	return EXIT_FINE;
}

/* False: it is none. */
static bool read_files(const char *text, unsigned *files)
{
	const size_t digits = strspn(text, "0123456789");

	*files = digits > 0 && digits < 5 && text[digits] == '\0' ?
			 (unsigned)strtoul(text, NULL, 10) :
			 0;
	return *files > 0 && *files <= TIMELINE_FILES_MAX;
}

/* ---- the verb -------------------------------------------------------------------------------- */

static int run(struct watching *w, enum watch_way way, unsigned files)
{
	static const struct watch_ops ops = { .on_event = on_event, .on_failed = on_failed };
	static const int numbers[] = { SIGINT, SIGTERM };
	struct err err;

	if (uv_loop_init(&w->loop) != 0)
		return options_failed("no event loop");
	if (watch_open(&w->watch, &w->loop, way, &ops, w, &err) != RC_OK)
		return options_failed(err.text);
	(void)uv_prepare_init(&w->loop, &w->prepare);
	w->prepare.data = w;
	(void)uv_prepare_start(&w->prepare, on_prepare);
	for (size_t i = 0; i < 2; i++) {
		(void)uv_signal_init(&w->loop, &w->signals[i]);
		(void)uv_signal_start(&w->signals[i], on_signal, numbers[i]);
	}
	if (open_log(w, files, &err) != RC_OK || watch_add(w->watch, w->dir, w, &err) != RC_OK) {
		w->status = options_failed(err.text);
	} else {
		(void)fprintf(stderr, "understudy: watching %s by %s\n", w->dir,
			      watch_way_of(w->watch, w));
		(void)uv_run(&w->loop, UV_RUN_DEFAULT);
	}
	end(w);
	(void)uv_run(&w->loop, UV_RUN_DEFAULT);
	(void)uv_loop_close(&w->loop);
	kept(w, timeline_close(w->timeline, &err), &err);
	buf_free(&w->line);
	return w->status;
}

static bool read_way(const char *text, enum watch_way *way)
{
	static const char *const names[] = { "auto", "fanotify", "inotify" };

	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcmp(text, names[i]) == 0) {
			*way = (enum watch_way)i;
			return true;
		}
	}
	return false;
}

int verb_watch(int argc, char **argv)
{
	const char *kinds[WATCH_KINDS], *by = NULL, *log_files = NULL;
	bool verified = false;
	unsigned files = FILES_DEFAULT;
	size_t nkinds = 0;
	struct watching w = { .line.limit = TIMELINE_LINE_MAX };
	enum watch_way way = WATCH_BY_ITSELF;
	const struct option options[] = {
		{ .name = "kind",
		  .value = "KIND",
		  .text = kinds,
		  .most = WATCH_KINDS,
		  .count = &nkinds,
		  .doc = "only these kinds of event; may be given several times" },
		{ .name = "by", .value = "WAY", .text = &by, .doc = "fanotify, inotify; auto" },
		{ .name = "log",
		  .value = "DIR",
		  .text = &w.log,
		  .doc = "keep the events there, too" },
		{ .name = "log-files",
		  .value = "N",
		  .text = &log_files,
		  .doc = "at most so many files, of 16 MiB each; 16" },
		{ .name = "verify", .flag = &verified, .doc = "DIR is such a log: check it" },
		{ .name = "json", .flag = &w.json, .doc = "print JSON lines" },
	};
	const struct command command = {
		.synopsis =
			"watch DIR [--kind KIND]... [--by WAY] [--json] [--log DIR [--log-files N]] | watch LOG --verify",
		.about = about,
		.options = options,
		.count = sizeof(options) / sizeof(options[0]),
		.operand = &w.dir,
		.operand_name = "DIR",
	};
	enum watch_kind kind;
	int status;

	if (!options_parse(&command, argc, argv, &status))
		return status;
	if (verified)
		return verify(w.dir);
	if (log_files != NULL && !read_files(log_files, &files))
		return options_wrong(&command, "--log-files %s: 1 to %d", log_files,
				     TIMELINE_FILES_MAX);
	if (w.dir == NULL)
		return options_wrong(&command, "which directory?");
	if (by != NULL && !read_way(by, &way))
		return options_wrong(&command, "--by %s: auto, fanotify or inotify", by);
	for (unsigned i = 0; i < WATCH_KINDS; i++)
		w.kinds[i] = nkinds == 0;
	for (size_t i = 0; i < nkinds; i++) {
		if (!watch_kind_find(kinds[i], &kind))
			return options_wrong(&command, "--kind %s: there is none", kinds[i]);
		w.kinds[kind] = true;
	}
	return run(&w, way, files);
}
