/*
 * A peer's certificate, as it came (DER), and whose it is: the role is that of the only OU, printable
 * and whole, and a certificate is never for two roles.
 */
#include "net/tls_role.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

/* The number of OUs, counted otherwise than there; *value: of the last. */
static unsigned count_units(const mbedtls_x509_crt *cert, const mbedtls_x509_buf **value)
{
	static const uint8_t unit[] = { 0x55, 0x04, 0x0b };
	const mbedtls_x509_name *part;
	unsigned count = 0;

	for (part = &cert->subject; part != NULL; part = part->next) {
		if (part->oid.len != sizeof(unit) || memcmp(part->oid.p, unit, sizeof(unit)) != 0)
			continue;
		*value = &part->val;
		count++;
	}
	return count;
}

/* Whether it is for that role, which must be so exactly if its only OU says so. */
static bool check_role(const mbedtls_x509_crt *cert, const char *role)
{
	const mbedtls_x509_buf *value = NULL;
	unsigned units = count_units(cert, &value);
	char found[TLS_ROLE_MAX];
	bool is = tls_role_is(cert, role, found);

	CHECK(memchr(found, '\0', sizeof(found)) != NULL);
	for (const char *at = found; *at != '\0'; at++)
		CHECK(*at >= 0x20 && *at < 0x7f);
	CHECK(is == (units == 1 && value->len == strlen(role) &&
		     memcmp(value->p, role, value->len) == 0));
	CHECK(units > 0 || *found == '\0');
	return is;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	mbedtls_x509_crt cert;

	mbedtls_x509_crt_init(&cert);
	if (mbedtls_x509_crt_parse_der(&cert, data, size) == 0)
		CHECK(!check_role(&cert, "primary") || !check_role(&cert, "standby"));
	mbedtls_x509_crt_free(&cert);
	return 0;
}
