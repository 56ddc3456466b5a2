/* Whose a certificate is: the role in its subject. One rule for those who make and who check it. */
#ifndef NET_TLS_ROLE_H
#define NET_TLS_ROLE_H

#include <mbedtls/x509_crt.h>
#include <stdbool.h>

#define TLS_ROLE_MAX 32 /* of the text of a role, with its NUL */

/*
 * True if it has exactly one OU, and that is `role`. `found` gets what it says instead, fit for a
 * log line: "" when it has none.
 */
bool tls_role_is(const mbedtls_x509_crt *cert, const char *role, char found[TLS_ROLE_MAX]);

#endif
