/*
 * VRRP as anybody on the segment can send it. First byte even: a packet, which is read, written
 * again and must be the same; odd: a history of events (see step()), in which the addresses must
 * never be taken without permission, nor twice, nor given up when they were not held.
 */
#include "appliance/base/bytes.h"
#include "net/vrrp.h"

#include <assert.h>

static void check_packet(const uint8_t *packet, size_t len)
{
	struct vrrp_advert advert, again;
	uint8_t copy[20 + VRRP_PACKET_MAX] = { 0x45, [8] = VRRP_TTL, [9] = VRRP_PROTOCOL };
	uint32_t source, from;
	struct err err;
	size_t size;

	if (vrrp_format_get(&advert, &source, packet, len, &err) != RC_OK)
		return;
	size = 20 + vrrp_format_put(copy + 20, &advert, source);
	bytes_put_be16(copy + 2, (uint16_t)size);
	bytes_put_be32(copy + 12, source);
	bytes_put_be32(copy + 16, VRRP_DESTINATION);
	assert(vrrp_format_get(&again, &from, copy, size, &err) == RC_OK);
	assert(from == source && again.priority == advert.priority);
	assert(again.interval == advert.interval && again.group == advert.group);
	assert(vrrp_format_same_addresses(&advert, &again));
}

static void check_actions(const struct vrrp *vrrp, bool was_active, unsigned actions)
{
	assert((actions & VRRP_TAKE) == 0 || (vrrp->permitted && !was_active));
	assert(((actions & VRRP_TAKE) != 0) == (!was_active && vrrp->state == VRRP_ACTIVE));
	assert(((actions & VRRP_GIVE_UP) != 0) == (was_active && vrrp->state != VRRP_ACTIVE));
	assert((actions & VRRP_RESIGN) == 0 || (actions & VRRP_GIVE_UP) != 0);
	assert((actions & VRRP_ADVERTISE) == 0 || vrrp->state == VRRP_ACTIVE);
}

static void check_state(const struct vrrp *vrrp)
{
	assert(vrrp->state != VRRP_ACTIVE || vrrp->permitted);
	assert(vrrp->state != VRRP_ACTIVE || vrrp->deadline_ns != UINT64_MAX);
	/* Permitted and waiting, there is always a time at which it will have waited enough. */
	assert(!vrrp->permitted || vrrp->state != VRRP_BACKUP || vrrp->deadline_ns != UINT64_MAX);
}

/* One event: its kind, 10 ms since the one before, and of what was heard priority and sender. */
static void step(struct vrrp *vrrp, struct cursor *c, uint64_t *now_ns)
{
	struct vrrp_advert advert = vrrp->settings.advert;
	struct vrrp_event event = { .kind = (enum vrrp_event_kind)(cursor_u8(c) % (VRRP_TIME + 1)),
				    .advert = &advert };
	bool was_active = vrrp->state == VRRP_ACTIVE;
	unsigned actions;

	*now_ns += cursor_u8(c) * UINT64_C(10000000);
	event.now_ns = *now_ns;
	advert.priority = cursor_u8(c);
	advert.interval = (uint16_t)(1 + (cursor_u8(c) << 4));
	event.source = 1u + cursor_u8(c) % 4;
	actions = vrrp_step(vrrp, &event);
	check_actions(vrrp, was_active, actions);
	check_state(vrrp);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct vrrp_settings settings = { .priority = 100, .own = 2 };
	struct cursor c = cursor_of(data, size);
	uint8_t first = cursor_u8(&c);
	uint64_t now_ns = 0;
	struct vrrp vrrp;

	if ((first & 1) == 0) {
		check_packet(c.at, c.left);
		return 0;
	}
	settings.patient = (first & 2) != 0;
	settings.advert = (struct vrrp_advert){ .group = 1, .count = 1, .interval = 1 };
	vrrp_init(&vrrp, &settings);
	while (c.left > 0)
		step(&vrrp, &c, &now_ns);
	return 0;
}
