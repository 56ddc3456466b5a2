#include "net/beacon.h"

#include "appliance/base/mem.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <string.h>
#include <unistd.h>

#define TURN 64 /* datagrams read in one turn of the loop: a flood leaves time for the rest */
#define CLASS IPTOS_CLASS_CS6 /* network control, as routing protocols use */
#define PRIORITY 6	      /* the highest that needs no privilege */

struct beacon_port {
	uv_poll_t poll;
	int fd;
	bool closing;
	struct beacon *beacons; /* a list through `next` */
	void (*on_closed)(void *owner);
	void *owner;
};

struct beacon {
	struct beacon *next;
	struct beacon_port *port; /* NULL: it was closed */
	uint64_t id, sent, newest, refused;
	struct beacon_cipher out, in;
	struct sockaddr_storage to, from; /* family 0: not known; not to be chosen */
	bool learns;			  /* `to` from what comes */
	void (*on_beat)(void *owner, const struct beacon_beat *beat);
	void *owner;
};

static socklen_t length_of(const struct sockaddr_storage *address)
{
	return address->ss_family == AF_INET ? sizeof(struct sockaddr_in) :
					       sizeof(struct sockaddr_in6);
}

/* ---- in ---- */

static struct beacon *find(const struct beacon_port *port, uint64_t id)
{
	struct beacon *beacon = port->beacons;

	while (beacon != NULL && beacon->id != id)
		beacon = beacon->next;
	return beacon;
}

static void take(struct beacon_port *port, const uint8_t *datagram, size_t len,
		 const struct sockaddr_storage *from)
{
	struct beacon_beat beat;
	struct beacon *beacon;
	uint64_t id, sequence;

	if (!beacon_peek(datagram, len, &id, &sequence))
		return;
	beacon = find(port, id);
	if (beacon == NULL)
		return;
	if (sequence <= beacon->newest || !beacon_unseal(&beacon->in, datagram, &beat)) {
		beacon->refused++;
		return;
	}
	beacon->newest = sequence;
	if (beacon->learns)
		beacon->to = *from;
	beacon->on_beat(beacon->owner, &beat);
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
	struct beacon_port *port = poll->data;
	struct sockaddr_storage from;
	uint8_t bytes[BEACON_SIZE + 1]; /* what is longer shows by this one */
	socklen_t from_len;
	ssize_t len;
	unsigned i;

	(void)status;
	(void)events;
	for (i = 0; i < TURN && !port->closing; i++) {
		memset(&from, 0, sizeof(from));
		from_len = sizeof(from);
		len = recvfrom(port->fd, bytes, sizeof(bytes), MSG_DONTWAIT,
			       (struct sockaddr *)&from, &from_len);
		if (len >= 0)
			take(port, bytes, (size_t)len, &from);
		else if (errno == EAGAIN || errno == EWOULDBLOCK)
			break; /* any other error is told once and belongs to one datagram */
	}
}

/* ---- out ---- */

/* The control message that chooses the address to send from. */
static void choose_source(struct msghdr *message, const struct sockaddr_storage *from)
{
	struct cmsghdr *head = CMSG_FIRSTHDR(message);
	struct in6_pktinfo info6 = { 0 };
	struct in_pktinfo info = { 0 };
	struct sockaddr_in6 v6;
	struct sockaddr_in v4;

	if (from->ss_family == AF_INET) {
		memcpy(&v4, from, sizeof(v4));
		info.ipi_spec_dst = v4.sin_addr;
		head->cmsg_level = IPPROTO_IP;
		head->cmsg_type = IP_PKTINFO;
		head->cmsg_len = CMSG_LEN(sizeof(info));
		memcpy(CMSG_DATA(head), &info, sizeof(info));
		message->msg_controllen = CMSG_SPACE(sizeof(info));
	} else {
		memcpy(&v6, from, sizeof(v6));
		info6.ipi6_addr = v6.sin6_addr;
		info6.ipi6_ifindex = v6.sin6_scope_id;
		head->cmsg_level = IPPROTO_IPV6;
		head->cmsg_type = IPV6_PKTINFO;
		head->cmsg_len = CMSG_LEN(sizeof(info6));
		memcpy(CMSG_DATA(head), &info6, sizeof(info6));
		message->msg_controllen = CMSG_SPACE(sizeof(info6));
	}
}

void beacon_send(struct beacon *beacon, const struct beacon_beat *beat)
{
	union {
		struct cmsghdr head; /* for its alignment */
		uint8_t bytes[CMSG_SPACE(sizeof(struct in6_pktinfo))];
	} control = { 0 };
	struct beacon_beat numbered = *beat;
	uint8_t datagram[BEACON_SIZE];
	struct iovec part = { datagram, sizeof(datagram) };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };

	if (beacon->port == NULL || beacon->to.ss_family == 0)
		return;
	/* Counted up even if nothing leaves: a nonce is never used twice. */
	numbered.sequence = ++beacon->sent;
	if (!beacon_seal(&beacon->out, beacon->id, &numbered, datagram))
		return;
	message.msg_name = &beacon->to;
	message.msg_namelen = length_of(&beacon->to);
	if (beacon->from.ss_family != 0) {
		message.msg_control = &control;
		message.msg_controllen = sizeof(control);
		choose_source(&message, &beacon->from);
	}
	/* A network that takes none now may take the next one. */
	(void)!sendmsg(beacon->port->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* ---- a connection's part ---- */

int beacon_open(struct beacon **out, struct beacon_port *port, const struct beacon_options *options,
		struct err *err)
{
	struct beacon *beacon;
	int rc;

	if (find(port, options->id) != NULL)
		return err_set(err, RC_STATE, "datagrams: this id is in use");
	beacon = mem_zalloc(1, sizeof(*beacon));
	if (beacon == NULL)
		return err_nomem(err, "datagrams");
	rc = beacon_cipher_init(&beacon->out, options->out, err);
	if (rc == RC_OK)
		rc = beacon_cipher_init(&beacon->in, options->in, err);
	if (rc != RC_OK) {
		beacon_cipher_free(&beacon->out);
		beacon_cipher_free(&beacon->in);
		mem_free(beacon);
		return rc;
	}
	beacon->id = options->id;
	beacon->learns = options->to == NULL;
	if (options->to != NULL)
		beacon->to = *options->to;
	if (options->from != NULL)
		beacon->from = *options->from;
	beacon->on_beat = options->on_beat;
	beacon->owner = options->owner;
	beacon->port = port;
	beacon->next = port->beacons;
	port->beacons = beacon;
	*out = beacon;
	return RC_OK;
}

uint64_t beacon_refused(const struct beacon *beacon)
{
	return beacon->refused;
}

void beacon_close(struct beacon *beacon)
{
	struct beacon **at;

	if (beacon->port != NULL) {
		for (at = &beacon->port->beacons; *at != beacon; at = &(*at)->next)
			;
		*at = beacon->next;
	}
	beacon_cipher_free(&beacon->out);
	beacon_cipher_free(&beacon->in);
	mem_free(beacon);
}

/* ---- the socket ---- */

/* These make it better; where the system has none of them it works without. */
static void set_class(int fd, sa_family_t family)
{
	int class = CLASS, priority = PRIORITY;

	(void)setsockopt(fd, IPPROTO_IP, IP_TOS, &class, sizeof(class));
	if (family == AF_INET6)
		(void)setsockopt(fd, IPPROTO_IPV6, IPV6_TCLASS, &class, sizeof(class));
	(void)setsockopt(fd, SOL_SOCKET, SO_PRIORITY, &priority, sizeof(priority));
}

static int make_socket(const struct sockaddr_storage *at, struct err *err)
{
	int fd = socket(at->ss_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), off = 0;

	if (fd < 0) {
		(void)err_system(err, errno, "UDP socket");
		return -1;
	}
	if (at->ss_family == AF_INET6) /* "[::]" takes IPv4 too, as it does for TCP */
		(void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
	if (bind(fd, (const struct sockaddr *)at, length_of(at)) != 0) {
		(void)err_system(err, errno, "UDP socket");
		(void)close(fd);
		return -1;
	}
	set_class(fd, at->ss_family);
	return fd;
}

int beacon_port_open(struct beacon_port **out, uv_loop_t *loop, const struct sockaddr_storage *at,
		     struct err *err)
{
	struct beacon_port *port = mem_zalloc(1, sizeof(*port));
	int r;

	if (port == NULL)
		return err_nomem(err, "datagrams");
	port->fd = make_socket(at, err);
	if (port->fd < 0) {
		mem_free(port);
		return (int)err->code;
	}
	r = uv_poll_init(loop, &port->poll, port->fd);
	if (r != 0) {
		(void)close(port->fd);
		mem_free(port);
		return err_set(err, RC_IO, "UDP socket: %s", uv_strerror(r));
	}
	port->poll.data = port;
	r = uv_poll_start(&port->poll, UV_READABLE, on_readable);
	if (r != 0) {
		beacon_port_close(port, NULL, NULL);
		return err_set(err, RC_IO, "UDP socket: %s", uv_strerror(r));
	}
	*out = port;
	return RC_OK;
}

static void on_port_closed(uv_handle_t *handle)
{
	struct beacon_port *port = handle->data;
	void (*on_closed)(void *owner) = port->on_closed;
	void *owner = port->owner;

	(void)close(port->fd);
	mem_free(port);
	if (on_closed != NULL)
		on_closed(owner);
}

void beacon_port_close(struct beacon_port *port, void (*on_closed)(void *owner), void *owner)
{
	struct beacon *beacon;

	assert(!port->closing);
	port->closing = true;
	port->on_closed = on_closed;
	port->owner = owner;
	for (beacon = port->beacons; beacon != NULL; beacon = beacon->next)
		beacon->port = NULL;
	port->beacons = NULL;
	uv_close((uv_handle_t *)&port->poll, on_port_closed);
}
