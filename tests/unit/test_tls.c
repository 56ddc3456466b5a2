#include "appliance/base/buf.h"
#include "net/tls.h"
#include "tests/unit/certs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>
#include <mbedtls/psa_util.h>
#include <mbedtls/ssl.h>

static struct certs certs;
static struct err err;

/* Two ends and what is on its way from each; `pending` is what the receiver was fed. */
struct end {
	struct tls *tls;
	struct buf pending;
	bool done;
	int rc;
	struct err err;
};

struct pair {
	struct end client, server;
};

static struct tls_identity *load(const char *ca, const char *name)
{
	struct tls_identity *identity;

	assert_int_equal(tls_identity_load(&identity, certs_path(&certs, ca, "pem"),
					   certs_path(&certs, name, "pem"),
					   certs_path(&certs, name, "key"), &err),
			 RC_OK);
	return identity;
}

static void open_pair(struct pair *pair, struct tls_identity *client, struct tls_identity *server)
{
	memset(pair, 0, sizeof(*pair));
	assert_int_equal(tls_create(&pair->client.tls, client, false, "standby", &err), RC_OK);
	assert_int_equal(tls_create(&pair->server.tls, server, true, "primary", &err), RC_OK);
	pair->client.pending.limit = pair->server.pending.limit = 4 << 20;
}

static void close_pair(struct pair *pair)
{
	tls_destroy(pair->client.tls);
	tls_destroy(pair->server.tls);
	buf_free(&pair->client.pending);
	buf_free(&pair->server.pending);
}

/* Moves what `from` has to say to `to`; true if there was something. */
static bool carry(struct end *from, struct end *to)
{
	struct buf *out = tls_output(from->tls);

	if (out->len == 0)
		return false;
	buf_reset(&to->pending);
	assert_true(buf_append(&to->pending, out->data, out->len));
	buf_reset(out);
	return true;
}

static void step(struct end *end)
{
	if (end->rc == RC_OK)
		end->rc = tls_step(end->tls, &end->done, &end->err);
}

static void feed(struct end *end)
{
	if (end->rc == RC_OK)
		end->rc = tls_feed(end->tls, end->pending.data, end->pending.len, &end->err);
}

/* Until neither has anything to say or one has failed; a failing one's alert is delivered. */
static void handshake(struct pair *pair)
{
	bool moved = true;

	step(&pair->client);
	while (moved) {
		moved = carry(&pair->client, &pair->server);
		if (moved && pair->server.rc == RC_OK && !pair->server.done) {
			feed(&pair->server);
			step(&pair->server);
		}
		if (carry(&pair->server, &pair->client)) {
			moved = true;
			feed(&pair->client);
			if (!pair->client.done)
				step(&pair->client);
		}
	}
}

static void expect_established(struct pair *pair)
{
	assert_int_equal(pair->client.rc, RC_OK);
	assert_int_equal(pair->server.rc, RC_OK);
	assert_true(pair->client.done);
	assert_true(pair->server.done);
}

static void expect_text(const char *text, const char *part)
{
	if (strstr(text, part) == NULL)
		fail_msg("\"%s\" does not contain \"%s\"", text, part);
}

static void both_ends_see_each_other_and_data_arrives(void **state)
{
	struct tls_identity *primary = load("ca", "primary"), *standby = load("ca", "standby");
	static uint8_t sent[300000], got[300000];
	struct pair pair;
	size_t at = 0, len, i;

	(void)state;
	open_pair(&pair, primary, standby);
	assert_true(tls_records(pair.client.tls) == 0);
	handshake(&pair);
	expect_established(&pair);
	assert_true(tls_records(pair.client.tls) <= 1 && tls_records(pair.server.tls) <= 1);
	expect_text(tls_peer_name(pair.client.tls), "OU=standby");
	expect_text(tls_peer_name(pair.server.tls), "OU=primary");
	expect_text(tls_cipher(pair.client.tls), "AES-128-GCM");
	for (i = 0; i < sizeof(sent); i++)
		sent[i] = (uint8_t)(i * 7 + i / 251);
	assert_int_equal(tls_write(pair.client.tls, sent, sizeof(sent), &err), RC_OK);
	assert_true(carry(&pair.client, &pair.server));
	assert_int_equal(tls_feed(pair.server.tls, pair.server.pending.data,
				  pair.server.pending.len, &err),
			 RC_OK);
	do {
		assert_int_equal(tls_read(pair.server.tls, got + at,
					  sizeof(got) - at + (at == sizeof(got)), &len, &err),
				 RC_OK);
		at += len;
	} while (len > 0);
	assert_int_equal(at, sizeof(sent));
	assert_memory_equal(got, sent, sizeof(sent));
	/* Records of 16 KiB, counted at both ends under the present key alone. */
	assert_true(tls_records(pair.client.tls) == sizeof(sent) / 16384 + 1);
	assert_true(tls_records(pair.server.tls) == sizeof(sent) / 16384 + 1);

	tls_shutdown(pair.client.tls);
	assert_true(carry(&pair.client, &pair.server));
	feed(&pair.server);
	assert_int_equal(tls_read(pair.server.tls, got, sizeof(got), &len, &err), RC_CLOSED);
	close_pair(&pair);
	tls_identity_free(primary);
	tls_identity_free(standby);
}

/*
 * The client's certificate is refused: the server says why, and the client hears it at its first
 * read.
 */
static void expect_client_refused(const char *ca, const char *name, const char *server_says,
				  const char *client_hears)
{
	struct tls_identity *client = load(ca, name), *server = load("ca", "standby");
	struct pair pair;
	uint8_t byte;
	size_t got;

	open_pair(&pair, client, server);
	handshake(&pair);
	assert_int_equal(pair.server.rc, RC_REFUSED);
	expect_text(pair.server.err.text, server_says);
	assert_true(pair.client.done);
	assert_int_equal(tls_read(pair.client.tls, &byte, 1, &got, &err), RC_REFUSED);
	expect_text(err.text, client_hears);
	/* And nothing that the refused one wrote is ever given out. */
	assert_int_equal(tls_read(pair.server.tls, &byte, 1, &got, &err), RC_STATE);
	assert_int_equal(tls_write(pair.server.tls, &byte, 1, &err), RC_STATE);
	close_pair(&pair);
	tls_identity_free(client);
	tls_identity_free(server);
}

static void a_client_of_another_ca_is_refused(void **state)
{
	(void)state;
	expect_client_refused("ca", "foreign-primary", "not signed by our CA",
			      "the peer refused our certificate: unknown CA");
}

static void a_client_of_the_wrong_role_is_refused(void **state)
{
	(void)state;
	expect_client_refused("ca", "standby", "is for role 'standby', expected 'primary'",
			      "the peer refused our certificate: not of the role");
	expect_client_refused("ca", "no-role", "is for no role (OU), expected 'primary'",
			      "the peer refused our certificate: not of the role");
	expect_client_refused("ca", "two-roles",
			      "is for role '(more than one)', expected 'primary'",
			      "the peer refused our certificate: not of the role");
	expect_client_refused("ca", "long-role", "expected 'primary'",
			      "the peer refused our certificate: not of the role");
}

static void an_expired_client_is_refused(void **state)
{
	(void)state;
	expect_client_refused("ca", "expired", "expired on ",
			      "the peer refused our certificate: expired");
}

static void a_client_from_the_future_is_refused(void **state)
{
	(void)state;
	expect_client_refused("ca", "future", "is not valid before ",
			      "the peer refused our certificate: expired, or not valid yet");
}

/* The server's certificate is refused: within the handshake. */
static void expect_server_refused(const char *name, const char *client_says,
				  const char *server_hears)
{
	struct tls_identity *client = load("ca", "primary"), *server = load("ca", name);
	struct pair pair;

	open_pair(&pair, client, server);
	handshake(&pair);
	assert_int_equal(pair.client.rc, RC_REFUSED);
	expect_text(pair.client.err.text, client_says);
	assert_int_equal(pair.server.rc, RC_REFUSED);
	expect_text(pair.server.err.text, server_hears);
	assert_false(pair.client.done || pair.server.done);
	close_pair(&pair);
	tls_identity_free(client);
	tls_identity_free(server);
}

static void a_server_that_is_not_ours_is_refused(void **state)
{
	(void)state;
	expect_server_refused("foreign-standby", "not signed by our CA",
			      "the peer refused our certificate: unknown CA");
	expect_server_refused("primary", "is for role 'primary', expected 'standby'",
			      "the peer refused our certificate: not of the role");
	expect_server_refused("expired-standby", "expired on ",
			      "the peer refused our certificate: expired");
	expect_server_refused("future-standby", "is not valid before ",
			      "the peer refused our certificate: expired, or not valid yet");
}

/* ---- peers that are not this module: a bare mbedtls client, and bytes ---- */

static struct buf bare_out;
static struct end *bare_peer;

static int bare_send(void *owner, const unsigned char *data, size_t len)
{
	(void)owner;
	return buf_append(&bare_out, data, len) ? (int)len : MBEDTLS_ERR_SSL_ALLOC_FAILED;
}

static int bare_receive(void *owner, unsigned char *out, size_t len)
{
	struct buf *from = tls_output(bare_peer->tls);

	(void)owner;
	if (from->len == 0)
		return MBEDTLS_ERR_SSL_WANT_READ;
	len = len < from->len ? len : from->len;
	memcpy(out, from->data, len);
	buf_consume(from, len);
	return (int)len;
}

static void a_client_without_a_certificate_is_refused(void **state)
{
	struct tls_identity *standby = load("ca", "standby");
	mbedtls_ssl_config conf;
	mbedtls_ssl_context ssl;
	struct pair pair;
	unsigned char byte;
	int r = 0;

	(void)state;
	open_pair(&pair, standby, standby);
	bare_peer = &pair.server;
	mbedtls_ssl_config_init(&conf);
	mbedtls_ssl_init(&ssl);
	assert_int_equal(mbedtls_ssl_config_defaults(&conf, MBEDTLS_SSL_IS_CLIENT,
						     MBEDTLS_SSL_TRANSPORT_STREAM,
						     MBEDTLS_SSL_PRESET_DEFAULT),
			 0);
	mbedtls_ssl_conf_rng(&conf, mbedtls_psa_get_random, MBEDTLS_PSA_RANDOM_STATE);
	mbedtls_ssl_conf_authmode(&conf, MBEDTLS_SSL_VERIFY_NONE);
	assert_int_equal(mbedtls_ssl_setup(&ssl, &conf), 0);
	assert_int_equal(mbedtls_ssl_set_hostname(&ssl, NULL), 0);
	mbedtls_ssl_set_bio(&ssl, NULL, bare_send, bare_receive, NULL);
	while (pair.server.rc == RC_OK && !pair.server.done) {
		r = mbedtls_ssl_handshake(&ssl);
		assert_true(r == 0 || r == MBEDTLS_ERR_SSL_WANT_READ);
		pair.server.rc =
			tls_feed(pair.server.tls, bare_out.data, bare_out.len, &pair.server.err);
		step(&pair.server);
		buf_reset(&bare_out);
	}
	assert_int_equal(pair.server.rc, RC_REFUSED);
	assert_string_equal(pair.server.err.text, "the peer has no certificate");
	assert_int_equal(mbedtls_ssl_read(&ssl, &byte, 1), MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE);
	mbedtls_ssl_free(&ssl);
	mbedtls_ssl_config_free(&conf);
	buf_free(&bare_out);
	close_pair(&pair);
	tls_identity_free(standby);
}

static void a_plain_text_client_is_told_apart(void **state)
{
	static const char request[] = "GET / HTTP/1.1\r\n\r\n";
	struct tls_identity *standby = load("ca", "standby");
	struct pair pair;

	(void)state;
	open_pair(&pair, standby, standby);
	assert_int_equal(tls_feed(pair.server.tls, (const uint8_t *)request, sizeof(request) - 1,
				  &err),
			 RC_INVALID);
	assert_string_equal(err.text, "not TLS: a plain-text client?");
	assert_int_equal(tls_feed(pair.client.tls, (const uint8_t *)"SSH-2.0-x", 9, &err),
			 RC_INVALID);
	assert_string_equal(err.text, "not TLS: a plain-text server?");
	close_pair(&pair);
	tls_identity_free(standby);
}

static void a_tls_1_2_client_is_told_apart(void **state)
{
	/* ClientHello of TLS 1.2: two suites, no compression, no extensions. */
	static const uint8_t hello[] = {
		0x16, 0x03, 0x01, 0x00, 0x31,	    /* record */
		0x01, 0x00, 0x00, 0x2d, 0x03, 0x03, /* handshake, version */
		1,    2,    3,	  4,	5,    6,    7,	8,    9,
		10,   11,   12,	  13,	14,   15,   16, /* random */
		1,    2,    3,	  4,	5,    6,    7,	8,    9,
		10,   11,   12,	  13,	14,   15,   16, 0x00, /* session */
		0x00, 0x04, 0xc0, 0x2f, 0xc0, 0x30,	      /* suites */
		0x01, 0x00,				      /* compression */
		0x00, 0x00,				      /* extensions */
	};
	struct tls_identity *standby = load("ca", "standby");
	struct pair pair;
	bool done;

	(void)state;
	open_pair(&pair, standby, standby);
	assert_int_equal(tls_feed(pair.server.tls, hello, sizeof(hello), &err), RC_OK);
	assert_int_equal(tls_step(pair.server.tls, &done, &err), RC_UNSUPPORTED);
	assert_string_equal(err.text, "the peer does not speak TLS 1.3");
	/* An alert, fatal, protocol_version. */
	assert_int_equal(tls_output(pair.server.tls)->len, 7);
	assert_memory_equal(tls_output(pair.server.tls)->data, "\x15\x03\x03\x00\x02\x02\x46", 7);
	close_pair(&pair);
	tls_identity_free(standby);
}

static void a_record_longer_than_allowed_is_called_so(void **state)
{
	static const uint8_t first[] = { 0x16, 0x03, 0x01, 0xff, 0xff, 0x01 };
	static const uint8_t later[] = { 0x17, 0x03, 0x03, 0xff, 0xff, 0x00 };
	static const char words[] =
		"the peer sent a TLS record of 65535 bytes, longer than is allowed";
	struct tls_identity *primary = load("ca", "primary"), *standby = load("ca", "standby");
	struct pair pair;
	uint8_t got[64];
	size_t len;
	bool done;

	(void)state;
	open_pair(&pair, primary, standby);
	assert_int_equal(tls_feed(pair.server.tls, first, sizeof(first), &err), RC_OK);
	assert_int_equal(tls_step(pair.server.tls, &done, &err), RC_INVALID);
	assert_string_equal(err.text, words);
	close_pair(&pair);
	open_pair(&pair, primary, standby);
	handshake(&pair);
	expect_established(&pair);
	assert_int_equal(tls_feed(pair.server.tls, later, sizeof(later), &err), RC_OK);
	assert_int_equal(tls_read(pair.server.tls, got, sizeof(got), &len, &err), RC_INVALID);
	assert_string_equal(err.text, words);
	close_pair(&pair);
	tls_identity_free(primary);
	tls_identity_free(standby);
}

static void a_changed_byte_is_noticed_wherever_it_is(void **state)
{
	struct tls_identity *primary = load("ca", "primary"), *standby = load("ca", "standby");
	uint8_t got[64];
	struct pair pair;
	size_t at, len, total;

	(void)state;
	for (at = 0, total = 1; at < total; at++) {
		open_pair(&pair, primary, standby);
		handshake(&pair);
		expect_established(&pair);
		assert_int_equal(
			tls_write(pair.client.tls, (const uint8_t *)"0123456789", 10, &err), RC_OK);
		assert_true(carry(&pair.client, &pair.server));
		total = pair.server.pending.len;
		pair.server.pending.data[at] ^= 0x10;
		feed(&pair.server);
		/*
		 * A longer record leaves it waiting for the rest; anything else is an error at
		 * once.
		 */
		if (tls_read(pair.server.tls, got, sizeof(got), &len, &err) == RC_OK)
			assert_int_equal(len, 0);
		else
			assert_true(err.code == RC_INVALID || err.code == RC_UNSUPPORTED);
		close_pair(&pair);
	}
	tls_identity_free(primary);
	tls_identity_free(standby);
}

static void ciphertext_in_single_bytes_works(void **state)
{
	struct tls_identity *primary = load("ca", "primary"), *standby = load("ca", "standby");
	struct pair pair;
	uint8_t got[16];
	size_t i, len, sum = 0;

	(void)state;
	open_pair(&pair, primary, standby);
	handshake(&pair);
	expect_established(&pair);
	assert_int_equal(tls_write(pair.server.tls, (const uint8_t *)"abc", 3, &err), RC_OK);
	assert_true(carry(&pair.server, &pair.client));
	for (i = 0; i < pair.client.pending.len; i++) {
		assert_int_equal(tls_feed(pair.client.tls, pair.client.pending.data + i, 1, &err),
				 RC_OK);
		do {
			assert_int_equal(tls_read(pair.client.tls, got, sizeof(got), &len, &err),
					 RC_OK);
			sum += len;
		} while (len > 0);
	}
	assert_int_equal(sum, 3);
	close_pair(&pair);
	tls_identity_free(primary);
	tls_identity_free(standby);
}

/* ---- files ---- */

static int try_load(const char *ca, const char *cert, const char *key)
{
	struct tls_identity *identity = NULL;
	int rc = tls_identity_load(&identity, ca, cert, key, &err);

	tls_identity_free(identity);
	return rc;
}

static void a_key_that_others_may_read_is_refused(void **state)
{
	const char *ca = certs_path(&certs, "ca", "pem"),
		   *cert = certs_path(&certs, "primary", "pem"),
		   *key = certs_path(&certs, "primary", "key");

	(void)state;
	assert_int_equal(chmod(key, 0640), 0);
	assert_int_equal(try_load(ca, cert, key), RC_REFUSED);
	expect_text(err.text, "primary.key");
	expect_text(err.text, "chmod 600");
	assert_int_equal(chmod(key, 0400), 0);
	assert_int_equal(try_load(ca, cert, key), RC_OK);
	assert_int_equal(chmod(key, 0600), 0);
	assert_int_equal(try_load(ca, cert, key), RC_OK);
}

static void files_that_do_not_fit_are_refused_by_name(void **state)
{
	const char *ca = certs_path(&certs, "ca", "pem"),
		   *cert = certs_path(&certs, "primary", "pem"),
		   *key = certs_path(&certs, "primary", "key"),
		   *other = certs_path(&certs, "standby", "key"),
		   *none = certs_path(&certs, "none", "pem");

	(void)state;
	assert_int_equal(try_load(none, cert, key), RC_IO);
	expect_text(err.text, "none.pem");
	assert_int_equal(try_load(ca, key, key), RC_INVALID);
	expect_text(err.text, "primary.key");
	assert_int_equal(try_load(ca, cert, cert), RC_INVALID);
	expect_text(err.text, "primary.pem");
	assert_int_equal(try_load(ca, cert, other), RC_INVALID);
	expect_text(err.text, "not the key of the certificate");
	assert_int_equal(try_load("/dev/null", cert, key), RC_REFUSED);
	assert_int_equal(try_load(certs.dir, cert, key), RC_REFUSED);
	expect_text(err.text, "is no regular file");
}

static int setup(void **state)
{
	const long day = CERTS_DAY;

	(void)state;
	certs_open(&certs);
	certs_make_ca(&certs, "ca", "CN=test CA");
	certs_make_ca(&certs, "foreign", "CN=test CA");
	certs_make(&certs, "primary", "ca", "CN=p,OU=primary", -day, day);
	certs_make(&certs, "standby", "ca", "CN=s,OU=standby", -day, day);
	certs_make(&certs, "foreign-primary", "foreign", "CN=p,OU=primary", -day, day);
	certs_make(&certs, "foreign-standby", "foreign", "CN=s,OU=standby", -day, day);
	certs_make(&certs, "no-role", "ca", "CN=p", -day, day);
	certs_make(&certs, "two-roles", "ca", "CN=p,OU=primary,O=primary", -day, day);
	certs_make(&certs, "long-role", "ca", "CN=p,OU=primaryprimaryprimaryprimaryprimary", -day,
		   day);
	certs_make(&certs, "expired", "ca", "CN=p,OU=primary", -2 * day, -60);
	certs_make(&certs, "expired-standby", "ca", "CN=s,OU=standby", -2 * day, -60);
	certs_make(&certs, "future", "ca", "CN=p,OU=primary", 3600, day);
	certs_make(&certs, "future-standby", "ca", "CN=s,OU=standby", 3600, day);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	certs_close(&certs);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_ends_see_each_other_and_data_arrives),
		cmocka_unit_test(a_client_of_another_ca_is_refused),
		cmocka_unit_test(a_client_of_the_wrong_role_is_refused),
		cmocka_unit_test(an_expired_client_is_refused),
		cmocka_unit_test(a_client_from_the_future_is_refused),
		cmocka_unit_test(a_server_that_is_not_ours_is_refused),
		cmocka_unit_test(a_client_without_a_certificate_is_refused),
		cmocka_unit_test(a_plain_text_client_is_told_apart),
		cmocka_unit_test(a_tls_1_2_client_is_told_apart),
		cmocka_unit_test(a_record_longer_than_allowed_is_called_so),
		cmocka_unit_test(a_changed_byte_is_noticed_wherever_it_is),
		cmocka_unit_test(ciphertext_in_single_bytes_works),
		cmocka_unit_test(a_key_that_others_may_read_is_refused),
		cmocka_unit_test(files_that_do_not_fit_are_refused_by_name),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
