/*
 * For tests of what speaks to etcd: the real one on loopback, with certificates of its own, and a
 * server that answers whatever a test wants.
 */
#ifndef TESTS_UNIT_ETCD_FIXTURE_H
#define TESTS_UNIT_ETCD_FIXTURE_H

#include "net/etcd.h"
#include "net/https_client.h"
#include "tests/unit/certs.h"

#include <sys/types.h>

#define ETCD_PROGRAM "/usr/bin/etcd"
#define PATIENCE_MS 10000 /* a test that waits longer has failed */

/* The loop of a test and what all need; for cmocka's setup and teardown of a test. */
extern uv_loop_t loop;
extern struct certs certs;
extern struct tls_identity *identity; /* the client's: OU=primary, of the right CA */

int etcd_group_setup(void **state);
int etcd_group_teardown(void **state);
int etcd_test_setup(void **state);
/* Proves that nothing is left in the loop. */
int etcd_test_teardown(void **state);

/* Turns the loop until *flag, or fails the test. */
void turn_until(const bool *flag);
void turn_for(uint64_t ms);

/* ---- the real one ---- */

struct etcd_server {
	pid_t pid;
	uint16_t port, peer_port;
	char dir[96];
	char url[64];
};

/* Skips the test if there is no etcd on this machine. Data stays over stop and start. */
void etcd_server_open(struct etcd_server *server);
void etcd_server_start(struct etcd_server *server);
void etcd_server_kill(struct etcd_server *server);
/* It is set up anew in the same place: it has lost all that it knew. */
void etcd_server_forget(struct etcd_server *server);
void etcd_server_close(struct etcd_server *server);

/* A client of it; and one that is closed. */
struct etcd *etcd_client(const char *const *urls, size_t count, struct tls_identity *who);
void etcd_client_close(struct etcd *etcd);

/* ---- the other one ---- */

#define ODD_CHANNELS 16

struct odd_server {
	uv_tcp_t listener;
	uint16_t port;
	char url[64];
	const char *answer; /* sent for each request; NULL: never */
	/* If not NULL, makes it from the request's first line and what follows. */
	const char *(*choose)(const char *request);
	bool end; /* closes after it */
	unsigned connections, requests;
	struct odd_channel *first;
	unsigned open;
};

/* Its certificate is for 127.0.0.1 and etcd.test. */
void odd_server_open(struct odd_server *server);
/* Sends bytes (static ones) to every client, unasked; ends every connection. */
void odd_server_say(struct odd_server *server, const char *bytes);
void odd_server_hang_up(struct odd_server *server);
void odd_server_close(struct odd_server *server);

#endif
