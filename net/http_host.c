#include "net/http_host.h"

#include "net/address.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

/* A port may be left out in a header. */
static bool read_host(struct address *address, const char *host)
{
	const char *after = *host == '[' ? strchr(host, ']') : host;
	char text[ADDRESS_HOST_MAX + 16];
	struct err unused;
	int len;

	if (after == NULL)
		return false;
	len = snprintf(text, sizeof(text), "%s%s", host, strchr(after, ':') == NULL ? ":0" : "");
	return len > 0 && (size_t)len < sizeof(text) &&
	       address_parse(address, text, true, &unused) == RC_OK;
}

bool http_host_is_ours(const char *host, const char *listening)
{
	struct address theirs, ours;
	struct sockaddr_storage number;

	if (!read_host(&theirs, host))
		return false;
	if (address_to_socket(&theirs, &number) || strcasecmp(theirs.host, "localhost") == 0)
		return true;
	return read_host(&ours, listening) && strcasecmp(theirs.host, ours.host) == 0;
}
