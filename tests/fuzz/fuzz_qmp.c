/* QMP as QEMU (or something that answers in its place) sends it: the client's parser and the guardian's scanner. */
#include "replica/qmp_parse.h"
#include "replica/qmp_scan.h"
#include "replica/release.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

static void need(bool holds)
{
	if (!holds)
		abort();
}

static void parse_piece(struct qmp_parse *parse, const uint8_t *at, size_t left, bool *over)
{
	struct qmp_parse_message message;
	struct err err;
	bool complete;

	while (left > 0 && !*over) {
		if (qmp_parse_feed(parse, &at, &left, &message, &complete, &err) != RC_OK) {
			*over = true;
		} else if (complete) {
			need(message.root != NULL && message.text != NULL);
			need(message.kind != QMP_PARSE_RETURN || message.data != NULL);
			qmp_parse_release(&message);
		} else {
			need(left == 0);
		}
	}
}

static void scan_piece(struct qmp_scan *scan, const uint8_t *at, size_t left)
{
	struct qmp_scan_reply reply;

	while (qmp_scan_feed(scan, &at, &left)) {
		need(scan->len <= QMP_SCAN_OBJECT_MAX);
		qmp_scan_reply(scan->text, scan->len, &reply);
		need(memchr(reply.id, '\0', sizeof(reply.id)) != NULL);
		need(memchr(reply.status, '\0', sizeof(reply.status)) != NULL);
		(void)release_decide(reply.id, reply.status);
	}
	need(left == 0);
}

/* The first byte says in pieces of what size the rest arrives. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct qmp_scan scan;
	struct qmp_parse parse;
	bool over = false;
	size_t piece, at;

	if (size == 0)
		return 0;
	qmp_parse_init(&parse);
	qmp_scan_init(&scan);
	for (at = 1; at < size; at += piece) {
		piece = (size_t)data[0] + 1 < size - at ? (size_t)data[0] + 1 : size - at;
		parse_piece(&parse, data + at, piece, &over);
		scan_piece(&scan, data + at, piece);
	}
	qmp_parse_free(&parse);
	return 0;
}
