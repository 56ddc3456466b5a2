#include "appliance/witness_client.h"

#include "appliance/base/mem.h"

#include <stdio.h>

#define LOOK_MS 5000	  /* while it answers: an etcd hardly notices one read of nothing */
#define AGAIN_MS 1000	  /* while it does not */
#define PATIENCE 2	  /* failures in a row: an election of etcd's takes as long as one */
#define KEY "/understudy" /* nobody writes it */

struct witness_client {
	struct tls_identity *identity;
	struct etcd *etcd;
	uv_timer_t timer;
	unsigned open; /* etcd, timer */
	unsigned failures;
	char problem[ERR_TEXT_MAX];
};

static void look(uv_timer_t *timer);

/* In the log it is already: net/etcd_attempt.c. */
static void seen(struct witness_client *client, const struct err *err)
{
	client->failures = err != NULL ? client->failures + 1 : 0;
	if (err == NULL)
		*client->problem = '\0';
	else if (client->failures >= PATIENCE)
		(void)snprintf(client->problem, sizeof(client->problem),
			       "%.400s; until it answers nobody begins to serve", err->text);
	(void)uv_timer_start(&client->timer, look, err != NULL ? AGAIN_MS : LOOK_MS, 0);
}

static void on_seen(void *owner, const struct etcd_reply *reply)
{
	seen(owner, reply->err);
}

static void look(uv_timer_t *timer)
{
	struct witness_client *client = timer->data;
	const struct etcd_how how = { .done = on_seen, .owner = client };
	struct err err;

	if (etcd_get(client->etcd, KEY, &how, &err) == NULL)
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
	const char *doubt;

	if (client == NULL)
		return NULL;
	doubt = etcd_doubted(client->etcd);
	return doubt != NULL ? doubt : client->problem;
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
