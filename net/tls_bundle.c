#include "net/tls_bundle.h"

#include "net/tls_internal.h"

#include <string.h>

#define BEGIN "-----BEGIN CERTIFICATE-----"

int tls_bundle_parse(mbedtls_x509_crt *into, const char *pem, size_t len, struct err *err)
{
	/* mbedtls knows PEM by the NUL at its end, which is counted. */
	const int r = mbedtls_x509_crt_parse(into, (const unsigned char *)pem, len + 1);
	const mbedtls_x509_crt *cert;
	size_t begun = 0, read = 0;

	if (r < 0)
		return tls_error(err, "no certificate (PEM)", r);
	for (const char *at = pem; (at = strstr(at, BEGIN)) != NULL; at += sizeof(BEGIN) - 1)
		begun++;
	for (cert = into; cert != NULL && cert->raw.p != NULL; cert = cert->next)
		read++;
	if (r == 0 && read >= begun)
		return RC_OK;
	return err_set(err, RC_INVALID,
		       "%zu of its %zu certificates cannot be read; is it cut off?",
		       begun > read ? begun - read : (size_t)r, begun);
}
