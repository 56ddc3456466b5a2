/*
 * Theory of operation. First /info, then the stream of events, which the engine begins with those since that moment, so that no moment is
 * left out between them and an answer that was asked for after; an event may come that an answer knows of already. When the stream ends, all
 * is begun again; the events since then come if the engine has them still.
 */
#include "fs-watch/engine.h"

#include "appliance/base/clock.h"
#include "appliance/base/mem.h"
#include "net/http_call.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define ANSWER_MAX ((size_t)16 << 20)	 /* a list of thousands of containers */
#define LINE_MAX_BYTES ((size_t)1 << 20) /* of an event: labels are in it */
#define ANSWER_MS 60000			 /* a container that is being started is locked */
#define ASKED_MAX 8			 /* at a time */
#define AGAIN_MS 100
#define AGAIN_MAX_MS 5000

struct question {
	struct question *next;
	struct engine *engine;
	struct http_call *call; /* NULL: it waits */
	engine_done done;
	char id[ENGINE_ID_MAX + 1];
	char path[ENGINE_ID_MAX + 64];
};

struct engine {
	uv_loop_t *loop;
	const struct engine_ops *ops;
	void *owner;
	char *socket;
	uv_timer_t timer;
	unsigned again_ms;
	struct http_call *hello, *stream;
	struct engine_info info;
	uint64_t since_ns; /* since 1970: of the events that are wanted */
	bool told;	   /* on_open() */
	struct question *questions;
	unsigned asked;
};

static void begin(struct engine *engine);

static uint64_t now_ns(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * CLOCK_NS_PER_S + (uint64_t)ts.tv_nsec;
}

/* ---- questions ------------------------------------------------------------------------------- */

static void ask_more(struct engine *engine);

static void remove_question(struct engine *engine, struct question *question)
{
	struct question **at = &engine->questions;

	while (*at != question)
		at = &(*at)->next;
	*at = question->next;
	if (question->call != NULL)
		engine->asked--;
	http_call_close(question->call);
	mem_free(question);
}

static void on_answer(void *owner, int status, const struct buf *body, const struct err *err)
{
	struct question *question = owner;
	struct engine *engine = question->engine;
	const engine_done done = question->done;
	char id[ENGINE_ID_MAX + 1];

	memcpy(id, question->id, sizeof(id));
	done(engine->owner, id, status, (const char *)body->data, body->len, err);
	remove_question(engine, question);
	ask_more(engine);
}

static void ask_more(struct engine *engine)
{
	static const struct http_call_ops ops = { .on_end = on_answer };
	static const struct buf none;
	struct question *at = engine->questions;
	struct err err;

	for (; at != NULL && engine->asked < ASKED_MAX; at = at->next) {
		if (at->call != NULL)
			continue;
		if (http_call_open(&at->call, engine->loop, engine->socket, at->path, ANSWER_MAX,
				   ANSWER_MS, &ops, at, &err) != RC_OK) {
			on_answer(at, 0, &none, &err);
			return;
		}
		engine->asked++;
	}
}

static int ask(struct engine *engine, const char *id, const char *path, engine_done done,
	       struct err *err)
{
	struct question *question = mem_zalloc(1, sizeof(*question)), **last = &engine->questions;

	if (question == NULL)
		return err_nomem(err, "a question");
	question->engine = engine;
	question->done = done;
	(void)snprintf(question->id, sizeof(question->id), "%s", id);
	(void)snprintf(question->path, sizeof(question->path), "%s", path);
	while (*last != NULL)
		last = &(*last)->next;
	*last = question;
	ask_more(engine);
	return RC_OK;
}

int engine_list(struct engine *engine, engine_done done, struct err *err)
{
	return ask(engine, "", "/containers/json?all=1", done, err);
}

int engine_inspect(struct engine *engine, const char *id, engine_done done, struct err *err)
{
	char path[ENGINE_ID_MAX + 64];

	(void)snprintf(path, sizeof(path), "/containers/%s/json", id);
	return ask(engine, id, path, done, err);
}

/* ---- in the order in which it happens -------------------------------------------------------- */

static void on_again(uv_timer_t *timer)
{
	begin(timer->data);
}

static void try_again(struct engine *engine, const struct err *err)
{
	http_call_close(engine->hello);
	http_call_close(engine->stream);
	engine->hello = engine->stream = NULL;
	if (engine->told)
		engine->since_ns = now_ns();
	engine->told = false;
	(void)uv_timer_start(&engine->timer, on_again, engine->again_ms, 0);
	engine->again_ms =
		engine->again_ms * 2 < AGAIN_MAX_MS ? engine->again_ms * 2 : AGAIN_MAX_MS;
	engine->ops->on_lost(engine->owner, err);
}

/* A line, or several objects; each ends with a line feed. One that is not understood is of no container of ours. */
static size_t take_events(struct engine *engine, const struct buf *body)
{
	const char *at = (const char *)body->data, *end;
	size_t used = 0;
	struct engine_event event;
	struct err err;

	while (engine->stream != NULL &&
	       (end = memchr(at + used, '\n', body->len - used)) != NULL) {
		if (end > at + used &&
		    engine_format_event(&event, at + used, (size_t)(end - at) - used, &err) ==
			    RC_OK &&
		    event.kind != ENGINE_OTHER)
			engine->ops->on_event(engine->owner, &event);
		used = (size_t)(end - at) + 1;
	}
	return used;
}

static size_t on_stream(void *owner, int status, const struct buf *body)
{
	struct engine *engine = owner;

	if (status != 200)
		return body->len;
	if (!engine->told) {
		engine->told = true;
		engine->again_ms = AGAIN_MS;
		engine->ops->on_open(engine->owner, &engine->info);
	}
	return body->len > 0 ? take_events(engine, body) : 0;
}

static void on_stream_end(void *owner, int status, const struct buf *body, const struct err *err)
{
	struct err why;

	(void)body;
	if (err == NULL)
		(void)err_set(&why, RC_CLOSED, "its events have ended (%d)", status);
	else
		why = *err;
	try_again(owner, &why);
}

static void open_stream(struct engine *engine)
{
	static const struct http_call_ops ops = { .on_part = on_stream, .on_end = on_stream_end };
	char path[160];
	struct err err;

	/* filters={"type":["container"]} */
	(void)snprintf(
		path, sizeof(path),
		"/events?since=%llu.%09llu&filters=%%7B%%22type%%22%%3A%%5B%%22container%%22%%5D%%7D",
		(unsigned long long)(engine->since_ns / CLOCK_NS_PER_S),
		(unsigned long long)(engine->since_ns % CLOCK_NS_PER_S));
	if (http_call_open(&engine->stream, engine->loop, engine->socket, path, LINE_MAX_BYTES, 0,
			   &ops, engine, &err) != RC_OK)
		try_again(engine, &err);
}

static void on_hello(void *owner, int status, const struct buf *body, const struct err *err)
{
	struct engine *engine = owner;
	struct err why;
	int rc = RC_OK;

	if (err != NULL)
		rc = (int)(why = *err).code;
	else if (status != 200)
		rc = err_set(&why, RC_REFUSED, "it answers %d", status);
	else
		rc = engine_format_info(&engine->info, (const char *)body->data, body->len, &why);
	http_call_close(engine->hello);
	engine->hello = NULL;
	if (rc == RC_OK)
		open_stream(engine);
	else
		try_again(engine, &why);
}

static void begin(struct engine *engine)
{
	static const struct http_call_ops ops = { .on_end = on_hello };
	struct err err;

	if (http_call_open(&engine->hello, engine->loop, engine->socket, "/info", ANSWER_MAX,
			   ANSWER_MS, &ops, engine, &err) != RC_OK)
		try_again(engine, &err);
}

/* ---- open and close -------------------------------------------------------------------------- */

int engine_open(struct engine **out, uv_loop_t *loop, const char *socket,
		const struct engine_ops *ops, void *owner, struct err *err)
{
	struct engine *engine = mem_zalloc(1, sizeof(*engine));

	if (engine != NULL)
		engine->socket = mem_strdup(socket);
	if (engine == NULL || engine->socket == NULL) {
		mem_free(engine);
		return err_nomem(err, "an engine");
	}
	engine->loop = loop;
	engine->ops = ops;
	engine->owner = owner;
	engine->since_ns = now_ns();
	engine->again_ms = AGAIN_MS;
	(void)uv_timer_init(loop, &engine->timer);
	engine->timer.data = engine;
	(void)uv_timer_start(&engine->timer, on_again, 0, 0);
	*out = engine;
	return RC_OK;
}

static void on_closed(uv_handle_t *handle)
{
	struct engine *engine = handle->data;

	mem_free(engine->socket);
	mem_free(engine);
}

void engine_close(struct engine *engine)
{
	if (engine == NULL)
		return;
	while (engine->questions != NULL)
		remove_question(engine, engine->questions);
	http_call_close(engine->hello);
	http_call_close(engine->stream);
	engine->hello = engine->stream = NULL;
	uv_close((uv_handle_t *)&engine->timer, on_closed);
}
