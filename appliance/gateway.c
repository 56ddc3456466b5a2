#include "appliance/gateway.h"

#include "appliance/base/clock.h"
#include "appliance/base/log.h"
#include "appliance/base/mem.h"
#include "net/announce.h"
#include "net/frame_queue.h"
#include "net/frames.h"

#include <stdio.h>
#include <string.h>

#define ANNOUNCE_TICK_MS 50 /* the schedule's first steps are 100 ms apart */

enum mode { FORWARDING, TURNING, SERVING };

struct card {
	struct gateway *gateway;
	const struct config_nic *config;
	struct port *clients, *replica; /* replica: from gateway_seat() on */
	struct frames out;		/* to the primary */
	struct frame_queue held, input;
	bool announce; /* its clients are at the primary's site */
	struct card_addresses addresses;
};

/* How far clients' frames had been given to the instance when an epoch was captured. */
struct mark {
	uint64_t epoch, numbers[WIRE_NICS_MAX];
};

struct gateway {
	const struct config_instance *instance;
	const struct gateway_ops *ops;
	void *owner;
	uv_loop_t *loop;
	char part[80];
	enum mode mode;
	struct link *link;
	uint64_t term, committed;
	bool unprotected; /* told */
	struct card cards[WIRE_NICS_MAX];
	struct config_nic configs[WIRE_NICS_MAX]; /* theirs; output_commit is the primary's */
	size_t ncards;
	uint8_t order[WIRE_NICS_MAX]; /* the primary's port number to ours */
	size_t nordered;
	struct mark marks[GATEWAY_MARKS];
	unsigned next_mark;
	uv_timer_t timer; /* announcements */
	struct announce_schedule schedule;
	struct gateway_counters counters;
};

/* To clients --------------------------------------------------------------------------------- */

static void emit(void *owner, const uint8_t *frame, size_t len)
{
	struct card *card = owner;

	(void)port_send(card->clients, frame, len);
	card->gateway->counters.to_clients++;
	card_addresses_learn(&card->addresses, frame, len, clock_now_ns());
}

static void emit_all(struct card *card, const struct frames_header *header)
{
	struct cursor records = cursor_of(header->records, header->len);
	const uint8_t *frame;
	size_t len;

	port_cork(card->clients);
	while ((frame = frames_walk(&records, &len)) != NULL)
		emit(card, frame, len);
	port_uncork(card->clients);
}

static void release(struct gateway *gateway, uint64_t epoch)
{
	size_t i;

	for (i = 0; i < gateway->ncards; i++) {
		port_cork(gateway->cards[i].clients);
		frame_queue_take(&gateway->cards[i].held, epoch, emit, &gateway->cards[i]);
		port_uncork(gateway->cards[i].clients);
	}
}

static bool is_holding(const struct gateway *gateway)
{
	size_t i;

	for (i = 0; i < gateway->ncards; i++) {
		if (gateway->cards[i].held.frames > 0)
			return true;
	}
	return false;
}

/*
 * What waits for epochs that will not come is the truth now: the instance lives on without us. Also
 * when an epoch was opened since, and its session ended before it was committed.
 */
static void unprotected(struct gateway *gateway)
{
	if (gateway->unprotected && !is_holding(gateway))
		return;
	gateway->unprotected = true;
	gateway->ops->on_unprotected(gateway->owner);
	release(gateway, UINT64_MAX);
}

static void hold(struct gateway *gateway, struct card *card, uint64_t epoch,
		 const struct frames_header *header)
{
	if (!frame_queue_add(&card->held, epoch, header->records, header->len, header->count))
		gateway->counters.dropped += header->count;
}

/* Keeps clients' frames, the last of which has that number, for a replica that may need them. */
static void remember(struct card *card, uint64_t number, const uint8_t *records, size_t len,
		     uint16_t count)
{
	while (!frame_queue_add(&card->input, number, records, len, count) &&
	       card->input.frames > 0)
		frame_queue_take(&card->input, frame_queue_oldest(&card->input), NULL, NULL);
}

int gateway_frames(struct gateway *gateway, uint64_t epoch, const uint8_t *payload, size_t len,
		   struct err *err)
{
	struct frames_header header;
	struct card *card;
	int rc = frames_read(&header, payload, len, err);

	if (rc != RC_OK)
		return rc;
	if (gateway->nordered == 0) {
		gateway->counters.dropped += header.count; /* nobody knows whose they are yet */
		return RC_OK;
	}
	if (header.port >= gateway->nordered)
		return err_set(err, RC_INVALID, "frames of network card %u, of %zu", header.port,
			       gateway->nordered);
	card = &gateway->cards[gateway->order[header.port]];
	if (gateway->mode != FORWARDING) {
		gateway->counters.dropped += header.count; /* of a term that is over */
		return RC_OK;
	}
	if (header.flags & FRAMES_INPUT) {
		remember(card, header.first + header.count - 1, header.records, header.len,
			 header.count);
		return RC_OK;
	}
	if (header.flags & FRAMES_AT_ONCE) {
		emit_all(card, &header);
		return RC_OK;
	}
	if (epoch == 0)
		unprotected(gateway);
	if (epoch <= gateway->committed && card->held.frames == 0)
		emit_all(card, &header);
	else
		hold(gateway, card, epoch, &header);
	return RC_OK;
}

/* From clients ------------------------------------------------------------------------------- */

/* Sends what was put together, and keeps it for a replica that may need it. */
static void flush(void *owner)
{
	struct card *card = owner;
	struct gateway *gateway = card->gateway;
	struct frames *out = &card->out;
	struct err err = { 0 };

	if (out->count == 0)
		return;
	frames_finish(out);
	remember(card, out->next + out->count - 1, out->payload.data + FRAMES_HEADER,
		 out->payload.len - FRAMES_HEADER, out->count);
	if (gateway->mode == FORWARDING &&
	    (gateway->link == NULL || gateway->nordered == 0 ||
	     link_send(gateway->link, WIRE_FRAMES, gateway->term, 0, out->payload.data,
		       out->payload.len, &err) != RC_OK))
		gateway->counters.dropped += out->count;
	frames_next(out);
}

static void on_client_frames(void *owner, const struct port_frame *frames, size_t count)
{
	struct card *card = owner;
	size_t i;

	if (card->announce && card->gateway->mode != SERVING)
		return;
	card->gateway->counters.from_clients += count;
	for (i = 0; i < count; i++) {
		if (card->gateway->mode == SERVING)
			(void)port_send(card->replica, frames[i].data, frames[i].len);
		else if (!frames_put(&card->out, frames[i].data, frames[i].len, flush, card))
			card->gateway->counters.dropped++;
	}
	flush(card);
}

static void on_replica_frames(void *owner, const struct port_frame *frames, size_t count)
{
	struct card *card = owner;
	size_t i;

	port_cork(card->clients);
	for (i = 0; i < count && card->gateway->mode == SERVING; i++)
		emit(card, frames[i].data, frames[i].len);
	port_uncork(card->clients);
}

static void on_client_fault(void *owner, const char *fault);

static void on_replica_fault(void *owner, const char *fault)
{
	const struct card *card = owner;

	if (*fault != '\0')
		log_warn(card->gateway->part, "%s", fault);
	else
		log_info(card->gateway->part, "card %s: the replica's socket works again",
			 card->config->name);
}

static const struct port_ops client_callbacks = { .on_frames = on_client_frames,
						  .on_fault = on_client_fault };
static const struct port_ops replica_callbacks = { .on_frames = on_replica_frames,
						   .on_fault = on_replica_fault };

/* Epochs ------------------------------------------------------------------------------------- */

int gateway_input(struct gateway *gateway, uint64_t epoch, const uint8_t *payload, size_t len,
		  struct err *err)
{
	struct mark *mark = &gateway->marks[gateway->next_mark++ % GATEWAY_MARKS];
	size_t i;

	if (len != gateway->nordered * 8)
		return err_set(err, RC_INVALID, "input of %zu network cards, of %zu", len / 8,
			       gateway->nordered);
	*mark = (struct mark){ .epoch = epoch };
	for (i = 0; i < gateway->nordered; i++)
		mark->numbers[gateway->order[i]] = bytes_get_le64(payload + i * 8);
	return RC_OK;
}

/* The committed epoch knows clients' frames up to its mark: nobody needs them again. */
static void forget_input(struct gateway *gateway)
{
	struct mark *mark;
	size_t i;

	for (mark = gateway->marks; mark < gateway->marks + GATEWAY_MARKS; mark++) {
		if (mark->epoch == 0 || mark->epoch > gateway->committed)
			continue;
		for (i = 0; i < gateway->ncards; i++)
			frame_queue_take(&gateway->cards[i].input, mark->numbers[i], NULL, NULL);
		mark->epoch = 0;
	}
}

/* There is no state that it would go on from. */
static void forget_all_input(struct gateway *gateway)
{
	size_t i;

	for (i = 0; i < gateway->ncards; i++)
		(void)frame_queue_clear(&gateway->cards[i].input);
}

void gateway_session(struct gateway *gateway)
{
	size_t i;

	for (i = 0; i < gateway->ncards; i++) {
		gateway->counters.dropped += frame_queue_clear(&gateway->cards[i].held);
		if (gateway->cards[i].announce) /* the agent counts them, perhaps anew */
			(void)frame_queue_clear(&gateway->cards[i].input);
	}
}

void gateway_committed(struct gateway *gateway, uint64_t epoch)
{
	gateway->committed = epoch;
	if (epoch == 0) {
		memset(gateway->marks, 0, sizeof(gateway->marks));
		forget_all_input(gateway);
		return;
	}
	gateway->unprotected = false;
	release(gateway, epoch);
	forget_input(gateway);
}

/* Announcing --------------------------------------------------------------------------------- */

int gateway_addresses(struct gateway *gateway, const uint8_t *payload, size_t len, struct err *err)
{
	if (payload[0] >= gateway->nordered)
		return gateway->nordered == 0 ?
			       RC_OK :
			       err_set(err, RC_INVALID, "addresses of network card %u, of %zu",
				       payload[0], gateway->nordered);
	return card_addresses_get(&gateway->cards[gateway->order[payload[0]]].addresses,
				  payload + 4, len - 4, clock_now_ns(), err);
}

static void announce_out(void *owner, const uint8_t *frame, size_t len)
{
	struct card *card = owner;

	(void)port_send(card->clients, frame, len);
}

static void on_timer(uv_timer_t *timer)
{
	struct gateway *gateway = timer->data;
	uint64_t now_ns = clock_now_ns();
	size_t i;

	if (!announce_take(&gateway->schedule, now_ns))
		return;
	for (i = 0; i < gateway->ncards; i++)
		(void)announce_card(&gateway->cards[i].addresses, NULL, now_ns, announce_out,
				    &gateway->cards[i]);
}

static void begin_announcing(struct gateway *gateway)
{
	gateway->schedule = announce_begin(clock_now_ns());
	(void)uv_timer_start(&gateway->timer, on_timer, 0, ANNOUNCE_TICK_MS);
}

static void on_client_fault(void *owner, const char *fault)
{
	struct card *card = owner;
	struct gateway *gateway = card->gateway;

	if (*fault != '\0') {
		log_warn(gateway->part, "%s", fault);
		return;
	}
	log_info(gateway->part, "tap %s works again", card->config->tap);
	if (gateway->mode == SERVING) /* where the instance is was forgotten meanwhile */
		begin_announcing(gateway);
}

const char *gateway_fault(const struct gateway *gateway)
{
	size_t i;

	for (i = 0; i < gateway->ncards; i++) {
		const struct card *card = &gateway->cards[i];

		if (*port_fault(card->clients) != '\0')
			return port_fault(card->clients);
		if (card->replica != NULL && *port_fault(card->replica) != '\0')
			return port_fault(card->replica);
	}
	return "";
}

/* Takeover ----------------------------------------------------------------------------------- */

void gateway_turn(struct gateway *gateway)
{
	gateway->mode = TURNING;
	(void)uv_timer_stop(&gateway->timer);
}

void gateway_turn_back(struct gateway *gateway)
{
	gateway->mode = FORWARDING;
}

static void replay(void *owner, const uint8_t *frame, size_t len)
{
	struct card *card = owner;

	(void)port_send(card->replica, frame, len);
	card->gateway->counters.replayed++;
}

void gateway_serve(struct gateway *gateway)
{
	const char *fault;
	uint64_t lost = 0;
	size_t i;

	gateway->mode = SERVING;
	for (i = 0; i < gateway->ncards; i++) {
		struct card *card = &gateway->cards[i];

		lost += frame_queue_clear(&card->held);
		if (card->replica == NULL)
			continue;
		port_reconnect(card->replica);
		frame_queue_take(&card->input, UINT64_MAX, replay, card);
	}
	begin_announcing(gateway);
	fault = gateway_fault(gateway);
	log_write(*fault == '\0' ? LOG_LEVEL_INFO : LOG_LEVEL_WARN, gateway->part,
		  "clients %s%s: %llu of their frames repeated, %llu of the instance's dropped "
		  "that no epoch stands for",
		  *fault == '\0' ? "reach the replica" : "do not reach the replica: ", fault,
		  (unsigned long long)gateway->counters.replayed, (unsigned long long)lost);
}

/* Life --------------------------------------------------------------------------------------- */

void gateway_link(struct gateway *gateway, struct link *link, uint64_t term)
{
	gateway->link = link;
	gateway->term = term;
	/* A partition has healed: its other side has heard nothing of us. */
	if (link != NULL && gateway->mode == SERVING)
		begin_announcing(gateway);
}

static int order(struct gateway *gateway, const struct reservation *reservation, struct err *err)
{
	size_t i, j;

	if (reservation->nnics != gateway->ncards)
		return err_set(
			err, RC_REFUSED,
			"the primary has %zu network cards in its configuration (nics), the standby %zu",
			reservation->nnics, gateway->ncards);
	for (i = 0; i < reservation->nnics; i++) {
		for (j = 0; j < gateway->ncards; j++) {
			if (strcmp(reservation->nics[i].name, gateway->cards[j].config->name) == 0)
				break;
		}
		if (j == gateway->ncards)
			return err_set(
				err, RC_REFUSED,
				"the standby's configuration has no network card \"%s\" (nics)",
				reservation->nics[i].name);
		gateway->order[i] = (uint8_t)j;
		gateway->cards[j].out.port = (uint8_t)i;
		gateway->cards[j].announce = reservation->nics[i].announce;
		gateway->configs[j].output_commit = !reservation->nics[i].at_once;
		if (gateway->cards[j].announce) /* from before that was known */
			(void)frame_queue_clear(&gateway->cards[j].input);
	}
	gateway->nordered = reservation->nnics;
	return RC_OK;
}

static int open_replica(struct gateway *gateway, struct card *card,
			const struct reservation_nic *nic, const char *dir, struct err *err)
{
	char local[512], remote[512];

	if (card->replica != NULL)
		port_close(card->replica);
	card->replica = NULL;
	(void)snprintf(local, sizeof(local), "%s/%s", dir, nic->socket);
	(void)snprintf(remote, sizeof(remote), "%s/%s", dir, nic->qemu_socket);
	return port_open_dgram(&card->replica, gateway->loop, local, remote, &replica_callbacks,
			       card, err);
}

int gateway_seat(struct gateway *gateway, const struct reservation *reservation, const char *dir,
		 struct err *err)
{
	int rc = order(gateway, reservation, err);
	size_t i;

	for (i = 0; i < gateway->nordered && rc == RC_OK; i++)
		rc = open_replica(gateway, &gateway->cards[gateway->order[i]],
				  &reservation->nics[i], dir, err);
	return rc;
}

int gateway_open(struct gateway **out, uv_loop_t *loop, const struct config_instance *instance,
		 const struct gateway_ops *ops, void *owner, struct err *err)
{
	struct gateway *gateway;
	int rc = RC_OK;

	*out = NULL;
	if (instance->nnics == 0)
		return RC_OK;
	gateway = mem_zalloc(1, sizeof(*gateway));
	if (gateway == NULL)
		return err_nomem(err, "a gateway");
	gateway->instance = instance;
	gateway->ops = ops;
	gateway->owner = owner;
	gateway->loop = loop;
	(void)snprintf(gateway->part, sizeof(gateway->part), "gateway %s", instance->name);
	(void)uv_timer_init(loop, &gateway->timer);
	gateway->timer.data = gateway;
	for (; gateway->ncards < instance->nnics && rc == RC_OK; gateway->ncards++) {
		struct card *card = &gateway->cards[gateway->ncards];

		card->gateway = gateway;
		card->config = &gateway->configs[gateway->ncards];
		gateway->configs[gateway->ncards] = instance->nics[gateway->ncards];
		card->out.next = 1;
		card->held.limit = GATEWAY_HELD_BYTES / instance->nnics;
		card->input.limit = GATEWAY_INPUT_BYTES;
		rc = port_open_tap(&card->clients, loop, card->config->tap, card->config->bridge,
				   &client_callbacks, card, err);
		if (rc != RC_OK)
			(void)err_prefix(err, "instance %s: nics[%zu]: ", instance->name,
					 gateway->ncards);
	}
	if (rc != RC_OK) {
		gateway_close(gateway);
		return rc;
	}
	*out = gateway;
	return RC_OK;
}

struct gateway_counters gateway_counters(const struct gateway *gateway)
{
	struct gateway_counters counters = gateway->counters;
	size_t i;

	for (i = 0; i < gateway->ncards; i++) {
		const struct card *card = &gateway->cards[i];
		struct port_counters port = port_counters(card->clients);

		counters.held += card->held.frames;
		counters.dropped += port.dropped;
		counters.refused += port.refused;
		if (card->replica != NULL)
			counters.refused += port_counters(card->replica).refused;
	}
	return counters;
}

size_t gateway_cards(const struct gateway *gateway, const struct config_nic **cards)
{
	*cards = gateway->configs;
	return gateway->nordered;
}

static void on_timer_closed(uv_handle_t *handle)
{
	mem_free(handle->data);
}

void gateway_close(struct gateway *gateway)
{
	size_t i;

	for (i = 0; i < gateway->ncards; i++) {
		struct card *card = &gateway->cards[i];

		(void)frame_queue_clear(&card->held);
		(void)frame_queue_clear(&card->input);
		frames_free(&card->out);
		if (card->clients != NULL)
			port_close(card->clients);
		if (card->replica != NULL)
			port_close(card->replica);
	}
	uv_close((uv_handle_t *)&gateway->timer, on_timer_closed);
}
