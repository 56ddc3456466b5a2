/*
 * The witness is read every LOOK_MS, and written to every WRITE_MS and after a failure: one that is out of space answers
 * every question, and lets nobody begin to serve. What is written is a lease that is given back at
 * once: it leaves nothing in etcd's history.
 */
#include "appliance/witness_client.h"

#include "appliance/base/clock.h"
#include "appliance/base/log.h"
#include "appliance/base/mem.h"
#include "appliance/base/repeat.h"

#include <stdio.h>

#define LOOK_MS 5000	  /* while it answers: an etcd hardly notices one read of nothing */
#define WRITE_MS 30000	  /* each is two entries of etcd's log, and as many fsyncs */
#define WRITE_TTL_S 10	  /* of a lease that could not be given back */
#define AGAIN_MS 1000	  /* while it does not */
#define PATIENCE 2	  /* failures in a row: an election of etcd's takes as long as one */
#define KEY "/understudy" /* nobody writes it */

struct witness_client {
	struct tls_identity *identity;
	struct etcd *etcd;
	uv_timer_t timer;
	unsigned open; /* etcd, timer */
	unsigned failures;
	uint64_t write_ns; /* when the next write is due */
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

static void on_given_back(void *owner, const struct etcd_reply *reply)
{
	/* Else it ends by itself. */
	(void)owner;
	(void)reply;
}

static void on_written(void *owner, const struct etcd_reply *reply)
{
	const struct etcd_how how = { .done = on_given_back };
	struct witness_client *client = owner;
	struct err ignored;

	if (reply->err != NULL) {
		if (etcd_refused(client->etcd) != NULL)
			repeat_log(&client->said, LOG_LEVEL_WARN, "witness", reply->err->text);
		seen(client, reply->err);
		return;
	}
	client->write_ns = clock_now_ns() + WRITE_MS * CLOCK_NS_PER_MS;
	(void)etcd_revoke(client->etcd, reply->lease->id, &how, &ignored);
	if (*client->said.text != '\0')
		log_info("witness", "takes what is written again");
	client->said = (struct repeat){ 0 };
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
		call = etcd_grant(client->etcd, WRITE_TTL_S, &how, &err);
	} else {
		call = etcd_get(client->etcd, KEY, &how, &err);
	}
	if (call == NULL)
		seen(client, &err);
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
	rc = tls_identity_load_client(&client->identity, config->witness_ca, config->witness_cert,
				      config->witness_key, err);
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
