#include "tests/unit/http_fixture.h"

#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

void web_echo(void *owner, const struct http_request *request, struct http_response *response)
{
	struct fixture *f = owner;

	f->handled++;
	(void)snprintf(f->last, sizeof(f->last), "%s %s [%s] %.*s", request->method, request->path,
		       request->query, (int)request->body_len, (const char *)request->body);
	if (strcmp(request->path, "/missing") == 0)
		http_error(response, 404, "not \"here\"\n");
	else if (strcmp(request->path, "/large") == 0)
		while (response->body.len < HTTP_ANSWER_MAX / 2)
			(void)buf_append(&response->body, "0123456789abcdef", 16);
	else if (strcmp(request->path, "/too-large") == 0)
		while (!response->body.failed)
			(void)buf_append(&response->body, "0123456789abcdef", 16);
	else
		(void)buf_printf(&response->body, "{\"n\":%u}", f->handled);
}

static void note_closed(void *owner)
{
	((struct fixture *)owner)->closed = true;
}

void web_start(struct fixture *f, const char *address)
{
	struct err err = { 0 };

	if (http_listen(&f->server, &f->loop, address, web_echo, f, &err) != RC_OK)
		fail_msg("%s", err.text);
}

int web_setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	size_t i;

	assert_non_null(f);
	for (i = 0; i < 4; i++)
		f->clients[i].fd = -1;
	assert_int_equal(uv_loop_init(&f->loop), 0);
	*state = f;
	return 0;
}

void web_turn(struct fixture *f)
{
	(void)uv_run(&f->loop, UV_RUN_NOWAIT);
	(void)usleep(100);
}

void web_stop(struct fixture *f)
{
	int i;

	f->closed = false;
	http_close(f->server, note_closed);
	for (i = 0; i < PATIENCE_MS && !f->closed; i++)
		web_turn(f);
	assert_true(f->closed);
	f->server = NULL;
}

int web_teardown(void **state)
{
	struct fixture *f = *state;
	size_t i;

	fault_arm(FAULT_ALLOC, 0);
	if (f->server != NULL)
		web_stop(f);
	for (i = 0; i < 4; i++) {
		if (f->clients[i].fd >= 0)
			close(f->clients[i].fd);
	}
	for (i = 0; i < 10; i++)
		(void)uv_run(&f->loop, UV_RUN_NOWAIT);
	assert_int_equal(uv_loop_close(&f->loop), 0);
	free(f);
	return 0;
}

int web_connect(const struct fixture *f)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_port = htons(http_port(f->server)),
				       .sin_addr = { htonl(INADDR_LOOPBACK) } };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

struct client *web_open_client(struct fixture *f, unsigned which)
{
	struct client *client = &f->clients[which];

	if (client->fd >= 0)
		close(client->fd);
	memset(client, 0, sizeof(*client));
	client->fd = web_connect(f);
	return client;
}

void web_say_bytes(struct fixture *f, const struct client *client, const char *bytes, size_t len)
{
	size_t sent = 0;
	ssize_t r;
	int i;

	for (i = 0; i < PATIENCE_MS && sent < len; i++) {
		r = send(client->fd, bytes + sent, len - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (r > 0)
			sent += (size_t)r;
		if (r < 0 && errno != EAGAIN)
			return;
		web_turn(f);
	}
	assert_int_equal(sent, len);
}

void web_say(struct fixture *f, const struct client *client, const char *text)
{
	web_say_bytes(f, client, text, strlen(text));
}

void web_hear(struct client *client)
{
	ssize_t r = recv(client->fd, client->heard + client->len,
			 sizeof(client->heard) - 1 - client->len, MSG_DONTWAIT);

	if (r > 0)
		client->len += (size_t)r;
	if (r == 0)
		client->ended = true;
	client->heard[client->len] = '\0';
}

/* The length of the first whole response in what was heard, 0 if there is none. */
static size_t response_len(const struct client *client, bool has_body)
{
	const char *end = strstr(client->heard, "\r\n\r\n"),
		   *length = strstr(client->heard, "Content-Length: ");
	size_t len;

	if (end == NULL)
		return 0;
	assert_non_null(length);
	assert_true(length < end);
	len = (size_t)(end + 4 - client->heard) + (has_body ? strtoul(length + 16, NULL, 10) : 0);
	return len <= client->len ? len : 0;
}

void web_expect(struct fixture *f, struct client *client, int status, bool has_body, char *text,
		size_t size)
{
	char start_line[32];
	size_t len = 0;
	int i;

	for (i = 0; i < PATIENCE_MS && len == 0; i++) {
		web_turn(f);
		web_hear(client);
		len = response_len(client, has_body);
	}
	if (len == 0)
		fail_msg("no response: %s", client->heard);
	(void)snprintf(start_line, sizeof(start_line), "HTTP/1.1 %d ", status);
	if (strncmp(client->heard, start_line, strlen(start_line)) != 0)
		fail_msg("not %d: %s", status, client->heard);
	if (text != NULL)
		(void)snprintf(text, size, "%.*s", (int)len, client->heard);
	client->len -= len;
	memmove(client->heard, client->heard + len, client->len + 1);
}

void web_expect_status(struct fixture *f, struct client *client, int status)
{
	web_expect(f, client, status, true, NULL, 0);
}

void web_expect_end(struct fixture *f, struct client *client)
{
	int i;

	for (i = 0; i < PATIENCE_MS && !client->ended; i++) {
		web_turn(f);
		web_hear(client);
	}
	assert_true(client->ended);
	assert_int_equal(client->len, 0);
}

void web_ask(struct fixture *f, const char *request, int status, char *text, size_t size)
{
	struct client *client = web_open_client(f, 0);

	web_say(f, client, request);
	web_expect(f, client, status, true, text, size);
}
