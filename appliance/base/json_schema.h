/*
 * What json_table.h tables say, for other programs (JSON Schema, draft 2020-12) and for people.
 */
#ifndef APPLIANCE_BASE_JSON_SCHEMA_H
#define APPLIANCE_BASE_JSON_SCHEMA_H

#include "appliance/base/json_table.h"

/* A file that the schema is of: its keys are those of `table` for a role. */
struct json_schema_file {
	unsigned role;
	const char *title;
};

/* The schema of a file that is one of these, indented, with a line break at the end. */
int json_schema_write(const struct json_table *table, const struct json_schema_file *files,
		      size_t count, struct buf *out, struct err *err);

/* A Markdown list: one line for each key with its type, bounds, default and meaning. */
int json_schema_explain(const struct json_table *table, unsigned role, struct buf *out,
			struct err *err);

#endif
