#include "appliance/witness_place.h"

#include "net/address.h"
#include "net/etcd.h"

#include <assert.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ENDPOINT_MAX (ADDRESS_HOST_MAX + 18) /* "https://[", "]:65535", a space or NUL */

static_assert(ETCD_ENDPOINTS_MAX * ENDPOINT_MAX <= RESERVATION_WITNESS_MAX + 1, "all of them fit");

static void print(char out[ENDPOINT_MAX], const char *endpoint)
{
	struct address address = { .port = 0 };
	struct err err;
	bool brackets;

	(void)etcd_endpoint_parse(&address, endpoint, &err);
	for (char *at = address.host; *at != '\0'; at++)
		*at = (char)tolower((unsigned char)*at);
	brackets = strchr(address.host, ':') != NULL;
	(void)snprintf(out, ENDPOINT_MAX, "https://%s%s%s:%u", brackets ? "[" : "", address.host,
		       brackets ? "]" : "", address.port);
}

static int compare(const void *a, const void *b)
{
	return strcmp(a, b);
}

void witness_place(char out[RESERVATION_WITNESS_MAX + 1], const struct config *config)
{
	char endpoints[ETCD_ENDPOINTS_MAX][ENDPOINT_MAX];
	size_t count = 0, len = 0;

	*out = '\0';
	if (config->witness_endpoints == NULL)
		return;
	for (; count < ETCD_ENDPOINTS_MAX && config->witness_endpoints[count] != NULL; count++)
		print(endpoints[count], config->witness_endpoints[count]);
	qsort(endpoints, count, sizeof(endpoints[0]), compare);
	for (size_t i = 0; i < count; i++) {
		if (i == 0 || strcmp(endpoints[i], endpoints[i - 1]) != 0)
			len += (size_t)sprintf(out + len, "%s%s", i > 0 ? " " : "", endpoints[i]);
	}
}
