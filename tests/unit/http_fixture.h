/*
 * For tests of HTTP: a server that echoes, on a loop that the test turns, and raw clients that
 * send it any bytes.
 */
#ifndef TESTS_UNIT_HTTP_FIXTURE_H
#define TESTS_UNIT_HTTP_FIXTURE_H

#include "appliance/base/mem.h"
#include "net/http.h"

#define PATIENCE_MS 5000 /* a test that waits longer has failed */

struct client {
	int fd;
	char heard[65536];
	size_t len;
	bool ended;
};

struct fixture {
	uv_loop_t loop;
	struct http_server *server;
	struct client clients[4];
	unsigned handled;
	char last[256]; /* "METHOD path query body" of the last request */
	bool closed;
};

/* One for each test: setup and teardown for cmocka; the latter proves that nothing is left. */
int web_setup(void **state);
int web_teardown(void **state);

/* Listens on `address` and answers with web_echo(). */
void web_start(struct fixture *f, const char *address);
void web_stop(struct fixture *f);
/* The handler: notes the request; what it answers depends on the path. */
void web_echo(void *owner, const struct http_request *request, struct http_response *response);
/* One turn of the loop. */
void web_turn(struct fixture *f);

/* A connection to the server that is no client's yet. */
int web_connect(const struct fixture *f);
/* Client number `which` with a new connection. */
struct client *web_open_client(struct fixture *f, unsigned which);
void web_say_bytes(struct fixture *f, const struct client *client, const char *bytes, size_t len);
void web_say(struct fixture *f, const struct client *client, const char *text);
/* Takes what has come. */
void web_hear(struct client *client);
/* Waits for one response with that status, and takes it; its text is in `text`. */
void web_expect(struct fixture *f, struct client *client, int status, bool has_body, char *text,
		size_t size);
void web_expect_status(struct fixture *f, struct client *client, int status);
/* Waits for the end of the connection; nothing may come before it. */
void web_expect_end(struct fixture *f, struct client *client);
/* One request on a connection of its own. */
void web_ask(struct fixture *f, const char *request, int status, char *text, size_t size);

#endif
