/*
 * Theory of operation
 *
 * The stream is a sequence of items, each short enough to be shown in one piece
 * (COLO_STREAM_ITEM_MAX). `phase` says what the next item is; one step function per phase takes it,
 * all or nothing, and may name the next phase. A step that yields no event is followed by the next
 * step, so that the caller sees events only. Whatever does not belong where it stands ends the
 * stream with an error: QEMU and we disagree about what it sends, and a guess would become a wrong
 * replica.
 */
#include "replica/colo_stream.h"

#include "appliance/base/mem.h"
#include "replica/migration_format.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

#define COMMAND_ENABLE_COLO 8
#define COMMAND_SWITCHOVER_START 11

enum phase {
	PHASE_HEADER,
	PHASE_SECTION, /* a section's type and head */
	PHASE_RAM,     /* inside the RAM section */
	PHASE_FOOTER,
	PHASE_DEVICE_STATE, /* of unknown length */
	PHASE_REQUEST,
	PHASE_SEND,
	PHASE_SIZE,
	PHASE_PAGES, /* device state of a checkpoint */
	PHASE_COUNT
};

struct colo_stream {
	enum phase phase;
	bool checkpoint;		 /* the first copy is behind us */
	bool started;			 /* the RAM section's START was seen */
	bool ending;			 /* the RAM section being read is an END */
	bool ram_done;			 /* END was seen, of the first copy or this checkpoint */
	uint64_t offset;		 /* of the next item in the stream, for messages */
	uint64_t state_size, state_left; /* device state of a checkpoint, bytes */
	struct ram_stream ram;
	struct layout layout;
};

int colo_stream_create(struct colo_stream **stream, struct err *err)
{
	*stream = mem_zalloc(1, sizeof(**stream));
	if (*stream == NULL)
		return err_nomem(err, "COLO stream");
	ram_stream_init(&(*stream)->ram, &(*stream)->layout);
	return RC_OK;
}

void colo_stream_destroy(struct colo_stream *stream)
{
	mem_free(stream);
}

const struct layout *colo_stream_layout(const struct colo_stream *stream)
{
	return &stream->layout;
}

bool colo_stream_ready(struct colo_stream *stream)
{
	if (stream->phase != PHASE_DEVICE_STATE)
		return false;
	stream->phase = PHASE_REQUEST;
	return true;
}

static int step_header(struct colo_stream *stream, struct cursor *in, struct colo_event *event,
		       struct err *err)
{
	uint32_t magic = cursor_be32(in), version = cursor_be32(in);

	(void)event;
	if (in->short_read)
		return RC_OK;
	if (magic != MIGRATION_MAGIC)
		return err_set(err, RC_INVALID,
			       "not a migration stream: it begins with %#010" PRIx32, magic);
	if (version != MIGRATION_VERSION)
		return err_set(err, RC_UNSUPPORTED,
			       "migration stream version %" PRIu32 ", only %d is supported",
			       version, MIGRATION_VERSION);
	stream->phase = PHASE_SECTION;
	return RC_OK;
}

static int take_configuration(struct colo_stream *stream, struct cursor *in, struct err *err)
{
	uint32_t len = cursor_be32(in);
	const uint8_t *text;

	if (in->short_read)
		return RC_OK;
	if (stream->checkpoint || stream->layout.configuration_len > 0)
		return err_set(err, RC_INVALID, "a second configuration section");
	if (len == 0 || len > LAYOUT_CONFIGURATION_MAX)
		return err_set(err, RC_LIMIT,
			       "a machine type of %" PRIu32 " bytes, 1 to %d are supported", len,
			       LAYOUT_CONFIGURATION_MAX);
	text = cursor_bytes(in, len);
	if (text == NULL)
		return RC_OK;
	memcpy(stream->layout.configuration, text, len);
	stream->layout.configuration_len = len;
	return RC_OK;
}

static int take_command(struct cursor *in, struct err *err)
{
	uint16_t command = cursor_be16(in), len = cursor_be16(in);

	if (in->short_read)
		return RC_OK;
	if ((command != COMMAND_ENABLE_COLO && command != COMMAND_SWITCHOVER_START) || len != 0)
		return err_set(err, RC_UNSUPPORTED, "command %u with %u bytes in the stream",
			       command, len);
	return RC_OK;
}

static int take_start(struct colo_stream *stream, struct cursor *in, struct err *err)
{
	uint32_t section = cursor_be32(in), instance, version;
	uint8_t len = cursor_u8(in);
	const uint8_t *name = cursor_bytes(in, len);

	instance = cursor_be32(in);
	version = cursor_be32(in);
	if (in->short_read)
		return RC_OK;
	if (len != 3 || memcmp(name, "ram", 3) != 0)
		return err_set(err, RC_UNSUPPORTED,
			       "\"%.*s\" wants to be copied while the guest runs; only RAM can be",
			       len, (const char *)name);
	if (stream->started)
		return err_set(err, RC_INVALID, "RAM starts a second time");
	if (stream->layout.configuration_len == 0)
		return err_set(err, RC_UNSUPPORTED,
			       "no configuration section: the machine type is too old");
	stream->started = true;
	stream->layout.section = section;
	stream->layout.instance = instance;
	stream->layout.version = version;
	stream->phase = PHASE_RAM;
	return RC_OK;
}

static int take_part(struct colo_stream *stream, uint8_t type, struct cursor *in,
		     struct colo_event *event, struct err *err)
{
	uint32_t section = cursor_be32(in);

	if (in->short_read)
		return RC_OK;
	if (!stream->started || section != stream->layout.section)
		return err_set(err, RC_INVALID,
			       "a part of section %" PRIu32 ", which has not been started",
			       section);
	if (stream->ram_done || (stream->checkpoint && type != SECTION_END))
		return err_set(err, RC_INVALID, "RAM goes on after its end");
	stream->phase = PHASE_RAM;
	stream->ending = type == SECTION_END;
	if (stream->ending)
		event->kind = COLO_EVENT_STOPPED;
	return RC_OK;
}

/*
 * A device's state (type FULL) before the end of RAM: virtio-mem announces itself so. Its length is
 * written nowhere.
 */
static int refuse_full(struct cursor *in, struct err *err)
{
	uint8_t len;
	const uint8_t *name;

	(void)cursor_be32(in);
	len = cursor_u8(in);
	name = cursor_bytes(in, len);
	if (in->short_read)
		return RC_OK;
	return err_set(
		err, RC_UNSUPPORTED,
		"device \"%.*s\" sends its state ahead of memory; such devices are not supported",
		len, (const char *)name);
}

/* Between the configuration and RAM: what QEMU wants its destination to validate. */
static int refuse_subsection(struct cursor *in, struct err *err)
{
	uint8_t len = cursor_u8(in);
	const uint8_t *name = cursor_bytes(in, len);

	if (in->short_read)
		return RC_OK;
	return err_set(err, RC_UNSUPPORTED, "subsection \"%.*s\" is not supported", len,
		       (const char *)name);
}

static int step_section(struct colo_stream *stream, struct cursor *in, struct colo_event *event,
			struct err *err)
{
	uint8_t type = cursor_u8(in);

	if (in->short_read)
		return RC_OK;
	switch (type) {
	case SECTION_CONFIGURATION:
		return take_configuration(stream, in, err);
	case SECTION_COMMAND:
		return take_command(in, err);
	case SECTION_START:
		return take_start(stream, in, err);
	case SECTION_PART:
	case SECTION_END:
		return take_part(stream, type, in, event, err);
	case SECTION_FULL:
		return refuse_full(in, err);
	case SECTION_SUBSECTION:
		return refuse_subsection(in, err);
	case SECTION_EOF:
		if (!stream->checkpoint || !stream->ram_done)
			return err_set(err, RC_INVALID, "the stream ends before the end of RAM");
		stream->phase = PHASE_SIZE;
		return RC_OK;
	default:
		return err_set(err, RC_INVALID, "a section of unknown type %u", type);
	}
}

static int step_ram(struct colo_stream *stream, struct cursor *in, struct colo_event *event,
		    struct err *err)
{
	struct ram_item item;
	int rc = ram_stream_next(&stream->ram, in, &item, err);

	if (rc != RC_OK)
		return rc;
	switch (item.kind) {
	case RAM_ITEM_MORE:
		break;
	case RAM_ITEM_LAYOUT:
		event->kind = COLO_EVENT_LAYOUT;
		break;
	case RAM_ITEM_PAGE:
		*event = (struct colo_event){ .kind = COLO_EVENT_PAGE,
					      .index = item.index,
					      .data = item.data };
		break;
	case RAM_ITEM_END:
		if (!stream->ram.listed)
			return err_set(err, RC_INVALID, "RAM starts without a list of its blocks");
		stream->phase = PHASE_FOOTER;
		break;
	}
	return RC_OK;
}

static int step_footer(struct colo_stream *stream, struct cursor *in, struct colo_event *event,
		       struct err *err)
{
	uint8_t type = cursor_u8(in);
	uint32_t section = cursor_be32(in);

	if (in->short_read)
		return RC_OK;
	if (type != SECTION_FOOTER || section != stream->layout.section)
		return err_set(err, RC_INVALID,
			       "no footer at the end of a RAM section (type %u, section %" PRIu32
			       ")",
			       type, section);
	stream->phase = PHASE_SECTION;
	if (!stream->ending)
		return RC_OK;
	stream->ending = false;
	stream->ram_done = true;
	if (!stream->checkpoint) {
		stream->phase = PHASE_DEVICE_STATE;
		event->kind = COLO_EVENT_COPIED;
	}
	return RC_OK;
}

static int step_device_state(struct colo_stream *stream, struct cursor *in,
			     struct colo_event *event, struct err *err)
{
	(void)stream;
	(void)event;
	(void)err;
	(void)cursor_bytes(in, in->left);
	return RC_OK;
}

/* A be32 that can only be `expected`. */
static int take_message(struct cursor *in, enum colo_message expected, struct err *err)
{
	uint32_t message = cursor_be32(in);

	if (!in->short_read && message != (uint32_t)expected)
		return err_set(err, RC_INVALID, "COLO message %" PRIu32 " where %d belongs",
			       message, (int)expected);
	return RC_OK;
}

static int step_request(struct colo_stream *stream, struct cursor *in, struct colo_event *event,
			struct err *err)
{
	int rc = take_message(in, COLO_CHECKPOINT_REQUEST, err);

	if (rc != RC_OK || in->short_read)
		return rc;
	stream->checkpoint = true;
	stream->ram_done = false;
	stream->phase = PHASE_SEND;
	event->kind = COLO_EVENT_REQUEST;
	return RC_OK;
}

static int step_send(struct colo_stream *stream, struct cursor *in, struct colo_event *event,
		     struct err *err)
{
	int rc = take_message(in, COLO_VMSTATE_SEND, err);

	(void)event;
	if (rc == RC_OK && !in->short_read)
		stream->phase = PHASE_SECTION;
	return rc;
}

static int step_size(struct colo_stream *stream, struct cursor *in, struct colo_event *event,
		     struct err *err)
{
	int rc = take_message(in, COLO_VMSTATE_SIZE, err);
	uint64_t size = cursor_be64(in);

	(void)event;
	if (rc != RC_OK || in->short_read)
		return rc;
	if (size == 0 || size > LAYOUT_DEVICE_STATE_MAX)
		return err_set(err, RC_LIMIT,
			       "%" PRIu64 " bytes of device state, 1 to %zu are supported", size,
			       LAYOUT_DEVICE_STATE_MAX);
	stream->state_size = stream->state_left = size;
	stream->phase = PHASE_PAGES;
	return RC_OK;
}

static int step_pages(struct colo_stream *stream, struct cursor *in, struct colo_event *event,
		      struct err *err)
{
	uint64_t done = stream->state_size - stream->state_left;
	size_t len = stream->state_left < LAYOUT_PAGE ? (size_t)stream->state_left : LAYOUT_PAGE;
	const uint8_t *data;

	(void)err;
	if (len == 0) {
		*event = (struct colo_event){ .kind = COLO_EVENT_CHECKPOINT,
					      .len = (size_t)stream->state_size };
		stream->phase = PHASE_REQUEST;
		return RC_OK;
	}
	data = cursor_bytes(in, len);
	if (data == NULL)
		return RC_OK;
	stream->state_left -= len;
	*event = (struct colo_event){ .kind = len < LAYOUT_PAGE ? COLO_EVENT_TAIL : COLO_EVENT_PAGE,
				      .index = stream->layout.ram_pages + done / LAYOUT_PAGE,
				      .data = data,
				      .len = len };
	return RC_OK;
}

typedef int (*step_fn)(struct colo_stream *stream, struct cursor *in, struct colo_event *event,
		       struct err *err);

static const step_fn steps[] = {
	[PHASE_HEADER] = step_header,
	[PHASE_SECTION] = step_section,
	[PHASE_RAM] = step_ram,
	[PHASE_FOOTER] = step_footer,
	[PHASE_DEVICE_STATE] = step_device_state,
	[PHASE_REQUEST] = step_request,
	[PHASE_SEND] = step_send,
	[PHASE_SIZE] = step_size,
	[PHASE_PAGES] = step_pages,
};
static_assert(sizeof(steps) / sizeof(steps[0]) == PHASE_COUNT, "a step for every phase");

int colo_stream_next(struct colo_stream *stream, struct cursor *in, struct colo_event *event,
		     struct err *err)
{
	enum phase phase;
	struct cursor at;
	int rc;

	*event = (struct colo_event){ .kind = COLO_EVENT_MORE };
	do {
		at = *in;
		phase = stream->phase;
		rc = steps[phase](stream, &at, event, err);
		if (rc != RC_OK)
			return err_prefix(err,
					  "byte %" PRIu64 " of QEMU's stream: ", stream->offset);
		if (at.short_read)
			return RC_OK;
		stream->offset += in->left - at.left;
		if (event->kind != COLO_EVENT_MORE ||
		    (at.left == in->left && phase == stream->phase)) {
			*in = at;
			return RC_OK;
		}
		*in = at;
	} while (true);
}
