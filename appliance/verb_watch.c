/*
 * Theory of operation. One loop: the watch tells, each event is a line. Lines are kept together for as long as there is more to
 * read, and written before anybody waits.
 */
#include "appliance/base/log.h"
#include "appliance/base/repeat.h"
#include "appliance/options.h"
#include "appliance/verb.h"
#include "appliance/watch_line.h"
#include "appliance/watch_log.h"
#include "appliance/watch_way.h"
#include "fs-watch/containers.h"
#include "fs-watch/timeline_format.h"
#include "fs-watch/watch.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <uv.h>

static const char about[] =
	"Tells of every change below a directory: create, write, close (after writing), attribute, rename, delete. By fanotify where the\n"
	"kernel and our rights allow it (root), else by inotify. 'lost' says that the kernel has lost some; 'found' is then\n"
	"each thing that has changed since. With --log the events are kept in files of that directory as well, each line of which is\n"
	"checked by the next one: --verify reads such a log. Ends with an interrupt.\n\n"
	"Of containers (Docker's, or podman's) it is told what they change in their own file systems while they run, from their first\n"
	"instruction; 'copy-up' is overlayfs' copy of a file of the image. One that ran before has a 'lost' first, with how long nobody\n"
	"was watching, and 'found' for what has changed in that time.";

struct watching {
	uv_loop_t loop;
	struct watch *watch;
	struct containers *containers;
	const char *dir;       /* NULL: containers */
	const char *container; /* NULL: all */
	bool all;
	const char *socket;
	const char *log;
	struct timeline *timeline; /* of `log` */
	struct repeat unkept;	   /* why it cannot be written */
	bool json;
	bool kinds[WATCH_KINDS];
	struct buf line;
	uv_prepare_t prepare;
	uv_signal_t signals[2];
	int status;
};

/* ---- what is told ---------------------------------------------------------------------------- */

/* The log has what could be written; that the rest is not there is in it, too. */
static void kept(struct watching *w, int rc, const struct err *err)
{
	if (rc != RC_OK)
		repeat_log(&w->unkept, LOG_LEVEL_ERROR, "watch", err->text);
	else
		w->unkept = (struct repeat){ 0 };
}

static void tell(struct watching *w, const char *container, const struct watch_event *event)
{
	const char *tree = container != NULL ? container : w->dir;
	struct err err;

	if (!w->kinds[event->kind])
		return;
	if (w->timeline != NULL)
		kept(w, timeline_add(w->timeline, tree, event, &err), &err);
	watch_line(&w->line, w->json, tree, container != NULL, event);
	(void)fwrite(w->line.data, 1, w->line.len, stdout);
}

static void on_event(void *owner, const struct watch_event *event)
{
	tell(owner, NULL, event);
}

static void on_container_event(void *owner, const char *name, const struct watch_event *event)
{
	tell(owner, name, event);
}

static void end(struct watching *w)
{
	watch_close(w->watch, NULL, NULL);
	containers_close(w->containers);
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

/* Lines for who waits for it. */
static void on_watched(void *owner, const char *name, const char *id)
{
	(void)owner;
	(void)fprintf(stderr, "understudy: watching container %s (%.12s)\n", name, id);
}

static void on_engine(void *owner, const struct err *err)
{
	const struct watching *w = owner;

	if (err != NULL)
		(void)fprintf(stderr, "understudy: the engine at %s: %s; waiting for it\n",
			      w->socket, err->text);
	else
		(void)fprintf(stderr, "understudy: watching %s of the engine at %s by %s\n",
			      w->container != NULL ? w->container : "all containers", w->socket,
			      containers_way(w->containers));
}

/* ---- the verb -------------------------------------------------------------------------------- */

static int begin(struct watching *w, enum watch_way way, unsigned files, struct err *err)
{
	static const struct watch_ops ops = { .on_event = on_event, .on_failed = on_failed };
	static const struct containers_ops containers_ops = {
		.on_event = on_container_event,
		.on_watched = on_watched,
		.on_engine = on_engine,
		.on_failed = on_failed,
	};
	int rc = w->log != NULL ? watch_log_open(&w->timeline, w->log, files, w->dir, err) : RC_OK;

	if (rc != RC_OK)
		return rc;
	if (w->dir == NULL)
		return containers_open(&w->containers, &w->loop, w->socket, w->container, way,
				       &containers_ops, w, err);
	rc = watch_open(&w->watch, &w->loop, way, &ops, w, err);
	if (rc == RC_OK)
		rc = watch_add(w->watch, w->dir, w, err);
	if (rc == RC_OK)
		(void)fprintf(stderr, "understudy: watching %s by %s\n", w->dir,
			      watch_way_of(w->watch, w));
	return rc;
}

static int run(struct watching *w, enum watch_way way, unsigned files)
{
	static const int numbers[] = { SIGINT, SIGTERM };
	struct err err;

	if (uv_loop_init(&w->loop) != 0)
		return options_failed("no event loop");
	(void)uv_prepare_init(&w->loop, &w->prepare);
	w->prepare.data = w;
	(void)uv_prepare_start(&w->prepare, on_prepare);
	for (size_t i = 0; i < 2; i++) {
		(void)uv_signal_init(&w->loop, &w->signals[i]);
		(void)uv_signal_start(&w->signals[i], on_signal, numbers[i]);
	}
	if (begin(w, way, files, &err) != RC_OK)
		w->status = options_failed(err.text);
	else
		(void)uv_run(&w->loop, UV_RUN_DEFAULT);
	end(w);
	(void)uv_run(&w->loop, UV_RUN_DEFAULT);
	(void)uv_loop_close(&w->loop);
	kept(w, timeline_close(w->timeline, &err), &err);
	buf_free(&w->line);
	return w->status;
}

/* What was written, as it was. */
struct words {
	const char *kinds[WATCH_KINDS], *by, *log_files;
	size_t nkinds;
	bool verified;
};

/* False: a mistake, which has been told. */
static bool read_kinds(struct watching *w, const struct command *command, const struct words *words)
{
	enum watch_kind kind;

	for (unsigned i = 0; i < WATCH_KINDS; i++)
		w->kinds[i] = words->nkinds == 0;
	for (size_t i = 0; i < words->nkinds; i++) {
		if (!watch_kind_find(words->kinds[i], &kind)) {
			(void)options_wrong(command, "--kind %s: there is none", words->kinds[i]);
			return false;
		}
		w->kinds[kind] = true;
	}
	return true;
}

static int read_and_run(struct watching *w, const struct command *command,
			const struct words *words)
{
	enum watch_way way = WATCH_BY_ITSELF;
	unsigned files = WATCH_LOG_FILES;

	if (words->verified)
		return w->dir != NULL ? watch_log_verify(w->dir) :
					options_wrong(command, "which log?");
	if ((w->dir != NULL) + (w->container != NULL) + w->all != 1)
		return options_wrong(command, "which directory, or containers? One of the three");
	if (words->log_files != NULL && !watch_log_read_files(words->log_files, &files))
		return options_wrong(command, "--log-files %s: 1 to %d", words->log_files,
				     TIMELINE_FILES_MAX);
	if (w->socket == NULL)
		w->socket = CONTAINERS_SOCKET;
	if (words->by != NULL && !watch_way_read(words->by, &way))
		return options_wrong(command, "--by %s: auto, fanotify or inotify", words->by);
	return read_kinds(w, command, words) ? run(w, way, files) : EXIT_USAGE;
}

int verb_watch(int argc, char **argv)
{
	struct watching w = { .line.limit = TIMELINE_LINE_MAX };
	struct words words = { 0 };
	const struct option options[] = {
		{ "container", "NAME",
		  "a container, by its name or the beginning of its id; it need not be there yet",
		  .text = &w.container },
		{ "all", NULL, "all containers", .flag = &w.all },
		{ "socket", "PATH", "the engine's; " CONTAINERS_SOCKET, .text = &w.socket },
		{ "kind", "KIND", "only these kinds of event; may be given several times",
		  .text = words.kinds, .most = WATCH_KINDS, .count = &words.nkinds },
		{ "by", "WAY", "fanotify, inotify; auto", .text = &words.by },
		{ "log", "DIR", "keep the events there, too", .text = &w.log },
		{ "log-files", "N", "at most so many files, of 16 MiB each; 16",
		  .text = &words.log_files },
		{ "verify", NULL, "DIR is such a log: check it", .flag = &words.verified },
		{ "json", NULL, "print JSON lines", .flag = &w.json },
	};
	const struct command command = {
		.synopsis =
			"watch (DIR | --container NAME | --all) [--socket PATH] [--kind KIND]... "
			"[--by WAY] [--json] [--log DIR [--log-files N]] | watch LOG --verify",
		.about = about,
		.options = options,
		.count = sizeof(options) / sizeof(options[0]),
		.operand = &w.dir,
		.operand_name = "DIR",
		.operand_may_lack = true,
	};
	int status;

	return options_parse(&command, argc, argv, &status) ? read_and_run(&w, &command, &words) :
							      status;
}
