/* What etcd, or whoever answers in its place, says; and what somebody stored in it. */
#include "appliance/witness_value.h"
#include "net/etcd_format.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct etcd_txn swap = {
	.puts = { { "a", "one", 0 }, { "b", "one", 77 } },
	.nputs = 2,
	.reads = { "a", "b" },
	.nreads = 2,
};
static const struct etcd_txn reading = { .reads = { "a", "b" }, .nreads = 2 };

static void need(bool holds)
{
	if (!holds)
		abort();
}

static void check(int rc, const struct etcd_txn_reply *reply, const struct err *err)
{
	size_t i;

	if (rc != RC_OK) {
		need(err->code == (enum rc)rc && err->text[0] != '\0');
		return;
	}
	need(reply->nentries <= ETCD_PARTS_MAX && reply->put_revision >= 0);
	for (i = 0; i < reply->nentries; i++) {
		need(reply->entries[i].len <= ETCD_VALUE_MAX);
		need(reply->entries[i].value[reply->entries[i].len] == '\0');
		need(reply->entries[i].present == (reply->entries[i].mod_revision > 0));
	}
}

static void check_lease(int rc, const struct etcd_lease_reply *reply, const struct err *err)
{
	if (rc != RC_OK)
		need(err->code == (enum rc)rc && err->text[0] != '\0');
	else
		need(reply->id > 0 && reply->ttl_s <= ETCD_TTL_MAX_S);
}

static void check_value(const char *text, size_t len)
{
	struct witness_value value, again;
	char printed[WITNESS_TEXT_MAX];
	struct err err;

	if (witness_value_parse(&value, text, len, &err) != RC_OK)
		return;
	need(witness_value_print(printed, &value, &err) == RC_OK);
	need(witness_value_parse(&again, printed, strlen(printed), &err) == RC_OK);
	need(again.term == value.term && again.server == value.server &&
	     strcmp(again.site, value.site) == 0 && strcmp(again.claim, value.claim) == 0);
}

/* The first byte says what kind of answer the rest is. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct etcd_txn_reply reply;
	struct etcd_lease_reply lease;
	const char *text;
	struct err err;

	if (size == 0 || size > ETCD_BODY_MAX)
		return 0;
	text = (const char *)data + 1;
	size--;
	switch (data[0] % 7) {
	case 0:
		check(etcd_format_read_range(&reply, text, size, &err), &reply, &err);
		break;
	case 1:
		check(etcd_format_read_txn(&reply, &swap, text, size, &err), &reply, &err);
		break;
	case 2:
		check(etcd_format_read_txn(&reply, &reading, text, size, &err), &reply, &err);
		break;
	case 3:
		check_lease(etcd_format_read_grant(&lease, text, size, &err), &lease, &err);
		break;
	case 4:
		check_lease(etcd_format_read_keep_alive(&lease, text, size, &err), &lease, &err);
		break;
	case 5:
		need(etcd_format_read_error(503, text, size, &err) != RC_OK);
		break;
	default:
		check_value(text, size);
	}
	return 0;
}
