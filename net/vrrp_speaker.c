/*
 * Theory of operation
 *
 * Everything that happens is an event for vrrp_step(), and everything that is done is an action
 * that came out of it, in its order. One timer serves both the state machine's deadline and the
 * announcements. With each round of these the addresses and routes are put on the device, whether they are
 * there or not: what failed is tried again, and what was lost comes back; and the device's MAC
 * address is asked for, because that of a bridge changes with its ports. A device that was down
 * has lost those of IPv6, and its neighbours may have missed something: then the rounds begin anew.
 *
 * Sockets are bound to a device, not to its name. So once a second, and when a packet could not be
 * sent, its index is looked at. Another index, or none: the group is stopped and nothing is
 * here, until sockets could be opened on what has the name now; then it begins with listening, with
 * the permission that it has. The new sockets get the old ones' numbers.
 *
 * If this process stood still for a while, what came meanwhile is read before the time that has
 * passed counts: libuv polls first and runs timers then.
 */
#include "net/vrrp_speaker.h"

#include "appliance/base/bytes.h"
#include "appliance/base/clock.h"
#include "appliance/base/log.h"
#include "appliance/base/mem.h"
#include "net/announce.h"
#include "net/packet.h"
#include "net/vrrp_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <string.h>
#include <unistd.h>

#define PART "vrrp"
#define PACKETS_PER_TURN 32 /* then the loop's other work has its turn */
#define LOOK_MS 1000	    /* a device that was made anew is found within this */

struct vrrp_speaker {
	struct vrrp vrrp;
	char device[NETLINK_NAME_MAX + 1];
	struct netlink_prefix addresses[VRRP_ADDRESSES_MAX];
	size_t address_count;
	struct netlink_route routes[VRRP_ROUTES_MAX];
	size_t route_count;
	struct card_addresses announced;
	struct announce_schedule schedule;
	const struct vrrp_speaker_ops *ops;
	void *owner;
	int fd, packet_fd; /* VRRP; announcements */
	unsigned index;	   /* of the device that they are bound to */
	bool lost;	   /* it has another one now, or none: `fault` */
	struct err fault;
	bool closing;
	int send_error; /* errno value of the last packet, 0: it was sent */
	uv_poll_t poll;
	uv_timer_t timer, look;
	unsigned handles;
};

static void on_look(uv_timer_t *timer);

/* ---- actions ----------------------------------------------------------------------------------*/

static void send_packet(struct vrrp_speaker *speaker, enum vrrp_action action)
{
	uint8_t packet[VRRP_PACKET_MAX];
	size_t len = vrrp_packet(&speaker->vrrp, action, packet);
	int error;

	if (speaker->lost)
		return;
	error = vrrp_socket_send(speaker->fd, packet, len);
	if (error != 0 && error != speaker->send_error && !speaker->closing)
		(void)uv_timer_start(&speaker->look, on_look, 0, LOOK_MS);
	if (error != 0 && error != speaker->send_error)
		log_warn(PART, "%s: sending to the group: %s", speaker->device, strerror(error));
	if (error == 0 && speaker->send_error != 0) {
		log_info(PART, "%s: sending to the group works again", speaker->device);
		speaker->schedule = announce_begin(clock_now_ns());
	}
	speaker->send_error = error;
}

/* All that can be, even after an error; which is the last one's. */
static int take_off(struct vrrp_speaker *speaker, struct err *err)
{
	int rc = RC_OK, r;
	size_t i;

	for (i = 0; i < speaker->route_count; i++) {
		r = netlink_remove_route(speaker->device, &speaker->routes[i], err);
		rc = r != RC_OK ? r : rc;
	}
	for (i = 0; i < speaker->address_count; i++) {
		r = netlink_remove_address(speaker->device, &speaker->addresses[i], err);
		rc = r != RC_OK ? r : rc;
	}
	return rc;
}

static void put_on(struct vrrp_speaker *speaker)
{
	struct err err;
	size_t i;

	for (i = 0; i < speaker->address_count; i++)
		if (netlink_add_address(speaker->device, &speaker->addresses[i], &err) != RC_OK)
			log_error(PART, "%s", err.text);
	for (i = 0; i < speaker->route_count;
	     i++) /* an address may be what their routers are reached by */
		if (netlink_add_route(speaker->device, &speaker->routes[i], &err) != RC_OK)
			log_error(PART, "%s", err.text);
}

static void send_frame(void *owner, const uint8_t *frame, size_t len)
{
	struct vrrp_speaker *speaker = owner;
	int error = packet_send(speaker->packet_fd, frame, len);

	if (error != 0)
		log_debug(PART, "%s: announcing: %s", speaker->device, strerror(error));
}

/* What to announce: the addresses, at the MAC that the device has now. */
static int know_addresses(struct vrrp_speaker *speaker, struct err *err)
{
	struct netlink_device device;
	size_t i;
	int rc = netlink_get(&device, speaker->device, err);

	for (i = 0; rc == RC_OK && i < speaker->address_count; i++) {
		const struct netlink_prefix *prefix = &speaker->addresses[i];
		struct card_address address = { .version = prefix->version };

		memcpy(address.ip, prefix->ip, sizeof(address.ip));
		memcpy(address.mac, device.mac, ETHERNET_MAC);
		if (!card_addresses_add(&speaker->announced, &address))
			rc = err_set(err, RC_INVALID,
				     "%s: no Ethernet device, or address %zu is none that it can "
				     "have",
				     speaker->device, i);
	}
	return rc;
}

static void announce(struct vrrp_speaker *speaker, uint64_t now_ns)
{
	struct err err;

	if (speaker->vrrp.state != VRRP_ACTIVE || !announce_take(&speaker->schedule, now_ns))
		return;
	put_on(speaker);
	if (know_addresses(speaker, &err) != RC_OK)
		log_debug(PART, "%s", err.text);
	(void)announce_card(&speaker->announced, NULL, now_ns, send_frame, speaker);
}

static void act(struct vrrp_speaker *speaker, unsigned actions, uint64_t now_ns)
{
	struct err err;

	if (actions & VRRP_RESIGN)
		send_packet(speaker, VRRP_RESIGN);
	if (actions & VRRP_GIVE_UP) {
		if (!speaker->lost && take_off(speaker, &err) != RC_OK)
			log_error(PART, "%s", err.text);
		log_info(PART, "%s, group %u: the addresses are given up", speaker->device,
			 speaker->vrrp.settings.advert.group);
	}
	if (actions & VRRP_ADVERTISE)
		send_packet(speaker, VRRP_ADVERTISE);
	if (actions & VRRP_TAKE)
		speaker->schedule = announce_begin(now_ns);
	announce(speaker, clock_now_ns());
	if (actions & VRRP_TAKE)
		log_info(PART, "%s, group %u: the addresses are here", speaker->device,
			 speaker->vrrp.settings.advert.group);
	if ((actions & (VRRP_GIVE_UP | VRRP_TAKE)) && !speaker->closing &&
	    speaker->ops->on_change != NULL)
		speaker->ops->on_change(speaker->owner, (actions & VRRP_TAKE) != 0);
}

/* ---- events -----------------------------------------------------------------------------------*/

static void on_timer(uv_timer_t *timer);

static void set_timer(struct vrrp_speaker *speaker, uint64_t now_ns)
{
	uint64_t next_ns = speaker->vrrp.deadline_ns;

	if (speaker->closing)
		return;
	if (speaker->vrrp.state == VRRP_ACTIVE && speaker->schedule.next_ns < next_ns)
		next_ns = speaker->schedule.next_ns;
	if (next_ns == UINT64_MAX) {
		(void)uv_timer_stop(&speaker->timer);
		return;
	}
	uv_update_time(speaker->timer.loop);
	(void)uv_timer_start(&speaker->timer, on_timer,
			     next_ns <= now_ns ? 0 : (next_ns - now_ns) / CLOCK_NS_PER_MS + 1, 0);
}

static void happens(struct vrrp_speaker *speaker, enum vrrp_event_kind kind)
{
	struct vrrp_event event = { .kind = kind, .now_ns = clock_now_ns() };

	act(speaker, vrrp_step(&speaker->vrrp, &event), event.now_ns);
	set_timer(speaker, clock_now_ns());
}

static void on_timer(uv_timer_t *timer)
{
	happens(timer->data, VRRP_TIME);
}

static void heard(struct vrrp_speaker *speaker, const struct vrrp_advert *advert, uint32_t source)
{
	struct vrrp_event event = { VRRP_HEARD, clock_now_ns(), advert, source };
	bool was_different = speaker->vrrp.other_is_different;
	unsigned actions = vrrp_step(&speaker->vrrp, &event);

	if (speaker->vrrp.other_is_different && !was_different)
		log_warn(PART,
			 "%s, group %u: another lists other addresses than we do, and may not "
			 "listen to us for that",
			 speaker->device, advert->group);
	act(speaker, actions, event.now_ns);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
	struct vrrp_speaker *speaker = poll->data;
	uint8_t packet[VRRP_SOCKET_PACKET_MAX];
	unsigned i;

	(void)status;
	(void)events;
	for (i = 0; i < PACKETS_PER_TURN && !speaker->closing; i++) {
		size_t len = vrrp_socket_receive(speaker->fd, packet);
		struct vrrp_advert advert;
		uint32_t source;
		struct err err;

		if (len == 0)
			break;
		if (vrrp_format_get(&advert, &source, packet, len, &err) == RC_OK)
			heard(speaker, &advert, source);
		else
			log_debug(PART, "%s: %s", speaker->device, err.text);
	}
	set_timer(speaker, clock_now_ns());
}

/* ---- the device -------------------------------------------------------------------------------*/

static int put_in_place(int *fd, int fresh, struct err *err)
{
	int r = fresh;

	if (*fd >= 0) {
		r = dup3(fresh, *fd, O_CLOEXEC);
		(void)close(fresh);
	}
	if (r < 0)
		return err_system(err, errno, "a VRRP socket");
	*fd = r;
	return RC_OK;
}

/* Sockets on what has the name now, and none of the addresses on it. */
static int open_sockets(struct vrrp_speaker *speaker, uint32_t *own, struct err *err)
{
	unsigned index = if_nametoindex(speaker->device);
	int fd, packet_fd, rc;

	rc = know_addresses(speaker, err);
	if (rc == RC_OK) /* before the device is asked for its own address */
		rc = take_off(speaker, err);
	if (rc == RC_OK)
		rc = vrrp_socket_open(&fd, own, speaker->device, err);
	if (rc == RC_OK)
		rc = put_in_place(&speaker->fd, fd, err);
	if (rc == RC_OK)
		rc = packet_open(&packet_fd, speaker->device, err);
	if (rc == RC_OK)
		rc = put_in_place(&speaker->packet_fd, packet_fd, err);
	if (rc == RC_OK)
		speaker->index = index;
	return rc;
}

static void lose_device(struct vrrp_speaker *speaker)
{
	log_warn(PART, "%s, group %u: the device is gone, or another has its name", speaker->device,
		 speaker->vrrp.settings.advert.group);
	(void)uv_poll_stop(&speaker->poll);
	speaker->lost = true;
	happens(speaker, VRRP_STOP);
}

static void find_device(struct vrrp_speaker *speaker)
{
	struct vrrp_settings settings = speaker->vrrp.settings;
	bool permitted = speaker->vrrp.permitted;

	if (open_sockets(speaker, &settings.own, &speaker->fault) != RC_OK)
		return;
	log_info(PART, "%s, group %u: listening on the device as it is now", speaker->device,
		 settings.advert.group);
	speaker->lost = false;
	speaker->send_error = 0;
	vrrp_init(&speaker->vrrp, &settings);
	(void)uv_poll_start(&speaker->poll, UV_READABLE, on_poll);
	happens(speaker, VRRP_START);
	if (permitted)
		happens(speaker, VRRP_PERMIT);
}

static void on_look(uv_timer_t *timer)
{
	struct vrrp_speaker *speaker = timer->data;

	if (!speaker->lost && if_nametoindex(speaker->device) != speaker->index)
		lose_device(speaker);
	if (speaker->lost && !speaker->closing)
		find_device(speaker);
}

/* ---- opening and closing ----------------------------------------------------------------------*/

static int copy_options(struct vrrp_speaker *speaker, const struct vrrp_speaker_options *options,
			struct vrrp_settings *settings, struct err *err)
{
	size_t i;

	*settings = (struct vrrp_settings){ .priority = options->priority,
					    .patient = options->patient };
	settings->advert.group = options->group;
	settings->advert.interval = options->interval;
	if (options->group == 0 || options->priority == 0 || options->priority == 255 ||
	    options->interval == 0 || options->interval > VRRP_INTERVAL_MAX)
		return err_set(err, RC_INVALID,
			       "VRRP: group 1 to 255, priority 1 to 254, interval 1 to %u times "
			       "10 ms",
			       VRRP_INTERVAL_MAX);
	if (options->address_count > VRRP_ADDRESSES_MAX)
		return err_set(err, RC_LIMIT, "VRRP: at most %u addresses", VRRP_ADDRESSES_MAX);
	if (options->route_count > VRRP_ROUTES_MAX)
		return err_set(err, RC_LIMIT, "VRRP: at most %d routes", VRRP_ROUTES_MAX);
	if (strlen(options->device) > NETLINK_NAME_MAX)
		return err_set(err, RC_INVALID, "%s: a device's name has at most %d bytes",
			       options->device, NETLINK_NAME_MAX);
	for (i = 0; i < options->address_count; i++) {
		const struct netlink_prefix *prefix = &options->addresses[i];

		if (prefix->version == 4)
			settings->advert.address[settings->advert.count++] =
				bytes_get_be32(prefix->ip);
		speaker->addresses[speaker->address_count++] = *prefix;
	}
	for (i = 0; i < options->route_count; i++)
		speaker->routes[speaker->route_count++] = options->routes[i];
	memcpy(speaker->device, options->device, strlen(options->device) + 1);
	return settings->advert.count > 0 ?
		       RC_OK :
		       err_set(err, RC_INVALID, "VRRP: at least one IPv4 address");
}

static void on_closed(uv_handle_t *handle)
{
	struct vrrp_speaker *speaker = handle->data;

	if (--speaker->handles > 0)
		return;
	(void)close(speaker->fd);
	(void)close(speaker->packet_fd);
	mem_free(speaker);
}

static int start(struct vrrp_speaker *speaker, uv_loop_t *loop, struct err *err)
{
	int r = uv_poll_init(loop, &speaker->poll, speaker->fd);

	if (r != 0)
		return err_set(err, RC_IO, "watching the VRRP socket: %s", uv_strerror(r));
	(void)uv_timer_init(loop, &speaker->timer);
	(void)uv_timer_init(loop, &speaker->look);
	speaker->poll.data = speaker->timer.data = speaker->look.data = speaker;
	speaker->handles = 3;
	(void)uv_poll_start(&speaker->poll, UV_READABLE, on_poll);
	(void)uv_timer_start(&speaker->look, on_look, LOOK_MS, LOOK_MS);
	happens(speaker, VRRP_START);
	return RC_OK;
}

static void discard(struct vrrp_speaker *speaker)
{
	if (speaker->fd >= 0)
		(void)close(speaker->fd);
	if (speaker->packet_fd >= 0)
		(void)close(speaker->packet_fd);
	mem_free(speaker);
}

int vrrp_speaker_open(struct vrrp_speaker **out, uv_loop_t *loop,
		      const struct vrrp_speaker_options *options,
		      const struct vrrp_speaker_ops *ops, void *owner, struct err *err)
{
	struct vrrp_speaker *speaker = mem_zalloc(1, sizeof(*speaker));
	struct vrrp_settings settings;
	int rc;

	if (speaker == NULL)
		return err_nomem(err, "a VRRP group");
	speaker->fd = speaker->packet_fd = -1;
	speaker->ops = ops;
	speaker->owner = owner;
	rc = copy_options(speaker, options, &settings, err);
	if (rc == RC_OK)
		rc = open_sockets(speaker, &settings.own, err);
	if (rc == RC_OK) {
		vrrp_init(&speaker->vrrp, &settings);
		rc = start(speaker, loop, err);
	}
	if (rc != RC_OK) {
		discard(speaker);
		return rc;
	}
	*out = speaker;
	return RC_OK;
}

void vrrp_speaker_permit(struct vrrp_speaker *speaker, bool permitted)
{
	happens(speaker, permitted ? VRRP_PERMIT : VRRP_FORBID);
}

void vrrp_speaker_announce(struct vrrp_speaker *speaker)
{
	speaker->schedule = announce_begin(clock_now_ns());
	set_timer(speaker, clock_now_ns());
}

const struct vrrp *vrrp_speaker_state(const struct vrrp_speaker *speaker)
{
	return &speaker->vrrp;
}

const char *vrrp_speaker_fault(const struct vrrp_speaker *speaker)
{
	return speaker->lost ? speaker->fault.text : "";
}

void vrrp_speaker_close(struct vrrp_speaker *speaker)
{
	if (speaker->closing)
		return;
	speaker->closing = true;
	happens(speaker, VRRP_STOP);
	uv_close((uv_handle_t *)&speaker->poll, on_closed);
	uv_close((uv_handle_t *)&speaker->timer, on_closed);
	uv_close((uv_handle_t *)&speaker->look, on_closed);
}
