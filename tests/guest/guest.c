/*
 * The protected instance of the tests: a small service whose whole state is in memory, so that
 * whatever a clone of the machine gets wrong shows in an answer. It is the test guest's process 1;
 * one thread does everything in turn.
 *
 * Kernel command line, with defaults:
 *   understudy.ip=ADDRESS/BITS   of eth0 [none: no network]
 *   understudy.mode=service|oracle|idle [service]; idle leaves the working set alone
 *   understudy.mem=MIB           the working set [64]
 *   understudy.dirty=N           pages of it written per second, at random [0]
 *   understudy.oracle=MIB        the oracle's region, in mode oracle [as mem]
 *   understudy.rate=N            pages of it incremented per second [0: as fast as it goes]
 *
 * TCP port 7000, a line each way; for sum and oracle see memory.h:
 *   inc      adds one to the counter and answers it, e.g. "17"
 *   get      the counter
 *   sum      "GENERATION CHECKSUM ok" or "GENERATION CHECKSUM bad WANTED"
 *   oracle   "ok edges=K value=V pass=P at=PAGE" or
 *            "torn edges=K bad=N page=FIRST value=V wanted=W"
 * Anything else is answered with "error ...".
 *
 * The serial console shows "tick N" every 100 ms, so that its log tells where a clone went on.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "tests/guest/memory.h"

#define MEM_MAX_MIB 65536 /* more is a typing mistake, and so is this rate */
#define RATE_MAX 100000000

#define PORT 7000
#define CLIENTS 32
#define LINE_MAX_BYTES 128 /* no command is a tenth of that */
#define SECOND_NS UINT64_C(1000000000)
#define TICK_NS (100 * INT64_C(1000000))
#define SLICE_NS (10 * INT64_C(1000000)) /* the longest that clients wait for the page writers */
#define ORACLE_BATCH 2048 /* pages between two looks at the clients, without a rate */

struct client {
	int fd; /* -1: free */
	size_t len;
	char line[LINE_MAX_BYTES];
};

struct options {
	char ip[32], mode[16];
	uint64_t mem_mib, dirty, oracle_mib, rate;
};

static struct options options = { .mode = "service", .mem_mib = 64 };
static struct client clients[CLIENTS];

static uint64_t counter;

void give_up(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	printf("guest: ");
	vprintf(format, args);
	printf(": %s\n", strerror(errno));
	va_end(args);
	(void)fflush(stdout);
	sleep(1); /* let the serial port send it: the kernel panics when process 1 ends */
	exit(1);
}

static int64_t now_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* options */

static bool option_text(const char *word, const char *key, char *to, size_t size)
{
	size_t len = strlen(key);

	if (strncmp(word, key, len) != 0)
		return false;
	(void)snprintf(to, size, "%s", word + len);
	return true;
}

static bool option_number(const char *word, const char *key, uint64_t max, uint64_t *to)
{
	char text[24], *end;

	if (!option_text(word, key, text, sizeof(text)))
		return false;
	errno = EINVAL;
	*to = strtoull(text, &end, 10);
	if (*text == '\0' || *end != '\0' || *to > max)
		give_up("%s%s", key, text);
	return true;
}

static void read_options(void)
{
	char line[4096], *save = NULL;
	ssize_t n;
	int fd = open("/proc/cmdline", O_RDONLY | O_CLOEXEC);

	n = fd < 0 ? -1 : read(fd, line, sizeof(line) - 1);
	if (n < 0)
		give_up("/proc/cmdline");
	(void)close(fd);
	line[n] = '\0';
	for (char *word = strtok_r(line, " \n", &save); word; word = strtok_r(NULL, " \n", &save)) {
		if (strncmp(word, "understudy.", 11) != 0)
			continue;
		word += 11;
		if (!option_text(word, "ip=", options.ip, sizeof(options.ip)) &&
		    !option_text(word, "mode=", options.mode, sizeof(options.mode)) &&
		    !option_number(word, "mem=", MEM_MAX_MIB, &options.mem_mib) &&
		    !option_number(word, "oracle=", MEM_MAX_MIB, &options.oracle_mib) &&
		    !option_number(word, "dirty=", RATE_MAX, &options.dirty) &&
		    !option_number(word, "rate=", RATE_MAX, &options.rate))
			give_up("unknown option understudy.%s", word);
	}
	if (strcmp(options.mode, "service") != 0 && strcmp(options.mode, "oracle") != 0 &&
	    strcmp(options.mode, "idle") != 0)
		give_up("understudy.mode=%s", options.mode);
	if (strcmp(options.mode, "idle") == 0)
		options.dirty = 0;
	if (options.oracle_mib == 0)
		options.oracle_mib = options.mem_mib;
}

/* network */

static void set_address(struct sockaddr *to, struct in_addr address)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr = address };

	memcpy(to, &in, sizeof(in));
}

static void configure(int fd)
{
	struct ifreq request = { .ifr_name = "eth0" };
	struct in_addr address, mask;
	char *slash = strchr(options.ip, '/');
	unsigned long bits = slash ? strtoul(slash + 1, NULL, 10) : 24;

	if (slash)
		*slash = '\0';
	errno = EINVAL;
	if (inet_pton(AF_INET, options.ip, &address) != 1 || bits < 1 || bits > 32)
		give_up("understudy.ip=%s", options.ip);
	mask.s_addr = htonl((uint32_t)(UINT64_C(0xffffffff) << (32 - bits)));
	set_address(&request.ifr_addr, address);
	if (ioctl(fd, SIOCSIFADDR, &request) < 0)
		give_up("eth0: address");
	set_address(&request.ifr_netmask, mask);
	if (ioctl(fd, SIOCSIFNETMASK, &request) < 0)
		give_up("eth0: netmask");
	request.ifr_flags = IFF_UP | IFF_RUNNING;
	if (ioctl(fd, SIOCSIFFLAGS, &request) < 0)
		give_up("eth0: up");
}

/* The listening socket, or -1 without a network. */
static int listen_on_eth0(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(PORT) };
	int one = 1, fd;

	if (options.ip[0] == '\0')
		return -1;
	fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		give_up("socket");
	configure(fd);
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
	    bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, CLIENTS) < 0)
		give_up("port %d", PORT);
	return fd;
}

/* clients */

static int answer(const char *command, char *to, size_t size)
{
	if (strcmp(command, "inc") == 0)
		return snprintf(to, size, "%llu\n", (unsigned long long)++counter);
	if (strcmp(command, "get") == 0)
		return snprintf(to, size, "%llu\n", (unsigned long long)counter);
	if (strcmp(command, "sum") == 0)
		return memory_sum_answer(to, size);
	if (strcmp(command, "oracle") == 0)
		return memory_oracle_answer(to, size);
	return snprintf(to, size, "error unknown command\n");
}

static void drop(struct client *client)
{
	(void)close(client->fd);
	client->fd = -1;
}

/* Answers the whole lines that have arrived. Who sends no line end, or does not read the answers,
 * is dropped. */
static void serve(struct client *client)
{
	char text[LINE_MAX_BYTES], *end;
	ssize_t n =
		recv(client->fd, client->line + client->len, sizeof(client->line) - client->len, 0);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		drop(client);
		return;
	}
	client->len += (size_t)n;
	while ((end = memchr(client->line, '\n', client->len)) != NULL) {
		size_t used = (size_t)(end - client->line) + 1;
		int len;

		*end = '\0';
		len = answer(client->line, text, sizeof(text));
		if (send(client->fd, text, (size_t)len, MSG_NOSIGNAL | MSG_DONTWAIT) != len) {
			drop(client);
			return;
		}
		client->len -= used;
		memmove(client->line, client->line + used, client->len);
	}
	if (client->len == sizeof(client->line))
		drop(client);
}

static void accept_client(int listener)
{
	int one = 1, fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd < 0)
		return;
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	for (size_t i = 0; i < CLIENTS; i++) {
		if (clients[i].fd < 0) {
			clients[i] = (struct client){ .fd = fd };
			return;
		}
	}
	(void)close(fd);
}

/* Waits at most `wait_ms` for clients and serves those that have something. */
static void serve_clients(int listener, int wait_ms)
{
	struct pollfd polls[1 + CLIENTS];

	polls[0] = (struct pollfd){ .fd = listener, .events = POLLIN };
	for (size_t i = 0; i < CLIENTS; i++)
		polls[1 + i] = (struct pollfd){ .fd = clients[i].fd, .events = POLLIN };
	if (poll(polls, 1 + CLIENTS, wait_ms) <= 0)
		return;
	for (size_t i = 0; i < CLIENTS; i++) {
		if (polls[1 + i].revents != 0)
			serve(&clients[i]);
	}
	if (polls[0].revents != 0)
		accept_client(listener);
}

/* main */

/* How many pages a writer of `rate` pages per second owes after `ns`; a fraction stays owed. */
static uint64_t due(uint64_t rate, int64_t ns, uint64_t *owed)
{
	uint64_t pages;

	*owed += rate * (uint64_t)ns;
	pages = *owed / SECOND_NS;
	*owed %= SECOND_NS;
	return pages;
}

static void show_tick(int64_t now)
{
	static uint64_t tick;
	static int64_t next;

	/* A clock that has gone back is no reason to be silent. */
	if (now < next && next - now <= TICK_NS)
		return;
	printf("tick %llu\n", (unsigned long long)tick++);
	(void)fflush(stdout);
	next = now + TICK_NS;
}

int main(void)
{
	uint64_t dirty_owed = 0, rate_owed = 0;
	bool oracle, free_running;
	int64_t last;
	int listener, wait_ms;

	for (size_t i = 0; i < CLIENTS; i++)
		clients[i].fd = -1;
	read_options();
	oracle = strcmp(options.mode, "oracle") == 0;
	free_running = oracle && options.rate == 0;
	wait_ms = oracle || options.dirty > 0 ? 1 : 50;
	if (free_running)
		wait_ms = 0;
	memory_fill(options.mem_mib);
	if (oracle)
		memory_oracle_start(options.oracle_mib);
	listener = listen_on_eth0();
	printf("guest: ready, mode %s, %llu MiB\n", options.mode,
	       (unsigned long long)options.mem_mib);
	last = now_ns();
	for (;;) {
		int64_t now = now_ns(), passed = now - last;

		/* Nothing is owed for the time in which this machine did not run. */
		if (passed < 0 || passed > SLICE_NS)
			passed = SLICE_NS;
		last = now;
		show_tick(now);
		memory_dirty(due(options.dirty, passed, &dirty_owed));
		memory_oracle_advance(free_running ? ORACLE_BATCH :
						     due(options.rate, passed, &rate_owed));
		serve_clients(listener, wait_ms);
	}
}
