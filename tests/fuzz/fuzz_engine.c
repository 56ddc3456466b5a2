/*
 * What an engine answers, or whoever listens at its socket. Whatever it is: an id and a name that can be part of a path and of a line, or
 * an error.
 */
#include "fs-watch/engine_format.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

static void check_id(const char *id)
{
	CHECK(*id != '\0' && strlen(id) <= ENGINE_ID_MAX &&
	      strspn(id, "0123456789abcdef") == strlen(id));
}

static void check_name(const char *name)
{
	CHECK(strlen(name) <= ENGINE_NAME_MAX && strchr(name, '/') == NULL &&
	      strpbrk(name, " \n\"\x1b") == NULL);
}

static void each(void *owner, const char *id)
{
	(void)owner;
	check_id(id);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *json = (const char *)data;
	struct engine_container container;
	struct engine_event event;
	struct engine_info info;
	struct err err;

	if (engine_format_info(&info, json, size, &err) == RC_OK)
		CHECK(*info.root == '/' && *info.driver != '\0');
	if (engine_format_container(&container, json, size, &err) == RC_OK) {
		check_id(container.id);
		check_name(container.name);
	}
	if (engine_format_event(&event, json, size, &err) == RC_OK && event.kind != ENGINE_OTHER) {
		check_id(event.id);
		check_name(event.name);
	}
	(void)engine_format_list(json, size, each, NULL, &err);
	return 0;
}
