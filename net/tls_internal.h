/* What tls.c and tls_identity.c share. */
#ifndef NET_TLS_INTERNAL_H
#define NET_TLS_INTERNAL_H

#include "appliance/base/err.h"

#include <mbedtls/ssl.h>
#include <mbedtls/x509_crt.h>

struct tls_identity {
	mbedtls_x509_crt ca, chain;
	mbedtls_pk_context key;
	mbedtls_ssl_config client, server;
};

#define TLS_TIME_MAX 32

/* "2026-01-02 03:04:05 UTC". */
void tls_time_text(char out[TLS_TIME_MAX], const mbedtls_x509_time *time);

/* Sets RC_INVALID and `what` with mbedtls's text for its code. */
int tls_error(struct err *err, const char *what, int code);

#endif
