#include "appliance/init_data.h"

#include "appliance/config.h"
#include <stdio.h>
#include <string.h>

/* Why a disk was not taken. */
static const char *kind_text(const struct data_disk *disk)
{
	static const char *const texts[DATA_KINDS] = {
		[DATA_OURS] = "has our label",
		[DATA_EMPTY] = "is empty",
		[DATA_FOREIGN] = "has something on it, and not our label",
		[DATA_SMALL] = "is empty, and smaller than 48 MiB",
		[DATA_UNREADABLE] = "cannot be read",
		[DATA_DAMAGED] =
			"is ours, and damaged; mend it on another machine (e2fsck -B 4096 -b 32768)",
	};

	if (disk->taken)
		return "is an instance's";
	if (disk->read_only)
		return disk->kind == DATA_OURS ? "has our label, and is read-only" : "is read-only";
	return texts[disk->kind];
}

void data_disk_name(char out[DATA_TEXT_BYTES], const struct data_disk *disk)
{
	if (disk->serial[0] != '\0')
		(void)snprintf(out, DATA_TEXT_BYTES, "/dev/%s (serial number %s)", disk->name,
			       disk->serial);
	else
		(void)snprintf(out, DATA_TEXT_BYTES, "/dev/%s", disk->name);
}

/* What there is, behind what is wrong with that. */
static void list(struct err *why, const struct data_disk *disks, size_t count)
{
	char text[DATA_TEXT_BYTES];

	for (size_t i = 0; i < count; i++) {
		data_disk_name(text, &disks[i]);
		(void)err_append(why, "; %s %s", text, kind_text(&disks[i]));
	}
}

static bool is_wanted(const struct data_disk *disk, const char *wanted)
{
	if (strncmp(wanted, "/dev/", 5) == 0)
		return strcmp(disk->name, wanted + 5) == 0;
	return disk->serial[0] != '\0' && strcmp(disk->serial, wanted) == 0;
}

static bool is_free(const struct data_disk *disk, enum data_kind kind)
{
	return !disk->taken && !disk->read_only && disk->kind == kind;
}

static enum data_choice choose_wanted(const struct data_disk *disks, size_t count,
				      const char *wanted, size_t *which, struct err *why)
{
	size_t found = 0;

	for (size_t i = 0; i < count; i++) {
		if (is_wanted(&disks[i], wanted) && found++ == 0)
			*which = i;
	}
	if (found == 1 && is_free(&disks[*which], DATA_OURS))
		return DATA_TAKE;
	if (found == 1 && is_free(&disks[*which], DATA_EMPTY))
		return DATA_PREPARE;
	if (found == 1)
		(void)err_set(why, RC_REFUSED, "machine.data: %s %s", wanted,
			      kind_text(&disks[*which]));
	else
		(void)err_set(why, RC_STATE, "machine.data: %s disk %s",
			      found == 0 ? "there is no" : "there is more than one", wanted);
	list(why, disks, count);
	return DATA_REFUSE;
}

/* Whether there is one, or may be, that cannot be taken. */
static enum data_choice refuse(size_t ours, size_t damaged, size_t unreadable, struct err *why)
{
	if (ours > 1)
		(void)err_set(why, RC_REFUSED,
			      "more than one disk has the label " CONFIG_DATA_LABEL
			      "; machine.data says which it is");
	else if (ours == 1)
		(void)err_set(why, RC_REFUSED, "the data disk cannot be written to");
	else if (damaged > 0)
		(void)err_set(why, RC_REFUSED, "the data disk is damaged");
	else if (unreadable > 0)
		(void)err_set(
			why, RC_REFUSED,
			"the data disk may be one that cannot be read; machine.data says which it is");
	return ours > 0 || damaged > 0 || unreadable > 0 ? DATA_REFUSE : DATA_NONE;
}

enum data_choice data_choose(const struct data_disk *disks, size_t count, const char *wanted,
			     size_t *which, struct err *why)
{
	size_t ours = 0, empty = 0, damaged = 0, unreadable = 0, the_empty = 0;
	enum data_choice choice;

	if (wanted != NULL)
		return choose_wanted(disks, count, wanted, which, why);
	for (size_t i = 0; i < count; i++) {
		if (!disks[i].taken && disks[i].kind == DATA_OURS && ours++ == 0)
			*which = i;
		damaged += !disks[i].taken && disks[i].kind == DATA_DAMAGED;
		unreadable += !disks[i].taken && disks[i].kind == DATA_UNREADABLE;
		if (is_free(&disks[i], DATA_EMPTY) && empty++ == 0)
			the_empty = i;
	}
	if (ours == 1 && is_free(&disks[*which], DATA_OURS))
		return DATA_TAKE;
	choice = refuse(ours, damaged, unreadable, why);
	if (choice == DATA_NONE && empty == 1) {
		*which = the_empty;
		return DATA_PREPARE;
	}
	if (choice == DATA_NONE)
		(void)err_set(
			why, RC_STATE, "%s",
			empty > 1 ?
				"there is more than one empty disk; machine.data says which it is" :
				"there is no data disk");
	list(why, disks, count);
	return choice;
}

/* ---- when ---------------------------------------------------------------------------------------- */

#define NEEDED_WITHIN_MS 30000 /* a SAN may take its time */
#define LATE_WITHIN_MS 10000 /* one whose absence has consequences that last: another is prepared */
#define OTHERS_WITHIN_MS 2000 /* of the same label */

uint64_t data_settled_ms(enum data_choice choice, bool named, bool needed, bool starting)
{
	if (choice == DATA_TAKE || choice == DATA_PREPARE) {
		if (named)
			return 0;
		return choice == DATA_PREPARE && starting ? LATE_WITHIN_MS : OTHERS_WITHIN_MS;
	}
	if (!starting)
		return 0;
	if (needed)
		return NEEDED_WITHIN_MS;
	return choice == DATA_NONE ? LATE_WITHIN_MS : OTHERS_WITHIN_MS;
}
