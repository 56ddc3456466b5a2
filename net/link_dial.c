/*
 * The dialling end. An attempt: the name is resolved (if it is one; all its addresses are tried in
 * turn, one an attempt), then TCP, TLS, HELLO, all within LINK_HANDSHAKE_MS. After a failure the
 * wait doubles from LINK_BACKOFF_FIRST_MS to LINK_BACKOFF_LAST_MS, or LINK_BACKOFF_REFUSED_MS where
 * somebody has to change something first; half of each wait is random, so that the agents of a site do
 * not knock all at once. Resolving cannot be stopped once a worker thread does it: an attempt that gave
 * up on it leaves it running, and the next one waits for it.
 */
#include "net/link_internal.h"

#include "appliance/base/clock.h"
#include "appliance/base/mem.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#define ADDRESSES_MAX 8 /* of one name */

struct link_dialler {
	struct address address;
	char instance[WIRE_NAME_MAX + 1];
	void (*hello)(void *owner, struct wire_hello *own);
	uv_getaddrinfo_t resolve;
	bool resolving;
	struct sockaddr_storage found[ADDRESSES_MAX];
	size_t nfound;
	unsigned attempts, failures;
};

uint32_t link_backoff_ms(unsigned failures, uint32_t most_ms, uint32_t random)
{
	uint32_t wait = most_ms;

	if (failures < 16 && (uint32_t)LINK_BACKOFF_FIRST_MS << failures < wait)
		wait = (uint32_t)LINK_BACKOFF_FIRST_MS << failures;
	return wait / 2 + random % (wait / 2 + 1);
}

/* What a connection says begins with its address already: a number is not said twice. */
static void give_up(struct link *link, struct err *err)
{
	struct sockaddr_storage unused;

	if (!address_to_socket(&link->dialler->address, &unused))
		(void)err_prefix(err, "%s:%u: ", link->dialler->address.host,
				 link->dialler->address.port);
	link_lost(link, err);
}

static void connect_next(struct link *link)
{
	struct link_dialler *dialler = link->dialler;
	const struct channel_options options = link_channel_options(link);
	const struct sockaddr_storage *to = &dialler->found[dialler->attempts++ % dialler->nfound];
	struct channel *channel;
	struct err err;

	if (channel_connect(&channel, link->loop, to, &options, &link_channel_ops, link, &err) !=
	    RC_OK) {
		give_up(link, &err);
		return;
	}
	link->channel = channel;
	link->pending++;
	(void)snprintf(link->peer, sizeof(link->peer), "%s", channel_address(channel));
}

static void keep_addresses(struct link_dialler *dialler, const struct addrinfo *info)
{
	dialler->nfound = 0;
	for (; info != NULL && dialler->nfound < ADDRESSES_MAX; info = info->ai_next) {
		if (info->ai_addrlen > sizeof(dialler->found[0]))
			continue;
		memset(&dialler->found[dialler->nfound], 0, sizeof(dialler->found[0]));
		memcpy(&dialler->found[dialler->nfound++], info->ai_addr, info->ai_addrlen);
	}
}

static void on_resolved(uv_getaddrinfo_t *request, int status, struct addrinfo *info)
{
	struct link *link = request->data;
	struct link_dialler *dialler = link->dialler;
	struct err err;

	dialler->resolving = false;
	if (status == 0)
		keep_addresses(dialler, info);
	uv_freeaddrinfo(info);
	if (link->state == LINK_GREETING && link->channel == NULL) {
		if (status != 0 || dialler->nfound == 0) {
			(void)err_set(&err, RC_CLOSED, "%s",
				      status != 0 ? uv_strerror(status) :
						    "the name has no address");
			give_up(link, &err);
		} else {
			connect_next(link);
		}
	}
	link_let_go(link);
}

void link_dial_attempt(struct link *link)
{
	struct link_dialler *dialler = link->dialler;
	struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM };
	struct err err;
	char port[8];
	int r;

	link_begin(link);
	if (address_to_socket(&dialler->address, &dialler->found[0])) {
		dialler->nfound = 1;
		connect_next(link);
		return;
	}
	if (dialler->resolving)
		return;
	(void)snprintf(port, sizeof(port), "%u", dialler->address.port);
	r = uv_getaddrinfo(link->loop, &dialler->resolve, on_resolved, dialler->address.host, port,
			   &hints);
	if (r != 0) {
		(void)err_set(&err, RC_IO, "%s", uv_strerror(r));
		give_up(link, &err);
		return;
	}
	dialler->resolving = true;
	link->pending++;
}

void link_dial_again(struct link *link)
{
	struct link_dialler *dialler = link->dialler;
	const uint32_t most_ms =
		wire_reason_lasts(link->refusal) ? LINK_BACKOFF_REFUSED_MS : LINK_BACKOFF_LAST_MS;
	uint32_t random = 0;

	if (link->returns ||
	    (link->up_ns > 0 && clock_now_ns() - link->up_ns > LINK_STEADY_MS * CLOCK_NS_PER_MS))
		dialler->failures = 0;
	/* Without random numbers the waits are only more alike. */
	(void)!getrandom(&random, sizeof(random), GRND_NONBLOCK);
	link_move(link, LINK_WAITING);
	link_start_timer(link,
			 link->hasty && dialler->failures == 0 ?
				 0 :
				 link_backoff_ms(dialler->failures, most_ms, random),
			 0);
	link->hasty = link->returns = false;
	dialler->failures++;
}

void link_dial_hello(struct link *link, struct wire_hello *own)
{
	(void)snprintf(own->instance, sizeof(own->instance), "%s", link->dialler->instance);
	link->dialler->hello(link->owner, own);
}

void link_dial_cancel(struct link *link)
{
	/* on_resolved() follows in any case. */
	if (link->dialler->resolving)
		(void)uv_cancel((uv_req_t *)&link->dialler->resolve);
}

void link_dial_free(struct link *link)
{
	mem_free(link->dialler);
}

int link_dial(struct link **out, uv_loop_t *loop, const char *address,
	      const struct link_options *options, const char *instance,
	      void (*hello)(void *owner, struct wire_hello *own), const struct link_ops *ops,
	      void *owner, struct err *err)
{
	struct link_dialler *dialler;
	struct address parsed;
	struct link *link;
	int rc;

	assert(strlen(instance) <= WIRE_NAME_MAX);
	rc = address_parse(&parsed, address, false, err);
	if (rc != RC_OK)
		return rc;
	dialler = mem_zalloc(1, sizeof(*dialler));
	if (dialler == NULL)
		return err_nomem(err, "link");
	rc = link_create(&link, loop, WIRE_ROLE_PRIMARY, options, err);
	if (rc != RC_OK) {
		mem_free(dialler);
		return rc;
	}
	dialler->address = parsed;
	dialler->hello = hello;
	dialler->resolve.data = link;
	(void)snprintf(dialler->instance, sizeof(dialler->instance), "%s", instance);
	(void)snprintf(link->peer, sizeof(link->peer), "%s:%u", parsed.host, parsed.port);
	link->dialler = dialler;
	link->ops = ops;
	link->owner = owner;
	link_start_timer(link, 0, 0);
	*out = link;
	return RC_OK;
}
