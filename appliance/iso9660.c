/*
 * Theory of operation
 *
 * ECMA-119 (ISO 9660), in blocks of 2048 bytes. Numbers are written in both byte orders, one after the other, but for those of the
 * path tables.
 *
 *   block 16   the primary volume descriptor: label, sizes, the root directory's record
 *   block 17   the end of descriptors
 *   block 18   path table, little-endian: the root directory
 *   block 19   path table, big-endian
 *   block 20   the root directory: records of itself, of its parent (itself), of each file in the order of identifiers
 *   then       each file, from a block of its own
 *
 * A file's identifier is its name as the format wants it: upper case, one dot, "_" for all else. Behind the identifier a record
 * has what Rock Ridge adds to it: in the directory's own that it is used (SP, ER); in each, mode, owner and links (PX); the name as it
 * is (NM). All times are the same one.
 */
#include "appliance/iso9660.h"

#include "appliance/base/bytes.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define BLOCK 2048
#define DESCRIPTOR 16 /* blocks; see above */
#define DESCRIPTORS_END 17
#define PATHS_LITTLE 18
#define PATHS_BIG 19
#define ROOT 20
#define PATHS_BYTES 10 /* of the one record there is */
#define RECORD_MAX 255 /* its length is a byte */
#define RECORD_HEAD 33 /* before the identifier */
#define DIRECTORY_FLAG 0x02
#define DIRECTORY_MODE (S_IFDIR | 0500)
#define FILE_MODE (S_IFREG | 0400)
#define VERSION ";1"

struct entry {
	struct iso9660_file file;
	char identifier[ISO9660_NAME_MAX + 2]; /* a dot may come to it; without its version */
};

struct record {
	uint8_t bytes[RECORD_MAX];
	size_t len;
};

/* ---- numbers and texts ------------------------------------------------------------------------------ */

static void put_both16(uint8_t *to, uint16_t value)
{
	bytes_put_le16(to, value);
	bytes_put_be16(to + 2, value);
}

static void put_both32(uint8_t *to, uint32_t value)
{
	bytes_put_le32(to, value);
	bytes_put_be32(to + 4, value);
}

/* Behind the text come spaces. */
static void put_text(uint8_t *to, size_t size, const char *text)
{
	for (size_t i = 0; i < size; i++)
		to[i] = (uint8_t)(*text != '\0' ? *text++ : ' ');
}

static uint32_t blocks(size_t bytes)
{
	return (uint32_t)((bytes + BLOCK - 1) / BLOCK);
}

/* ---- names -------------------------------------------------------------------------------------------- */

int iso9660_check_name(const char *name, struct err *err)
{
	const size_t len = strlen(name);

	if (len == 0 || len > ISO9660_NAME_MAX || *name == '.')
		return err_set(
			err, RC_INVALID,
			"%.64s: a name there has 1 to %d characters, the first of them no dot",
			name, ISO9660_NAME_MAX);
	for (size_t i = 0; i < len; i++) {
		if (!isalnum((unsigned char)name[i]) && strchr("._-", name[i]) == NULL)
			return err_set(err, RC_INVALID,
				       "%.64s: a name there is of A-Z a-z 0-9 . _ -", name);
	}
	return RC_OK;
}

static void make_identifier(struct entry *entry, const char *name)
{
	const char *dot = strrchr(name, '.');
	size_t i;

	for (i = 0; name[i] != '\0'; i++) {
		const int c = toupper((unsigned char)name[i]);

		entry->identifier[i] = (char)(isalnum(c) || name + i == dot ? c : '_');
	}
	if (dot == NULL)
		entry->identifier[i++] = '.';
	entry->identifier[i] = '\0';
}

/* A dot is less than all else in them. */
static int compare(const void *a, const void *b)
{
	return strcmp(((const struct entry *)a)->identifier, ((const struct entry *)b)->identifier);
}

static int sort_entries(struct entry *entries, const struct iso9660_file *files, size_t count,
			struct err *err)
{
	int rc;

	if (count > ISO9660_FILES_MAX)
		return err_set(err, RC_LIMIT, "%zu files; at most %d are possible", count,
			       ISO9660_FILES_MAX);
	for (size_t i = 0; i < count; i++) {
		rc = iso9660_check_name(files[i].name, err);
		if (rc != RC_OK)
			return rc;
		entries[i].file = files[i];
		make_identifier(&entries[i], files[i].name);
	}
	if (count > 0)
		qsort(entries, count, sizeof(entries[0]), compare);
	for (size_t i = 1; i < count; i++) {
		if (compare(&entries[i - 1], &entries[i]) == 0)
			return err_set(err, RC_INVALID,
				       "%s and %s differ by case or punctuation only; rename one",
				       entries[i - 1].file.name, entries[i].file.name);
	}
	return RC_OK;
}

/* ---- records of a directory ----------------------------------------------------------------------------- */

/* 1980-01-01 00:00:00 UTC, as in all of the appliance's image. */
static void put_time(uint8_t to[7])
{
	static const uint8_t time[7] = { 80, 1, 1 };

	memcpy(to, time, sizeof(time));
}

static struct record begin_record(const void *identifier, size_t len, uint32_t at, size_t bytes,
				  bool directory)
{
	struct record record = { .len = RECORD_HEAD + len };

	put_both32(record.bytes + 2, at);
	put_both32(record.bytes + 10, (uint32_t)bytes);
	put_time(record.bytes + 18);
	record.bytes[25] = directory ? DIRECTORY_FLAG : 0;
	put_both16(record.bytes + 28, 1);
	record.bytes[32] = (uint8_t)len;
	memcpy(record.bytes + RECORD_HEAD, identifier, len);
	record.len += record.len % 2;
	record.bytes[0] = (uint8_t)record.len;
	return record;
}

/* An entry of Rock Ridge behind it. */
static void extend(struct record *record, const char *signature, const void *data, size_t len)
{
	uint8_t *to = record->bytes + record->len;

	memcpy(to, signature, 2);
	to[2] = (uint8_t)(4 + len);
	to[3] = 1;
	memcpy(to + 4, data, len);
	record->len += 4 + len;
}

static void extend_mode(struct record *record, mode_t mode)
{
	uint8_t data[32] = { 0 };

	put_both32(data, mode);
	put_both32(data + 8, S_ISDIR(mode) ? 2 : 1);
	extend(record, "PX", data, sizeof(data));
}

static void extend_name(struct record *record, const char *name)
{
	char data[1 + ISO9660_NAME_MAX + 1];
	const int len = snprintf(data, sizeof(data), "%c%s", 0, name); /* flags first */

	extend(record, "NM", data, (size_t)len);
}

static void end_record(struct record *record)
{
	record->len += record->len % 2;
	record->bytes[0] = (uint8_t)record->len;
}

/* No record is in two blocks. False: there is no room. */
static bool append_record(struct buf *directory, const struct record *record)
{
	const size_t left = BLOCK - directory->len % BLOCK;
	uint8_t *gap;

	if (record->len > left) {
		gap = buf_extend(directory, left);
		if (gap == NULL)
			return false;
		memset(gap, 0, left);
	}
	return buf_append(directory, record->bytes, record->len);
}

/* The directory itself ("\0" in the format) or its parent ("\1"). */
static bool append_self(struct buf *directory, uint8_t identifier, size_t bytes)
{
	static const uint8_t use_sp[] = { 0xbe, 0xef, 0 };
	static const uint8_t rock_ridge[] = { 10,  0,	0,   1,	  'R', 'R', 'I',
					      'P', '_', '1', '9', '9', '1', 'A' };
	struct record record = begin_record(&identifier, 1, ROOT, bytes, true);

	if (identifier == 0)
		extend(&record, "SP", use_sp, sizeof(use_sp));
	extend_mode(&record, DIRECTORY_MODE);
	if (identifier == 0)
		extend(&record, "ER", rock_ridge, sizeof(rock_ridge));
	end_record(&record);
	return append_record(directory, &record);
}

static bool append_file(struct buf *directory, const struct entry *entry, uint32_t at)
{
	char identifier[sizeof(entry->identifier) + sizeof(VERSION)];
	const int len = snprintf(identifier, sizeof(identifier), "%s" VERSION, entry->identifier);
	struct record record = begin_record(identifier, (size_t)len, at, entry->file.len, false);

	extend_mode(&record, FILE_MODE);
	extend_name(&record, entry->file.name);
	end_record(&record);
	return append_record(directory, &record);
}

/* `bytes`: of the directory, as an earlier turn has found them; they change no record's length. */
static bool make_directory(struct buf *directory, const struct entry *entries, size_t count,
			   size_t bytes)
{
	uint32_t at = ROOT + blocks(bytes);
	bool done = append_self(directory, 0, bytes) && append_self(directory, 1, bytes);

	for (size_t i = 0; done && i < count; i++) {
		done = append_file(directory, &entries[i], at);
		at += blocks(entries[i].file.len);
	}
	return done;
}

/* ---- descriptors ------------------------------------------------------------------------------------- */

static void put_descriptor(uint8_t *to, uint8_t type)
{
	const uint8_t head[] = { type, 'C', 'D', '0', '0', '1', 1 };

	memcpy(to, head, sizeof(head));
}

static void put_long_time(uint8_t to[17], const char *digits)
{
	memcpy(to, digits, 16);
	to[16] = 0;
}

static void put_volume(uint8_t *to, const char *label, uint32_t all, size_t directory_bytes)
{
	static const char made[] = "1980010100000000", never[] = "0000000000000000";
	const uint8_t self = 0;
	const struct record root = begin_record(&self, 1, ROOT, directory_bytes, true);

	put_descriptor(to, 1);
	put_text(to + 8, 32, "");
	put_text(to + 40, ISO9660_LABEL_MAX, label);
	put_both32(to + 80, all);
	put_both16(to + 120, 1);
	put_both16(to + 124, 1);
	put_both16(to + 128, BLOCK);
	put_both32(to + 132, PATHS_BYTES);
	bytes_put_le32(to + 140, PATHS_LITTLE);
	bytes_put_be32(to + 148, PATHS_BIG);
	memcpy(to + 156, root.bytes, root.len);
	put_text(to + 190, 623, ""); /* who made it, and three files about that */
	put_long_time(to + 813, made);
	put_long_time(to + 830, made);
	put_long_time(to + 847, never);
	put_long_time(to + 864, never);
	to[881] = 1;
}

static void put_paths(uint8_t *little, uint8_t *big)
{
	little[0] = big[0] = 1; /* the length of the root's identifier */
	bytes_put_le32(little + 2, ROOT);
	bytes_put_be32(big + 2, ROOT);
	bytes_put_le16(little + 6, 1);
	bytes_put_be16(big + 6, 1);
}

/* ---- all of it ------------------------------------------------------------------------------------------- */

/* The bytes in blocks of their own. */
static bool append_blocks(struct buf *out, const void *data, size_t len)
{
	const size_t bytes = (size_t)blocks(len) * BLOCK;
	uint8_t *to = bytes > 0 ? buf_extend(out, bytes) : NULL;

	if (bytes == 0)
		return true;
	if (to == NULL)
		return false;
	memcpy(to, data, len);
	memset(to + len, 0, bytes - len);
	return true;
}

static bool write_all(struct buf *out, const char *label, const struct entry *entries, size_t count,
		      const struct buf *directory)
{
	const size_t bytes = (size_t)blocks(directory->len) * BLOCK;
	uint32_t all = ROOT + blocks(bytes);
	uint8_t *head = buf_extend(out, (size_t)ROOT * BLOCK);
	bool done = head != NULL;

	for (size_t i = 0; i < count; i++)
		all += blocks(entries[i].file.len);
	if (done) {
		memset(head, 0, (size_t)ROOT * BLOCK);
		put_volume(head + (size_t)DESCRIPTOR * BLOCK, label, all, bytes);
		put_descriptor(head + (size_t)DESCRIPTORS_END * BLOCK, 255);
		put_paths(head + (size_t)PATHS_LITTLE * BLOCK, head + (size_t)PATHS_BIG * BLOCK);
		done = append_blocks(out, directory->data, directory->len);
	}
	for (size_t i = 0; done && i < count; i++)
		done = append_blocks(out, entries[i].file.data, entries[i].file.len);
	return done;
}

int iso9660_write(struct buf *out, const char *label, const struct iso9660_file *files,
		  size_t count, struct err *err)
{
	struct buf directory = { 0 };
	struct entry entries[ISO9660_FILES_MAX] = { 0 };
	size_t bytes;
	bool done;
	int rc = sort_entries(entries, files, count, err);

	if (rc != RC_OK)
		return rc;
	done = make_directory(&directory, entries, count, 0);
	bytes = (size_t)blocks(directory.len) * BLOCK;
	buf_reset(&directory);
	done = done && make_directory(&directory, entries, count, bytes) &&
	       write_all(out, label, entries, count, &directory);
	buf_free(&directory);
	return done ? RC_OK :
		      err_set(err, RC_LIMIT, "the files are too large, or there is no memory");
}
