/*
 * One certificate and its key: made, read, judged. All cryptography of pki.c is here; no file is.
 */
#ifndef APPLIANCE_PKI_CERTIFICATE_H
#define APPLIANCE_PKI_CERTIFICATE_H

#include "appliance/base/err.h"

#include <mbedtls/pk.h>
#include <mbedtls/x509_crt.h>
#include <stdbool.h>
#include <stddef.h>
#include <time.h>

#define PKI_CERT_PEM_MAX 4096 /* ours take about 800 bytes */
#define PKI_KEY_PEM_MAX 1024  /* and 230 */

/* PEM texts, NUL-terminated; pki_pem_wipe() when done. */
struct pki_pem {
	char cert[PKI_CERT_PEM_MAX];
	char key[PKI_KEY_PEM_MAX];
};
void pki_pem_wipe(struct pki_pem *pem);

/*
 * The same, understood. Zero-initialised by pki_identity_init(), released by pki_identity_free().
 */
struct pki_identity {
	mbedtls_x509_crt cert;
	mbedtls_pk_context key;
};
void pki_identity_init(struct pki_identity *identity);
void pki_identity_free(struct pki_identity *identity);

/* Random bytes for mbedtls functions that want a generator; ready once this has returned RC_OK. */
int pki_random_start(struct err *err);
int pki_random(void *state, unsigned char *out, size_t len);

/* PEM text of `len` bytes and a NUL behind them. (A certificate: net/tls_bundle.h) */
int pki_key_parse(mbedtls_pk_context *key, const char *pem, size_t len, struct err *err);

struct pki_template {
	const char *subject; /* "CN=seoul,OU=primary,O=understudy" */
	bool authority;
	time_t from, until;
};

/* A new key and its certificate, signed by `issuer` or, when that is NULL, by itself. */
int pki_certificate_make(struct pki_pem *pem, const struct pki_template *wanted,
			 struct pki_identity *issuer, struct err *err);

/* Whether `ca` signed `cert` and `key` is cert's; at any time. */
int pki_certificate_check(mbedtls_x509_crt *ca, mbedtls_x509_crt *cert,
			  const mbedtls_pk_context *key, struct err *err);
/* Whether both are valid at `now`; RC_STATE: not. */
int pki_certificate_check_time(const mbedtls_x509_crt *ca, const mbedtls_x509_crt *cert, time_t now,
			       struct err *err);

time_t pki_certificate_until(const mbedtls_x509_crt *cert);

#endif
