#include "tests/unit/etcd_fixture.h"

#include "appliance/base/clock.h"
#include "appliance/base/mem.h"
#include "net/channel.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

uv_loop_t loop;
struct certs certs;
struct tls_identity *identity;

static struct tls_identity *server_identity;
static struct err err;

int etcd_group_setup(void **state)
{
	static const uint8_t ip[4] = { 127, 0, 0, 1 };

	(void)state;
	(void)signal(SIGPIPE, SIG_IGN);
	certs_open(&certs);
	certs_make_ca(&certs, "ca", "CN=witness CA");
	certs_make_ca(&certs, "other", "CN=another CA");
	certs_make_server(&certs, "etcd", "ca", "CN=etcd,O=standby", "etcd.test", ip);
	certs_make(&certs, "client", "ca", "CN=busan,O=primary", -CERTS_DAY, CERTS_DAY);
	assert_int_equal(tls_identity_load_client(&identity, certs_path(&certs, "ca", "pem"),
						  certs_path(&certs, "client", "pem"),
						  certs_path(&certs, "client", "key"), &err),
			 RC_OK);
	assert_int_equal(tls_identity_load(&server_identity, certs_path(&certs, "ca", "pem"),
					   certs_path(&certs, "etcd", "pem"),
					   certs_path(&certs, "etcd", "key"), &err),
			 RC_OK);
	return 0;
}

int etcd_group_teardown(void **state)
{
	(void)state;
	tls_identity_free(identity);
	tls_identity_free(server_identity);
	certs_close(&certs);
	return 0;
}

int etcd_test_setup(void **state)
{
	(void)state;
	return uv_loop_init(&loop);
}

int etcd_test_teardown(void **state)
{
	(void)state;
	fault_arm(FAULT_ALLOC, 0);
	turn_for(1);
	return uv_loop_close(&loop);
}

static void on_time(uv_timer_t *timer)
{
	bool *over = timer->data;

	*over = true;
}

static void on_timer_closed(uv_handle_t *handle)
{
	*(bool *)handle->data = true;
}

/* Turns until *flag or until the time is over. */
static bool turn(const bool *flag, uint64_t ms)
{
	bool over = false, closed = false;
	uv_timer_t timer;

	(void)uv_timer_init(&loop, &timer);
	timer.data = &over;
	uv_update_time(&loop);
	(void)uv_timer_start(&timer, on_time, ms, 0);
	while (!over && (flag == NULL || !*flag))
		(void)uv_run(&loop, UV_RUN_ONCE);
	timer.data = &closed;
	uv_close((uv_handle_t *)&timer, on_timer_closed);
	while (!closed)
		(void)uv_run(&loop, UV_RUN_NOWAIT);
	return flag != NULL && *flag;
}

void turn_until(const bool *flag)
{
	if (!turn(flag, PATIENCE_MS))
		fail_msg("nothing has happened for %d ms", PATIENCE_MS);
}

void turn_for(uint64_t ms)
{
	(void)turn(NULL, ms);
}

/* ---- the real one ---- */

static int bind_loopback(uint16_t *port)
{
	struct sockaddr_in address = { .sin_family = AF_INET };
	socklen_t len = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
	*port = ntohs(address.sin_port);
	return fd;
}

void etcd_server_open(struct etcd_server *server)
{
	const char *tmp = getenv("TMPDIR");
	int a, b;

	memset(server, 0, sizeof(*server));
	if (access(ETCD_PROGRAM, X_OK) != 0) {
		print_message("there is no " ETCD_PROGRAM " (package etcd-server)\n");
		skip();
	}
	a = bind_loopback(&server->port);
	b = bind_loopback(&server->peer_port);
	(void)close(a);
	(void)close(b);
	(void)snprintf(server->dir, sizeof(server->dir), "%s/etcd-XXXXXX",
		       tmp != NULL ? tmp : "/tmp");
	assert_non_null(mkdtemp(server->dir));
	(void)snprintf(server->url, sizeof(server->url), "https://127.0.0.1:%u", server->port);
	etcd_server_start(server);
}

static void run_etcd(const struct etcd_server *server)
{
	char data[128], log[128], peers[64], cluster[96];
	int fd;

	(void)snprintf(data, sizeof(data), "%s/data", server->dir);
	(void)snprintf(log, sizeof(log), "%s/log", server->dir);
	(void)snprintf(peers, sizeof(peers), "http://127.0.0.1:%u", server->peer_port);
	(void)snprintf(cluster, sizeof(cluster), "default=%s", peers);
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	(void)dup2(fd, 1);
	(void)dup2(fd, 2);
	/* Short elections, so that it is there soon and gives leases of 1 s. */
	(void)execl(ETCD_PROGRAM, "etcd", "--data-dir", data, "--listen-client-urls", server->url,
		    "--advertise-client-urls", server->url, "--listen-peer-urls", peers,
		    "--initial-advertise-peer-urls", peers, "--initial-cluster", cluster,
		    "--heartbeat-interval", "20", "--election-timeout", "200", "--cert-file",
		    certs_path(&certs, "etcd", "pem"), "--key-file",
		    certs_path(&certs, "etcd", "key"), "--client-cert-auth", "--trusted-ca-file",
		    certs_path(&certs, "ca", "pem"), "--logger", "zap", (char *)NULL);
	_exit(127);
}

static bool accepts(uint16_t port)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(port) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool is;

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	is = connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0;
	(void)close(fd);
	return is;
}

void etcd_server_start(struct etcd_server *server)
{
	uint64_t since_ns = clock_now_ns();

	server->pid = fork();
	assert_true(server->pid >= 0);
	if (server->pid == 0)
		run_etcd(server);
	while (!accepts(server->port)) {
		if (clock_now_ns() - since_ns > 2 * PATIENCE_MS * CLOCK_NS_PER_MS)
			fail_msg("etcd does not come up; see %s/log", server->dir);
		(void)usleep(10000);
	}
}

void etcd_server_kill(struct etcd_server *server)
{
	if (server->pid <= 0)
		return;
	(void)kill(server->pid, SIGKILL);
	(void)waitpid(server->pid, NULL, 0);
	server->pid = 0;
}

void etcd_server_forget(struct etcd_server *server)
{
	char command[160];

	etcd_server_kill(server);
	(void)snprintf(command, sizeof(command), "rm -rf '%s/data'", server->dir);
	assert_int_equal(system(command), 0); /* NOLINT(cert-env33-c): a path of our own */
	etcd_server_start(server);
}

void etcd_server_close(struct etcd_server *server)
{
	char command[160];

	etcd_server_kill(server);
	(void)snprintf(command, sizeof(command), "rm -rf '%s'", server->dir);
	assert_int_equal(system(command), 0); /* NOLINT(cert-env33-c): a path of our own */
}

struct etcd *etcd_client(const char *const *urls, size_t count, struct tls_identity *who)
{
	struct etcd *etcd;

	assert_int_equal(etcd_open(&etcd, &loop, urls, count, who, &err), RC_OK);
	return etcd;
}

static void on_flag(void *owner)
{
	bool *flag = owner;

	*flag = true;
}

void etcd_client_close(struct etcd *etcd)
{
	bool closed = false;

	etcd_close(etcd, on_flag, &closed);
	turn_until(&closed);
}

/* ---- the other one ---- */

struct odd_channel {
	struct odd_server *server;
	struct odd_channel *next;
	struct channel *channel;
	char heard[8192];
	const char *say; /* at the next occasion, once */
	size_t len;
};

static int on_open(void *owner, struct err *why)
{
	(void)owner;
	(void)why;
	return RC_OK;
}

/* Whether a whole request is there; it is taken then. */
static bool take_request(struct odd_channel *odd)
{
	const char *body = memmem(odd->heard, odd->len, "\r\n\r\n", 4);
	const char *length = memmem(odd->heard, odd->len, "Content-Length: ", 16);
	size_t whole;

	if (body == NULL || length == NULL)
		return false;
	whole = (size_t)(body + 4 - odd->heard) + strtoul(length + 16, NULL, 10);
	if (odd->len < whole)
		return false;
	memmove(odd->heard, odd->heard + whole, odd->len - whole);
	odd->len -= whole;
	return true;
}

static int on_input(void *owner, struct err *why)
{
	struct odd_channel *odd = owner;
	struct odd_server *server = odd->server;
	size_t got;
	int rc;

	do {
		rc = channel_read(odd->channel, (uint8_t *)odd->heard + odd->len,
				  sizeof(odd->heard) - odd->len, &got, why);
		odd->len += got;
	} while (rc == RC_OK && got > 0);
	if (rc != RC_OK)
		return rc;
	odd->heard[odd->len < sizeof(odd->heard) ? odd->len : odd->len - 1] = '\0';
	if (server->choose != NULL)
		server->answer = server->choose(odd->heard);
	if (!take_request(odd))
		return RC_OK;
	server->requests++;
	if (server->answer == NULL)
		return RC_OK;
	rc = channel_write(odd->channel, (const uint8_t *)server->answer, strlen(server->answer),
			   why);
	if (server->end)
		channel_end(odd->channel);
	return rc;
}

static int on_output(void *owner, struct err *why)
{
	struct odd_channel *odd = owner;
	const char *bytes = odd->say;

	odd->say = NULL;
	if (bytes == NULL)
		return RC_OK;
	return channel_write(odd->channel, (const uint8_t *)bytes, strlen(bytes), why);
}

static void on_end(void *owner, const struct err *why)
{
	(void)owner;
	(void)why;
}

static void on_gone(void *owner)
{
	struct odd_channel *odd = owner;
	struct odd_channel **at;

	for (at = &odd->server->first; *at != odd; at = &(*at)->next)
		;
	*at = odd->next;
	odd->server->open--;
	free(odd);
}

static void on_connection(uv_stream_t *listener, int status)
{
	static const struct channel_ops ops = { on_open, on_input, on_output, on_end, on_gone };
	const struct channel_options options = { .identity = server_identity,
						 .peer_role = "primary" };
	struct odd_server *server = (struct odd_server *)listener;
	struct odd_channel *odd = calloc(1, sizeof(*odd));
	int rc;

	assert_int_equal(status, 0);
	assert_non_null(odd);
	odd->server = server;
	/* A test that takes memory away takes it from this end, too: once. */
	rc = channel_accept(&odd->channel, listener, &options, &ops, odd, &err);
	if (rc != RC_OK)
		rc = channel_accept(&odd->channel, listener, &options, &ops, odd, &err);
	if (rc != RC_OK) {
		free(odd);
		return;
	}
	odd->next = server->first;
	server->first = odd;
	server->connections++;
	server->open++;
}

void odd_server_open(struct odd_server *server)
{
	struct sockaddr_in address;
	int len = sizeof(address);

	memset(server, 0, sizeof(*server));
	assert_int_equal(uv_ip4_addr("127.0.0.1", 0, &address), 0);
	assert_int_equal(uv_tcp_init(&loop, &server->listener), 0);
	assert_int_equal(uv_tcp_bind(&server->listener, (struct sockaddr *)&address, 0), 0);
	assert_int_equal(uv_listen((uv_stream_t *)&server->listener, 8, on_connection), 0);
	assert_int_equal(uv_tcp_getsockname(&server->listener, (struct sockaddr *)&address, &len),
			 0);
	server->port = ntohs(address.sin_port);
	(void)snprintf(server->url, sizeof(server->url), "https://127.0.0.1:%u", server->port);
}

void odd_server_say(struct odd_server *server, const char *bytes)
{
	struct odd_channel *odd;

	for (odd = server->first; odd != NULL; odd = odd->next) {
		odd->say = bytes;
		channel_wake(odd->channel);
	}
}

void odd_server_hang_up(struct odd_server *server)
{
	struct odd_channel *odd;

	for (odd = server->first; odd != NULL; odd = odd->next)
		channel_end(odd->channel);
}

void odd_server_close(struct odd_server *server)
{
	unsigned turns = 0;

	odd_server_hang_up(server);
	uv_close((uv_handle_t *)&server->listener, NULL);
	while ((server->open > 0 || turns < 3) && turns < 1000) {
		turn_for(1);
		turns++;
	}
	assert_int_equal(server->open, 0);
}
