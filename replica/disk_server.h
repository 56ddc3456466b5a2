/*
 * Takes in what QEMU's mirrors write to an instance's disks: an NBD server for each disk, into a disk
 * store (disk_store.h). They have a thread of their own, so that a guest's write waits for nothing but
 * memory: the loop encrypts and sends meanwhile.
 *
 * Life: disk_server_create(), disk_server_add() for each disk, disk_server_start(), disk_server_close().
 * All functions belong to the loop's thread.
 */
#ifndef REPLICA_DISK_SERVER_H
#define REPLICA_DISK_SERVER_H

#include "replica/chunk.h"
#include "replica/disk_store.h"

#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

struct disk_server;

/* `store` and `pool` stay the caller's. on_news: chunks are full, or a write could not be kept. */
int disk_server_create(struct disk_server **server, uv_loop_t *loop, struct disk_store *store,
		       struct chunk_pool *pool, void (*on_news)(void *owner), void *owner,
		       struct err *err);
/* `name`, for errors, stays the caller's. RC_IO: there can be no socket of that path. */
int disk_server_add(struct disk_server *server, const char *name, const char *socket,
		    const struct disk_extent *extent, struct err *err);
int disk_server_start(struct disk_server *server, struct err *err);

/* What is written is kept; before that, and after `false`, it is answered and dropped. */
void disk_server_keep(struct disk_server *server, bool keep);
/* The first write that could not be kept (none are, after it); false: there is none. */
bool disk_server_failed(struct disk_server *server, struct err *err);

/*
 * In the first copy it is the mirrors that fill the pool, and they are told to pause by how full it is. Each
 * time they have been told so this is called: writes that find the pool nearly full wait for it. `copying`:
 * whether the first copy goes on.
 */
void disk_server_paced(struct disk_server *server, bool copying);

/*
 * The number of the connection that a disk's mirror writes by (nbd_server.h), 0 if there is none; *fd: if it is another one
 * than `known`, a duplicate of its descriptor for the caller to close, else -1.
 */
unsigned disk_server_connection(struct disk_server *server, size_t disk, unsigned known, int *fd);

/* Ends all connections and removes the sockets; frees, then calls on_closed (may be NULL). */
void disk_server_close(struct disk_server *server, void (*on_closed)(void *owner));

#endif
