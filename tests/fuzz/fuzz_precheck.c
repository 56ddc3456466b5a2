/*
 * What QEMU answers to the questions before an instance is touched, a JSON array with one reply for
 * each: no crash, every text ends, no number is beyond what is taken, and a verdict against the
 * instance has its reason.
 */
#include "appliance/base/json_text.h"
#include "replica/precheck.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

static void check_text(const char *text, size_t size)
{
	CHECK(memchr(text, '\0', size) != NULL);
}

static void check_facts(const struct precheck_facts *facts)
{
	struct err err = { 0 };
	int rc;

	check_text(facts->package, sizeof(facts->package));
	check_text(facts->status, sizeof(facts->status));
	check_text(facts->migration, sizeof(facts->migration));
	check_text(facts->blocked, sizeof(facts->blocked));
	check_text(facts->machine, sizeof(facts->machine));
	check_text(facts->default_ram_id, sizeof(facts->default_ram_id));
	CHECK(facts->major <= 1000000000 && facts->minor <= 1000000000);
	CHECK(facts->memory_bytes <= UINT64_C(1) << 53);
	rc = precheck_verdict(facts, &err);
	CHECK(rc == RC_OK || ((rc == RC_UNSUPPORTED || rc == RC_STATE) && *err.text != '\0'));
	CHECK(rc != RC_OK || (facts->memory_bytes > 0 && facts->cpus > 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct precheck_facts facts = { 0 };
	struct err err = { 0 };
	cJSON *root = NULL;
	const cJSON *reply;
	size_t i = 0;

	if (json_text_parse(&root, (const char *)data, size, &err) != RC_OK)
		return 0;
	for (reply = root->child; reply != NULL; reply = reply->next) {
		if (!precheck_take(&facts, i++, reply))
			break;
	}
	check_facts(&facts);
	cJSON_Delete(root);
	return 0;
}
