/* Certificates for tests: made with mbedtls, in a directory of their own that goes away. */
#ifndef TESTS_UNIT_CERTS_H
#define TESTS_UNIT_CERTS_H

#include <stdint.h>

#define CERTS_PATH_MAX 256

struct certs {
	char dir[64];
};

#define CERTS_DAY 86400

/*
 * Makes an empty directory; every failure of these functions ends the test program with a message.
 */
void certs_open(struct certs *certs);
void certs_close(struct certs *certs);

/* NAME.pem and NAME.key (mode 0600) in the directory: a CA that signs itself. */
void certs_make_ca(const struct certs *certs, const char *name, const char *subject);

/*
 * The same signed by the CA `ca`, valid from and until so many seconds after now (negative:
 * before). An "O=" of the subject is written as a further OU: mbedtls's writer would make one of
 * two "OU=".
 */
void certs_make(const struct certs *certs, const char *name, const char *ca, const char *subject,
		long from_s, long until_s);

/* As certs_make(), valid now, for a server with this DNS name and IPv4 address. */
void certs_make_server(const struct certs *certs, const char *name, const char *ca,
		       const char *subject, const char *host, const uint8_t ip[4]);

/* DIR/NAME.SUFFIX, in one of several static buffers. */
const char *certs_path(const struct certs *certs, const char *name, const char *suffix);

#endif
