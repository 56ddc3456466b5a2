#include "replica/journal_format.h"

#include "appliance/base/bytes.h"
#include "net/wire.h"
#include "replica/delta.h"
#include "replica/history_format.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include <xxhash.h>

#define MAGIC "USTDJRNL"
#define VERSION 3
#define ALIGNMENT 8U
#define SUFFIX ".journal"
#define DIGITS 16

/* The lengths that a payload of each kind may have. */
static const struct {
	uint32_t least, most;
} limits[JOURNAL_KINDS] = {
	[JOURNAL_BASE] = { JOURNAL_BASE_BYTES, WIRE_LAYOUT_MAX },
	[JOURNAL_PAGES] = { 1, DELTA_BATCH_MAX },
	[JOURNAL_WHOLE] = { 0, 0 },
	[JOURNAL_BEGIN] = { JOURNAL_BEGIN_BYTES, JOURNAL_BEGIN_BYTES },
	[JOURNAL_BATCH] = { 1, DELTA_BATCH_MAX },
	[JOURNAL_COMMIT] = { JOURNAL_COMMIT_BYTES, JOURNAL_COMMIT_BYTES },
	[JOURNAL_MARK] = { 1, JOURNAL_MARK_MAX },
	[JOURNAL_HISTORY] = { HISTORY_HEAD_BYTES, JOURNAL_HISTORY_MAX },
};

/* ---- segments ------------------------------------------------------------------------------- */

void journal_put_segment(uint8_t out[JOURNAL_SEGMENT_HEAD], const struct journal_segment *segment)
{
	memset(out, 0, JOURNAL_SEGMENT_HEAD);
	memcpy(out, MAGIC, sizeof(MAGIC) - 1);
	bytes_put_le16(out + 8, VERSION);
	bytes_put_le64(out + 16, segment->journal);
	bytes_put_le64(out + 24, segment->sequence);
	bytes_put_le64(out + 32, segment->opening);
	bytes_put_le64(out + 56, XXH64(out, 56, 0));
}

static bool all_zero(const uint8_t *bytes, size_t len)
{
	while (len > 0 && bytes[len - 1] == 0)
		len--;
	return len == 0;
}

static bool is_number(uint64_t number)
{
	return number != 0 && number <= JOURNAL_NUMBER_MAX;
}

int journal_get_segment(struct journal_segment *segment, const uint8_t in[JOURNAL_SEGMENT_HEAD],
			struct err *err)
{
	const uint16_t version = bytes_get_le16(in + 8);

	if (memcmp(in, MAGIC, sizeof(MAGIC) - 1) != 0)
		return err_set(err, RC_INVALID, "is not a segment of a journal");
	if (bytes_get_le64(in + 56) != XXH64(in, 56, 0))
		return err_set(err, RC_INVALID, "the checksum of its head is wrong");
	if (version != VERSION)
		return err_set(err, RC_UNSUPPORTED, "is of version %u, this program knows %d",
			       version, VERSION);
	*segment = (struct journal_segment){
		.journal = bytes_get_le64(in + 16),
		.sequence = bytes_get_le64(in + 24),
		.opening = bytes_get_le64(in + 32),
	};
	if (!is_number(segment->sequence) || !is_number(segment->opening) ||
	    !all_zero(in + 10, 6) || !all_zero(in + 40, 16))
		return err_set(err, RC_INVALID, "its head holds values that cannot be");
	return RC_OK;
}

void journal_segment_name(char out[JOURNAL_NAME_BYTES], uint64_t sequence)
{
	(void)snprintf(out, JOURNAL_NAME_BYTES, "%016llx" SUFFIX, (unsigned long long)sequence);
}

uint64_t journal_segment_sequence(const char *name)
{
	static const char digits[] = "0123456789abcdef";
	uint64_t sequence = 0;
	const char *digit;
	size_t i;

	if (strlen(name) != JOURNAL_NAME_BYTES - 1 || strcmp(name + DIGITS, SUFFIX) != 0)
		return 0;
	for (i = 0; i < DIGITS; i++) {
		digit = strchr(digits, name[i]);
		if (digit == NULL)
			return 0;
		sequence = sequence << 4 | (uint64_t)(digit - digits);
	}
	return sequence;
}

/* ---- records -------------------------------------------------------------------------------- */

size_t journal_record_bytes(uint32_t length)
{
	return JOURNAL_RECORD_HEAD + (((size_t)length + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1));
}

static bool may_be(const struct journal_record *record)
{
	return record->length >= limits[record->kind].least &&
	       record->length <= limits[record->kind].most && record->sequence != 0 &&
	       (record->epoch != 0 ||
		(record->kind != JOURNAL_BEGIN && record->kind != JOURNAL_BATCH &&
		 record->kind != JOURNAL_COMMIT));
}

void journal_put_record(uint8_t out[JOURNAL_RECORD_HEAD], uint64_t journal,
			struct journal_record *record, const uint8_t *payload)
{
	assert(may_be(record));
	record->payload_hash = XXH64(payload != NULL ? payload : out, record->length, 0);
	bytes_put_le32(out, record->length);
	bytes_put_le16(out + 4, (uint16_t)record->kind);
	bytes_put_le16(out + 6, 0);
	bytes_put_le64(out + 8, record->sequence);
	bytes_put_le64(out + 16, record->epoch);
	bytes_put_le64(out + 24, record->payload_hash);
	bytes_put_le64(out + 32, XXH64(out, 32, journal));
}

int journal_get_record(struct journal_record *record, uint64_t journal,
		       const uint8_t in[JOURNAL_RECORD_HEAD], struct err *err)
{
	struct cursor c = cursor_of(in, JOURNAL_RECORD_HEAD);
	uint16_t kind, zero;

	if (bytes_get_le64(in + 32) != XXH64(in, 32, journal))
		return err_set(err, RC_INVALID, "the checksum of a record is wrong");
	record->length = cursor_le32(&c);
	kind = cursor_le16(&c);
	zero = cursor_le16(&c);
	record->sequence = cursor_le64(&c);
	record->epoch = cursor_le64(&c);
	record->payload_hash = cursor_le64(&c);
	if (kind == 0 || kind >= JOURNAL_KINDS || zero != 0)
		return err_set(err, RC_INVALID, "a record of kind %u", kind);
	record->kind = (enum journal_kind)kind;
	return may_be(record) && is_number(record->sequence) ?
		       RC_OK :
		       err_set(err, RC_INVALID, "a record that cannot be: kind %u, %u bytes", kind,
			       record->length);
}

int journal_check_payload(const struct journal_record *record, const uint8_t *payload,
			  struct err *err)
{
	return XXH64(payload, record->length, 0) == record->payload_hash ?
		       RC_OK :
		       err_set(err, RC_INVALID, "the checksum of what record %llu holds is wrong",
			       (unsigned long long)record->sequence);
}

/* ---- bases and commits -------------------------------------------------------------------------------- */

static void put_origin(uint8_t out[16], const struct journal_origin *origin)
{
	bytes_put_le64(out, origin->session);
	bytes_put_le64(out + 8, origin->term);
}

static void get_origin(struct journal_origin *origin, const uint8_t in[16])
{
	*origin = (struct journal_origin){
		.session = bytes_get_le64(in),
		.term = bytes_get_le64(in + 8),
	};
}

uint64_t journal_instance(const char *name)
{
	return XXH64(name, strlen(name), 0);
}

void journal_put_base(uint8_t out[JOURNAL_BASE_BYTES], const struct journal_base *base)
{
	put_origin(out, &base->origin);
	bytes_put_le32(out + 16, base->device_state_len);
	bytes_put_le32(out + 20, base->cut ? 1 : 0);
	bytes_put_le64(out + 24, base->instance);
}

void journal_get_base(struct journal_base *base, const uint8_t in[JOURNAL_BASE_BYTES])
{
	get_origin(&base->origin, in);
	base->device_state_len = bytes_get_le32(in + 16);
	base->cut = (bytes_get_le32(in + 20) & 1) != 0;
	base->instance = bytes_get_le64(in + 24);
}

void journal_put_begin(uint8_t out[JOURNAL_BEGIN_BYTES], const struct journal_begin *begin)
{
	put_origin(out, &begin->origin);
	bytes_put_le64(out + 16, begin->serial ? 1 : 0);
}

void journal_get_begin(struct journal_begin *begin, const uint8_t in[JOURNAL_BEGIN_BYTES])
{
	get_origin(&begin->origin, in);
	begin->serial = (bytes_get_le64(in + 16) & 1) != 0;
}

void journal_put_commit(uint8_t out[JOURNAL_COMMIT_BYTES], const struct journal_commit *commit)
{
	bytes_put_le64(out, commit->batches);
	bytes_put_le64(out + 8, commit->pages);
	bytes_put_le64(out + 16, commit->hash);
	bytes_put_le32(out + 24, commit->device_state_len);
	bytes_put_le32(out + 28, 0);
	bytes_put_le64(out + 32, commit->time_ms);
}

void journal_get_commit(struct journal_commit *commit, const uint8_t in[JOURNAL_COMMIT_BYTES])
{
	*commit = (struct journal_commit){
		.batches = bytes_get_le64(in),
		.pages = bytes_get_le64(in + 8),
		.hash = bytes_get_le64(in + 16),
		.device_state_len = bytes_get_le32(in + 24),
		.time_ms = bytes_get_le64(in + 32),
	};
}
