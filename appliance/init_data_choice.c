#include "appliance/init_data.h"

#include <stdio.h>
#include <string.h>

/* Why a disk was not taken. */
static const char *kind_text(const struct data_disk *disk)
{
	static const char *const texts[DATA_KINDS] = {
		[DATA_OURS] = "has our label",
		[DATA_EMPTY] = "is empty",
		[DATA_FOREIGN] = "has something on it, and not our label",
		[DATA_SMALL] = "is too small",
		[DATA_UNREADABLE] = "cannot be read",
	};

	return disk->taken ? "is an instance's" : texts[disk->kind];
}

static void name(char *out, size_t size, const struct data_disk *disk)
{
	if (disk->serial[0] != '\0')
		(void)snprintf(out, size, "/dev/%s (serial number %s)", disk->name, disk->serial);
	else
		(void)snprintf(out, size, "/dev/%s", disk->name);
}

/* What there is, behind what is wrong with that. */
static void list(struct err *why, const struct data_disk *disks, size_t count)
{
	char text[DATA_NAME_BYTES + DATA_SERIAL_BYTES + 32];

	for (size_t i = 0; i < count; i++) {
		name(text, sizeof(text), &disks[i]);
		(void)err_append(why, "; %s %s", text, kind_text(&disks[i]));
	}
}

static bool is_wanted(const struct data_disk *disk, const char *wanted)
{
	if (strncmp(wanted, "/dev/", 5) == 0)
		return strcmp(disk->name, wanted + 5) == 0;
	return disk->serial[0] != '\0' && strcmp(disk->serial, wanted) == 0;
}

static enum data_choice choose_wanted(const struct data_disk *disks, size_t count,
				      const char *wanted, size_t *which, struct err *why)
{
	size_t found = 0;

	for (size_t i = 0; i < count; i++) {
		if (is_wanted(&disks[i], wanted) && found++ == 0)
			*which = i;
	}
	if (found == 1 && !disks[*which].taken && disks[*which].kind == DATA_OURS)
		return DATA_TAKE;
	if (found == 1 && !disks[*which].taken && disks[*which].kind == DATA_EMPTY)
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

enum data_choice data_choose(const struct data_disk *disks, size_t count, const char *wanted,
			     size_t *which, struct err *why)
{
	size_t ours = 0, empty = 0;

	if (wanted != NULL)
		return choose_wanted(disks, count, wanted, which, why);
	for (size_t i = 0; i < count; i++) {
		if (!disks[i].taken && disks[i].kind == DATA_OURS && ours++ == 0)
			*which = i;
	}
	for (size_t i = 0; ours == 0 && i < count; i++) {
		if (!disks[i].taken && disks[i].kind == DATA_EMPTY && empty++ == 0)
			*which = i;
	}
	if (ours == 1)
		return DATA_TAKE;
	if (ours == 0 && empty == 1)
		return DATA_PREPARE;
	if (ours > 1)
		(void)err_set(why, RC_REFUSED,
			      "more than one disk has the label " DATA_LABEL
			      "; machine.data says which it is");
	else if (empty > 1)
		(void)err_set(why, RC_STATE,
			      "there is more than one empty disk; machine.data says which it is");
	else
		(void)err_set(why, RC_STATE, "there is no data disk");
	list(why, disks, count);
	return ours > 1 ? DATA_REFUSE : DATA_NONE;
}
