#include "tests/unit/witness_fixture.h"

#include "appliance/base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct err err;

struct site a, b;
struct etcd_server server;
const char *url;

static void on_done(void *owner, enum witness_outcome outcome, const struct witness_view *view,
		    const struct err *why)
{
	struct site *site = owner;

	assert_int_equal(why != NULL, outcome == WITNESS_UNREACHABLE);
	site->outcome = outcome;
	site->view = *view;
	if (why != NULL)
		site->err = *why;
	site->done = true;
}

static void on_lost(void *owner, const struct err *why)
{
	struct site *site = owner;

	assert_false(site->lost);
	assert_true(witness_until_ns(site->witness) == 0);
	site->why = *why;
	site->lost_ns = clock_now_ns();
	site->lost = true;
}

static void on_closed(void *owner)
{
	struct site *site = owner;

	site->closed = true;
}

void open_site(struct site *site, const char *name, enum witness_server role)
{
	const char *const urls[] = { url };
	struct witness_options options = { .instance = "vm1",
					   .ttl_s = TTL_S,
					   .on_lost = on_lost,
					   .done = on_done,
					   .owner = site };

	memset(site, 0, sizeof(*site));
	site->name = name;
	site->role = role;
	options.etcd = site->etcd = etcd_client(urls, 1, identity);
	assert_int_equal(witness_open(&site->witness, &loop, &options, &err), RC_OK);
}

void close_site(struct site *site)
{
	witness_close(site->witness, on_closed);
	turn_until(&site->closed);
	etcd_client_close(site->etcd);
}

void begin(void)
{
	etcd_server_open(&server);
	url = server.url;
	open_site(&a, "seoul", WITNESS_PRIMARY);
	open_site(&b, "busan", WITNESS_STANDBY);
}

void end(void)
{
	close_site(&a);
	close_site(&b);
	etcd_server_close(&server);
}

void start_claim(struct site *site, uint64_t term, bool leased)
{
	const struct witness_claim claim = {
		.term = term, .server = site->role, .site = site->name, .leased = leased
	};

	site->done = false;
	if (witness_claim(site->witness, &claim, PATIENCE_MS, &err) != RC_OK)
		fail_msg("%s", err.text);
}

enum witness_outcome claim(struct site *site, uint64_t term, bool leased)
{
	start_claim(site, term, leased);
	assert_false(site->done);
	turn_until(&site->done);
	return site->outcome;
}

enum witness_outcome look(struct site *site)
{
	site->done = false;
	assert_int_equal(witness_read(site->witness, PATIENCE_MS, &err), RC_OK);
	turn_until(&site->done);
	return site->outcome;
}

void expect_view(const struct site *site, uint64_t term, const struct site *of, bool held)
{
	assert_true(site->view.present);
	assert_true(site->view.value.term == term);
	assert_int_equal(site->view.value.server, of->role);
	assert_string_equal(site->view.value.site, of->name);
	assert_int_equal(site->view.held, held);
	assert_int_equal(site->view.own, site == of);
}
