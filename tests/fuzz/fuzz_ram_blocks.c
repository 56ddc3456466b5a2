/*
 * A table of RAM blocks as a QEMU prints it, behind a layout (its length in the first two bytes):
 * no crash, a reason with every refusal, and the same verdict again.
 */
#include "replica/ram_blocks.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct layout layout;
	struct err err = { 0 }, again = { 0 };
	char *table;
	size_t len;
	int rc;

	if (size < 2)
		return 0;
	len = (size_t)data[0] | (size_t)data[1] << 8;
	if (len > size - 2 || layout_decode(&layout, data + 2, len, &err) != RC_OK)
		return 0;
	table = strndup((const char *)data + 2 + len, size - 2 - len);
	CHECK(table != NULL);
	rc = ram_blocks_check(table, &layout, &err);
	CHECK(rc == RC_OK || (rc == RC_UNSUPPORTED && err.text[0] != '\0'));
	CHECK(ram_blocks_check(table, &layout, &again) == rc);
	free(table);
	return 0;
}
