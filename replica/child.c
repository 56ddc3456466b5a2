/*
 * The end of a process is known when it was reaped and its standard error was read to the end, so
 * that its last words are complete. A helper of its own that keeps standard error open delays that
 * by WORDS_MS at most.
 *
 * A session of its own: what ends us (a terminal's Ctrl-C, a supervisor's kill of our group) does
 * not end an instance that runs in it. It is not tied to our life either: PR_SET_PDEATHSIG would
 * kill a running instance with us.
 */
#include "replica/child.h"

#include "appliance/base/log.h"
#include "appliance/base/mem.h"
#include "replica/confine_process.h"
#include "replica/hypervisor_user.h"
#include "replica/last_words.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define WORDS_MS 200 /* for the rest of standard error after the process's end */
#define TERM_MS 2000 /* between SIGTERM and SIGKILL */

struct child {
	char part[96], program[64];
	void (*on_end)(void *owner, const struct err *how);
	void *owner;
	uv_process_t process;
	uv_pipe_t errors; /* its standard error */
	uv_timer_t timer; /* for the last words, then for SIGKILL */
	bool started, exited, errors_open;
	int64_t status;
	int signal;
	char buffer[4096];
	struct last_words words;
	unsigned handles; /* open */
	bool closing, handles_closing, ended;
	void (*on_closed)(void *owner);
};

static void close_handles(struct child *c);

void child_words(const struct child *c, char *text, size_t size)
{
	last_words_text(&c->words, c->program, text, size);
}

static void report(struct child *c)
{
	char words[CHILD_WORDS_MAX];
	struct err how;
	const char *colon;

	if (c->ended || c->closing)
		return;
	c->ended = true;
	(void)uv_timer_stop(&c->timer);
	child_words(c, words, sizeof(words));
	colon = *words != '\0' ? ": " : "";
	if (c->signal != 0)
		(void)err_set(&how, RC_CLOSED, "%.40s was ended by signal %d (%s)%s%s", c->program,
			      c->signal, strsignal(c->signal), colon, words);
	else
		(void)err_set(&how, RC_CLOSED, "%.40s ended with status %d%s%s", c->program,
			      (int)c->status, colon, words);
	c->on_end(c->owner, &how);
}

static void on_words_limit(uv_timer_t *timer)
{
	report(timer->data);
}

static void on_process_end(uv_process_t *process, int64_t status, int signal)
{
	struct child *c = process->data;

	c->exited = true;
	c->status = status;
	c->signal = signal;
	if (c->closing)
		close_handles(c);
	else if (!c->errors_open)
		report(c);
	else
		(void)uv_timer_start(&c->timer, on_words_limit, WORDS_MS, 0);
}

static void on_line(void *owner, const char *text)
{
	const struct child *c = owner;

	log_debug(c->part, "%s", text);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
	struct child *c = handle->data;

	(void)suggested;
	*buf = uv_buf_init(c->buffer, sizeof(c->buffer));
}

static void on_read(uv_stream_t *stream, ssize_t len, const uv_buf_t *buf)
{
	struct child *c = stream->data;

	if (len > 0) {
		last_words_add(&c->words, buf->base, (size_t)len, on_line, c);
	} else if (len < 0) {
		(void)uv_read_stop(stream);
		c->errors_open = false;
		if (c->exited)
			report(c);
	}
}

static int spawn(struct child *c, uv_loop_t *loop, const char *file, char **args,
		 const struct child_options *given)
{
	uv_stdio_container_t stdio[4] = {
		{ .flags = UV_IGNORE },
		{ .flags = UV_IGNORE },
		{ .flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE,
		  .data.stream = (uv_stream_t *)&c->errors },
		{ .flags = UV_INHERIT_FD, .data.fd = given->keep },
	};
	const uv_process_options_t options = {
		.file = file,
		.args = args,
		.cwd = given->cwd,
		.flags = UV_PROCESS_DETACHED,
		.stdio = stdio,
		.stdio_count = given->keep >= 0 ? 4 : 3,
		.exit_cb = on_process_end,
	};
	int r;

	(void)uv_timer_init(loop, &c->timer);
	(void)uv_pipe_init(loop, &c->errors, 0);
	r = uv_spawn(loop, &c->process, &options);
	c->handles = 3; /* the process's also when it could not be started */
	c->timer.data = c->errors.data = c->process.data = c;
	if (r != 0)
		return r;
	c->started = true;
	c->errors_open = uv_read_start((uv_stream_t *)&c->errors, on_alloc, on_read) == 0;
	return 0;
}

/*
 * Through the process that confines itself and becomes it. A program that is not there is found out here, not by that one's last
 * words. A libuv error, or 0.
 */
static int spawn_confined(struct child *c, uv_loop_t *loop, const struct child_options *options)
{
	char name[] = CONFINE_PROCESS_NAME, user[HYPERVISOR_USER_WORD_MAX];
	char **args;
	size_t count = 0;
	int r;

	assert(confine_process_can_start());
	while (options->args[count] != NULL)
		count++;
	args = mem_zalloc(count + 3, sizeof(*args));
	if (args == NULL)
		return UV_ENOMEM;
	hypervisor_user_word(user);
	args[0] = name;
	args[1] = user;
	memcpy(&args[2], options->args, count * sizeof(*args));
	if (strchr(args[2], '/') != NULL && access(args[2], X_OK) != 0)
		r = -errno;
	else
		r = spawn(c, loop, CONFINE_PROCESS_FILE, args, options);
	mem_free(args);
	return r;
}

int child_start(struct child **out, uv_loop_t *loop, const struct child_options *options,
		void (*on_end)(void *owner, const struct err *how), void *owner, struct err *err)
{
	struct child *c = mem_zalloc(1, sizeof(*c));
	const char *program = options->args[0], *slash = strrchr(program, '/');
	int r;

	if (c == NULL)
		return err_nomem(err, "a child process");
	(void)snprintf(c->part, sizeof(c->part), "%s", options->part);
	(void)snprintf(c->program, sizeof(c->program), "%s", slash != NULL ? slash + 1 : program);
	c->on_end = on_end;
	c->owner = owner;
	r = options->confine ? spawn_confined(c, loop, options) :
			       spawn(c, loop, program, options->args, options);
	if (r != 0) {
		if (c->handles > 0)
			child_close(c, false, NULL);
		else
			mem_free(c);
		return err_set(err, RC_IO, "starting %s: %s", program, uv_strerror(r));
	}
	*out = c;
	return RC_OK;
}

pid_t child_pid(const struct child *c)
{
	return c->exited ? 0 : (pid_t)c->process.pid;
}

int child_signal(const struct child *c)
{
	return c->signal;
}

void child_kill(struct child *c)
{
	if (c->started && !c->exited)
		(void)uv_process_kill(&c->process, SIGKILL);
}

static void on_handle_closed(uv_handle_t *handle)
{
	struct child *c = handle->data;
	void (*on_closed)(void *) = c->on_closed;
	void *owner = c->owner;

	if (--c->handles > 0)
		return;
	mem_free(c);
	if (on_closed != NULL)
		on_closed(owner);
}

static void close_handles(struct child *c)
{
	if (c->handles_closing)
		return;
	c->handles_closing = true;
	uv_close((uv_handle_t *)&c->timer, on_handle_closed);
	uv_close((uv_handle_t *)&c->errors, on_handle_closed);
	uv_close((uv_handle_t *)&c->process, on_handle_closed);
}

static void on_term_limit(uv_timer_t *timer)
{
	struct child *c = timer->data;

	log_warn(c->part, "process %d does not end on SIGTERM; killing it", c->process.pid);
	(void)uv_process_kill(&c->process, SIGKILL);
}

void child_close(struct child *c, bool leave, void (*on_closed)(void *owner))
{
	if (c->closing)
		return;
	c->closing = true;
	c->on_closed = on_closed;
	if (!c->started || c->exited || leave) {
		close_handles(c);
		return;
	}
	(void)uv_process_kill(&c->process, SIGTERM);
	(void)uv_timer_start(&c->timer, on_term_limit, TERM_MS, 0);
}
