/*
 * A process's client of the witness, for all of its instances; and whether the witness answers, and
 * takes what is written. Nobody needs it before something else has failed, so it is asked regularly: an
 * operator has to hear that it is away, or full, while everything is still well.
 */
#ifndef APPLIANCE_WITNESS_CLIENT_H
#define APPLIANCE_WITNESS_CLIENT_H

#include "appliance/config.h"
#include "net/etcd.h"

struct witness_client;

/* NULL in *client if the configuration has no witness; the others take that NULL. */
int witness_client_open(struct witness_client **client, uv_loop_t *loop,
			const struct config *config, struct err *err);

/* Stays until witness_client_close(), and is told which etcd it is (etcd_identity()); NULL: no witness. */
struct etcd *witness_client_etcd(const struct witness_client *client);

/*
 * NULL: no witness; empty: it answers and can be written to, as far as is known; else why not, or why it
 * is not believed.
 */
const char *witness_client_problem(const struct witness_client *client);

/* After everybody who uses its etcd is closed. Calls of our own are cancelled; the loop frees it. */
void witness_client_close(struct witness_client *client);

#endif
