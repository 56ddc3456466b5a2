/*
 * What the kinds of port have in common with port.c: nobody else includes this.
 */
#ifndef NET_PORT_INTERNAL_H
#define NET_PORT_INTERNAL_H

#include "net/frame_queue.h"
#include "net/port.h"
#include "net/tcp_merge.h"

#include <sys/types.h>
#include <sys/un.h>

struct port_kind {
	/*
	 * Up to PORT_BATCH frames into `frames`, whose data may be in buffers of all ports'; how
	 * many, 0 when there are none.
	 */
	size_t (*receive)(struct port *port, struct port_frame *frames);
	/* 0: taken; EAGAIN: when it is writable; another errno: not deliverable. */
	int (*send)(struct port *port, const uint8_t *frame, size_t len);
	/* The same for frames that are one now; NULL: such cannot be sent. */
	int (*send_merged)(struct port *port, struct tcp_merge *merge);
	/* May be NULL. */
	void (*reconnect)(struct port *port);
	/*
	 * Asked regularly: RC_OK, or what is wrong with its device or file in err. When that has gone
	 * (fd is -1), opens it anew.
	 */
	int (*look)(struct port *port, struct err *err);
	/*
	 * An error of the descriptor means that it has gone: port_lose(), and RC_STATE says so. NULL: such
	 * an error passes.
	 */
	int (*gone)(struct port *port, struct err *err);
	void (*close)(struct port *port);
};

struct port {
	const struct port_kind *kind;
	const struct port_ops *ops;
	void *owner;
	int fd; /* -1: its device or file is gone */
	uv_loop_t *loop;
	uv_poll_t poll;	  /* while there is a descriptor */
	uv_timer_t timer; /* looks */
	unsigned handles; /* of these, not closed yet */
	bool closing;
	char fault[ERR_TEXT_MAX];
	struct frame_queue queue; /* not taken yet */
	bool corked;
	struct tcp_merge *merge; /* while corked: what may grow; NULL: not of this kind */
	struct port_counters counters;
	/* dgram */
	struct sockaddr_un local, remote;
	dev_t device; /* of the file at `local`, as it was bound */
	ino_t inode;
	bool connected;
	/* tap */
	char name[PORT_NAME_MAX + 1], bridge[PORT_NAME_MAX + 1]; /* bridge: "", none */
	int news;		/* of its device: netlink_watch(); -1: none are needed */
	unsigned index, master; /* its own; of what it is a port of, as last heard */
};

/* A port of that kind without a descriptor, and its start once it has one. */
int port_create(struct port **port, const struct port_kind *kind, const struct port_ops *ops,
		void *owner, struct err *err);
int port_start(struct port *port, uv_loop_t *loop, struct err *err);
/* Its device or file has gone: closes the descriptor. */
void port_lose(struct port *port);
/* Watches another descriptor after that. */
int port_watch(struct port *port, struct err *err);
/* One that was not started. */
void port_discard(struct port *port);

/* Buffers for PORT_BATCH frames, shared by all ports: valid until the next receive. */
uint8_t *port_buffer(unsigned index);

#endif
