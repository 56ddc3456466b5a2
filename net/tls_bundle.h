/* A file of certificates: one rule for those who check it and who use it. */
#ifndef NET_TLS_BUNDLE_H
#define NET_TLS_BUNDLE_H

#include "appliance/base/err.h"

#include <mbedtls/x509_crt.h>
#include <stddef.h>

/*
 * Every certificate of a PEM text of `len` bytes and a NUL behind them, into an initialised, empty
 * chain. RC_INVALID if one cannot be read, which mbedtls takes for the file's end if it is cut off.
 */
int tls_bundle_parse(mbedtls_x509_crt *into, const char *pem, size_t len, struct err *err);

#endif
