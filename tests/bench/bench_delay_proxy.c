/*
 * A link with a delay, where the kernel has none to offer: forwards connections and hands every byte on a fixed time
 * after it came.
 *
 * usage: bench_delay_proxy LISTEN TARGET DELAY_MS        (LISTEN and TARGET: IP:PORT, or unix:PATH)
 *
 * DELAY_MS is one way, and holds for both: the round trip grows by twice as much. What comes is kept in blocks with the time
 * at which each is due; nothing else is slowed down. The connection to the target is made at once when
 * one is accepted, so that what the delay is applied to is data, not the handshake. A direction that holds BLOCKS_MAX
 * blocks is not read until some have gone, which is TCP's own back-pressure; an end of data travels with the same delay. Prints
 * "ready" when it listens and works until it is killed.
 */
#include "appliance/base/clock.h"
#include "appliance/base/mem.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/un.h>
#include <unistd.h>

#define BLOCK_BYTES (256U << 10)
#define BLOCKS_MAX 1024 /* 256 MiB: 50 ms of 5 GB/s, more than one thread copies */
#define READS_AT_ONCE 8 /* before the other direction has its turn */
#define PAIRS_MAX 16	/* an agent that connects anew does so a few times */
#define SLACK_NS 1000	/* how late a timer may be */

struct block {
	struct block *next;
	uint64_t due_ns;
	size_t len, sent;
	uint8_t data[BLOCK_BYTES];
};

/* One direction. */
struct way {
	int from, to;
	struct block *head,
		*tail; /* in the order of their times; one without data is the end of data */
	size_t blocks;
	bool heard_all, told_all; /* the end of data has come, has been handed on */
	bool full;		  /* the target's buffer was, at the last write */
};

struct pair {
	bool used;
	struct way ways[2];
};

struct address {
	union {
		struct sockaddr any;
		struct sockaddr_in in;
		struct sockaddr_un local;
	};
	socklen_t len;
};

static struct pair pairs[PAIRS_MAX];
static struct block *spare;
static uint64_t delay_ns;

static void die(const char *what)
{
	(void)fprintf(stderr, "bench_delay_proxy: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* ---- blocks --------------------------------------------------------------------------------------------------- */

static struct block *block_take(void)
{
	struct block *block = spare;

	if (block != NULL)
		spare = block->next;
	else
		block = mem_alloc(sizeof(*block));
	if (block == NULL)
		die("memory");
	block->next = NULL;
	block->len = block->sent = 0;
	return block;
}

static void block_give(struct block *block)
{
	block->next = spare;
	spare = block;
}

static void way_drop_head(struct way *way)
{
	struct block *block = way->head;

	way->head = block->next;
	if (way->head == NULL)
		way->tail = NULL;
	way->blocks--;
	block_give(block);
}

/* ---- a pair of connections ------------------------------------------------------------------------------------- */

static void pair_close(struct pair *pair)
{
	size_t i;

	(void)close(pair->ways[0].from);
	(void)close(pair->ways[0].to);
	for (i = 0; i < 2; i++) {
		while (pair->ways[i].head != NULL)
			way_drop_head(&pair->ways[i]);
	}
	pair->used = false;
}

static void way_append(struct way *way, struct block *block)
{
	block->due_ns = clock_now_ns() + delay_ns;
	if (way->tail != NULL)
		way->tail->next = block;
	else
		way->head = block;
	way->tail = block;
	way->blocks++;
}

/* False when the pair is to be closed. */
static bool way_read(struct way *way)
{
	int reads;

	for (reads = 0; reads < READS_AT_ONCE && !way->heard_all && way->blocks < BLOCKS_MAX;
	     reads++) {
		struct block *block = block_take();
		ssize_t n = recv(way->from, block->data, BLOCK_BYTES, MSG_DONTWAIT);

		if (n < 0) {
			block_give(block);
			return errno == EAGAIN || errno == EINTR;
		}
		block->len = (size_t)n;
		way_append(way, block);
		way->heard_all = n == 0;
	}
	return true;
}

static bool way_write(struct way *way)
{
	uint64_t now_ns = clock_now_ns();

	way->full = false;
	while (way->head != NULL && way->head->due_ns <= now_ns) {
		struct block *block = way->head;
		ssize_t n;

		if (block->len == 0) {
			(void)shutdown(way->to, SHUT_WR);
			way->told_all = true;
			way_drop_head(way);
			return true;
		}
		n = send(way->to, block->data + block->sent, block->len - block->sent,
			 MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0) {
			way->full = true;
			return errno == EAGAIN || errno == EINTR;
		}
		block->sent += (size_t)n;
		if (block->sent == block->len)
			way_drop_head(way);
	}
	return true;
}

/* No waiting for more to send together, and room; a unix socket has no use for the first and says so. */
static void tune(int fd)
{
	int one = 1, bytes = 4 << 20;

	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
}

static void pair_open(int accepted, const struct address *target)
{
	struct pair *pair = pairs;
	int fd = socket(target->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	while (pair < pairs + PAIRS_MAX && pair->used)
		pair++;
	tune(accepted);
	tune(fd);
	if (pair == pairs + PAIRS_MAX || connect(fd, &target->any, target->len) != 0) {
		(void)close(fd);
		(void)close(accepted);
		return;
	}
	*pair = (struct pair){ .used = true,
			       .ways = { { .from = accepted, .to = fd },
					 { .from = fd, .to = accepted } } };
}

/* ---- the loop -------------------------------------------------------------------------------------------------- */

static struct pollfd polls[1 + 2 * PAIRS_MAX];

/* What to wait for; returns when the next block is due, UINT64_MAX for never. */
static uint64_t prepare(void)
{
	uint64_t due_ns = UINT64_MAX;
	size_t i;

	for (i = 0; i < PAIRS_MAX * 2; i++) {
		const struct pair *pair = &pairs[i / 2];
		const struct way *way = &pair->ways[i % 2], *back = &pair->ways[1 - i % 2];
		short events = 0;

		if (pair->used && !way->heard_all && way->blocks < BLOCKS_MAX)
			events |= POLLIN;
		if (pair->used && back->full)
			events |= POLLOUT;
		if (pair->used && !way->full && way->head != NULL && way->head->due_ns < due_ns)
			due_ns = way->head->due_ns;
		polls[1 + i] =
			(struct pollfd){ .fd = events != 0 ? way->from : -1, .events = events };
	}
	return due_ns;
}

static void serve(struct pair *pair, const struct pollfd *ready)
{
	bool fine = true;
	size_t side;

	for (side = 0; side < 2 && fine; side++) {
		struct way *way = &pair->ways[side];

		if ((ready[side].revents & (POLLIN | POLLHUP | POLLERR)) != 0)
			fine = way_read(way);
		if (fine &&
		    (!way->full || (ready[1 - side].revents & (POLLOUT | POLLHUP | POLLERR)) != 0))
			fine = way_write(way);
	}
	if (!fine || (pair->ways[0].told_all && pair->ways[1].told_all))
		pair_close(pair);
}

static void work(const struct address *target)
{
	for (;;) {
		uint64_t due_ns = prepare(), now_ns = clock_now_ns(),
			 wait_ns = due_ns > now_ns ? due_ns - now_ns : 0;
		struct timespec wait = { .tv_sec = (time_t)(wait_ns / CLOCK_NS_PER_S),
					 .tv_nsec = (long)(wait_ns % CLOCK_NS_PER_S) };
		size_t i;

		if (ppoll(polls, 1 + 2 * PAIRS_MAX, due_ns == UINT64_MAX ? NULL : &wait, NULL) <
			    0 &&
		    errno != EINTR)
			die("ppoll");
		for (i = 0; i < PAIRS_MAX; i++) {
			if (pairs[i].used)
				serve(&pairs[i], &polls[1 + 2 * i]);
		}
		if ((polls[0].revents & POLLIN) != 0)
			pair_open(accept4(polls[0].fd, NULL, NULL, SOCK_CLOEXEC), target);
	}
}

static void parse_unix(const char *path, struct address *address)
{
	errno = ENAMETOOLONG;
	if (strlen(path) >= sizeof(address->local.sun_path))
		die(path);
	address->local.sun_family = AF_UNIX;
	(void)snprintf(address->local.sun_path, sizeof(address->local.sun_path), "%s", path);
	address->len = sizeof(address->local);
}

static void parse(const char *text, struct address *address)
{
	const char *colon = strrchr(text, ':');
	char ip[INET_ADDRSTRLEN];

	if (strncmp(text, "unix:", 5) == 0) {
		parse_unix(text + 5, address);
		return;
	}
	errno = EINVAL;
	if (colon == NULL || (size_t)(colon - text) >= sizeof(ip))
		die(text);
	(void)snprintf(ip, sizeof(ip), "%.*s", (int)(colon - text), text);
	address->in.sin_family = AF_INET;
	address->in.sin_port = htons((uint16_t)strtoul(colon + 1, NULL, 10));
	if (inet_pton(AF_INET, ip, &address->in.sin_addr) != 1)
		die(text);
	address->len = sizeof(address->in);
}

int main(int argc, char **argv)
{
	struct address here = { 0 }, target = { 0 };
	int listener, one = 1;

	if (argc != 4) {
		(void)fprintf(stderr, "usage: bench_delay_proxy LISTEN TARGET DELAY_MS\n");
		return 2;
	}
	parse(argv[1], &here);
	parse(argv[2], &target);
	delay_ns = (uint64_t)(strtod(argv[3], NULL) * (double)CLOCK_NS_PER_MS);
	(void)prctl(PR_SET_TIMERSLACK, SLACK_NS);
	listener = socket(here.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	(void)setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (listener < 0 || bind(listener, &here.any, here.len) != 0 ||
	    listen(listener, PAIRS_MAX) != 0)
		die(argv[1]);
	polls[0] = (struct pollfd){ .fd = listener, .events = POLLIN };
	printf("ready\n");
	(void)fflush(stdout);
	work(&target);
}
