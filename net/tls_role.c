#include "net/tls_role.h"

#include <mbedtls/oid.h>
#include <stdio.h>
#include <string.h>

/* One that is cut must not pass for what it begins with. */
static void print_role(char found[TLS_ROLE_MAX], const mbedtls_x509_buf *value)
{
	size_t i;

	for (i = 0; i < value->len && i < TLS_ROLE_MAX - 1; i++)
		found[i] = (char)(value->p[i] >= 0x20 && value->p[i] < 0x7f ? value->p[i] : '?');
	found[i] = '\0';
	if (value->len > TLS_ROLE_MAX - 1)
		found[0] = '?';
}

bool tls_role_is(const mbedtls_x509_crt *cert, const char *role, char found[TLS_ROLE_MAX])
{
	const mbedtls_x509_name *part;
	unsigned count = 0;

	found[0] = '\0';
	for (part = &cert->subject; part != NULL; part = part->next) {
		if (MBEDTLS_OID_CMP(MBEDTLS_OID_AT_ORG_UNIT, &part->oid) != 0)
			continue;
		count++;
		print_role(found, &part->val);
	}
	if (count > 1)
		(void)snprintf(found, TLS_ROLE_MAX, "(more than one)");
	return count == 1 && strcmp(found, role) == 0;
}
