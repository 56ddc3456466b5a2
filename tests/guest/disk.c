#include "tests/guest/disk.h"

#include "tests/guest/memory.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SECTOR ((size_t)512)
#define SECTORS_MAX 16 /* of one write */
#define READ_BYTES ((size_t)1 << 20)

static int fd = -1;
static uint8_t *buffer; /* READ_BYTES, aligned for O_DIRECT */
static uint32_t *holds; /* by sector: the number of the write that wrote it last, 0: none */
static size_t sectors;
static uint32_t writes;
static uint64_t state = 88172645463325252U; /* of the random numbers */

void disk_start(uint64_t mib)
{
	fd = open("/dev/vda", O_RDWR | O_DIRECT | O_SYNC | O_CLOEXEC);
	sectors = (size_t)mib * (READ_BYTES / SECTOR);
	holds = calloc(sectors, sizeof(*holds));
	if (fd < 0 || holds == NULL || posix_memalign((void **)&buffer, 4096, READ_BYTES) != 0)
		give_up("/dev/vda");
}

static uint64_t next_random(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

/* What a sector holds, every eight bytes of it: which write, and where it belongs. */
static uint64_t word_of(uint32_t number, size_t sector)
{
	return number == 0 ? 0 : (uint64_t)number << 32 | (uint32_t)sector;
}

static void write_some(void)
{
	const size_t count = 1 + next_random() % SECTORS_MAX;
	const size_t first = next_random() % (sectors - count);
	uint64_t word;
	size_t i, at;

	writes++;
	for (i = 0; i < count; i++) {
		word = word_of(writes, first + i);
		for (at = 0; at < SECTOR; at += sizeof(word))
			memcpy(buffer + i * SECTOR + at, &word, sizeof(word));
		holds[first + i] = writes;
	}
	if (pwrite(fd, buffer, count * SECTOR, (off_t)(first * SECTOR)) !=
	    (ssize_t)(count * SECTOR))
		give_up("writing the disk");
}

void disk_write(uint64_t count)
{
	for (; count > 0 && fd >= 0; count--)
		write_some();
}

int disk_write_answer(const char *times, char *to, size_t size)
{
	const unsigned long count = strtoul(times, NULL, 10);

	if (fd < 0)
		return snprintf(to, size, "error no disk\n");
	disk_write(count > 0 ? count : 1);
	return snprintf(to, size, "%u\n", writes);
}

/* The first word of a sector that is not as it must be; SECTOR / 8: all are. */
static size_t compare(const uint8_t *data, size_t sector)
{
	const uint64_t wanted = word_of(holds[sector], sector);
	uint64_t word;
	size_t i;

	for (i = 0; i < SECTOR / sizeof(word); i++) {
		memcpy(&word, data + i * sizeof(word), sizeof(word));
		if (word != wanted)
			break;
	}
	return i;
}

int disk_check_answer(char *to, size_t size)
{
	const size_t piece = READ_BYTES / SECTOR;
	size_t sector, word, written = 0;
	uint64_t found;

	if (fd < 0)
		return snprintf(to, size, "error no disk\n");
	for (sector = 0; sector < sectors; sector++) {
		const uint8_t *at = buffer + sector % piece * SECTOR;

		if (sector % piece == 0 &&
		    pread(fd, buffer, READ_BYTES, (off_t)(sector * SECTOR)) != (ssize_t)READ_BYTES)
			give_up("reading the disk");
		word = compare(at, sector);
		if (word < SECTOR / sizeof(found)) {
			memcpy(&found, at + word * sizeof(found), sizeof(found));
			return snprintf(to, size,
					"bad sector=%zu holds=%u of %u wanted=%u writes=%u\n",
					sector, (unsigned)(found >> 32), (unsigned)found,
					holds[sector], writes);
		}
		written += holds[sector] != 0;
	}
	return snprintf(to, size, "ok writes=%u sectors=%zu\n", writes, written);
}
