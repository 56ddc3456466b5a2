#include "net/wire.h"

#include "appliance/base/bytes.h"
#include "net/beacon_format.h"
#include "net/card_addresses.h"
#include "net/frames.h"

#include <assert.h>
#include <string.h>

#define MAGIC "UNDRSTDY"
#define MAGIC_LEN ((size_t)8)
#define HELLO_FIXED ((size_t)48)
#define FLAG_MORE ((uint16_t)1)

#define PRIMARY (1u << WIRE_ROLE_PRIMARY)
#define STANDBY (1u << WIRE_ROLE_STANDBY)
#define BOTH (PRIMARY | STANDBY)

static const struct {
	const char *name;
	size_t least, most; /* payload bytes of one frame */
	unsigned senders;
} types[] = {
	[WIRE_HELLO] = { "hello", HELLO_FIXED + 4, HELLO_FIXED + 2 + 2 * WIRE_NAME_MAX + 8, BOTH },
	[WIRE_REFUSE] = { "refuse", 2, 2 + WIRE_TEXT_MAX, BOTH },
	[WIRE_HEARTBEAT] = { "heartbeat", 40, 40, BOTH },
	[WIRE_CREDIT] = { "credit", 8, 8, STANDBY },
	[WIRE_RESERVE] = { "reserve", 2, WIRE_JSON_MAX, PRIMARY },
	[WIRE_RESERVED] = { "reserved", 2, WIRE_JSON_MAX, STANDBY },
	[WIRE_LAYOUT] = { "layout", 8, WIRE_LAYOUT_MAX, PRIMARY },
	[WIRE_WANT_HASHES] = { "want-hashes", 0, 0, PRIMARY },
	[WIRE_HASHES] = { "hashes", 16, 16 + WIRE_HASHES_MAX * sizeof(uint64_t), STANDBY },
	[WIRE_EPOCH] = { "epoch", 1, 1, PRIMARY },
	[WIRE_BATCH] = { "batch", 1, WIRE_FRAGMENT_MAX, PRIMARY },
	[WIRE_COMMIT] = { "commit", 32, 48, PRIMARY },
	[WIRE_ACK] = { "ack", 8, 8, STANDBY },
	[WIRE_FAULT] = { "fault", 2, 2 + WIRE_TEXT_MAX, STANDBY },
	[WIRE_INSTANCE] = { "instance", 2, 2 + WIRE_TEXT_MAX, PRIMARY },
	[WIRE_SUPERSEDED] = { "superseded", 2, 2 + WIRE_TEXT_MAX, STANDBY },
	[WIRE_FRAMES] = { "frames", FRAMES_HEADER + 2 + FRAMES_LEN_MIN, FRAMES_PAYLOAD_MAX, BOTH },
	[WIRE_UNCOMMITTED] = { "uncommitted", 0, 0, BOTH },
	[WIRE_ADDRESSES] = { "addresses", 8, 4 + CARD_ADDRESSES_BYTES_MAX, PRIMARY },
	[WIRE_BEACON] = { "beacon", BEACON_KEYS_SIZE, BEACON_KEYS_SIZE, STANDBY },
	[WIRE_YIELD] = { "yield", 0, 0, STANDBY },
	[WIRE_YIELDED] = { "yielded", 0, 0, PRIMARY },
	[WIRE_RECEIVED] = { "received", 16, 16, STANDBY },
	[WIRE_INPUT] = { "input", 8, WIRE_NICS_MAX * sizeof(uint64_t), PRIMARY },
};
static_assert(sizeof(types) / sizeof(types[0]) == WIRE_TYPE_END, "every type has its line");

static const char *const reasons[] = {
	[WIRE_REASON_VERSION] = "no protocol version in common",
	[WIRE_REASON_ROLE] = "both ends have the same role",
	[WIRE_REASON_INSTANCE] = "this instance is not known here",
	[WIRE_REASON_BUSY] = "this instance already has a live connection",
	[WIRE_REASON_PROTOCOL] = "the protocol was broken",
	[WIRE_REASON_TERM] = "a newer term is in force",
	[WIRE_REASON_SHUTDOWN] = "shutting down",
	[WIRE_REASON_SESSION] = "another capture session begins",
	[WIRE_REASON_REKEY] = "this connection's key has been used enough",
	[WIRE_REASON_STANDBY] = "another standby protects this instance",
	[WIRE_REASON_DOUBT] = "another standby may serve this instance",
	[WIRE_REASON_SITE] = "another site's instance is kept here",
};
static_assert(sizeof(reasons) / sizeof(reasons[0]) == WIRE_REASON_END, "every reason has a text");

static bool known(uint16_t type)
{
	return type < WIRE_TYPE_END && types[type].name != NULL;
}

size_t wire_payload_min(uint16_t type)
{
	return known(type) ? types[type].least : 0;
}

size_t wire_payload_max(uint16_t type)
{
	return known(type) ? types[type].most : 0;
}

size_t wire_payload_for(uint16_t type, uint64_t features, size_t len)
{
	const bool plain = type == WIRE_COMMIT && (features & WIRE_FEATURE_TIMES) == 0;

	return plain ? types[type].least : len;
}

const char *wire_type_name(uint16_t type)
{
	return known(type) ? types[type].name : "unknown";
}

const char *wire_reason_text(uint16_t reason)
{
	if (reason >= WIRE_REASON_END || reasons[reason] == NULL)
		return "a reason that this version does not know";
	return reasons[reason];
}

bool wire_reason_returns(uint16_t reason)
{
	return reason == WIRE_REASON_SESSION || reason == WIRE_REASON_REKEY;
}

bool wire_reason_lasts(uint16_t reason)
{
	return reason == WIRE_REASON_VERSION || reason == WIRE_REASON_ROLE ||
	       reason == WIRE_REASON_INSTANCE || reason == WIRE_REASON_SITE;
}

bool wire_allowed(uint8_t sender_role, uint16_t type)
{
	if (sender_role != WIRE_ROLE_PRIMARY && sender_role != WIRE_ROLE_STANDBY)
		return false;
	return known(type) && (types[type].senders & (1u << sender_role)) != 0;
}

bool wire_is_ordered(uint16_t type)
{
	switch (type) {
	case WIRE_LAYOUT:
	case WIRE_WANT_HASHES:
	case WIRE_EPOCH:
	case WIRE_BATCH:
	case WIRE_COMMIT:
		return true;
	default:
		return false;
	}
}

bool wire_follows_commits(uint16_t type)
{
	return type == WIRE_INSTANCE;
}

/* ---- header ---- */

void wire_put_header(uint8_t out[WIRE_HEADER], const struct wire_header *header)
{
	bytes_put_le32(out, header->length);
	bytes_put_le16(out + 4, header->type);
	bytes_put_le16(out + 6, header->more ? FLAG_MORE : 0);
	bytes_put_le64(out + 8, header->term);
	bytes_put_le64(out + 16, header->epoch);
}

int wire_get_header(struct wire_header *header, const uint8_t in[WIRE_HEADER], struct err *err)
{
	uint16_t flags = bytes_get_le16(in + 6);

	*header = (struct wire_header){
		.length = bytes_get_le32(in),
		.type = bytes_get_le16(in + 4),
		.more = (flags & FLAG_MORE) != 0,
		.term = bytes_get_le64(in + 8),
		.epoch = bytes_get_le64(in + 16),
	};
	if (!known(header->type))
		return err_set(err, RC_INVALID, "frame of unknown type %u", header->type);
	if ((flags & ~FLAG_MORE) != 0 || (header->more && header->type != WIRE_BATCH))
		return err_set(err, RC_INVALID, "%s frame with unknown flags 0x%x",
			       types[header->type].name, flags);
	if (header->length > types[header->type].most)
		return err_set(err, RC_LIMIT, "%s frame of %u bytes, at most %zu are taken",
			       types[header->type].name, header->length, types[header->type].most);
	if (header->length < types[header->type].least)
		return err_set(err, RC_INVALID, "%s frame of %u bytes, at least %zu are needed",
			       types[header->type].name, header->length, types[header->type].least);
	return RC_OK;
}

/* ---- hello ---- */

static bool printable(const char *text, size_t len)
{
	size_t i;

	for (i = 0; i < len; i++) {
		if (text[i] < 0x20 || text[i] > 0x7e)
			return false;
	}
	return true;
}

static bool put_name(struct buf *payload, const char *name)
{
	size_t len = strnlen(name, WIRE_NAME_MAX + 1);

	if (len == 0 || len > WIRE_NAME_MAX || !printable(name, len))
		return false;
	return buf_append_u8(payload, (uint8_t)len) && buf_append(payload, name, len);
}

static int get_name(struct cursor *c, char name[WIRE_NAME_MAX + 1], const char *what,
		    struct err *err)
{
	size_t len = cursor_u8(c);
	const uint8_t *from = cursor_bytes(c, len);

	if (from == NULL || len == 0 || len > WIRE_NAME_MAX || !printable((const char *)from, len))
		return err_set(err, RC_INVALID,
			       "hello: the %s's name is not 1 to %d printable characters", what,
			       WIRE_NAME_MAX);
	memcpy(name, from, len);
	name[len] = '\0';
	return RC_OK;
}

bool wire_put_hello(struct buf *payload, const struct wire_hello *hello)
{
	static const uint8_t zeroes[7];

	return buf_append(payload, MAGIC, MAGIC_LEN) && buf_append_le16(payload, hello->lowest) &&
	       buf_append_le16(payload, hello->highest) && buf_append_le32(payload, 0) &&
	       buf_append_le64(payload, hello->features) && buf_append_u8(payload, hello->role) &&
	       buf_append(payload, zeroes, sizeof(zeroes)) &&
	       buf_append_le64(payload, hello->session) && buf_append_le64(payload, hello->epoch) &&
	       put_name(payload, hello->site) && put_name(payload, hello->instance) &&
	       (hello->identity == 0 || buf_append_le64(payload, hello->identity));
}

/* The part before the names; what is wrong with it, or NULL. */
static const char *get_hello_fixed(struct wire_hello *hello, struct cursor *c)
{
	const uint8_t *magic = cursor_bytes(c, MAGIC_LEN);
	const uint8_t *reserved;
	uint32_t flags;
	size_t i;

	if (magic == NULL || memcmp(magic, MAGIC, MAGIC_LEN) != 0)
		return "it does not begin with \"" MAGIC "\"";
	hello->lowest = cursor_le16(c);
	hello->highest = cursor_le16(c);
	flags = cursor_le32(c);
	hello->features = cursor_le64(c);
	hello->role = cursor_u8(c);
	reserved = cursor_bytes(c, 7);
	hello->session = cursor_le64(c);
	hello->epoch = cursor_le64(c);
	if (c->short_read || reserved == NULL)
		return "it is too short";
	if (hello->lowest == 0 || hello->lowest > hello->highest)
		return "its range of versions is not one";
	if (hello->role != WIRE_ROLE_PRIMARY && hello->role != WIRE_ROLE_STANDBY)
		return "its role is unknown";
	for (i = 0; i < 7; i++)
		flags |= reserved[i];
	return flags != 0 ? "its reserved bytes are not 0" : NULL;
}

int wire_get_hello(struct wire_hello *hello, const uint8_t *payload, size_t len, struct err *err)
{
	struct cursor c = cursor_of(payload, len);
	const char *wrong;
	int rc;

	memset(hello, 0, sizeof(*hello));
	wrong = get_hello_fixed(hello, &c);
	if (wrong != NULL)
		return err_set(err, RC_INVALID, "hello: %s", wrong);
	rc = get_name(&c, hello->site, "site", err);
	if (rc == RC_OK)
		rc = get_name(&c, hello->instance, "instance", err);
	if (rc == RC_OK && hello->role == WIRE_ROLE_STANDBY && c.left > 0) {
		hello->identity = cursor_le64(&c);
		if (c.short_read || hello->identity == 0)
			rc = err_set(err, RC_INVALID, "hello: not which standby it is");
	}
	if (rc == RC_OK && c.left > 0)
		rc = err_set(err, RC_INVALID, "hello: %zu bytes too many", c.left);
	return rc;
}

int wire_check_versions(const struct wire_hello *own, const struct wire_hello *peer,
			struct err *err)
{
	uint16_t least = own->lowest > peer->lowest ? own->lowest : peer->lowest;
	uint16_t most = own->highest < peer->highest ? own->highest : peer->highest;

	if (least > most)
		return err_set(err, RC_UNSUPPORTED,
			       "no protocol version in common: the peer speaks %u to %u, "
			       "this end %u to %u",
			       peer->lowest, peer->highest, own->lowest, own->highest);
	return RC_OK;
}

/* ---- payloads ---- */

bool wire_put_reason(struct buf *payload, uint16_t code, const char *text)
{
	return buf_append_le16(payload, code) &&
	       buf_append(payload, text, strnlen(text, WIRE_TEXT_MAX));
}

int wire_get_reason(uint16_t *code, char text[WIRE_TEXT_MAX + 1], const uint8_t *payload,
		    size_t len, struct err *err)
{
	size_t i;

	if (len < 2 || len > 2 + WIRE_TEXT_MAX)
		return err_set(err, RC_INVALID, "a reason of %zu bytes", len);
	*code = bytes_get_le16(payload);
	for (i = 2; i < len; i++)
		text[i - 2] = (char)(payload[i] >= 0x20 && payload[i] <= 0x7e ? payload[i] : '?');
	text[len - 2] = '\0';
	return RC_OK;
}

bool wire_put_commit(struct buf *payload, const struct wire_commit *commit)
{
	return buf_append_le64(payload, commit->batches) &&
	       buf_append_le64(payload, commit->pages) && buf_append_le64(payload, commit->hash) &&
	       buf_append_le32(payload, commit->device_state_len) && buf_append_le32(payload, 0) &&
	       (!commit->timed || (buf_append_le64(payload, commit->age_ns) &&
				   buf_append_le64(payload, commit->pause_ns)));
}

int wire_get_commit(struct wire_commit *commit, const uint8_t *payload, size_t len, struct err *err)
{
	struct cursor c = cursor_of(payload, len);
	uint32_t reserved;

	*commit = (struct wire_commit){ .batches = cursor_le64(&c) };
	commit->pages = cursor_le64(&c);
	commit->hash = cursor_le64(&c);
	commit->device_state_len = cursor_le32(&c);
	reserved = cursor_le32(&c);
	commit->timed = !c.short_read && c.left > 0;
	if (commit->timed) {
		commit->age_ns = cursor_le64(&c);
		commit->pause_ns = cursor_le64(&c);
	}
	if (c.short_read || c.left > 0 || reserved != 0)
		return err_set(err, RC_INVALID, "not a commit record");
	return RC_OK;
}

bool wire_put_received(struct buf *payload, const struct wire_received *received)
{
	return buf_append_le64(payload, received->session) &&
	       buf_append_le64(payload, received->batches);
}

int wire_get_received(struct wire_received *received, uint64_t epoch, const uint8_t *payload,
		      size_t len, struct err *err)
{
	struct cursor c = cursor_of(payload, len);

	*received = (struct wire_received){ .epoch = epoch, .session = cursor_le64(&c) };
	received->batches = cursor_le64(&c);
	if (c.short_read || c.left > 0)
		return err_set(err, RC_INVALID, "not what was received");
	return RC_OK;
}

bool wire_put_heartbeat(struct buf *payload, const struct wire_heartbeat *heartbeat)
{
	return buf_append_le64(payload, heartbeat->sequence) &&
	       buf_append_le64(payload, heartbeat->clock_ns) &&
	       buf_append_le64(payload, heartbeat->echo_ns) &&
	       buf_append_le64(payload, heartbeat->held_ns) &&
	       buf_append_le64(payload, heartbeat->lease_ns);
}

int wire_get_heartbeat(struct wire_heartbeat *heartbeat, const uint8_t *payload, size_t len,
		       struct err *err)
{
	struct cursor c = cursor_of(payload, len);

	heartbeat->sequence = cursor_le64(&c);
	heartbeat->clock_ns = cursor_le64(&c);
	heartbeat->echo_ns = cursor_le64(&c);
	heartbeat->held_ns = cursor_le64(&c);
	heartbeat->lease_ns = cursor_le64(&c);
	if (c.short_read || c.left > 0)
		return err_set(err, RC_INVALID, "not a heartbeat");
	return RC_OK;
}

int wire_get_u64(uint64_t *value, const uint8_t *payload, size_t len, struct err *err)
{
	if (len != sizeof(*value))
		return err_set(err, RC_INVALID, "a number of %zu bytes", len);
	*value = bytes_get_le64(payload);
	return RC_OK;
}
