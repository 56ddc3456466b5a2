#include "tests/unit/certs.h"

#include <dirent.h>
#include <mbedtls/ecp.h>
#include <mbedtls/oid.h>
#include <mbedtls/pk.h>
#include <mbedtls/psa_util.h>
#include <mbedtls/x509_crt.h>
#include <psa/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PEM_MAX 4096
#define ISSUER_MAX 256
#define NEED(condition)                                                                       \
	do {                                                                                  \
		if (!(condition)) {                                                           \
			(void)fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
			exit(2);                                                              \
		}                                                                             \
	} while (0)

void certs_open(struct certs *certs)
{
	const char *tmp = getenv("TMPDIR");
	int len;

	len = snprintf(certs->dir, sizeof(certs->dir), "%s/certs-XXXXXX",
		       tmp != NULL ? tmp : "/tmp");
	NEED(len > 0 && (size_t)len < sizeof(certs->dir));
	NEED(mkdtemp(certs->dir) != NULL);
	NEED(psa_crypto_init() == PSA_SUCCESS);
}

void certs_close(struct certs *certs)
{
	char path[CERTS_PATH_MAX];
	struct dirent *entry;
	DIR *dir = opendir(certs->dir);

	NEED(dir != NULL);
	while ((entry = readdir(dir)) != NULL) {
		if (entry->d_name[0] == '.')
			continue;
		(void)snprintf(path, sizeof(path), "%s/%.128s", certs->dir, entry->d_name);
		NEED(unlink(path) == 0);
	}
	(void)closedir(dir);
	NEED(rmdir(certs->dir) == 0);
}

const char *certs_path(const struct certs *certs, const char *name, const char *suffix)
{
	static char paths[8][CERTS_PATH_MAX];
	static unsigned next;
	char *path = paths[next++ % 8];

	(void)snprintf(path, CERTS_PATH_MAX, "%s/%s.%s", certs->dir, name, suffix);
	return path;
}

static void write_file(const char *path, const char *text)
{
	FILE *file = fopen(path, "w");

	NEED(file != NULL);
	NEED(chmod(path, 0600) == 0);
	NEED(fputs(text, file) >= 0);
	NEED(fclose(file) == 0);
}

static void time_text(char out[16], long offset_s)
{
	time_t when = time(NULL) + offset_s;
	struct tm utc;

	NEED(gmtime_r(&when, &utc) != NULL);
	NEED(strftime(out, 16, "%Y%m%d%H%M%S", &utc) == 14);
}

static void rename_organisations(mbedtls_asn1_named_data *part)
{
	for (; part != NULL; part = part->next) {
		if (MBEDTLS_OID_CMP(MBEDTLS_OID_AT_ORGANIZATION, &part->oid) == 0)
			memcpy(part->oid.p, MBEDTLS_OID_AT_ORG_UNIT, part->oid.len);
	}
}

/* Reads who signs: the subject as text, and the key. */
static void load_ca(const struct certs *certs, const char *ca, char issuer[ISSUER_MAX],
		    mbedtls_pk_context *key)
{
	mbedtls_x509_crt cert;

	mbedtls_x509_crt_init(&cert);
	NEED(mbedtls_x509_crt_parse_file(&cert, certs_path(certs, ca, "pem")) == 0);
	NEED(mbedtls_x509_dn_gets(issuer, ISSUER_MAX, &cert.subject) > 0);
	NEED(mbedtls_pk_parse_keyfile(key, certs_path(certs, ca, "key"), NULL,
				      mbedtls_psa_get_random, MBEDTLS_PSA_RANDOM_STATE) == 0);
	mbedtls_x509_crt_free(&cert);
}

static void make_key(mbedtls_pk_context *key, const char *path)
{
	unsigned char pem[PEM_MAX];

	NEED(mbedtls_pk_setup(key, mbedtls_pk_info_from_type(MBEDTLS_PK_ECKEY)) == 0);
	NEED(mbedtls_ecp_gen_key(MBEDTLS_ECP_DP_SECP256R1, mbedtls_pk_ec(*key),
				 mbedtls_psa_get_random, MBEDTLS_PSA_RANDOM_STATE) == 0);
	NEED(mbedtls_pk_write_key_pem(key, pem, sizeof(pem)) == 0);
	write_file(path, (char *)pem);
}

static void describe(mbedtls_x509write_cert *cert, const char *subject, const char *issuer,
		     long from_s, long until_s)
{
	unsigned char serial[8];
	char from[16], until[16];

	time_text(from, from_s);
	time_text(until, until_s);
	NEED(mbedtls_psa_get_random(MBEDTLS_PSA_RANDOM_STATE, serial, sizeof(serial)) == 0);
	serial[0] = 1;
	mbedtls_x509write_crt_set_version(cert, MBEDTLS_X509_CRT_VERSION_3);
	mbedtls_x509write_crt_set_md_alg(cert, MBEDTLS_MD_SHA256);
	NEED(mbedtls_x509write_crt_set_subject_name(cert, subject) == 0);
	rename_organisations(cert->MBEDTLS_PRIVATE(subject));
	NEED(mbedtls_x509write_crt_set_issuer_name(cert, issuer) == 0);
	NEED(mbedtls_x509write_crt_set_serial_raw(cert, serial, sizeof(serial)) == 0);
	NEED(mbedtls_x509write_crt_set_validity(cert, from, until) == 0);
}

/* `names` may be NULL. */
static void make(const struct certs *certs, const char *name, const char *ca, const char *subject,
		 long from_s, long until_s, const mbedtls_x509_san_list *names)
{
	unsigned char pem[PEM_MAX];
	char issuer[ISSUER_MAX];
	mbedtls_pk_context key, ca_key;
	mbedtls_x509write_cert cert;

	mbedtls_pk_init(&key);
	mbedtls_pk_init(&ca_key);
	mbedtls_x509write_crt_init(&cert);
	make_key(&key, certs_path(certs, name, "key"));
	if (ca != NULL)
		load_ca(certs, ca, issuer, &ca_key);
	describe(&cert, subject, ca != NULL ? issuer : subject, from_s, until_s);
	mbedtls_x509write_crt_set_subject_key(&cert, &key);
	mbedtls_x509write_crt_set_issuer_key(&cert, ca != NULL ? &ca_key : &key);
	NEED(mbedtls_x509write_crt_set_basic_constraints(&cert, ca == NULL, -1) == 0);
	if (names != NULL)
		NEED(mbedtls_x509write_crt_set_subject_alternative_name(&cert, names) == 0);
	NEED(mbedtls_x509write_crt_pem(&cert, pem, sizeof(pem), mbedtls_psa_get_random,
				       MBEDTLS_PSA_RANDOM_STATE) == 0);
	write_file(certs_path(certs, name, "pem"), (char *)pem);
	mbedtls_x509write_crt_free(&cert);
	mbedtls_pk_free(&ca_key);
	mbedtls_pk_free(&key);
}

void certs_make_ca(const struct certs *certs, const char *name, const char *subject)
{
	make(certs, name, NULL, subject, -CERTS_DAY, 30 * CERTS_DAY, NULL);
}

void certs_make(const struct certs *certs, const char *name, const char *ca, const char *subject,
		long from_s, long until_s)
{
	make(certs, name, ca, subject, from_s, until_s, NULL);
}

void certs_make_server(const struct certs *certs, const char *name, const char *ca,
		       const char *subject, const char *host, const uint8_t ip[4])
{
	unsigned char host_bytes[256], ip_bytes[4];
	mbedtls_x509_san_list address = { .node.type = MBEDTLS_X509_SAN_IP_ADDRESS };
	mbedtls_x509_san_list names = { .node.type = MBEDTLS_X509_SAN_DNS_NAME, .next = &address };
	size_t len = strlen(host);

	NEED(len < sizeof(host_bytes));
	memcpy(host_bytes, host, len + 1);
	memcpy(ip_bytes, ip, sizeof(ip_bytes));
	names.node.san.unstructured_name =
		(mbedtls_x509_buf){ .tag = 0, .len = len, .p = host_bytes };
	address.node.san.unstructured_name =
		(mbedtls_x509_buf){ .tag = 0, .len = sizeof(ip_bytes), .p = ip_bytes };
	make(certs, name, ca, subject, -CERTS_DAY, CERTS_DAY, &names);
}
