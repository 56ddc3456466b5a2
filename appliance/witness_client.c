/*
 * The witness is read every LOOK_MS, and written to every WRITE_MS and after a failure: one that is out
 * of space answers every question, and lets nobody begin to serve.
 *
 * What is written is who it is: a random number, under a key that nobody has but the first who comes to
 * that etcd. All later ones are told that number, and write nothing; but etcd refuses them as well when it
 * takes nothing. So two sites can compare which etcd they ask: names may lead to different places from
 * different sites, and two etcds that were set up alike have the same cluster's number.
 */
#include "appliance/witness_client.h"

#include "appliance/base/clock.h"
#include "appliance/base/log.h"
#include "appliance/base/mem.h"
#include "appliance/base/repeat.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define LOOK_MS 5000	   /* while it answers: an etcd hardly notices one read of nothing */
#define WRITE_MS 30000	   /* each is an entry of etcd's log, and an fsync */
#define AGAIN_MS 1000	   /* while it does not */
#define PATIENCE 2	   /* failures in a row: an election of etcd's takes as long as one */
#define KEY "/understudy/" /* no instance's: those have a name */
#define IDENTITY_DIGITS 16

struct witness_client {
	struct tls_identity *identity;
	struct etcd *etcd;
	uv_timer_t timer;
	unsigned open; /* etcd, timer */
	unsigned failures;
	uint64_t write_ns;		  /* when the next write is due */
	char number[IDENTITY_DIGITS + 1]; /* for an etcd that has none */
	struct repeat said;
	char problem[ERR_TEXT_MAX];
};

static void look(uv_timer_t *timer);

/* In the log it is already: net/etcd_attempt.c. */
static void seen(struct witness_client *client, const struct err *err)
{
	const bool refused =
		err != NULL && err->code == RC_REFUSED && etcd_refused(client->etcd) != NULL;

	client->failures = err != NULL ? client->failures + 1 : 0;
	if (err != NULL)
		client->write_ns = 0; /* it counts as back when it has taken something */
	if (err == NULL)
		*client->problem = '\0';
	else if (client->failures >= PATIENCE || refused)
		(void)snprintf(client->problem, sizeof(client->problem),
			       "%.400s; until it %s nobody begins to serve", err->text,
			       refused ? "takes what is written" : "answers");
	(void)uv_timer_start(&client->timer, look, err != NULL && !refused ? AGAIN_MS : LOOK_MS, 0);
}

static void on_seen(void *owner, const struct etcd_reply *reply)
{
	seen(owner, reply->err);
}

/* What is there is ours, or whoever was first; 0: no such number. */
static uint64_t identity_in(const char *text)
{
	const size_t len = strlen(text);

	return len == IDENTITY_DIGITS && strspn(text, "0123456789abcdef") == len ?
		       strtoull(text, NULL, 16) :
		       0;
}

static void know(struct witness_client *client, const struct etcd_txn_reply *txn)
{
	const uint64_t identity =
		identity_in(txn->succeeded ? client->number : txn->entries[0].value);
	const uint64_t was = etcd_identity(client->etcd);

	if (was != 0 && was != identity)
		log_warn("witness", "is not the etcd that it was, or has lost its data");
	etcd_identify(client->etcd, identity);
}

static void on_written(void *owner, const struct etcd_reply *reply)
{
	struct witness_client *client = owner;

	if (reply->err != NULL) {
		if (etcd_refused(client->etcd) != NULL)
			repeat_log(&client->said, LOG_LEVEL_WARN, "witness", reply->err->text);
		seen(client, reply->err);
		return;
	}
	if (*client->said.text != '\0')
		log_info("witness", "takes what is written again");
	client->said = (struct repeat){ 0 };
	client->write_ns = clock_now_ns() + WRITE_MS * CLOCK_NS_PER_MS;
	know(client, reply->txn);
	seen(client, NULL);
}

static void look(uv_timer_t *timer)
{
	struct witness_client *client = timer->data;
	struct etcd_how how = { .done = on_seen, .owner = client };
	const struct etcd_call *call;
	struct err err;

	/* One that refused somebody is asked whether it still does. */
	if (clock_now_ns() >= client->write_ns || etcd_refused(client->etcd) != NULL) {
		how.done = on_written;
		call = etcd_swap(client->etcd, KEY, 0, client->number, 0, &how, &err);
	} else {
		call = etcd_get(client->etcd, KEY, &how, &err);
	}
	if (call == NULL)
		seen(client, &err);
}

static int make_number(struct witness_client *client, struct err *err)
{
	uint64_t random;

	if (getrandom(&random, sizeof(random), 0) != sizeof(random))
		return err_set(err, RC_IO, "no random numbers");
	(void)snprintf(client->number, sizeof(client->number), "%016" PRIx64, random);
	return RC_OK;
}

int witness_client_open(struct witness_client **out, uv_loop_t *loop, const struct config *config,
			struct err *err)
{
	struct witness_client *client;
	size_t count = 0;
	int rc;

	*out = NULL;
	if (config->witness_endpoints == NULL)
		return RC_OK;
	client = mem_zalloc(1, sizeof(*client));
	if (client == NULL)
		return err_nomem(err, "witness");
	while (config->witness_endpoints[count] != NULL)
		count++;
	rc = make_number(client, err);
	if (rc == RC_OK)
		rc = tls_identity_load_client(&client->identity, config->witness_ca,
					      config->witness_cert, config->witness_key, err);
	if (rc == RC_OK)
		rc = etcd_open(&client->etcd, loop, (const char *const *)config->witness_endpoints,
			       count, client->identity, err);
	if (rc != RC_OK) {
		tls_identity_free(client->identity);
		mem_free(client);
		return err_prefix(err, "witness: ");
	}
	client->open = 2;
	(void)uv_timer_init(loop, &client->timer);
	client->timer.data = client;
	(void)uv_timer_start(&client->timer, look, 0, 0);
	*out = client;
	return RC_OK;
}

struct etcd *witness_client_etcd(const struct witness_client *client)
{
	return client != NULL ? client->etcd : NULL;
}

const char *witness_client_problem(const struct witness_client *client)
{
	const char *problem;

	if (client == NULL)
		return NULL;
	problem = etcd_doubted(client->etcd);
	if (problem == NULL && *client->problem == '\0') /* a claim's, before we have looked */
		problem = etcd_refused(client->etcd);
	return problem != NULL ? problem : client->problem;
}

static void part_closed(void *owner)
{
	struct witness_client *client = owner;

	if (--client->open > 0)
		return;
	tls_identity_free(client->identity);
	mem_free(client);
}

static void on_timer_closed(uv_handle_t *handle)
{
	part_closed(handle->data);
}

void witness_client_close(struct witness_client *client)
{
	if (client == NULL)
		return;
	uv_close((uv_handle_t *)&client->timer, on_timer_closed);
	etcd_close(client->etcd, part_closed, client);
}
