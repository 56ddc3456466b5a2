/*
 * Theory of operation. One loop: the watch tells, each event is a line. Lines are kept together for as long as there is more to
 * read, and written before anybody waits.
 */
#include "appliance/base/log.h"
#include "appliance/base/utf8.h"
#include "appliance/options.h"
#include "appliance/verb.h"
#include "fs-watch/timeline_format.h"
#include "fs-watch/watch.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <uv.h>

static const char about[] =
	"Tells of every change below a directory: create, write, close (after writing), attribute, rename, delete. By fanotify where the\n"
	"kernel and our rights allow it (root), else by inotify. 'lost' says that the kernel has lost some; 'found' is then\n"
	"each thing that has changed since. Ends with an interrupt.";

#define PATH_TEXT_MAX 4096

struct watching {
	uv_loop_t loop;
	struct watch *watch;
	const char *dir;
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

static void on_event(void *owner, const struct watch_event *event)
{
	struct watching *w = owner;

	if (!w->kinds[event->kind])
		return;
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
	if (fflush(stdout) != 0)
		uv_stop(prepare->loop);
}

/* ---- the verb -------------------------------------------------------------------------------- */

static int run(struct watching *w, enum watch_way way)
{
	static const struct watch_ops ops = { on_event, on_failed };
	static const int numbers[] = { SIGINT, SIGTERM };
	struct err err;

	if (uv_loop_init(&w->loop) != 0)
		return options_failed("no event loop");
	if (watch_open(&w->watch, &w->loop, way, &ops, w, &err) != RC_OK)
		return options_failed(err.text);
	(void)uv_prepare_init(&w->loop, &w->prepare);
	(void)uv_prepare_start(&w->prepare, on_prepare);
	for (size_t i = 0; i < 2; i++) {
		(void)uv_signal_init(&w->loop, &w->signals[i]);
		(void)uv_signal_start(&w->signals[i], on_signal, numbers[i]);
	}
	if (watch_add(w->watch, w->dir, w, &err) != RC_OK) {
		w->status = options_failed(err.text);
	} else {
		(void)fprintf(stderr, "understudy: watching %s by %s\n", w->dir,
			      watch_way_of(w->watch, w));
		(void)uv_run(&w->loop, UV_RUN_DEFAULT);
	}
	end(w);
	(void)uv_run(&w->loop, UV_RUN_DEFAULT);
	(void)uv_loop_close(&w->loop);
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
	const char *kinds[WATCH_KINDS], *by = NULL;
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
		{ .name = "json", .flag = &w.json, .doc = "print JSON lines" },
	};
	const struct command command = {
		.synopsis = "watch DIR [--kind KIND]... [--by WAY] [--json]",
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
	return run(&w, way);
}
