#include "appliance/base/json_text.h"
#include "appliance/base/mem.h"
#include "appliance/options.h"
#include "appliance/verb.h"
#include "appliance/version.h"
#include "net/wire.h"

#include <cjson/cJSON.h>
#include <llhttp.h>
#include <lz4.h>
#include <mbedtls/version.h>
#include <stdio.h>
#include <uv.h>
#include <xxhash.h>

#define TEXT_OF(number) #number
#define TEXT(number) TEXT_OF(number)

struct library {
	const char *name;
	const char *version;
};

static int print_json(const struct library *libraries, size_t count)
{
	cJSON *root, *protocol, *list;
	char *text = NULL;
	bool done;

	json_text_use_mem();
	root = cJSON_CreateObject();
	done = cJSON_AddStringToObject(root, "version", UNDERSTUDY_RELEASE) != NULL &&
	       cJSON_AddStringToObject(root, "build", UNDERSTUDY_VERSION) != NULL;
	protocol = cJSON_AddObjectToObject(root, "protocol");
	list = cJSON_AddObjectToObject(root, "libraries");
	done = done && cJSON_AddNumberToObject(protocol, "lowest", WIRE_VERSION_LOWEST) != NULL &&
	       cJSON_AddNumberToObject(protocol, "highest", WIRE_VERSION_HIGHEST) != NULL;
	for (size_t i = 0; i < count; i++)
		done = done && cJSON_AddStringToObject(list, libraries[i].name,
						       libraries[i].version) != NULL;
	if (done)
		text = cJSON_Print(root);
	if (text != NULL)
		(void)printf("%s\n", text);
	cJSON_Delete(root);
	mem_free(text);
	return text != NULL ? EXIT_FINE : options_failed("version: out of memory");
}

int verb_version(int argc, char **argv)
{
	bool json = false;
	const struct option options[] = { { .name = "json", .flag = &json, .doc = "as JSON" } };
	const struct command command = {
		.synopsis = "version [--json]",
		.about = "Prints the versions of the program, its protocol and its libraries.",
		.options = options,
		.count = 1
	};
	const struct library libraries[] = {
		{ "libuv", uv_version_string() },
		{ "mbedtls", MBEDTLS_VERSION_STRING },
		{ "lz4", LZ4_versionString() },
		{ "xxhash", TEXT(XXH_VERSION_MAJOR) "." TEXT(XXH_VERSION_MINOR) "." TEXT(
				    XXH_VERSION_RELEASE) },
		{ "cjson", cJSON_Version() },
		{ "llhttp", TEXT(LLHTTP_VERSION_MAJOR) "." TEXT(LLHTTP_VERSION_MINOR) "." TEXT(
				    LLHTTP_VERSION_PATCH) }
	};
	const size_t count = sizeof(libraries) / sizeof(libraries[0]);
	int status;

	if (!options_parse(&command, argc, argv, &status))
		return status;
	if (json)
		return print_json(libraries, count);
	(void)printf("understudy %s (build %s)\n", UNDERSTUDY_RELEASE, UNDERSTUDY_VERSION);
	(void)printf("protocol   %d to %d\n", WIRE_VERSION_LOWEST, WIRE_VERSION_HIGHEST);
	for (size_t i = 0; i < count; i++)
		(void)printf("%-10s %s\n", libraries[i].name, libraries[i].version);
	return EXIT_FINE;
}
