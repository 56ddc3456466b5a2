/*
 * Theory of operation. The container is created, by the engine's own client; the watch begins; once it says that nothing is missed any more, the
 * container is started, by the same client, whose standard streams are ours. With its end, as the engine tells it, all is told.
 */
#include "appliance/base/mem.h"
#include "appliance/options.h"
#include "appliance/run_command.h"
#include "appliance/verb.h"
#include "appliance/watch_line.h"
#include "appliance/watch_way.h"
#include "fs-watch/containers.h"
#include "fs-watch/timeline_format.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uv.h>

static const char about[] =
	"Runs a container as 'docker run' does, and tells of every change in its file system, from its first instruction to its last:\n"
	"creates it, watches, starts it. With 'understudy watch --all' running beside it a plain 'docker run' misses nothing either,\n"
	"where there is fanotify; with inotify this is the way. Ends with the container, with the status that 'docker start' has.";

#define ID_MAX 128
#define END_MS 5000 /* for the engine to tell of the end, once its client has ended */

struct running {
	uv_loop_t loop;
	struct run_command command;
	char id[ID_MAX];
	struct containers *containers;
	uv_process_t process;
	uv_timer_t timer;
	uv_prepare_t prepare;
	uv_signal_t signals[2];
	FILE *out;
	bool json;
	struct buf line;
	bool is_started, has_left, has_ended; /* the client was; it has; the container has */
	int status;
};

/* ---- the container's making ------------------------------------------------------------------ */

/* What it prints is the id. */
static int create(struct running *r)
{
	FILE *from = NULL;
	int pipe_fds[2], status = 0;
	pid_t pid = -1;

	if (pipe(pipe_fds) == 0)
		pid = fork();
	if (pid == 0) {
		(void)dup2(pipe_fds[1], STDOUT_FILENO);
		(void)close(pipe_fds[0]);
		(void)close(pipe_fds[1]);
		(void)execvp(r->command.create[0], r->command.create);
		(void)fprintf(stderr, "understudy: %s: %s\n", r->command.create[0],
			      strerror(errno));
		_exit(127);
	}
	if (pid < 0)
		return options_failed("no process can be made");
	(void)close(pipe_fds[1]);
	from = fdopen(pipe_fds[0], "r");
	if (from == NULL || fgets(r->id, sizeof(r->id), from) == NULL)
		r->id[0] = '\0';
	r->id[strcspn(r->id, "\n")] = '\0';
	if (from != NULL)
		(void)fclose(from);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0 && *r->id != '\0')
		return EXIT_FINE;
	return WIFEXITED(status) && WEXITSTATUS(status) != 0 ? WEXITSTATUS(status) : EXIT_FAILED;
}

/* ---- what happens ---------------------------------------------------------------------------- */

static void on_event(void *owner, const char *name, const struct watch_event *event)
{
	struct running *r = owner;

	watch_line(&r->line, r->json, name, true, event);
	(void)fwrite(r->line.data, 1, r->line.len, r->out);
}

/* Its client has ended, and it has. */
static void end_if_over(struct running *r)
{
	if (r->has_ended && (r->has_left || r->command.detached))
		uv_stop(&r->loop);
}

static void on_waited(uv_timer_t *timer)
{
	uv_stop(timer->loop);
}

static void on_left(uv_process_t *process, int64_t status, int signal)
{
	struct running *r = process->data;

	r->status = signal != 0 ? 128 + signal : (int)status;
	r->has_left = true;
	if (r->command.detached && status == 0)
		return;
	(void)uv_timer_start(&r->timer, on_waited, END_MS, 0);
	end_if_over(r);
}

static void on_watched(void *owner, const char *name, const char *id)
{
	struct running *r = owner;
	uv_stdio_container_t streams[3];
	const uv_process_options_t options = {
		.exit_cb = on_left,
		.file = r->command.start[0],
		.args = r->command.start,
		.stdio_count = 3,
		.stdio = streams,
	};
	int rc;

	(void)name;
	(void)id;
	if (r->is_started)
		return;
	r->is_started = true;
	for (int i = 0; i < 3; i++)
		streams[i] = (uv_stdio_container_t){ .flags = UV_INHERIT_FD, .data.fd = i };
	rc = uv_spawn(&r->loop, &r->process, &options);
	if (rc != 0) {
		r->status = options_failed(uv_strerror(rc));
		uv_stop(&r->loop);
	}
}

static void on_ended(void *owner, const char *name)
{
	struct running *r = owner;

	(void)name;
	r->has_ended = true;
	end_if_over(r);
}

static void on_engine(void *owner, const struct err *err)
{
	struct running *r = owner;

	if (err != NULL) {
		(void)fprintf(stderr, "understudy: the engine: %s; waiting for it\n", err->text);
	} else if (!r->is_started) {
		r->status = options_failed(
			"the container cannot be watched, and was not started: does --socket "
			"name the engine that the command has asked?");
		uv_stop(&r->loop);
	}
}

static void on_failed(void *owner, const struct err *err)
{
	struct running *r = owner;

	r->status = options_failed(err->text);
	uv_stop(&r->loop);
}

static void on_prepare(uv_prepare_t *prepare)
{
	struct running *r = prepare->data;

	(void)fflush(r->out);
}

/* The client, which has the terminal's, too, deals with it; without one the watching ends. */
static void on_signal(uv_signal_t *signal, int number)
{
	struct running *r = signal->data;

	if (!r->is_started || r->has_left)
		uv_stop(&r->loop);
	else if (number == SIGTERM)
		(void)uv_process_kill(&r->process, number);
}

/* ---- the verb -------------------------------------------------------------------------------- */

static void end(struct running *r)
{
	containers_close(r->containers);
	uv_close((uv_handle_t *)&r->prepare, NULL);
	uv_close((uv_handle_t *)&r->timer, NULL);
	if (r->process.type == UV_PROCESS)
		uv_close((uv_handle_t *)&r->process, NULL);
	for (size_t i = 0; i < 2; i++)
		uv_close((uv_handle_t *)&r->signals[i], NULL);
	(void)uv_run(&r->loop, UV_RUN_DEFAULT);
	(void)uv_loop_close(&r->loop);
	buf_free(&r->line);
}

static int run(struct running *r, const char *socket, enum watch_way way)
{
	static const struct containers_ops ops = {
		.on_event = on_event,
		.on_watched = on_watched,
		.on_ended = on_ended,
		.on_engine = on_engine,
		.on_failed = on_failed,
	};
	static const int numbers[] = { SIGINT, SIGTERM };
	struct err err;

	if (uv_loop_init(&r->loop) != 0)
		return options_failed("no event loop");
	r->line.limit = TIMELINE_LINE_MAX;
	*r->command.id = r->id;
	(void)uv_prepare_init(&r->loop, &r->prepare);
	(void)uv_timer_init(&r->loop, &r->timer);
	r->process.data = r->prepare.data = r;
	(void)uv_prepare_start(&r->prepare, on_prepare);
	for (size_t i = 0; i < 2; i++) {
		(void)uv_signal_init(&r->loop, &r->signals[i]);
		r->signals[i].data = r;
		(void)uv_signal_start(&r->signals[i], on_signal, numbers[i]);
	}
	if (containers_open(&r->containers, &r->loop, socket, r->id, way, &ops, r, &err) == RC_OK)
		(void)uv_run(&r->loop, UV_RUN_DEFAULT);
	else
		r->status = options_failed(err.text);
	end(r);
	return r->status;
}

static int create_and_run(struct running *r, const char *socket, enum watch_way way,
			  const char *events)
{
	int status = EXIT_FINE;

	r->out = events != NULL ? fopen(events, "ae") : stderr;
	if (r->out == NULL)
		return options_failed("the file for events cannot be opened");
	status = create(r);
	if (status == EXIT_FINE)
		status = run(r, socket, way);
	if (r->out != stderr && fclose(r->out) != 0 && status == EXIT_FINE)
		status = options_failed("the file for events cannot be written");
	return status;
}

/* The words from "--" on are the command's. */
static int find_command(int argc, char **argv)
{
	int at = 1;

	while (at < argc && strcmp(argv[at], "--") != 0)
		at++;
	return at;
}

int verb_run(int argc, char **argv)
{
	const char *by = NULL, *socket = NULL, *events = NULL;
	struct running r = { 0 };
	enum watch_way way = WATCH_BY_ITSELF;
	const struct option options[] = {
		{ .name = "events",
		  .value = "FILE",
		  .text = &events,
		  .doc = "append the events to FILE; standard error" },
		{ .name = "socket",
		  .value = "PATH",
		  .text = &socket,
		  .doc = "the engine's; " CONTAINERS_SOCKET },
		{ .name = "by", .value = "WAY", .text = &by, .doc = "fanotify, inotify; auto" },
		{ .name = "json", .flag = &r.json, .doc = "print JSON lines" },
	};
	const struct command command = {
		.synopsis =
			"run [--events FILE] [--socket PATH] [--by WAY] [--json] -- docker run ...",
		.about = about,
		.options = options,
		.count = sizeof(options) / sizeof(options[0]),
	};
	const int words = find_command(argc, argv);
	struct err err;
	int status;

	if (!options_parse(&command, words, argv, &status))
		return status;
	if (words + 1 >= argc)
		return options_wrong(&command, "which command? It comes behind --");
	if (by != NULL && !watch_way_read(by, &way))
		return options_wrong(&command, "--by %s: auto, fanotify or inotify", by);
	if (run_command_make(&r.command, argc - words - 1, argv + words + 1, &err) != RC_OK)
		return options_wrong(&command, "%s", err.text);
	status = create_and_run(&r, socket != NULL ? socket : CONTAINERS_SOCKET, way, events);
	run_command_free(&r.command);
	return status;
}
