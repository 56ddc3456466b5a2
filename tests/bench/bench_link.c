/*
 * How fast a link is, beside what its encryption alone costs: bulk from one process to another
 * over loopback, TLS on, each on a processor of its own where there are two; mbedtls's AES-128-GCM
 * over 16 KiB records and memcpy on the sender's processor.
 *
 * usage: bench_link [ROUNDS [SECONDS]]        (default 5 rounds of 1 second)
 *
 * The three take turns, so that a machine whose speed changes changes it for all; the medians are
 * told. Prints a JSON object per line. `mb_s` is by the clock, `sender_cpu_mb_s` and
 * `receiver_cpu_mb_s` per second of that process's processor time (on loopback the sender's
 * includes the kernel's receiving half of TCP). MB are 10^6 bytes.
 */
#include "appliance/base/clock.h"
#include "appliance/pki.h"
#include "net/link.h"

#include <mbedtls/gcm.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ROUNDS_MAX 100
#define DATA ((size_t)32 << 20) /* larger than the caches, as an encoder's output is */
#define BATCH ((size_t)1 << 20)
#define WINDOW ((uint64_t)16 << 20)
#define RECORD ((size_t)16 << 10)

static uint8_t data[DATA];
static char dir[] = "/tmp/bench-link-XXXXXX";

static void die(const char *what)
{
	(void)fprintf(stderr, "bench_link: %s\n", what);
	exit(1);
}

static void pin(size_t cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	(void)sched_setaffinity(0, sizeof(set), &set); /* with one processor they share it */
}

static double cpu_s(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static double wall_s(void)
{
	return (double)clock_now_ns() / 1e9;
}

static struct tls_identity *identity(const char *role)
{
	char ca[64], cert[64], key[64];
	struct tls_identity *made;
	struct err err;

	(void)snprintf(ca, sizeof(ca), "%s/ca.crt", dir);
	(void)snprintf(cert, sizeof(cert), "%s/%s.crt", dir, role);
	(void)snprintf(key, sizeof(key), "%s/%s.key", dir, role);
	if (tls_identity_load(&made, ca, cert, key, &err) != RC_OK)
		die(err.text);
	return made;
}

static void make_certificates(void)
{
	struct pki_request request = {
		.dir = dir, .ca_days = 2, .site_days = 2, .now = time(NULL)
	};
	struct pki_made made[PKI_MEMBERS];
	struct err err;

	request.names[PKI_PRIMARY] = "north";
	request.names[PKI_STANDBY] = "south";
	if (mkdtemp(dir) == NULL || pki_make(&request, made, &err) != RC_OK)
		die("cannot make certificates");
}

static void remove_certificates(void)
{
	static const char *const names[] = { "ca.crt",	    "ca.key",	   "primary.crt",
					     "primary.key", "standby.crt", "standby.key" };
	char path[64];
	size_t i;

	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		(void)snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
		(void)unlink(path);
	}
	(void)rmdir(dir);
}

/* ---- the receiver's process ---- */

static struct link *accepted;

static void receiver_up(void *owner, const struct wire_hello *peer)
{
	(void)owner;
	(void)peer;
	link_grant(accepted, WINDOW);
}

/* A COMMIT asks how much processor time this process has used; the answer is in an ACK. */
static int receiver_frame(void *owner, const struct wire_header *header, const uint8_t *payload,
			  struct err *err)
{
	uint64_t us = (uint64_t)(cpu_s() * 1e6);

	(void)owner;
	(void)payload;
	if (header->type == WIRE_BATCH)
		link_grant(accepted, header->length);
	if (header->type == WIRE_COMMIT)
		return link_send(accepted, WIRE_ACK, 1, header->epoch, &us, sizeof(us), err);
	return RC_OK;
}

static void receiver_down(void *owner, const struct err *err)
{
	(void)owner;
	(void)err;
	exit(0);
}

static const struct link_ops receiver_ops = { .on_up = receiver_up,
					      .on_frame = receiver_frame,
					      .on_down = receiver_down };

static int receiver_hello(void *owner, struct link *link, const struct wire_hello *peer,
			  struct wire_hello *own, const struct link_ops **ops, void **link_owner,
			  uint16_t *reason, struct err *err)
{
	(void)owner;
	(void)peer;
	(void)own;
	(void)err;
	*reason = 0;
	accepted = link;
	*ops = &receiver_ops;
	*link_owner = NULL;
	return RC_OK;
}

static void receiver(int port_to)
{
	const struct link_accept_ops ops = { .on_hello = receiver_hello };
	const struct link_options options = { .identity = identity("standby"),
					      .site = "south",
					      .heartbeat_ms = 50,
					      .dead_ms = 5000 };
	struct link_listener *listener;
	uint16_t port;
	uv_loop_t loop;
	struct err err;

	pin(1);
	(void)uv_loop_init(&loop);
	if (link_listen(&listener, &loop, "127.0.0.1:0", &options, &ops, NULL, &err) != RC_OK)
		die(err.text);
	port = link_listener_port(listener);
	if (write(port_to, &port, sizeof(port)) != sizeof(port))
		die("cannot tell the port");
	(void)uv_run(&loop, UV_RUN_DEFAULT);
}

/* ---- the sender ---- */

static struct {
	struct link *link;
	uv_loop_t loop;
	bool running, answered;
	uint64_t offered, released, receiver_us;
} sender;

static void on_release(void *context)
{
	(void)context;
	sender.released += BATCH;
}

static void fill(void *owner)
{
	(void)owner;
	while (sender.running && link_send_bulk(sender.link, 1, 1, data + sender.offered % DATA,
						BATCH, on_release, NULL))
		sender.offered += BATCH;
}

static int sender_frame(void *owner, const struct wire_header *header, const uint8_t *payload,
			struct err *err)
{
	(void)owner;
	sender.answered = true;
	return wire_get_u64(&sender.receiver_us, payload, header->length, err);
}

static void sender_up(void *owner, const struct wire_hello *peer)
{
	(void)owner;
	(void)peer;
}

static void sender_down(void *owner, const struct err *err)
{
	(void)owner;
	die(err->text);
}

static void sender_hello(void *owner, struct wire_hello *own)
{
	(void)owner;
	(void)own;
}

static const struct link_ops sender_ops = {
	.on_up = sender_up, .on_frame = sender_frame, .on_room = fill, .on_down = sender_down
};

/* Asks the receiver, which answers after everything sent before: then all of it has arrived. */
static uint64_t settle(void)
{
	const uint8_t commit[32] = { 0 };
	struct err err;

	sender.running = false;
	while (sender.released < sender.offered)
		(void)uv_run(&sender.loop, UV_RUN_ONCE);
	sender.answered = false;
	if (link_send(sender.link, WIRE_COMMIT, 1, 1, commit, sizeof(commit), &err) != RC_OK)
		die(err.text);
	while (!sender.answered)
		(void)uv_run(&sender.loop, UV_RUN_ONCE);
	return sender.receiver_us;
}

static void sender_connect(uint16_t port, struct link_options *options)
{
	char address[32];
	struct err err;

	(void)uv_loop_init(&sender.loop);
	(void)snprintf(address, sizeof(address), "127.0.0.1:%u", port);
	if (link_dial(&sender.link, &sender.loop, address, options, "vm", sender_hello, &sender_ops,
		      NULL, &err) != RC_OK)
		die(err.text);
	while (!link_is_up(sender.link))
		(void)uv_run(&sender.loop, UV_RUN_ONCE);
}

/* ---- one round of each ---- */

struct rates {
	double wall, sender_cpu, receiver_cpu;
};

static struct rates round_link(double seconds)
{
	uint64_t before = sender.offered, us = settle();
	double wall = wall_s(), cpu = cpu_s(), bytes;
	struct rates r;

	sender.running = true;
	fill(NULL);
	while (wall_s() - wall < seconds)
		(void)uv_run(&sender.loop, UV_RUN_ONCE);
	us = settle() - us;
	bytes = (double)(sender.offered - before) / 1e6;
	r.wall = bytes / (wall_s() - wall);
	r.sender_cpu = bytes / (cpu_s() - cpu);
	r.receiver_cpu = bytes / ((double)us / 1e6);
	return r;
}

static struct rates round_gcm(double seconds)
{
	static uint8_t out[RECORD + 16];
	const uint8_t key[16] = { 1 }, ad[5] = { 23, 3, 3 };
	uint8_t iv[12] = { 0 };
	double wall = wall_s(), cpu = cpu_s();
	mbedtls_gcm_context gcm;
	uint64_t bytes = 0;
	struct rates r;

	mbedtls_gcm_init(&gcm);
	if (mbedtls_gcm_setkey(&gcm, MBEDTLS_CIPHER_ID_AES, key, 128) != 0)
		die("AES-GCM does not take a key");
	while (wall_s() - wall < seconds) {
		iv[0]++;
		if (mbedtls_gcm_crypt_and_tag(&gcm, MBEDTLS_GCM_ENCRYPT, RECORD, iv, sizeof(iv), ad,
					      sizeof(ad), data + bytes % DATA, out, 16,
					      out + RECORD) != 0)
			die("AES-GCM failed");
		bytes += RECORD;
	}
	r.wall = (double)bytes / 1e6 / (wall_s() - wall);
	r.sender_cpu = r.receiver_cpu = (double)bytes / 1e6 / (cpu_s() - cpu);
	mbedtls_gcm_free(&gcm);
	return r;
}

static struct rates round_memcpy(double seconds)
{
	static uint8_t out[DATA];
	double wall = wall_s(), cpu = cpu_s();
	uint64_t bytes = 0;
	struct rates r;

	while (wall_s() - wall < seconds) {
		memcpy(out + bytes % DATA, data + bytes % DATA, BATCH);
		bytes += BATCH;
	}
	r.wall = (double)bytes / 1e6 / (wall_s() - wall);
	r.sender_cpu = r.receiver_cpu = (double)bytes / 1e6 / (cpu_s() - cpu);
	return r;
}

static int compare(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

enum column { WALL, SENDER, RECEIVER };

static double median(const struct rates *rates, unsigned count, enum column column)
{
	double values[ROUNDS_MAX] = { 0 };
	unsigned i;

	for (i = 0; i < count; i++)
		values[i] = column == WALL   ? rates[i].wall :
			    column == SENDER ? rates[i].sender_cpu :
					       rates[i].receiver_cpu;
	qsort(values, count, sizeof(values[0]), compare);
	return (values[(count - 1) / 2] + values[count / 2]) / 2;
}

static void run(unsigned rounds, double seconds)
{
	static struct rates link[ROUNDS_MAX], gcm[ROUNDS_MAX], copy[ROUNDS_MAX];
	double g, w, s;
	unsigned i;

	(void)round_link(seconds / 4); /* until TCP has found its window */
	for (i = 0; i < rounds; i++) {
		gcm[i] = round_gcm(seconds / 4);
		copy[i] = round_memcpy(seconds / 10);
		link[i] = round_link(seconds);
	}
	g = median(gcm, rounds, SENDER);
	w = median(link, rounds, WALL);
	s = median(link, rounds, SENDER);
	(void)printf("{\"bench\": \"link\", \"what\": \"memcpy\", \"mb_s\": %.0f}\n",
		     median(copy, rounds, SENDER));
	(void)printf("{\"bench\": \"link\", \"what\": \"aes-128-gcm\", \"mb_s\": %.0f, "
		     "\"record_bytes\": %zu}\n",
		     g, RECORD);
	(void)printf("{\"bench\": \"link\", \"what\": \"link\", \"mb_s\": %.0f, "
		     "\"sender_cpu_mb_s\": %.0f, \"receiver_cpu_mb_s\": %.0f, \"of_gcm\": %.3f, "
		     "\"sender_cpu_of_gcm\": %.3f, \"rounds\": %u}\n",
		     w, s, median(link, rounds, RECEIVER), w / g, s / g, rounds);
}

int main(int argc, char **argv)
{
	struct link_options options = { .site = "north", .heartbeat_ms = 50, .dead_ms = 5000 };
	unsigned rounds = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 5;
	double seconds = argc > 2 ? strtod(argv[2], NULL) : 1;
	uint16_t port;
	int pipes[2];
	pid_t child;
	size_t i;

	if (rounds < 1 || rounds > ROUNDS_MAX || seconds <= 0)
		die("usage: bench_link [ROUNDS [SECONDS]]");
	for (i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 2654435761u >> 24);
	(void)signal(SIGPIPE, SIG_IGN); /* as main.c does */
	make_certificates();
	if (pipe(pipes) != 0)
		die("cannot make a pipe");
	child = fork();
	if (child < 0)
		die("cannot fork");
	if (child == 0) {
		receiver(pipes[1]);
		return 0;
	}
	if (read(pipes[0], &port, sizeof(port)) != sizeof(port))
		die("the receiver did not start");
	pin(0);
	options.identity = identity("primary");
	remove_certificates();
	sender_connect(port, &options);
	run(rounds, seconds);
	(void)kill(child, SIGTERM);
	(void)waitpid(child, NULL, 0);
	return 0;
}
