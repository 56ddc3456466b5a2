#include "tests/unit/link_fixture.h"

#include "appliance/base/bytes.h"
#include "appliance/base/mem.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct certs certs;
static struct {
	const char *name, *ca, *subject;
	long from_s, until_s;
	struct tls_identity *identity;
} identities[] = {
	{ "primary", "ca", "CN=north,OU=primary", -CERTS_DAY, CERTS_DAY, NULL },
	{ "standby", "ca", "CN=south,OU=standby", -CERTS_DAY, CERTS_DAY, NULL },
	{ "foreign", "other", "CN=north,OU=primary", -CERTS_DAY, CERTS_DAY, NULL },
	{ "expired", "ca", "CN=north,OU=primary", -2L * CERTS_DAY, -CERTS_DAY, NULL },
	{ "future", "ca", "CN=north,OU=primary", CERTS_DAY, 2L * CERTS_DAY, NULL },
	{ "foreign-standby", "other", "CN=south,OU=standby", -CERTS_DAY, CERTS_DAY, NULL },
	{ "expired-standby", "ca", "CN=south,OU=standby", -2L * CERTS_DAY, -CERTS_DAY, NULL },
	{ "future-standby", "ca", "CN=south,OU=standby", CERTS_DAY, 2L * CERTS_DAY, NULL },
};
#define IDENTITIES (sizeof(identities) / sizeof(identities[0]))

int link_fixture_setup(void **state)
{
	struct err err;
	size_t i;

	(void)state;
	(void)signal(SIGPIPE, SIG_IGN); /* as main.c does */
	certs_open(&certs);
	certs_make_ca(&certs, "ca", "CN=test CA");
	certs_make_ca(&certs, "other", "CN=other CA");
	for (i = 0; i < IDENTITIES; i++) {
		certs_make(&certs, identities[i].name, identities[i].ca, identities[i].subject,
			   identities[i].from_s, identities[i].until_s);
		if (tls_identity_load(&identities[i].identity, certs_path(&certs, "ca", "pem"),
				      certs_path(&certs, identities[i].name, "pem"),
				      certs_path(&certs, identities[i].name, "key"),
				      &err) != RC_OK) {
			(void)fprintf(stderr, "%s\n", err.text);
			return -1;
		}
	}
	return 0;
}

int link_fixture_teardown(void **state)
{
	size_t i;

	(void)state;
	for (i = 0; i < IDENTITIES; i++)
		tls_identity_free(identities[i].identity);
	certs_close(&certs);
	return 0;
}

struct tls_identity *link_fixture_identity(const char *name)
{
	size_t i;

	for (i = 0; i < IDENTITIES; i++) {
		if (strcmp(identities[i].name, name) == 0)
			return identities[i].identity;
	}
	fail_msg("no identity %s", name);
	return NULL;
}

void expect_text(const char *text, const char *part)
{
	if (strstr(text, part) == NULL)
		fail_msg("\"%s\" does not contain \"%s\"", text, part);
}

/* ---- the sides ---- */

static void on_up(void *owner, const struct wire_hello *peer)
{
	struct side *side = owner;

	side->ups++;
	side->peer = *peer;
	if (side->up != NULL)
		side->up(side);
}

static int on_frame(void *owner, const struct wire_header *header, const uint8_t *payload,
		    struct err *err)
{
	struct side *side = owner;

	side->frames++;
	side->last = *header;
	return side->frame != NULL ? side->frame(side, header, payload, err) : RC_OK;
}

static void on_room(void *owner)
{
	struct side *side = owner;

	side->rooms++;
	if (side->room != NULL)
		side->room(side);
}

static void on_side_closed(void *owner)
{
	struct side *side = owner;

	side->closed++;
	side->link = NULL;
}

static void on_down(void *owner, const struct err *err)
{
	struct side *side = owner;

	side->downs++;
	side->down = *err;
	if (side->went_down != NULL)
		side->went_down(side);
	else if (side == &side->world->standby)
		link_close(side->link, on_side_closed);
}

static const struct link_ops side_ops = {
	.on_up = on_up,
	.on_frame = on_frame,
	.on_room = on_room,
	.on_down = on_down,
};

static int on_hello(void *owner, struct link *link, const struct wire_hello *peer,
		    struct wire_hello *own, const struct link_ops **ops, void **link_owner,
		    uint16_t *reason, struct err *err)
{
	struct world *world = owner;

	world->hello = *peer;
	if (world->refuse != RC_OK) {
		*reason = world->refuse_with;
		return err_set(err, (enum rc)world->refuse, "no %s here today", peer->instance);
	}
	if (world->standby.link != NULL) {
		*reason = WIRE_REASON_BUSY;
		return err_set(err, RC_REFUSED, "%s is served already", peer->instance);
	}
	own->session = 77;
	own->identity = world->identity;
	own->epoch = world->committed > 0 ? world->committed : 12;
	world->standby.link = link;
	*ops = &side_ops;
	*link_owner = &world->standby;
	return RC_OK;
}

static const struct link_accept_ops accept_ops = { .on_hello = on_hello };

/* ---- the world ---- */

static void on_impatient(uv_timer_t *timer)
{
	struct world *world = timer->data;

	world->impatient = true;
}

void world_open(struct world *world)
{
	memset(world, 0, sizeof(*world));
	assert_int_equal(uv_loop_init(&world->loop), 0);
	assert_int_equal(uv_timer_init(&world->loop, &world->patience), 0);
	assert_int_equal(uv_timer_init(&world->loop, &world->stopwatch), 0);
	world->patience.data = world->stopwatch.data = world;
	assert_int_equal(uv_timer_start(&world->patience, on_impatient, PATIENCE_MS, 0), 0);
	world->options =
		(struct link_options){ .site = "south", .heartbeat_ms = 50, .dead_ms = 5000 };
	world->host = "127.0.0.1";
	world->primary.world = world->standby.world = world;
}

static void on_listener_closed(void *owner)
{
	struct world *world = owner;

	world->listener_closed = true;
	world->listener = NULL;
}

void world_close(struct world *world)
{
	if (world->primary.link != NULL)
		link_close(world->primary.link, on_side_closed);
	if (world->standby.link != NULL)
		link_close(world->standby.link, on_side_closed);
	if (world->listener != NULL)
		link_listener_close(world->listener, on_listener_closed);
	RUN_UNTIL(world, world->primary.link == NULL && world->standby.link == NULL &&
				 world->listener == NULL);
	uv_close((uv_handle_t *)&world->patience, NULL);
	uv_close((uv_handle_t *)&world->stopwatch, NULL);
	/* Strangers and ended channels may still be going; nothing may stay. */
	while (uv_run(&world->loop, UV_RUN_ONCE) != 0)
		;
	assert_int_equal(uv_loop_close(&world->loop), 0);
}

void world_listen(struct world *world)
{
	world_listen_as(world, "standby");
}

void world_listen_as(struct world *world, const char *identity)
{
	struct link_options options = world->options;
	char address[32];
	struct err err;

	options.identity = link_fixture_identity(identity);
	(void)snprintf(address, sizeof(address), "127.0.0.1:%u", world->port);
	world->listener_closed = false;
	if (link_listen(&world->listener, &world->loop, address, &options, &accept_ops, world,
			&err) != RC_OK)
		fail_msg("%s", err.text);
	world->port = link_listener_port(world->listener);
	assert_int_not_equal(world->port, 0);
}

static void fill_hello(void *owner, struct wire_hello *own)
{
	struct side *side = owner;

	own->session = 55;
	own->epoch = 7;
	if (side->world->highest > 0) {
		own->lowest = side->world->lowest;
		own->highest = side->world->highest;
	}
}

void world_dial(struct world *world, const char *identity)
{
	struct link_options options = world->options;
	char address[64];
	struct err err;

	options.identity = link_fixture_identity(identity);
	options.site = "north";
	(void)snprintf(address, sizeof(address), "%s:%u", world->host, world->port);
	if (link_dial(&world->primary.link, &world->loop, address, &options, "vm1", fill_hello,
		      &side_ops, &world->primary, &err) != RC_OK)
		fail_msg("%s", err.text);
}

void world_connect(struct world *world)
{
	if (world->listener == NULL)
		world_listen(world);
	world_dial(world, "primary");
	RUN_UNTIL(world, world->primary.ups > 0 && world->standby.ups > 0);
}

void world_turn(struct world *world)
{
	(void)uv_run(&world->loop, UV_RUN_ONCE);
	if (world->impatient)
		fail_msg("nothing came of it in %d ms", PATIENCE_MS);
}

static void on_enough(uv_timer_t *timer)
{
	struct world *world = timer->data;

	world->enough = true;
}

void world_run_for(struct world *world, uint64_t ms)
{
	world->enough = false;
	assert_int_equal(uv_timer_start(&world->stopwatch, on_enough, ms, 0), 0);
	RUN_UNTIL(world, world->enough);
}

/* ---- the log ---- */

static int log_fd = -1, real_stderr = -1;

void log_capture(void)
{
	FILE *file = tmpfile();

	assert_non_null(file);
	log_fd = dup(fileno(file));
	(void)fclose(file);
	(void)fflush(stderr);
	real_stderr = dup(STDERR_FILENO);
	assert_true(log_fd >= 0 && real_stderr >= 0);
	assert_true(dup2(log_fd, STDERR_FILENO) >= 0);
}

const char *log_so_far(void)
{
	static char text[1 << 16];
	ssize_t len;

	(void)fflush(stderr);
	len = pread(log_fd, text, sizeof(text) - 1, 0);
	assert_true(len >= 0);
	text[len] = '\0';
	return text;
}

const char *log_captured(void)
{
	const char *text = log_so_far();

	assert_true(dup2(real_stderr, STDERR_FILENO) >= 0);
	(void)close(real_stderr);
	(void)close(log_fd);
	return text;
}

unsigned count_lines(const char *text, const char *with)
{
	unsigned count = 0;

	for (text = strstr(text, with); text != NULL; text = strstr(text + 1, with))
		count++;
	return count;
}

/* ---- raw peers ---- */

static int raw_on_open(void *owner, struct err *err)
{
	struct raw *raw = owner;

	(void)err;
	raw->open = true;
	return RC_OK;
}

static void raw_take(struct raw *raw, const struct wire_header *header, const uint8_t *payload)
{
	struct err err;

	raw->frames++;
	if (header->type == WIRE_HELLO)
		raw->hellos++;
	if (header->type == WIRE_REFUSE) {
		raw->refusals++;
		assert_int_equal(wire_get_reason(&raw->reason, raw->text, payload, header->length,
						 &err),
				 RC_OK);
	}
}

static int raw_on_input(void *owner, struct err *err)
{
	struct raw *raw = owner;
	const struct wire_header *header;
	const uint8_t *payload;
	size_t room, got = 1;
	uint8_t *to;
	int rc = RC_OK;

	while (rc == RC_OK && got > 0) {
		to = frame_reader_space(&raw->reader, &room);
		rc = channel_read(raw->channel, to, room, &got, err);
		if (rc != RC_OK || got == 0)
			break;
		assert_int_equal(frame_reader_filled(&raw->reader, got, &header, &payload, err),
				 RC_OK);
		if (header != NULL)
			raw_take(raw, header, payload);
	}
	return rc;
}

static int raw_on_output(void *owner, struct err *err)
{
	(void)owner;
	(void)err;
	return RC_OK;
}

static void raw_on_end(void *owner, const struct err *err)
{
	struct raw *raw = owner;

	raw->ended = true;
	raw->end = *err;
}

static void raw_on_gone(void *owner)
{
	struct raw *raw = owner;

	raw->gone = true;
}

static const struct channel_ops raw_ops = {
	.on_open = raw_on_open,
	.on_input = raw_on_input,
	.on_output = raw_on_output,
	.on_end = raw_on_end,
	.on_gone = raw_on_gone,
};

void raw_connect(struct raw *raw, struct world *world, const char *identity)
{
	const struct channel_options options = { .identity = link_fixture_identity(identity),
						 .peer_role = "standby" };
	struct sockaddr_storage to;
	struct address address = { .host = "127.0.0.1", .port = world->port };
	struct err err;

	memset(raw, 0, sizeof(*raw));
	raw->world = world;
	frame_reader_init(&raw->reader, WIRE_ROLE_STANDBY);
	assert_true(address_to_socket(&address, &to));
	assert_int_equal(channel_connect(&raw->channel, &world->loop, &to, &options, &raw_ops, raw,
					 &err),
			 RC_OK);
	RUN_UNTIL(world, raw->open || raw->ended);
}

void raw_frame(struct raw *raw, uint16_t type, uint16_t flags, uint32_t length, const void *payload,
	       size_t len)
{
	uint8_t header[WIRE_HEADER] = { 0 };
	struct err err;

	bytes_put_le32(header, length);
	bytes_put_le16(header + 4, type);
	bytes_put_le16(header + 6, flags);
	assert_int_equal(channel_write(raw->channel, header, sizeof(header), &err), RC_OK);
	assert_int_equal(channel_write(raw->channel, payload, len, &err), RC_OK);
	channel_wake(raw->channel);
}

void raw_hello(struct raw *raw, uint16_t lowest, uint16_t highest, uint8_t role)
{
	struct wire_hello hello = { .lowest = lowest, .highest = highest, .role = role };
	struct buf payload = { 0 };

	(void)snprintf(hello.site, sizeof(hello.site), "raw");
	(void)snprintf(hello.instance, sizeof(hello.instance), "vm1");
	assert_true(wire_put_hello(&payload, &hello));
	raw_frame(raw, WIRE_HELLO, 0, (uint32_t)payload.len, payload.data, payload.len);
	buf_free(&payload);
}

void raw_close(struct raw *raw)
{
	if (!raw->ended && !raw->gone)
		channel_end(raw->channel);
	RUN_UNTIL(raw->world, raw->gone);
	frame_reader_free(&raw->reader);
}

bool world_is_closed(int fd)
{
	char bytes[256];
	ssize_t r;

	do
		r = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);
	while (r > 0);
	return r == 0 || errno != EAGAIN;
}
