#include "net/resolver.h"

#include "appliance/base/clock.h"
#include "appliance/base/mem.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

struct host {
	struct address address;
	bool is_name;
	int failure; /* libuv's, of the last lookup; 0: none yet, or it was found */
	size_t count;
	struct sockaddr_storage found[RESOLVER_ADDRESSES_MAX];
};

struct resolver {
	uv_timer_t timer;
	uv_getaddrinfo_t request;
	bool asking, closing, timer_closed;
	uint64_t round_ns; /* when the last round began */
	size_t next;	   /* host of the round that goes on; count: none does */
	size_t count;
	struct host hosts[RESOLVER_HOSTS_MAX];
	void (*on_news)(void *owner);
	void (*on_closed)(void *owner);
	void *owner;
};

static void on_timer(uv_timer_t *timer);

static void wait(struct resolver *resolver, uint64_t ms)
{
	(void)uv_timer_start(&resolver->timer, on_timer, ms, 0);
}

static void let_go(struct resolver *resolver)
{
	void (*on_closed)(void *owner) = resolver->on_closed;
	void *owner = resolver->owner;

	if (resolver->asking || !resolver->timer_closed)
		return;
	mem_free(resolver);
	if (on_closed != NULL)
		on_closed(owner);
}

static void keep(struct host *host, const struct addrinfo *info)
{
	size_t count = 0;

	for (; info != NULL && count < RESOLVER_ADDRESSES_MAX; info = info->ai_next) {
		if (info->ai_addrlen > sizeof(host->found[0]))
			continue;
		memset(&host->found[count], 0, sizeof(host->found[0]));
		memcpy(&host->found[count++], info->ai_addr, info->ai_addrlen);
	}
	if (count > 0)
		host->count = count;
}

static void ask_next(struct resolver *resolver);

static void on_resolved(uv_getaddrinfo_t *request, int status, struct addrinfo *info)
{
	struct resolver *resolver = request->data;
	struct host *host = &resolver->hosts[resolver->next];

	resolver->asking = false;
	if (resolver->closing) {
		uv_freeaddrinfo(info);
		let_go(resolver);
		return;
	}
	if (status == 0)
		keep(host, info);
	host->failure = status == 0 && host->count == 0 ? UV_EAI_NODATA : status;
	uv_freeaddrinfo(info);
	resolver->next++;
	ask_next(resolver);
	if (resolver->on_news != NULL)
		resolver->on_news(resolver->owner);
}

/* Goes on with the round, or waits for the next one. */
static void ask_next(struct resolver *resolver)
{
	struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM };
	struct host *host;
	char port[8];

	for (; resolver->next < resolver->count; resolver->next++) {
		host = &resolver->hosts[resolver->next];
		if (!host->is_name)
			continue;
		(void)snprintf(port, sizeof(port), "%u", host->address.port);
		host->failure = uv_getaddrinfo(resolver->timer.loop, &resolver->request,
					       on_resolved, host->address.host, port, &hints);
		if (host->failure == 0) {
			resolver->asking = true;
			return;
		}
	}
	wait(resolver, RESOLVER_EVERY_MS);
}

static void on_timer(uv_timer_t *timer)
{
	struct resolver *resolver = timer->data;

	resolver->round_ns = clock_now_ns();
	resolver->next = 0;
	ask_next(resolver);
}

int resolver_open(struct resolver **resolver, uv_loop_t *loop, const struct address *hosts,
		  size_t count, void (*on_news)(void *owner), void *owner, struct err *err)
{
	struct resolver *made = mem_zalloc(1, sizeof(*made));
	bool names = false;
	size_t i;

	assert(count > 0 && count <= RESOLVER_HOSTS_MAX);
	if (made == NULL)
		return err_nomem(err, "resolver");
	for (i = 0; i < count; i++) {
		made->hosts[i].address = hosts[i];
		made->hosts[i].is_name = !address_to_socket(&hosts[i], &made->hosts[i].found[0]);
		made->hosts[i].count = made->hosts[i].is_name ? 0 : 1;
		names = names || made->hosts[i].is_name;
	}
	(void)uv_timer_init(loop, &made->timer);
	made->timer.data = made->request.data = made;
	made->count = made->next = count;
	made->on_news = on_news;
	made->owner = owner;
	if (names)
		wait(made, 0);
	*resolver = made;
	return RC_OK;
}

size_t resolver_get(const struct resolver *resolver, size_t index,
		    const struct sockaddr_storage **list, struct err *err)
{
	const struct host *host = &resolver->hosts[index];

	assert(index < resolver->count);
	*list = host->found;
	if (host->count == 0 && host->failure == 0)
		(void)err_set(err, RC_STATE, "the name is still being looked up");
	else if (host->count == 0)
		(void)err_set(err, RC_CLOSED, "%s", uv_strerror(host->failure));
	return host->count;
}

void resolver_again(struct resolver *resolver)
{
	uint64_t since_ns = clock_now_ns() - resolver->round_ns;

	/* Nothing to do while a round goes on, or without any name. */
	if (resolver->closing || resolver->asking || !uv_is_active((uv_handle_t *)&resolver->timer))
		return;
	if (since_ns >= RESOLVER_AT_LEAST_MS * CLOCK_NS_PER_MS)
		wait(resolver, 0);
	else if (uv_timer_get_due_in(&resolver->timer) > RESOLVER_AT_LEAST_MS)
		wait(resolver, RESOLVER_AT_LEAST_MS);
}

static void on_timer_closed(uv_handle_t *handle)
{
	struct resolver *resolver = handle->data;

	resolver->timer_closed = true;
	let_go(resolver);
}

void resolver_close(struct resolver *resolver, void (*on_closed)(void *owner))
{
	assert(!resolver->closing);
	resolver->closing = true;
	resolver->on_closed = on_closed;
	if (resolver->asking)
		(void)uv_cancel((uv_req_t *)&resolver->request); /* on_resolved() follows */
	uv_close((uv_handle_t *)&resolver->timer, on_timer_closed);
}
