#include "appliance/guest_ports.h"

#include "appliance/base/clock.h"
#include "appliance/base/log.h"
#include "appliance/base/mem.h"
#include "net/card_addresses.h"
#include "net/frame_queue.h"
#include "net/frames.h"
#include "net/peer_buffer.h"
#include "net/port.h"

#include <stdatomic.h>
#include <string.h>

#define TELL_ADDRESSES_NS CLOCK_NS_PER_S /* as often as once a second an instance gets a new one */

struct card {
	struct guest_ports *ports;
	const struct config_nic *config;
	struct port *port;
	struct port *site;	 /* announce mode: where clients are; else NULL */
	struct frame_queue held; /* announce mode */
	struct card_addresses addresses;
	struct frames copied; /* announce mode: clients', for the standby */
	struct frames out;
	uint64_t out_epoch;	/* of what is in `out` */
	_Atomic uint64_t given; /* number of the last frame given to QEMU */
	uint64_t mark;		/* the same when the last checkpoint was granted */
};

struct guest_ports {
	const struct config_instance *instance;
	const struct guest_ports_ops *ops;
	void *owner;
	struct link *link;
	uint64_t term;
	_Atomic uint64_t open_epoch; /* 0: none */
	struct card cards[WIRE_NICS_MAX];
	size_t ncards;
	uint64_t dropped;
	uint64_t captured, acknowledged; /* epochs */
	bool gone;			 /* the instance is no more: nothing of it leaves */
	/* Announce mode: the standby was asked, and knows, that frames leave without a commit. */
	bool asked, outdated;
	uint64_t told_ns; /* addresses, last */
	size_t copied;	  /* bytes of clients' frames since the last capture */
};

/* The capture's thread ----------------------------------------------------------------------- */

static void on_freeze(void *owner)
{
	struct guest_ports *ports = owner;
	size_t i;

	for (i = 0; i < ports->ncards; i++)
		ports->cards[i].mark = atomic_load(&ports->cards[i].given);
}

static void on_thaw(void *owner, uint64_t next_epoch)
{
	struct guest_ports *ports = owner;

	atomic_store(&ports->open_epoch, next_epoch);
}

struct capture_hooks guest_ports_hooks(struct guest_ports *ports)
{
	return (struct capture_hooks){ .freeze = on_freeze, .thaw = on_thaw, .owner = ports };
}

/* From the instance -------------------------------------------------------------------------- */

static void keep(struct card *card);

/*
 * Before the first frame that leaves without a commit, once until the next commit: also in gateway
 * mode, where the standby sees such frames, but not which epochs they have overtaken.
 */
static void ask_uncommitted(struct guest_ports *ports)
{
	struct err err = { 0 };

	if (!ports->asked && ports->link != NULL)
		ports->asked = link_send(ports->link, WIRE_UNCOMMITTED, ports->term,
					 ports->captured, NULL, 0, &err) == RC_OK;
}

static void flush(void *owner)
{
	struct card *card = owner;
	struct guest_ports *ports = card->ports;
	struct err err = { 0 };
	bool told = true;

	if (card->out.count == 0)
		return;
	if (card->site != NULL) {
		keep(card);
		return;
	}
	if (card->out_epoch == 0 && (card->out.flags & FRAMES_AT_ONCE) == 0) {
		ask_uncommitted(ports);
		told = ports->asked;
	}
	frames_finish(&card->out);
	if (ports->link == NULL || !told ||
	    link_send(ports->link, WIRE_FRAMES, ports->term, card->out_epoch,
		      card->out.payload.data, card->out.payload.len, &err) != RC_OK)
		ports->dropped += card->out.count;
	frames_next(&card->out);
}

/* Announce mode: what may leave now. ---------------------------------------------------------- */

static void emit(void *owner, const uint8_t *frame, size_t len)
{
	struct card *card = owner;

	(void)port_send(card->site, frame, len);
}

/* The right may end between two frames, and while one waits in the port. */
static bool may_leave(void *owner)
{
	const struct card *card = owner;

	return card->ports->ops->may_serve(card->ports->owner);
}

/* Tells the standby that frames are to leave without a commit; true once it knows. */
static bool without_commit(struct guest_ports *ports)
{
	if (ports->outdated || ports->ops->is_free(ports->owner))
		return true;
	ask_uncommitted(ports);
	return false;
}

static void let_out(struct guest_ports *ports)
{
	bool all = atomic_load(&ports->open_epoch) == 0;
	size_t i;

	if (ports->gone || !ports->ops->may_serve(ports->owner) || (all && !without_commit(ports)))
		return;
	for (i = 0; i < ports->ncards; i++) {
		if (ports->cards[i].site == NULL)
			continue;
		port_cork(ports->cards[i].site);
		frame_queue_take(&ports->cards[i].held, all ? UINT64_MAX : ports->acknowledged,
				 emit, &ports->cards[i]);
		port_uncork(ports->cards[i].site);
	}
}

static void keep(struct card *card)
{
	struct frames *out = &card->out;
	uint64_t epoch = card->config->output_commit ? card->out_epoch : 0;

	if (out->count > 0 &&
	    !frame_queue_add(&card->held, epoch, out->payload.data + FRAMES_HEADER,
			     out->payload.len - FRAMES_HEADER, out->count))
		card->ports->dropped += out->count;
	frames_next(out);
}

void guest_ports_committed(struct guest_ports *ports, uint64_t epoch)
{
	ports->acknowledged = epoch;
	ports->asked = ports->outdated = false; /* the standby has an epoch of today again */
	let_out(ports);
}

void guest_ports_uncommitted(struct guest_ports *ports, uint64_t epoch)
{
	/* Not if it is about an epoch before the last: of that one the standby was not told yet. */
	if (!ports->asked || epoch != ports->captured)
		return;
	ports->outdated = true;
	let_out(ports);
}

void guest_ports_permitted(struct guest_ports *ports)
{
	let_out(ports);
}

static void send_copies(void *owner)
{
	struct card *card = owner;
	struct guest_ports *ports = card->ports;
	struct err err = { 0 };

	if (card->copied.count == 0)
		return;
	frames_finish(&card->copied);
	if (link_send(ports->link, WIRE_FRAMES, ports->term, 0, card->copied.payload.data,
		      card->copied.payload.len, &err) != RC_OK)
		log_debug("ports", "%s: %s", ports->instance->name, err.text);
	frames_next(&card->copied);
}

static void copy(struct card *card, const struct port_frame *frame)
{
	struct guest_ports *ports = card->ports;

	if (ports->link != NULL && ports->copied + frame->len <= GUEST_PORTS_COPIED_BYTES &&
	    frames_put(&card->copied, frame->data, frame->len, send_copies, card))
		ports->copied += frame->len;
}

/* What clients at this site send needs no gate: it changes nothing that they can see. */
static void on_site_frames(void *owner, const struct port_frame *frames, size_t count)
{
	struct card *card = owner;
	size_t i;

	for (i = 0; i < count; i++) {
		(void)port_send(card->port, frames[i].data, frames[i].len);
		copy(card, &frames[i]);
	}
	send_copies(card);
	if (port_queued(card->port) == 0)
		atomic_store(&card->given, card->copied.next - 1);
}

static void on_frames(void *owner, const struct port_frame *frames, size_t count)
{
	struct card *card = owner;
	struct guest_ports *ports = card->ports;
	uint64_t now_ns = clock_now_ns();
	size_t i;

	if (ports->gone) {
		ports->dropped += count;
		return;
	}
	card->out_epoch = atomic_load(&ports->open_epoch); /* after they were read */
	for (i = 0; i < count; i++) {
		if (!frames_put(&card->out, frames[i].data, frames[i].len, flush, card))
			ports->dropped++;
		if (card->site != NULL)
			card_addresses_learn(&card->addresses, frames[i].data, frames[i].len,
					     now_ns);
	}
	flush(card);
	if (card->site != NULL)
		let_out(ports);
	if (card->out_epoch > 0 && card->config->output_commit)
		ports->ops->on_output(ports->owner);
}

/* Of either port. After a tap's the kernel forgot where the instance is: it is learned from the next frame. */
static void on_fault(void *owner, const char *fault)
{
	const struct card *card = owner;
	const char *instance = card->ports->instance->name;

	if (*fault != '\0')
		log_warn("ports", "%s: card %s: %s", instance, card->config->name, fault);
	else
		log_info("ports", "%s: card %s: it works again", instance, card->config->name);
}

static const struct port_ops port_callbacks = { .on_frames = on_frames, .on_fault = on_fault };
static const struct port_ops site_callbacks = { on_site_frames, on_fault, may_leave };

/* To the instance ---------------------------------------------------------------------------- */

int guest_ports_frames(struct guest_ports *ports, const uint8_t *payload, size_t len,
		       struct err *err)
{
	struct frames_header header;
	struct cursor records;
	const uint8_t *frame;
	struct card *card;
	int rc = frames_read(&header, payload, len, err);

	if (rc != RC_OK)
		return rc;
	if (header.port >= ports->ncards)
		return err_set(err, RC_INVALID, "frames for network card %u, of %zu", header.port,
			       ports->ncards);
	card = &ports->cards[header.port];
	records = cursor_of(header.records, header.len);
	while ((frame = frames_walk(&records, &len)) != NULL)
		(void)port_send(card->port, frame, len);
	/* While QEMU is behind, what it has not taken yet counts as not given. */
	if (port_queued(card->port) == 0)
		atomic_store(&card->given, header.first + header.count - 1);
	return RC_OK;
}

/* The session -------------------------------------------------------------------------------- */

/* Announce mode: the standby has not seen what the instance calls itself. */
static void tell_addresses(struct guest_ports *ports, uint64_t now_ns)
{
	struct buf payload = { 0 };
	struct err err = { 0 };
	size_t i;

	for (i = 0; i < ports->ncards; i++) {
		const uint8_t head[4] = { (uint8_t)i };

		buf_reset(&payload);
		if (ports->cards[i].site == NULL || ports->cards[i].addresses.count == 0)
			continue;
		if (buf_append(&payload, head, sizeof(head)) &&
		    card_addresses_put(&payload, &ports->cards[i].addresses, now_ns))
			(void)link_send(ports->link, WIRE_ADDRESSES, ports->term, 0, payload.data,
					payload.len, &err);
	}
	buf_free(&payload);
	ports->told_ns = now_ns;
}

void guest_ports_captured(struct guest_ports *ports, uint64_t epoch)
{
	uint8_t payload[WIRE_NICS_MAX * 8];
	struct err err = { 0 };
	size_t i;

	ports->captured = epoch;
	ports->copied = 0;
	ports->asked = ports->outdated =
		false; /* answers wait for commits: the next that do not are told anew */
	for (i = 0; i < ports->ncards; i++) {
		struct card *card = &ports->cards[i];
		uint64_t given = atomic_load(&card->given);

		/* Lower: the sender has counted anew since. */
		bytes_put_le64(payload + i * 8, given < card->mark ? 0 : card->mark);
	}
	if (ports->link != NULL && clock_now_ns() - ports->told_ns >= TELL_ADDRESSES_NS)
		tell_addresses(ports, clock_now_ns());
	/* Without it the standby repeats more than it would have to: no harm. */
	if (ports->link != NULL && link_send(ports->link, WIRE_INPUT, ports->term, epoch, payload,
					     ports->ncards * 8, &err) != RC_OK)
		log_debug("ports", "%s: %s", ports->instance->name, err.text);
}

void guest_ports_released(struct guest_ports *ports)
{
	atomic_store(&ports->open_epoch, 0);
	let_out(ports);
}

void guest_ports_gone(struct guest_ports *ports)
{
	size_t i;

	ports->gone = true;
	for (i = 0; i < ports->ncards; i++)
		ports->dropped += frame_queue_clear(&ports->cards[i].held);
}

void guest_ports_attach(struct guest_ports *ports, pid_t pid)
{
	struct err err = { 0 };
	size_t i;

	ports->gone = false;
	for (i = 0; i < ports->ncards; i++) {
		const struct config_nic *nic = ports->cards[i].config;

		port_reconnect(ports->cards[i].port);
		if (nic->qemu_socket != NULL &&
		    peer_buffer_raise(pid, nic->qemu_socket, GUEST_PORTS_QEMU_BYTES, &err) != RC_OK)
			log_info(
				"ports",
				"%s: %s: under load it loses a frame now and then; QEMU may be started "
				"with a larger net.core.wmem_default instead",
				ports->instance->name, err.text);
	}
}

void guest_ports_link(struct guest_ports *ports, struct link *link, uint64_t term, uint64_t newest)
{
	size_t i;

	if (newest > ports->captured)
		ports->captured = newest;
	ports->link = link;
	ports->term = term;
	ports->asked = false;
	/* Another connection's sender may count anew. */
	for (i = 0; i < ports->ncards; i++)
		atomic_store(&ports->cards[i].given, 0);
}

/* Life --------------------------------------------------------------------------------------- */

static int open_card(struct card *card, uv_loop_t *loop, struct err *err)
{
	const struct config_nic *nic = card->config;
	int rc;

	if (nic->netdev != NULL)
		rc = port_open_tap(&card->port, loop, nic->guest_tap, nic->guest_bridge,
				   &port_callbacks, card, err);
	else
		rc = port_open_dgram(&card->port, loop, nic->socket, nic->qemu_socket,
				     &port_callbacks, card, err);
	if (rc == RC_OK && nic->tap != NULL)
		rc = port_open_tap(&card->site, loop, nic->tap, nic->bridge, &site_callbacks, card,
				   err);
	return rc;
}

int guest_ports_open(struct guest_ports **out, uv_loop_t *loop,
		     const struct config_instance *instance, const struct guest_ports_ops *ops,
		     void *owner, struct err *err)
{
	struct guest_ports *ports;
	int rc = RC_OK;

	*out = NULL;
	if (instance->nnics == 0)
		return RC_OK;
	ports = mem_zalloc(1, sizeof(*ports));
	if (ports == NULL)
		return err_nomem(err, "network cards");
	ports->instance = instance;
	ports->ops = ops;
	ports->owner = owner;
	while (ports->ncards < instance->nnics && rc == RC_OK) {
		struct card *card = &ports->cards[ports->ncards];

		card->ports = ports;
		card->config = &instance->nics[ports->ncards];
		card->out.port = (uint8_t)ports->ncards;
		card->out.flags = card->config->output_commit ? 0 : FRAMES_AT_ONCE;
		card->out.next = card->copied.next = 1;
		card->copied.port = card->out.port;
		card->copied.flags = FRAMES_INPUT;
		card->held.limit = GUEST_PORTS_HELD_BYTES / instance->nnics;
		rc = open_card(card, loop, err);
		if (rc != RC_OK)
			(void)err_prefix(err, "instance %s: nics[%zu]: ", instance->name,
					 ports->ncards);
		ports->ncards++;
	}
	if (rc != RC_OK) {
		guest_ports_close(ports);
		return rc;
	}
	*out = ports;
	return RC_OK;
}

const char *guest_ports_fault(const struct guest_ports *ports)
{
	size_t i;

	for (i = 0; i < ports->ncards; i++) {
		const struct card *card = &ports->cards[i];

		if (*port_fault(card->port) != '\0')
			return port_fault(card->port);
		if (card->site != NULL && *port_fault(card->site) != '\0')
			return port_fault(card->site);
	}
	return "";
}

struct guest_ports_counters guest_ports_counters(const struct guest_ports *ports)
{
	struct guest_ports_counters counters = { .dropped = ports->dropped };
	size_t i;

	for (i = 0; i < ports->ncards; i++) {
		struct port_counters port = port_counters(ports->cards[i].port);

		counters.held += ports->cards[i].held.frames;
		counters.from_instance += port.frames_in;
		counters.to_instance += port.frames_out;
		counters.dropped += port.dropped;
		counters.refused += port.refused;
		if (ports->cards[i].site == NULL)
			continue;
		port = port_counters(ports->cards[i].site);
		counters.dropped += port.dropped;
		counters.refused += port.refused;
	}
	return counters;
}

void guest_ports_close(struct guest_ports *ports)
{
	size_t i;

	for (i = 0; i < ports->ncards; i++) {
		frames_free(&ports->cards[i].out);
		frames_free(&ports->cards[i].copied);
		(void)frame_queue_clear(&ports->cards[i].held);
		if (ports->cards[i].site != NULL)
			port_close(ports->cards[i].site);
		if (ports->cards[i].port != NULL)
			port_close(ports->cards[i].port);
	}
	mem_free(ports);
}
