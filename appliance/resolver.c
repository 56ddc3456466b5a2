#include "appliance/resolver.h"

#include <errno.h>
#include <stdio.h>

#define RESOLVER "/run/resolv.conf"

int resolver_write(char *const *servers, struct err *err)
{
	FILE *file = fopen(RESOLVER, "we");

	for (size_t i = 0; file != NULL && servers[i] != NULL; i++)
		(void)fprintf(file, "nameserver %s\n", servers[i]);
	if (file == NULL || fclose(file) != 0)
		return err_system(err, errno, RESOLVER);
	return RC_OK;
}
