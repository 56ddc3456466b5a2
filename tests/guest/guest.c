/*
 * The protected instance of the tests: a small service whose whole state is in memory, so that
 * whatever a clone of the machine gets wrong shows in an answer. It is the test guest's process 1;
 * one thread does everything in turn.
 *
 * Kernel command line, with defaults:
 *   understudy.ip=ADDRESS/BITS   of eth0 [none: no network]
 *   understudy.ip1=ADDRESS/BITS  of eth1 [none: left alone]
 *   understudy.vlan=ID:ADDRESS/BITS  of a VLAN on eth0 [none]
 *   understudy.beacon=ADDRESS    sends a number to its UDP port 7001 every 10 ms [none]
 *   understudy.mode=service|oracle|idle [service]; idle leaves the working set alone
 *   understudy.mem=MIB           the working set [64]
 *   understudy.dirty=N           pages of it written per second, at random [0]
 *   understudy.oracle=MIB        the oracle's region, in mode oracle [as mem]
 *   understudy.rate=N            pages of it incremented per second [0: as fast as it goes]
 *   understudy.disk=N            writes per second to /dev/vda [none: left alone]
 *   understudy.disk_mib=MIB      the part of it that is used [16]
 *
 * TCP port 7000, a line each way; for sum and oracle see memory.h:
 *   inc      adds one to the counter and answers it, e.g. "17"
 *   get      the counter
 *   sum      "GENERATION CHECKSUM ok" or "GENERATION CHECKSUM bad WANTED"
 *   oracle   "ok edges=K value=V pass=P at=PAGE" or
 *            "torn edges=K bad=N page=FIRST value=V wanted=W"
 *   write N, disk  see disk.h (write, check)
 *   append TEXT, entry NUMBER   see ledger.h
 *   stream N  N bytes, see stream.h
 *   GET /N, then lines up to an empty one: the same as an HTTP answer; the connection goes on
 * Anything else is answered with "error ...".
 *
 * UDP port 7000: whatever arrives goes back.
 *
 * The serial console shows "tick N" every 100 ms, so that its log tells where a clone went on.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "tests/guest/disk.h"
#include "tests/guest/ledger.h"
#include "tests/guest/memory.h"
#include "tests/guest/network.h"
#include "tests/guest/stream.h"

#define MEM_MAX_MIB 65536 /* more is a typing mistake, and so is this rate */
#define RATE_MAX 100000000

#define PORT 7000
#define CLIENTS 32
#define LINE_MAX_BYTES 4096 /* some commands that a client sends without waiting */
#define ANSWER_MAX 256	    /* the longest is an entry */
#define STREAM_MAX (UINT64_C(1) << 40)
#define SECOND_NS UINT64_C(1000000000)
#define BEACON_PORT 7001
#define BEACON_NS (10 * INT64_C(1000000))
#define TICK_NS (100 * INT64_C(1000000))
#define SLICE_NS (10 * INT64_C(1000000)) /* the longest that clients wait for the page writers */
#define ORACLE_BATCH 2048 /* pages between two looks at the clients, without a rate */

struct client {
	size_t len;
	uint64_t streaming, streamed; /* bytes owed; sent of the same stream */
	uint64_t requested;	      /* bytes, by an HTTP request that is not whole yet */
	int fd;			      /* -1: free */
	bool requesting;
	char line[LINE_MAX_BYTES];
};

struct options {
	char ip[NETWORK_TEXT_MAX], ip1[NETWORK_TEXT_MAX], vlan[NETWORK_TEXT_MAX];
	char beacon[NETWORK_TEXT_MAX], mode[16];
	uint64_t mem_mib, dirty, oracle_mib, rate, disk, disk_mib;
};

static struct options options = {
	.mode = "service", .mem_mib = 64, .disk = UINT64_MAX, .disk_mib = 16
};
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
		    !option_text(word, "ip1=", options.ip1, sizeof(options.ip1)) &&
		    !option_text(word, "vlan=", options.vlan, sizeof(options.vlan)) &&
		    !option_text(word, "beacon=", options.beacon, sizeof(options.beacon)) &&
		    !option_text(word, "mode=", options.mode, sizeof(options.mode)) &&
		    !option_number(word, "mem=", MEM_MAX_MIB, &options.mem_mib) &&
		    !option_number(word, "oracle=", MEM_MAX_MIB, &options.oracle_mib) &&
		    !option_number(word, "dirty=", RATE_MAX, &options.dirty) &&
		    !option_number(word, "disk=", RATE_MAX, &options.disk) &&
		    !option_number(word, "disk_mib=", MEM_MAX_MIB, &options.disk_mib) &&
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

struct sockets {
	int listener, datagrams; /* -1: no network */
};

static struct sockets open_network(void)
{
	if (options.ip[0] == '\0')
		return (struct sockets){ -1, -1 };
	network_address("eth0", options.ip);
	if (options.ip1[0] != '\0')
		network_address("eth1", options.ip1);
	if (options.vlan[0] != '\0')
		network_vlan(options.vlan);
	return (struct sockets){ network_listen(PORT, CLIENTS), network_datagrams(PORT) };
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
	if (strncmp(command, "write", 5) == 0)
		return disk_write_answer(command + 5, to, size);
	if (strcmp(command, "disk") == 0)
		return disk_check_answer(to, size);
	if (strcmp(command, "oracle") == 0)
		return memory_oracle_answer(to, size);
	if (strncmp(command, "append ", 7) == 0)
		return ledger_append_answer(command + 7, to, size);
	if (strncmp(command, "entry ", 6) == 0)
		return ledger_entry_answer(command + 6, to, size);
	return snprintf(to, size, "error unknown command\n");
}

static void drop(struct client *client)
{
	(void)close(client->fd);
	client->fd = -1;
}

/* As much as the connection takes now; the rest when it has room again. */
static void stream(struct client *client)
{
	while (client->streaming > 0) {
		size_t len;
		const char *text = stream_text(client->streamed, &len);
		ssize_t n;

		len = client->streaming < len ? (size_t)client->streaming : len;
		n = send(client->fd, text, len, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n <= 0) {
			drop(client);
			return;
		}
		client->streaming -= (uint64_t)n;
		client->streamed += (uint64_t)n;
	}
}

static void begin_stream(struct client *client, uint64_t bytes)
{
	client->streaming = bytes;
	client->streamed = 0;
}

/* A number of bytes to be streamed, up to a given end; 0: that is none. */
static uint64_t stream_bytes(const char *text, char until)
{
	char *end;
	unsigned long long bytes = strtoull(text, &end, 10);

	return *end == until && bytes <= STREAM_MAX ? bytes : 0;
}

/* What is to be said before the stream begins, once the request is whole. */
static int http_answer(struct client *client, char *to, size_t size)
{
	if (strcmp(client->line, "\r") != 0)
		return 0;
	client->requesting = false;
	begin_stream(client, client->requested);
	return snprintf(to, size, "HTTP/1.1 200 OK\r\nContent-Length: %llu\r\n\r\n",
			(unsigned long long)client->streaming);
}

static int answer_line(struct client *client, char *to, size_t size)
{
	if (client->requesting)
		return http_answer(client, to, size);
	if (strncmp(client->line, "GET /", 5) == 0) {
		client->requesting = true;
		client->requested = stream_bytes(client->line + 5, ' ');
		return 0;
	}
	if (strncmp(client->line, "stream ", 7) == 0) {
		begin_stream(client, stream_bytes(client->line + 7, '\0'));
		return 0;
	}
	return answer(client->line, to, size);
}

/* Answers the whole lines that have arrived. Who sends no line end, or does not read the answers,
 * is dropped. */
static void answer_lines(struct client *client)
{
	char text[ANSWER_MAX], *end;

	while (client->streaming == 0 && (end = memchr(client->line, '\n', client->len)) != NULL) {
		size_t used = (size_t)(end - client->line) + 1;
		int len;

		*end = '\0';
		len = answer_line(client, text, sizeof(text));
		if (len > 0 &&
		    send(client->fd, text, (size_t)len, MSG_NOSIGNAL | MSG_DONTWAIT) != len) {
			drop(client);
			return;
		}
		client->len -= used;
		memmove(client->line, client->line + used, client->len);
	}
}

static void serve(struct client *client)
{
	ssize_t n;

	if (client->streaming > 0) {
		stream(client);
		if (client->fd >= 0 && client->streaming == 0)
			answer_lines(client);
		return;
	}
	n = recv(client->fd, client->line + client->len, sizeof(client->line) - client->len, 0);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		drop(client);
		return;
	}
	client->len += (size_t)n;
	answer_lines(client);
	if (client->fd >= 0 && client->len == sizeof(client->line) && client->streaming == 0)
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
static void serve_clients(const struct sockets *sockets, int wait_ms)
{
	struct pollfd polls[2 + CLIENTS];

	polls[0] = (struct pollfd){ .fd = sockets->listener, .events = POLLIN };
	polls[1] = (struct pollfd){ .fd = sockets->datagrams, .events = POLLIN };
	for (size_t i = 0; i < CLIENTS; i++)
		polls[2 + i] =
			(struct pollfd){ .fd = clients[i].fd,
					 .events = clients[i].streaming > 0 ? POLLOUT : POLLIN };
	if (poll(polls, 2 + CLIENTS, wait_ms) <= 0)
		return;
	for (size_t i = 0; i < CLIENTS; i++) {
		if (polls[2 + i].revents != 0)
			serve(&clients[i]);
	}
	if (polls[0].revents != 0)
		accept_client(sockets->listener);
	if (polls[1].revents != 0)
		network_echo(sockets->datagrams);
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

/* A clock that has gone back is no reason to be silent. */
static bool is_time(int64_t now, int64_t *next, int64_t every)
{
	if (now < *next && *next - now <= every)
		return false;
	*next = now + every;
	return true;
}

static void show_tick(int64_t now)
{
	static uint64_t tick;
	static int64_t next;

	if (!is_time(now, &next, TICK_NS))
		return;
	printf("tick %llu\n", (unsigned long long)tick++);
	(void)fflush(stdout);
}

static void send_beacon(int64_t now, const struct sockets *sockets)
{
	static int64_t next;

	if (options.beacon[0] != '\0' && is_time(now, &next, BEACON_NS))
		network_beacon(sockets->datagrams, options.beacon, BEACON_PORT);
}

int main(void)
{
	uint64_t dirty_owed = 0, rate_owed = 0, disk_owed = 0;
	bool has_disk, oracle, free_running;
	struct sockets sockets;
	int64_t last;
	int wait_ms;

	for (size_t i = 0; i < CLIENTS; i++)
		clients[i].fd = -1;
	read_options();
	oracle = strcmp(options.mode, "oracle") == 0;
	free_running = oracle && options.rate == 0;
	has_disk = options.disk != UINT64_MAX;
	wait_ms = oracle || (has_disk && options.disk > 0) || options.dirty > 0 ||
				  options.beacon[0] != '\0' ?
			  1 :
			  50;
	if (free_running)
		wait_ms = 0;
	memory_fill(options.mem_mib);
	if (oracle)
		memory_oracle_start(options.oracle_mib);
	if (has_disk)
		disk_start(options.disk_mib);
	sockets = open_network();
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
		send_beacon(now, &sockets);
		memory_dirty(due(options.dirty, passed, &dirty_owed));
		if (has_disk)
			disk_write(due(options.disk, passed, &disk_owed));
		memory_oracle_advance(free_running ? ORACLE_BATCH :
						     due(options.rate, passed, &rate_owed));
		serve_clients(&sockets, wait_ms);
	}
}
