/*
 * QEMU's table, a line each after the headline:
 *
 *   Block Name  PSize  Offset            Used              Total             HVA               RO
 *       pc.ram  4 KiB  0x00000000000000  0x00000010000000  0x00000010000000  0x007f0e10000000  rw
 *
 * A block's used length has to be the layout's. Only those made from firmware tables ("/rom@...")
 * can be resized, up to their total, and QEMU does that by itself when the stream says so.
 */
#include "replica/ram_blocks.h"

#include "appliance/base/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RESIZABLE "/rom@"

struct row {
	char name[LAYOUT_NAME_MAX + 1];
	uint64_t used, total;
};

/* The row of a line; false: it is none. */
static bool read_row(const char *line, struct row *row)
{
	char used[32], total[32];

	if (sscanf(line, "%255s %*s %*s %*s %31s %31s", row->name, used, total) != 3)
		return false;
	row->used = strtoull(used, NULL, 16);
	row->total = strtoull(total, NULL, 16);
	return true;
}

static bool find_row(const char *table, const char *name, struct row *row)
{
	const char *newline;

	for (const char *line = table; *line != '\0'; line = newline + 1) {
		if (read_row(line, row) && strcmp(row->name, name) == 0)
			return true;
		newline = strchr(line, '\n');
		if (newline == NULL)
			break;
	}
	return false;
}

static int check_block(const char *table, const struct layout_block *block, struct err *err)
{
	bool resizable = strncmp(block->name, RESIZABLE, strlen(RESIZABLE)) == 0;
	uint64_t bytes = block->pages * LAYOUT_PAGE;
	struct row row;

	if (!find_row(table, block->name, &row))
		return err_set(err, RC_UNSUPPORTED,
			       "the instance has RAM block %.64s (%" PRIu64
			       " KiB), its replica has not: were "
			       "devices added to it after its start?",
			       block->name, bytes >> 10);
	if (bytes == row.used || (resizable && bytes <= row.total))
		return RC_OK;
	return err_set(err, RC_UNSUPPORTED,
		       "RAM block %.64s has %" PRIu64 " KiB in the instance and %" PRIu64
		       " KiB in its replica: other firmware files or device properties?",
		       block->name, bytes >> 10, row.used >> 10);
}

int ram_blocks_check(const char *table, const struct layout *layout, struct err *err)
{
	int rc = RC_OK;

	for (uint32_t i = 0; i < layout->ram_blocks && rc == RC_OK; i++)
		rc = check_block(table, &layout->blocks[i], err);
	return rc;
}

struct question {
	struct layout layout;
	void (*done)(void *owner, const struct err *result);
	void *owner;
};

static void on_table(void *owner, const cJSON *reply, const struct err *err)
{
	struct question *question = owner;
	struct err result = { .code = RC_OK };

	if (cJSON_IsString(reply))
		(void)ram_blocks_check(reply->valuestring, &question->layout, &result);
	else if (reply != NULL)
		(void)err_set(&result, RC_INVALID, "QEMU's answer to info ramblock is no text");
	else
		result = *err;
	if (result.code != RC_CLOSED && result.code != RC_CANCELLED)
		question->done(question->owner, &result);
	mem_free(question);
}

int ram_blocks_ask(struct qmp *qmp, const struct layout *layout,
		   void (*done)(void *owner, const struct err *result), void *owner,
		   struct err *err)
{
	struct question *question = mem_alloc(sizeof(*question));
	cJSON *arguments = cJSON_CreateObject();
	int rc;

	if (question == NULL ||
	    cJSON_AddStringToObject(arguments, "command-line", "info ramblock") == NULL) {
		cJSON_Delete(arguments);
		mem_free(question);
		return err_nomem(err, "checking RAM blocks");
	}
	question->layout = *layout;
	question->done = done;
	question->owner = owner;
	rc = qmp_execute(qmp, "human-monitor-command", arguments, on_table, question, err);
	if (rc != RC_OK)
		mem_free(question);
	return rc;
}
