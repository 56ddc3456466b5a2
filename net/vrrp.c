/*
 * Stopped, backup, active; the permission is beside them:
 *
 *   stopped -- START --> backup
 *   backup  -- permitted, and nobody who goes first is there --> active     (ADVERTISE, TAKE)
 *   active  -- someone who goes first is heard --> backup                   (GIVE_UP)
 *   active  -- FORBID --> backup                                            (RESIGN, GIVE_UP)
 *   any     -- STOP --> stopped                                             (the same if active)
 *
 * "There" is who was heard within vrrp_patience_ns(), or, after START, who may yet be heard within
 * it. A priority of 0 says goodbye: then the wait is only the part by priority, so that of several
 * backups the highest takes over first.
 */
#include "net/vrrp.h"

#include <assert.h>

#define NS_PER_INTERVAL UINT64_C(10000000) /* intervals count 10 ms */
#define NEVER UINT64_MAX

void vrrp_init(struct vrrp *vrrp, const struct vrrp_settings *settings)
{
	assert(settings->priority >= 1 && settings->priority <= 254);
	*vrrp = (struct vrrp){ .settings = *settings, .deadline_ns = NEVER };
	vrrp->settings.advert.pseudo_header = true;
	vrrp->other_interval = settings->advert.interval;
}

static uint64_t skew_ns(const struct vrrp *vrrp)
{
	return (256u - vrrp->settings.priority) * vrrp->other_interval * NS_PER_INTERVAL / 256;
}

uint64_t vrrp_patience_ns(const struct vrrp *vrrp)
{
	return 3 * vrrp->other_interval * NS_PER_INTERVAL + skew_ns(vrrp);
}

size_t vrrp_packet(const struct vrrp *vrrp, enum vrrp_action action, uint8_t out[VRRP_PACKET_MAX])
{
	struct vrrp_advert advert = vrrp->settings.advert;

	advert.priority = action == VRRP_RESIGN ? 0 : vrrp->settings.priority;
	return vrrp_format_put(out, &advert, vrrp->settings.own);
}

static unsigned advertise(struct vrrp *vrrp, uint64_t now_ns)
{
	vrrp->deadline_ns = now_ns + vrrp->settings.advert.interval * NS_PER_INTERVAL;
	return VRRP_ADVERTISE;
}

static unsigned become_active(struct vrrp *vrrp, uint64_t now_ns)
{
	vrrp->state = VRRP_ACTIVE;
	vrrp->other_is_there = false;
	vrrp->other = 0;
	return advertise(vrrp, now_ns) | VRRP_TAKE;
}

/* Whether who is there, or may be, keeps the addresses. */
static bool other_stays(const struct vrrp *vrrp)
{
	return vrrp->other_is_there && (vrrp->other == 0 || vrrp->settings.patient ||
					vrrp->other_priority >= vrrp->settings.priority);
}

static void follow(struct vrrp *vrrp, const struct vrrp_event *event)
{
	const struct vrrp_advert *advert = event->advert;

	vrrp->state = VRRP_BACKUP;
	vrrp->other_is_there = true;
	vrrp->other = event->source;
	vrrp->other_priority = advert->priority;
	vrrp->other_interval = advert->interval;
	vrrp->settings.advert.pseudo_header = advert->pseudo_header;
	vrrp->deadline_ns = event->now_ns + vrrp_patience_ns(vrrp);
}

static void heard_as_backup(struct vrrp *vrrp, const struct vrrp_event *event)
{
	bool followed = vrrp->other_is_there && vrrp->other != 0;
	uint8_t theirs = event->advert->priority;

	if (followed && event->source != vrrp->other && theirs < vrrp->other_priority)
		return; /* the one that is followed will tell it so */
	if (theirs == 0)
		vrrp->deadline_ns = event->now_ns + skew_ns(vrrp);
	else if (!vrrp->permitted || vrrp->settings.patient || theirs >= vrrp->settings.priority)
		follow(vrrp, event);
	/* Else it does not put off that we take the addresses from it. */
}

static unsigned heard_as_active(struct vrrp *vrrp, const struct vrrp_event *event)
{
	uint8_t theirs = event->advert->priority, ours = vrrp->settings.priority;

	/* It resigns, or does not know of us: tell it, and switches, at once. */
	if (theirs < ours || (theirs == ours && event->source < vrrp->settings.own))
		return advertise(vrrp, event->now_ns);
	follow(vrrp, event);
	return VRRP_GIVE_UP;
}

static unsigned heard(struct vrrp *vrrp, const struct vrrp_event *event)
{
	if (event->advert->group != vrrp->settings.advert.group ||
	    event->source == vrrp->settings.own)
		return 0;
	vrrp->other_is_different =
		!vrrp_format_same_addresses(event->advert, &vrrp->settings.advert);
	if (vrrp->state == VRRP_ACTIVE)
		return heard_as_active(vrrp, event);
	if (vrrp->state == VRRP_BACKUP)
		heard_as_backup(vrrp, event);
	return 0;
}

static unsigned time_has_come(struct vrrp *vrrp, uint64_t now_ns)
{
	if (now_ns < vrrp->deadline_ns)
		return 0;
	if (vrrp->state == VRRP_ACTIVE)
		return advertise(vrrp, now_ns);
	vrrp->deadline_ns = NEVER;
	vrrp->other_is_there = false;
	return vrrp->permitted ? become_active(vrrp, now_ns) : 0;
}

static void start(struct vrrp *vrrp, uint64_t now_ns)
{
	vrrp->state = VRRP_BACKUP;
	vrrp->other_is_there = true; /* until silence says otherwise */
	vrrp->other = 0;
	vrrp->deadline_ns = now_ns + vrrp_patience_ns(vrrp);
}

static unsigned leave(struct vrrp *vrrp, enum vrrp_state to)
{
	bool held = vrrp->state == VRRP_ACTIVE;

	vrrp->state = to;
	vrrp->other_is_there = false;
	vrrp->deadline_ns = NEVER;
	return held ? VRRP_RESIGN | VRRP_GIVE_UP : 0;
}

unsigned vrrp_step(struct vrrp *vrrp, const struct vrrp_event *event)
{
	switch (event->kind) {
	case VRRP_START:
		if (vrrp->state == VRRP_STOPPED)
			start(vrrp, event->now_ns);
		return 0;
	case VRRP_STOP:
		return leave(vrrp, VRRP_STOPPED);
	case VRRP_PERMIT:
		vrrp->permitted = true;
		return vrrp->state == VRRP_BACKUP && !other_stays(vrrp) ?
			       become_active(vrrp, event->now_ns) :
			       0;
	case VRRP_FORBID:
		vrrp->permitted = false;
		return vrrp->state == VRRP_ACTIVE ? leave(vrrp, VRRP_BACKUP) : 0;
	case VRRP_HEARD:
		return heard(vrrp, event);
	case VRRP_TIME:
		return time_has_come(vrrp, event->now_ns);
	}
	return 0;
}
