#include "fs-watch/fanotify_event.h"

#include "appliance/base/bytes.h"

#include <linux/fanotify.h>

#define FSID_LEN 8
#define TYPE_LEN 4

bool fanotify_key(struct tree_key *key, const uint8_t fsid[8], int32_t type, const uint8_t *bytes,
		  size_t len)
{
	if (len > TREE_KEY_MAX - FSID_LEN - TYPE_LEN)
		return false;
	memcpy(key->bytes, fsid, FSID_LEN);
	memcpy(key->bytes + FSID_LEN, &type, TYPE_LEN);
	memcpy(key->bytes + FSID_LEN + TYPE_LEN, bytes, len);
	key->len = FSID_LEN + TYPE_LEN + len;
	return true;
}

int32_t fanotify_key_type(const struct tree_key *key)
{
	int32_t type;

	memcpy(&type, key->bytes + FSID_LEN, TYPE_LEN);
	return type;
}

const uint8_t *fanotify_key_handle(const struct tree_key *key, size_t *len)
{
	*len = key->len - FSID_LEN - TYPE_LEN;
	return key->bytes + FSID_LEN + TYPE_LEN;
}

/* The kernel's own byte order. */
static uint32_t native_u32(struct cursor *c)
{
	const uint8_t *from = cursor_bytes(c, sizeof(uint32_t));
	uint32_t value = 0;

	if (from != NULL)
		memcpy(&value, from, sizeof(value));
	return value;
}

/* The handle of a record; false: it is not whole. */
static bool take_handle(struct cursor *c, struct tree_key *key)
{
	const uint8_t *fsid = cursor_bytes(c, FSID_LEN);
	const uint32_t len = native_u32(c);
	const int32_t type = (int32_t)native_u32(c);
	const uint8_t *bytes = cursor_bytes(c, len);

	return bytes != NULL && fanotify_key(key, fsid, type, bytes, len);
}

/* A handle, and a name that ends within the record. */
static bool take_place(struct cursor *c, struct fanotify_place *place)
{
	if (!take_handle(c, &place->dir) || memchr(c->at, '\0', c->left) == NULL)
		return false;
	place->name = (const char *)c->at;
	if (strcmp(place->name, ".") == 0)
		place->name = "";
	place->there = true;
	return true;
}

static bool take_record(struct fanotify_event *event, unsigned type, struct cursor c)
{
	switch (type) {
	case FAN_EVENT_INFO_TYPE_DFID_NAME:
	case FAN_EVENT_INFO_TYPE_NEW_DFID_NAME:
		return take_place(&c, &event->at);
	case FAN_EVENT_INFO_TYPE_OLD_DFID_NAME:
		return take_place(&c, &event->from);
	case FAN_EVENT_INFO_TYPE_FID:
		event->has_target = take_handle(&c, &event->target);
		return event->has_target;
	default:
		return true; /* of a newer kernel */
	}
}

static bool take_records(struct fanotify_event *event, struct cursor c)
{
	struct fanotify_event_info_header head;
	const uint8_t *from;

	while (c.left > 0) {
		from = cursor_bytes(&c, sizeof(head));
		if (from == NULL)
			return false;
		memcpy(&head, from, sizeof(head));
		if (head.len < sizeof(head))
			return false;
		from = cursor_bytes(&c, head.len - sizeof(head));
		if (from == NULL ||
		    !take_record(event, head.info_type, cursor_of(from, head.len - sizeof(head))))
			return false;
	}
	return true;
}

int fanotify_event_parse(struct fanotify_event *event, size_t *used, const uint8_t *data,
			 size_t len, struct err *err)
{
	struct fanotify_event_metadata meta;

	event->at.there = event->from.there = event->has_target = false;
	if (len < sizeof(meta))
		return err_set(err, RC_INVALID, "a report of fanotify is cut short");
	memcpy(&meta, data, sizeof(meta));
	if (meta.vers != FANOTIFY_METADATA_VERSION)
		return err_set(err, RC_UNSUPPORTED, "fanotify reports of version %u, not %u",
			       meta.vers, FANOTIFY_METADATA_VERSION);
	if (meta.event_len > len || meta.metadata_len > meta.event_len ||
	    meta.metadata_len < sizeof(meta))
		return err_set(err, RC_INVALID, "a report of fanotify is cut short");
	event->mask = meta.mask;
	event->pid = meta.pid;
	*used = meta.event_len;
	if (!take_records(event,
			  cursor_of(data + meta.metadata_len, meta.event_len - meta.metadata_len)))
		return err_set(err, RC_INVALID, "a record of a fanotify report is not whole");
	return RC_OK;
}
