/*
 * Loading what this process is: the CA that it trusts, its own certificate and key. Both kinds of
 * configuration are made here, once; a connection adds its own verification callback (tls.c).
 *
 * The client requires the server's certificate to verify within the handshake. The server leaves
 * the verdict to tls_step(), after the handshake and before a byte of the peer's is taken: mbedtls
 * sends a server's alerts under the handshake's keys until the client's last message is in, and by
 * then the client has left those keys, so that it would see garbage instead of the reason.
 */
#include "net/tls_internal.h"

#include "appliance/base/files.h"
#include "appliance/base/log.h"
#include "appliance/base/mem.h"
#include "net/tls.h"
#include "net/tls_bundle.h"
#include "net/x509_time.h"

#include <assert.h>
#include <mbedtls/error.h>
#include <mbedtls/psa_util.h>
#include <psa/crypto.h>
#include <stdio.h>

static const int suites[] = { MBEDTLS_TLS1_3_AES_128_GCM_SHA256, MBEDTLS_TLS1_3_AES_256_GCM_SHA384,
			      MBEDTLS_TLS1_3_CHACHA20_POLY1305_SHA256, 0 };
static const uint16_t groups[] = { MBEDTLS_SSL_IANA_TLS_GROUP_X25519,
				   MBEDTLS_SSL_IANA_TLS_GROUP_SECP256R1,
				   MBEDTLS_SSL_IANA_TLS_GROUP_NONE };

void tls_time_text(char out[TLS_TIME_MAX], const mbedtls_x509_time *time)
{
	(void)snprintf(out, TLS_TIME_MAX, "%04u-%02u-%02u %02u:%02u:%02u UTC",
		       (unsigned)time->year % 10000, (unsigned)time->mon % 100,
		       (unsigned)time->day % 100, (unsigned)time->hour % 100,
		       (unsigned)time->min % 100, (unsigned)time->sec % 100);
}

/* Of several CAs it is not known here which one matters. */
int64_t tls_identity_from(const struct tls_identity *identity)
{
	const int64_t own = x509_time(&identity->chain.valid_from);
	const int64_t ca =
		identity->ca.next == NULL ? x509_time(&identity->ca.valid_from) : INT64_MIN;

	return own > ca ? own : ca;
}

int64_t tls_identity_until(const struct tls_identity *identity)
{
	const int64_t own = x509_time(&identity->chain.valid_to);
	const int64_t ca =
		identity->ca.next == NULL ? x509_time(&identity->ca.valid_to) : INT64_MAX;

	return own < ca ? own : ca;
}

int tls_error(struct err *err, const char *what, int code)
{
	char text[128];

	mbedtls_strerror(code, text, sizeof(text));
	return err_set(err, RC_INVALID, "%s: %s", what, text);
}

/* ---- files ---- */

static int load_certificates(mbedtls_x509_crt *into, const char *path, struct err *err)
{
	struct buf file = { .limit = TLS_FILE_MAX };
	int rc = files_read(&file, AT_FDCWD, path, FILES_PLAIN, err);

	if (rc == RC_OK) {
		rc = tls_bundle_parse(into, (const char *)file.data, file.len, err);
		if (rc != RC_OK)
			(void)err_prefix(err, "%s: ", path);
	}
	buf_free(&file);
	return rc;
}

static int load_key(mbedtls_pk_context *into, const char *path, struct err *err)
{
	struct buf file = { .limit = TLS_FILE_MAX };
	int rc, r;

	rc = files_read(&file, AT_FDCWD, path, FILES_SECRET, err);
	if (rc == RC_OK) {
		r = mbedtls_pk_parse_key(into, file.data, file.len + 1, NULL, 0,
					 mbedtls_psa_get_random, MBEDTLS_PSA_RANDOM_STATE);
		if (r != 0)
			rc = tls_error(err, path, r);
	}
	files_free_secret(&file);
	return rc;
}

/* What peers will say of our certificate, said here first. */
static void judge_own(struct tls_identity *identity, const char *path)
{
	char when[TLS_TIME_MAX];
	uint32_t flags = 0;

	if (mbedtls_x509_crt_verify(&identity->chain, &identity->ca, NULL, NULL, &flags, NULL,
				    NULL) == 0)
		return;
	if ((flags & MBEDTLS_X509_BADCERT_NOT_TRUSTED) != 0) {
		log_warn("tls", "%s: not signed by our CA; peers with the same CA will refuse it",
			 path);
	} else if ((flags & MBEDTLS_X509_BADCERT_EXPIRED) != 0) {
		tls_time_text(when, &identity->chain.valid_to);
		log_warn(
			"tls",
			"%s: it or its CA has expired (it is valid until %s); peers will refuse it",
			path, when);
	} else if ((flags & MBEDTLS_X509_BADCERT_FUTURE) != 0) {
		tls_time_text(when, &identity->chain.valid_from);
		log_warn(
			"tls",
			"%s: it or its CA is not valid yet (it is from %s on); is the clock right?",
			path, when);
	} else {
		log_warn("tls", "%s: peers may refuse it (verification flags 0x%x)", path, flags);
	}
}

/* ---- configuration ---- */

static int configure(mbedtls_ssl_config *conf, struct tls_identity *identity, int endpoint)
{
	int r;

	r = mbedtls_ssl_config_defaults(conf, endpoint, MBEDTLS_SSL_TRANSPORT_STREAM,
					MBEDTLS_SSL_PRESET_DEFAULT);
	if (r != 0)
		return r;
	mbedtls_ssl_conf_rng(conf, mbedtls_psa_get_random, MBEDTLS_PSA_RANDOM_STATE);
	mbedtls_ssl_conf_min_tls_version(conf, MBEDTLS_SSL_VERSION_TLS1_3);
	mbedtls_ssl_conf_max_tls_version(conf, MBEDTLS_SSL_VERSION_TLS1_3);
	mbedtls_ssl_conf_tls13_key_exchange_modes(conf,
						  MBEDTLS_SSL_TLS1_3_KEY_EXCHANGE_MODE_EPHEMERAL);
	mbedtls_ssl_conf_ciphersuites(conf, suites);
	mbedtls_ssl_conf_groups(conf, groups);
	mbedtls_ssl_conf_authmode(conf, endpoint == MBEDTLS_SSL_IS_CLIENT ?
						MBEDTLS_SSL_VERIFY_REQUIRED :
						MBEDTLS_SSL_VERIFY_OPTIONAL);
	mbedtls_ssl_conf_ca_chain(conf, &identity->ca, NULL);
	if (identity->chain.version == 0)
		return 0; /* none was loaded */
	return mbedtls_ssl_conf_own_cert(conf, &identity->chain, &identity->key);
}

static int load_own(struct tls_identity *identity, const char *cert_path, const char *key_path,
		    struct err *err)
{
	int rc;

	rc = load_certificates(&identity->chain, cert_path, err);
	if (rc == RC_OK)
		rc = load_key(&identity->key, key_path, err);
	if (rc != RC_OK)
		return rc;
	if (mbedtls_pk_check_pair(&identity->chain.pk, &identity->key, mbedtls_psa_get_random,
				  MBEDTLS_PSA_RANDOM_STATE) != 0)
		return err_set(err, RC_INVALID, "%s: not the key of the certificate in %s",
			       key_path, cert_path);
	return RC_OK;
}

/* `for_link`: for both ends of the link; else for clients of other people's servers. */
static int load(struct tls_identity *identity, bool for_link, const char *ca_path,
		const char *cert_path, const char *key_path, struct err *err)
{
	int rc, r;

	rc = load_certificates(&identity->ca, ca_path, err);
	if (rc == RC_OK && (for_link || cert_path != NULL))
		rc = load_own(identity, cert_path, key_path, err);
	if (rc != RC_OK)
		return rc;
	/* Of which CA other people's servers want our certificate to be is not known here. */
	if (for_link)
		judge_own(identity, cert_path);
	r = configure(&identity->client, identity, MBEDTLS_SSL_IS_CLIENT);
	if (r == 0 && for_link)
		r = configure(&identity->server, identity, MBEDTLS_SSL_IS_SERVER);
	return r == 0 ? RC_OK : tls_error(err, "TLS", r);
}

static int create(struct tls_identity **identity, bool for_link, const char *ca_path,
		  const char *cert_path, const char *key_path, struct err *err)
{
	struct tls_identity *made = mem_zalloc(1, sizeof(*made));
	int rc;

	*identity = NULL;
	if (made == NULL)
		return err_nomem(err, "TLS identity");
	mbedtls_x509_crt_init(&made->ca);
	mbedtls_x509_crt_init(&made->chain);
	mbedtls_pk_init(&made->key);
	mbedtls_ssl_config_init(&made->client);
	mbedtls_ssl_config_init(&made->server);
	/* Idempotent: only the first call of a process does something. */
	if (psa_crypto_init() != PSA_SUCCESS)
		rc = err_set(err, RC_UNSUPPORTED,
			     "the cryptographic library finds no random numbers");
	else
		rc = load(made, for_link, ca_path, cert_path, key_path, err);
	if (rc != RC_OK) {
		tls_identity_free(made);
		return rc;
	}
	*identity = made;
	return RC_OK;
}

int tls_identity_load(struct tls_identity **identity, const char *ca_path, const char *cert_path,
		      const char *key_path, struct err *err)
{
	return create(identity, true, ca_path, cert_path, key_path, err);
}

int tls_identity_load_client(struct tls_identity **identity, const char *ca_path,
			     const char *cert_path, const char *key_path, struct err *err)
{
	assert((cert_path == NULL) == (key_path == NULL));
	return create(identity, false, ca_path, cert_path, key_path, err);
}

void tls_identity_free(struct tls_identity *identity)
{
	if (identity == NULL)
		return;
	mbedtls_ssl_config_free(&identity->client);
	mbedtls_ssl_config_free(&identity->server);
	mbedtls_pk_free(&identity->key);
	mbedtls_x509_crt_free(&identity->chain);
	mbedtls_x509_crt_free(&identity->ca);
	mem_free(identity);
}
