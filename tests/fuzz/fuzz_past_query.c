/* The query of GET /v1/history: no crash, a reason with every refusal, and what is taken is printed as what is taken again. */
#include "appliance/past_query.h"
#include "replica/journal_epochs.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

#define TEXT_MAX 2000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char text[TEXT_MAX + 1], printed[PAST_QUERY_PRINTED_MAX];
	struct past_query query, again;
	struct err err = { 0 };

	size = size < TEXT_MAX ? size : TEXT_MAX;
	memcpy(text, data, size);
	text[size] = '\0';
	if (past_query_read(&query, text, &err) != RC_OK) {
		CHECK(err.text[0] != '\0');
		return 0;
	}
	CHECK(query.limit > 0 && query.limit <= JOURNAL_EPOCHS_MAX && *query.instance != '\0');
	past_query_print(printed, &query);
	CHECK(past_query_read(&again, printed, &err) == RC_OK);
	CHECK(strcmp(again.instance, query.instance) == 0 && strcmp(again.from, query.from) == 0 &&
	      strcmp(again.to, query.to) == 0);
	CHECK(!query.epochs || again.limit == query.limit);
	return 0;
}
