#include "appliance/pki_certificate.h"

#include "net/x509_time.h"

#include <mbedtls/asn1.h>
#include <mbedtls/ecp.h>
#include <mbedtls/error.h>
#include <mbedtls/oid.h>
#include <mbedtls/platform_util.h>
#include <mbedtls/psa_util.h>
#include <mbedtls/sha256.h>
#include <psa/crypto.h>
#include <stdio.h>
#include <string.h>

#define SERIAL_BYTES 16 /* 128 random bits: no register of serials is needed */
#define NAME_MAX_BYTES 512
#define KEY_ID_BYTES 20 /* RFC 7093, method 1: the first 160 bits of a SHA-256 */
#define KEY_ID_MAX 64	/* of an authority that is not ours */
#define PUBLIC_KEY_MAX 256
#define WHEN_FLAGS (MBEDTLS_X509_BADCERT_EXPIRED | MBEDTLS_X509_BADCERT_FUTURE)

static int failed(int r, struct err *err, const char *what)
{
	char reason[128];

	mbedtls_strerror(r, reason, sizeof(reason));
	return err_set(err, RC_INVALID, "%s: %s", what, reason);
}

void pki_pem_wipe(struct pki_pem *pem)
{
	mbedtls_platform_zeroize(pem, sizeof(*pem));
}

void pki_identity_init(struct pki_identity *identity)
{
	mbedtls_x509_crt_init(&identity->cert);
	mbedtls_pk_init(&identity->key);
}

void pki_identity_free(struct pki_identity *identity)
{
	mbedtls_x509_crt_free(&identity->cert);
	mbedtls_pk_free(&identity->key);
}

int pki_random_start(struct err *err)
{
	psa_status_t status = psa_crypto_init();

	if (status != PSA_SUCCESS)
		return err_set(err, RC_UNSUPPORTED,
			       "no random numbers: the crypto library does not start (%d)",
			       (int)status);
	return RC_OK;
}

int pki_random(void *state, unsigned char *out, size_t len)
{
	return mbedtls_psa_get_random(state, out, len);
}

/* ---- reading ---- */

int pki_key_parse(mbedtls_pk_context *key, const char *pem, size_t len, struct err *err)
{
	int r = mbedtls_pk_parse_key(key, (const unsigned char *)pem, len + 1, NULL, 0, pki_random,
				     MBEDTLS_PSA_RANDOM_STATE);

	return r == 0 ? RC_OK : failed(r, err, "no private key (PEM, without a password)");
}

time_t pki_certificate_until(const mbedtls_x509_crt *cert)
{
	return x509_time(&cert->valid_to);
}

static int check_when(const mbedtls_x509_crt *cert, const char *which, time_t now, struct err *err)
{
	if (now < x509_time(&cert->valid_from))
		return err_set(err, RC_STATE,
			       "the %s is not valid yet; is this machine's clock right?", which);
	if (now > pki_certificate_until(cert))
		return err_set(
			err, RC_STATE,
			"the %s has expired; `understudy pki` makes a new one when this one is moved away",
			which);
	return RC_OK;
}

int pki_certificate_check(mbedtls_x509_crt *ca, mbedtls_x509_crt *cert,
			  const mbedtls_pk_context *key, struct err *err)
{
	char reason[256] = "";
	uint32_t flags = 0;
	int r;

	if (mbedtls_pk_check_pair(&cert->pk, key, pki_random, MBEDTLS_PSA_RANDOM_STATE) != 0)
		return err_set(err, RC_INVALID,
			       "the key is not the certificate's; both have to be of one pair");
	r = mbedtls_x509_crt_verify(cert, ca, NULL, NULL, &flags, NULL, NULL);
	if (r != 0 && r != MBEDTLS_ERR_X509_CERT_VERIFY_FAILED)
		return failed(r, err, "the certificate cannot be verified");
	/* The library judges by the machine's clock, too. */
	flags &= ~(uint32_t)WHEN_FLAGS;
	if (flags != 0) {
		(void)mbedtls_x509_crt_verify_info(reason, sizeof(reason), "", flags);
		return err_set(err, RC_INVALID,
			       "the certificate is not one of this authority: %.*s",
			       (int)strcspn(reason, "\n"), reason);
	}
	return RC_OK;
}

int pki_certificate_check_time(const mbedtls_x509_crt *ca, const mbedtls_x509_crt *cert, time_t now,
			       struct err *err)
{
	const int rc = check_when(ca, "authority's certificate", now, err);

	return rc == RC_OK ? check_when(cert, "certificate", now, err) : rc;
}

/* ---- making ---- */

static void date(char out[16], time_t when)
{
	struct tm utc;

	(void)gmtime_r(&when, &utc);
	(void)strftime(out, 16, "%Y%m%d%H%M%S", &utc);
}

static int set_serial(mbedtls_x509write_cert *writer)
{
	unsigned char serial[SERIAL_BYTES];
	int r = pki_random(MBEDTLS_PSA_RANDOM_STATE, serial, sizeof(serial));

	if (r != 0)
		return r;
	/* Positive and of full length in DER: no sign bit, no leading zero. */
	serial[0] = (unsigned char)((serial[0] & 0x7f) | 0x40);
	return mbedtls_x509write_crt_set_serial_raw(writer, serial, sizeof(serial));
}

/* One purpose of a list; mbedtls does not write to the OID. */
static mbedtls_asn1_sequence purpose(char *oid, size_t len, mbedtls_asn1_sequence *next)
{
	return (mbedtls_asn1_sequence){
		.buf = { .tag = MBEDTLS_ASN1_OID, .len = len, .p = (unsigned char *)oid },
		.next = next
	};
}

static int set_usage(mbedtls_x509write_cert *writer, bool authority)
{
	char server_oid[] = MBEDTLS_OID_SERVER_AUTH, client_oid[] = MBEDTLS_OID_CLIENT_AUTH;
	mbedtls_asn1_sequence client = purpose(client_oid, sizeof(client_oid) - 1, NULL);
	mbedtls_asn1_sequence server = purpose(server_oid, sizeof(server_oid) - 1, &client);
	int r;

	r = mbedtls_x509write_crt_set_basic_constraints(writer, authority, authority ? 0 : -1);
	if (r != 0)
		return r;
	if (authority)
		return mbedtls_x509write_crt_set_key_usage(
			writer, MBEDTLS_X509_KU_KEY_CERT_SIGN | MBEDTLS_X509_KU_CRL_SIGN);
	r = mbedtls_x509write_crt_set_key_usage(writer, MBEDTLS_X509_KU_DIGITAL_SIGNATURE);
	return r != 0 ? r : mbedtls_x509write_crt_set_ext_key_usage(writer, &server);
}

/*
 * The key identifier of `key`, for the two extensions that let others find the right authority
 * among several.
 */
static int key_id(unsigned char id[KEY_ID_BYTES], mbedtls_pk_context *key)
{
	unsigned char bits[PUBLIC_KEY_MAX], hash[32], *end = bits + sizeof(bits);
	int r = mbedtls_pk_write_pubkey(&end, bits, key);

	/* It writes from the end backwards, and leaves `end` where the key begins. */
	r = r < 0 ? r : mbedtls_sha256(end, (size_t)r, hash, 0);
	if (r == 0)
		memcpy(id, hash, KEY_ID_BYTES);
	return r;
}

static int set_key_ids(mbedtls_x509write_cert *writer, const struct pki_identity *issuer,
		       mbedtls_pk_context *key)
{
	/* DER: OCTET STRING; and SEQUENCE { [0] }. */
	unsigned char own[2 + KEY_ID_BYTES] = { MBEDTLS_ASN1_OCTET_STRING, KEY_ID_BYTES };
	unsigned char theirs[4 + KEY_ID_MAX] = { MBEDTLS_ASN1_CONSTRUCTED | MBEDTLS_ASN1_SEQUENCE,
						 0, MBEDTLS_ASN1_CONTEXT_SPECIFIC, 0 };
	const unsigned char *id = own + 2;
	size_t len = KEY_ID_BYTES;
	int r = key_id(own + 2, key);

	r = r != 0 ? r :
		     mbedtls_x509write_crt_set_extension(
			     writer, MBEDTLS_OID_SUBJECT_KEY_IDENTIFIER,
			     MBEDTLS_OID_SIZE(MBEDTLS_OID_SUBJECT_KEY_IDENTIFIER), 0, own,
			     sizeof(own));
	if (issuer != NULL) {
		id = issuer->cert.subject_key_id.p;
		len = issuer->cert.subject_key_id.len;
	}
	if (r != 0 || len == 0 || len > KEY_ID_MAX)
		return r; /* an authority without one: nothing to refer to */
	theirs[1] = (unsigned char)(len + 2);
	theirs[3] = (unsigned char)len;
	memcpy(theirs + 4, id, len);
	return mbedtls_x509write_crt_set_extension(
		writer, MBEDTLS_OID_AUTHORITY_KEY_IDENTIFIER,
		MBEDTLS_OID_SIZE(MBEDTLS_OID_AUTHORITY_KEY_IDENTIFIER), 0, theirs, len + 4);
}

static int set_names(mbedtls_x509write_cert *writer, const char *subject,
		     const struct pki_identity *issuer)
{
	char name[NAME_MAX_BYTES];
	int r;

	r = mbedtls_x509write_crt_set_subject_name(writer, subject);
	if (r != 0 || issuer == NULL)
		return r != 0 ? r : mbedtls_x509write_crt_set_issuer_name(writer, subject);
	r = mbedtls_x509_dn_gets(name, sizeof(name), &issuer->cert.subject);
	return r < 0 ? r : mbedtls_x509write_crt_set_issuer_name(writer, name);
}

static int write_certificate(mbedtls_x509write_cert *writer, const struct pki_template *wanted,
			     struct pki_identity *issuer, mbedtls_pk_context *key,
			     char pem[PKI_CERT_PEM_MAX])
{
	char from[16], until[16];
	int r;

	date(from, wanted->from);
	date(until, wanted->until);
	mbedtls_x509write_crt_set_version(writer, MBEDTLS_X509_CRT_VERSION_3);
	mbedtls_x509write_crt_set_md_alg(writer, MBEDTLS_MD_SHA256);
	mbedtls_x509write_crt_set_subject_key(writer, key);
	mbedtls_x509write_crt_set_issuer_key(writer, issuer != NULL ? &issuer->key : key);
	r = set_names(writer, wanted->subject, issuer);
	r = r != 0 ? r : set_serial(writer);
	r = r != 0 ? r : mbedtls_x509write_crt_set_validity(writer, from, until);
	r = r != 0 ? r : set_usage(writer, wanted->authority);
	r = r != 0 ? r : set_key_ids(writer, issuer, key);
	return r != 0 ? r :
			mbedtls_x509write_crt_pem(writer, (unsigned char *)pem, PKI_CERT_PEM_MAX,
						  pki_random, MBEDTLS_PSA_RANDOM_STATE);
}

int pki_certificate_make(struct pki_pem *pem, const struct pki_template *wanted,
			 struct pki_identity *issuer, struct err *err)
{
	mbedtls_x509write_cert writer;
	mbedtls_pk_context key;
	int r;

	mbedtls_x509write_crt_init(&writer);
	mbedtls_pk_init(&key);
	r = mbedtls_pk_setup(&key, mbedtls_pk_info_from_type(MBEDTLS_PK_ECKEY));
	r = r != 0 ? r :
		     mbedtls_ecp_gen_key(MBEDTLS_ECP_DP_SECP256R1, mbedtls_pk_ec(key), pki_random,
					 MBEDTLS_PSA_RANDOM_STATE);
	r = r != 0 ? r :
		     mbedtls_pk_write_key_pem(&key, (unsigned char *)pem->key, sizeof(pem->key));
	r = r != 0 ? r : write_certificate(&writer, wanted, issuer, &key, pem->cert);
	mbedtls_pk_free(&key);
	mbedtls_x509write_crt_free(&writer);
	return r == 0 ? RC_OK : failed(r, err, wanted->subject);
}
