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
#include "appliance/base/repeat.h"
#include "net/announce.h"
#include "net/packet.h"
#include "net/vrrp_device.h"
#include "net/vrrp_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PART "vrrp"
#define PACKETS_PER_TURN 32 /* then the loop's other work has its turn */
#define LOOK_MS 1000	    /* a device that has changed is noticed within this */
#define MUTE_AFTER 3	    /* packets that could not be sent: then others take the addresses */

struct vrrp_speaker {
	struct vrrp vrrp;
	struct vrrp_device device;
	struct announce_schedule schedule;
	const struct vrrp_speaker_ops *ops;
	void *owner;
	int fd, packet_fd; /* VRRP; announcements */
	bool lost;	   /* they are bound to nothing that can be used: `fault` */
	struct err fault;  /* of the device; RC_OK: none */
	struct repeat said;
	bool closing;
	int send_error;	 /* errno value of the last packet, 0: it was sent */
	unsigned unsent; /* advertisements in a row */
	struct err mute; /* why, once they are MUTE_AFTER */
	uv_poll_t poll;
	uv_timer_t timer, look;
	unsigned handles;
};

static void on_look(uv_timer_t *timer);

static const char *name(const struct vrrp_speaker *speaker)
{
	return speaker->device.name;
}

/* ---- actions ----------------------------------------------------------------------------------*/

/* The addresses are here, and nobody hears of it: others take them, and neither of us is told. */
static void count_unsent(struct vrrp_speaker *speaker, int error)
{
	speaker->unsent = error != 0 ? speaker->unsent + 1 : 0;
	if (speaker->unsent >= MUTE_AFTER)
		(void)err_system(&speaker->mute, error,
				 "%s: the other routers of group %u do not hear us", name(speaker),
				 speaker->vrrp.settings.advert.group);
	else
		speaker->mute.code = RC_OK;
}

static void send_packet(struct vrrp_speaker *speaker, enum vrrp_action action)
{
	uint8_t packet[VRRP_PACKET_MAX];
	size_t len = vrrp_packet(&speaker->vrrp, action, packet);
	int error;

	if (speaker->lost)
		return;
	error = vrrp_socket_send(speaker->fd, packet, len);
	if (error != 0 && error != speaker->send_error && !speaker->closing) {
		vrrp_device_doubt(&speaker->device);
		(void)uv_timer_start(&speaker->look, on_look, 0, LOOK_MS);
	}
	if (error != 0 && error != speaker->send_error)
		log_warn(PART, "%s: sending to the group: %s", name(speaker), strerror(error));
	if (error == 0 && speaker->send_error != 0) {
		log_info(PART, "%s: sending to the group works again", name(speaker));
		speaker->schedule = announce_begin(clock_now_ns());
	}
	speaker->send_error = error;
	count_unsent(speaker, action == VRRP_ADVERTISE ? error : 0);
}

static void say_fault(struct vrrp_speaker *speaker)
{
	char text[ERR_TEXT_MAX];

	(void)snprintf(text, sizeof(text), "%s, group %u: %.400s", name(speaker),
		       speaker->vrrp.settings.advert.group, speaker->fault.text);
	repeat_log(&speaker->said, LOG_LEVEL_WARN, PART, text);
}

/* What it has been looked at for: while active, all is there and announced as it is now. */
static void keep_device(struct vrrp_speaker *speaker, uint64_t now_ns)
{
	const bool active = speaker->vrrp.state == VRRP_ACTIVE;
	bool added = false;

	speaker->fault.code = RC_OK;
	if (active)
		(void)vrrp_device_put_on(&speaker->device, &added, &speaker->fault);
	if (added)
		speaker->schedule = announce_begin(now_ns);
	if (!speaker->device.up)
		(void)err_set(&speaker->fault, RC_STATE, "%s is set down, so nothing passes",
			      name(speaker));
	if (speaker->fault.code != RC_OK)
		say_fault(speaker);
	else
		speaker->said = (struct repeat){ 0 };
}

/* What is wrong with the device besides is for on_look(). */
static void take(struct vrrp_speaker *speaker, uint64_t now_ns)
{
	struct err err;

	speaker->schedule = announce_begin(now_ns);
	if (vrrp_device_look(&speaker->device, &err) != RC_OK)
		vrrp_device_doubt(&speaker->device);
	keep_device(speaker, now_ns);
}

static void give_up(struct vrrp_speaker *speaker)
{
	struct err err;

	if (!speaker->lost && vrrp_device_take_off(&speaker->device, &err) != RC_OK)
		log_error(PART, "%s", err.text);
	speaker->unsent = 0;
	speaker->mute.code = RC_OK;
	log_info(PART, "%s, group %u: the addresses are given up", name(speaker),
		 speaker->vrrp.settings.advert.group);
}

static void send_frame(void *owner, const uint8_t *frame, size_t len)
{
	struct vrrp_speaker *speaker = owner;
	int error = packet_send(speaker->packet_fd, frame, len);

	if (error != 0)
		log_debug(PART, "%s: announcing: %s", name(speaker), strerror(error));
}

static void announce(struct vrrp_speaker *speaker, uint64_t now_ns)
{
	if (speaker->vrrp.state == VRRP_ACTIVE && announce_take(&speaker->schedule, now_ns))
		(void)announce_card(&speaker->device.announced, NULL, now_ns, send_frame, speaker);
}

static void act(struct vrrp_speaker *speaker, unsigned actions, uint64_t now_ns)
{
	if (actions & VRRP_RESIGN)
		send_packet(speaker, VRRP_RESIGN);
	if (actions & VRRP_GIVE_UP)
		give_up(speaker);
	if (actions & VRRP_ADVERTISE)
		send_packet(speaker, VRRP_ADVERTISE);
	if (actions & VRRP_TAKE)
		take(speaker, now_ns);
	announce(speaker, clock_now_ns());
	if (actions & VRRP_TAKE)
		log_info(PART, "%s, group %u: the addresses are here", name(speaker),
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
			 name(speaker), advert->group);
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
			log_debug(PART, "%s: %s", name(speaker), err.text);
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

/* Whose packets come from the device's own address. */
static int open_socket(struct vrrp_speaker *speaker, struct err *err)
{
	int fd, rc = vrrp_socket_open(&fd, name(speaker), speaker->device.own, err);

	return rc == RC_OK ? put_in_place(&speaker->fd, fd, err) : rc;
}

static int open_packets(struct vrrp_speaker *speaker, struct err *err)
{
	int fd, rc = packet_open(&fd, name(speaker), err);

	return rc == RC_OK ? put_in_place(&speaker->packet_fd, fd, err) : rc;
}

/* `gone`: there is nothing left that addresses could be taken off. */
static void lose_device(struct vrrp_speaker *speaker, bool gone)
{
	(void)uv_poll_stop(&speaker->poll);
	speaker->lost = gone;
	happens(speaker, VRRP_STOP);
	speaker->lost = true;
	vrrp_device_doubt(&speaker->device);
}

static void find_device(struct vrrp_speaker *speaker)
{
	struct vrrp_settings settings = speaker->vrrp.settings;
	bool permitted = speaker->vrrp.permitted;
	struct err *fault = &speaker->fault;

	if (vrrp_device_find(&speaker->device, fault) != RC_OK ||
	    open_socket(speaker, fault) != RC_OK || open_packets(speaker, fault) != RC_OK) {
		say_fault(speaker);
		return;
	}
	log_info(PART, "%s, group %u: listening on the device as it is now", name(speaker),
		 settings.advert.group);
	speaker->lost = false;
	speaker->send_error = 0;
	settings.own = speaker->device.own;
	vrrp_init(&speaker->vrrp, &settings);
	keep_device(speaker, clock_now_ns());
	(void)uv_poll_start(&speaker->poll, UV_READABLE, on_poll);
	happens(speaker, VRRP_START);
	if (permitted)
		happens(speaker, VRRP_PERMIT);
}

/* The own address is another one: nothing else changes. */
static int move_socket(struct vrrp_speaker *speaker, struct err *err)
{
	int rc;

	(void)uv_poll_stop(&speaker->poll);
	rc = open_socket(speaker, err);
	if (rc != RC_OK)
		return rc;
	log_info(PART, "%s, group %u: its own address is another one now", name(speaker),
		 speaker->vrrp.settings.advert.group);
	speaker->vrrp.settings.own = speaker->device.own;
	(void)uv_poll_start(&speaker->poll, UV_READABLE, on_poll);
	return RC_OK;
}

static void look_at_device(struct vrrp_speaker *speaker)
{
	uint8_t mac[ETHERNET_MAC];
	struct err err;
	int rc;

	memcpy(mac, speaker->device.announced.entry[0].mac, sizeof(mac));
	rc = vrrp_device_look(&speaker->device, &err);
	if (rc != RC_OK && rc != RC_STATE)
		return; /* it could not be seen, and is looked at again */
	if (rc == RC_OK && speaker->device.own != speaker->vrrp.settings.own)
		rc = move_socket(speaker, &err);
	if (rc != RC_OK) {
		lose_device(speaker, false);
		return;
	}
	if (memcmp(mac, speaker->device.announced.entry[0].mac, sizeof(mac)) != 0)
		speaker->schedule = announce_begin(clock_now_ns());
	keep_device(speaker, clock_now_ns());
	set_timer(speaker, clock_now_ns());
}

static void on_look(uv_timer_t *timer)
{
	struct vrrp_speaker *speaker = timer->data;
	const bool other = vrrp_device_is_other(&speaker->device);
	const bool news = vrrp_device_has_news(&speaker->device) || other;

	if (!speaker->lost && other)
		lose_device(speaker, true);
	else if (!speaker->lost && news)
		look_at_device(speaker);
	if (speaker->lost && news && !speaker->closing)
		find_device(speaker);
}

/* ---- opening and closing ----------------------------------------------------------------------*/

static int copy_options(struct vrrp_speaker *speaker, const struct vrrp_speaker_options *options,
			struct vrrp_settings *settings, struct err *err)
{
	struct vrrp_device *device = &speaker->device;
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

		if (!card_address_is_possible(prefix->version, prefix->ip))
			return err_set(err, RC_INVALID,
				       "VRRP: address %zu is none that a device can have", i);
		if (prefix->version == 4)
			settings->advert.address[settings->advert.count++] =
				bytes_get_be32(prefix->ip);
		device->addresses[device->address_count++] = *prefix;
	}
	for (i = 0; i < options->route_count; i++)
		device->routes[device->route_count++] = options->routes[i];
	memcpy(device->name, options->device, strlen(options->device) + 1);
	return settings->advert.count > 0 ?
		       RC_OK :
		       err_set(err, RC_INVALID, "VRRP: at least one IPv4 address");
}

static void discard(struct vrrp_speaker *speaker)
{
	if (speaker->fd >= 0)
		(void)close(speaker->fd);
	if (speaker->packet_fd >= 0)
		(void)close(speaker->packet_fd);
	vrrp_device_close(&speaker->device);
	mem_free(speaker);
}

static void on_closed(uv_handle_t *handle)
{
	struct vrrp_speaker *speaker = handle->data;

	if (--speaker->handles == 0)
		discard(speaker);
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
	speaker->lost = true;
	find_device(speaker);
	(void)uv_timer_start(&speaker->look, on_look, LOOK_MS, LOOK_MS);
	return RC_OK;
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
	speaker->fd = speaker->packet_fd = speaker->device.news = -1;
	speaker->ops = ops;
	speaker->owner = owner;
	rc = copy_options(speaker, options, &settings, err);
	if (rc == RC_OK)
		rc = vrrp_device_open(&speaker->device, err);
	if (rc ==
	    RC_OK) /* the loop needs one; it is bound to the device when that has been found */
		rc = vrrp_socket_create(&speaker->fd, err);
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
	if (speaker->fault.code != RC_OK)
		return speaker->fault.text;
	return speaker->mute.code != RC_OK ? speaker->mute.text : "";
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
