/*
 * QMP's bytes, taken apart: where one JSON object ends and what it is. Pure; nothing here reads or
 * writes a socket.
 *
 * Objects are found by their brackets, not by their line ends: one read may bring a part of an
 * object or several, and a monitor with pretty=on spreads them over lines.
 */
#ifndef REPLICA_QMP_PARSE_H
#define REPLICA_QMP_PARSE_H

#include "appliance/base/buf.h"
#include "appliance/base/err.h"

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define QMP_PARSE_DEPTH_MAX 64 /* what cJSON is built to take; disk images nest one a link */

enum qmp_parse_kind { QMP_PARSE_GREETING, QMP_PARSE_RETURN, QMP_PARSE_ERROR, QMP_PARSE_EVENT };

struct qmp_parse_message {
	enum qmp_parse_kind kind;
	bool has_id; /* a whole number of ours; other ids count as none */
	uint64_t id;
	const char *text;  /* EVENT: its name; ERROR: QEMU's words; never NULL */
	const cJSON *data; /* GREETING, RETURN: the value; EVENT: "data" or NULL */
	uint64_t time_us;  /* EVENT: QEMU's wall clock, 0 when it gave none */
	cJSON *root;	   /* owns all of the above */
};

struct qmp_parse {
	struct buf text;
	unsigned depth;
	bool in_string, escaped;
};

void qmp_parse_init(struct qmp_parse *parse);
void qmp_parse_free(struct qmp_parse *parse);

/*
 * Takes bytes from *at (moving it and *left) until an object is complete or the bytes are used up;
 * *complete says which. A complete message is the caller's, for qmp_parse_release(). RC_INVALID:
 * this is not QMP; RC_LIMIT: larger than QMP_LINE_MAX or deeper than QMP_PARSE_DEPTH_MAX; after an
 * error nothing more can be read from that stream.
 */
int qmp_parse_feed(struct qmp_parse *parse, const uint8_t **at, size_t *left,
		   struct qmp_parse_message *message, bool *complete, struct err *err);
void qmp_parse_release(struct qmp_parse_message *message);

#endif
