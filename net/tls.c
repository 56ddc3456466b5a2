/*
 * One TLS connection. mbedtls pulls ciphertext out of the caller's buffer (receive(): no copy of
 * ours) and pushes it into `output` (send()), from where the caller takes the memory itself, so
 * that a byte on its way out is copied into mbedtls's record, encrypted there, and copied once
 * more.
 *
 * Who the peer is: the callback on_certificate() sees each certificate of the peer's chain with
 * what mbedtls found wrong with it, from the CA's end to the peer's own, and adds the role. A peer
 * is accepted if and only if (1) the handshake finished, which proves that it has the
 * certificate's key, (2) a certificate came, (3) mbedtls found nothing wrong, (4) the callback
 * found the role right. A client has this checked within the handshake, a server in judge_peer()
 * (see tls_identity.c for why); judge_peer() runs in both, and nothing is read or written before
 * it. Where a host's name is expected instead of a role, (4) is mbedtls's comparison of that name
 * with the certificate's, which is among what (3) finds.
 */
#include "net/tls.h"

#include "appliance/base/bytes.h"
#include "appliance/base/mem.h"
#include "net/tls_internal.h"
#include "net/tls_role.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define ALERT_CERTIFICATE_REQUIRED 116 /* RFC 8446 6.2 */
#define RECORD_MAX (16384 + 256)       /* the same, 5.2 */

struct tls {
	mbedtls_ssl_context ssl;
	struct buf output;
	const uint8_t *input;
	size_t input_len;
	const char *peer_role; /* NULL: `host` is expected instead */
	const char *host;
	bool server;
	bool spoke;	 /* the peer's first bytes were seen */
	bool done, over; /* handshake finished; a final error came */
	/* what on_certificate() found */
	uint32_t flags;
	bool role_right;
	char role[TLS_ROLE_MAX];
	char name[TLS_NAME_MAX];
	char period[TLS_NAME_MAX + TLS_TIME_MAX +
		    32]; /* which certificate expired or is not valid yet */
};

/* ---- the pipe ---- */

static int receive(void *owner, unsigned char *out, size_t len)
{
	struct tls *tls = owner;

	if (tls->input_len == 0)
		return MBEDTLS_ERR_SSL_WANT_READ;
	if (len > tls->input_len)
		len = tls->input_len;
	memcpy(out, tls->input, len);
	tls->input += len;
	tls->input_len -= len;
	return (int)len;
}

static int send_out(void *owner, const unsigned char *data, size_t len)
{
	struct tls *tls = owner;

	return buf_append(&tls->output, data, len) ? (int)len : MBEDTLS_ERR_SSL_ALLOC_FAILED;
}

/* ---- who the peer is ---- */

static void note_period(struct tls *tls, const mbedtls_x509_crt *crt, uint32_t flags)
{
	char name[TLS_NAME_MAX], when[TLS_TIME_MAX];
	bool expired = (flags & MBEDTLS_X509_BADCERT_EXPIRED) != 0;

	if (mbedtls_x509_dn_gets(name, sizeof(name), &crt->subject) < 0)
		(void)snprintf(name, sizeof(name), "?");
	tls_time_text(when, expired ? &crt->valid_to : &crt->valid_from);
	(void)snprintf(tls->period, sizeof(tls->period), "certificate %s %s %s", name,
		       expired ? "expired on" : "is not valid before", when);
}

static int on_certificate(void *owner, mbedtls_x509_crt *crt, int depth, uint32_t *flags)
{
	struct tls *tls = owner;

	if ((*flags & (MBEDTLS_X509_BADCERT_EXPIRED | MBEDTLS_X509_BADCERT_FUTURE)) != 0) {
		note_period(tls, crt, *flags);
		/* RFC 8446 has one alert for both; mbedtls sends it for the first only. */
		*flags |= MBEDTLS_X509_BADCERT_EXPIRED;
	}
	tls->flags |= *flags;
	if (depth > 0)
		return 0;
	if (mbedtls_x509_dn_gets(tls->name, sizeof(tls->name), &crt->subject) < 0)
		(void)snprintf(tls->name, sizeof(tls->name), "?");
	if (tls->peer_role == NULL) {
		tls->role_right = true;
		return 0;
	}
	tls->role_right = tls_role_is(crt, tls->peer_role, tls->role);
	/* Said of a certificate that is otherwise good; else the alert would name the role only. */
	if (!tls->role_right && tls->flags == 0) {
		*flags |= MBEDTLS_X509_BADCERT_OTHER;
		tls->flags |= *flags;
	}
	return 0;
}

static int describe_refusal(const struct tls *tls, struct err *err)
{
	char info[256];

	if ((tls->flags & MBEDTLS_X509_BADCERT_NOT_TRUSTED) != 0)
		return err_set(err, RC_REFUSED, "the peer's certificate %s is not signed by our CA",
			       tls->name);
	if (tls->period[0] != '\0')
		return err_set(err, RC_REFUSED, "the peer's %s", tls->period);
	if ((tls->flags & MBEDTLS_X509_BADCERT_CN_MISMATCH) != 0)
		return err_set(err, RC_REFUSED, "the peer's certificate %s is not for the host %s",
			       tls->name, tls->host);
	if (!tls->role_right && tls->role[0] == '\0')
		return err_set(err, RC_REFUSED,
			       "the peer's certificate %s is for no role (OU), expected '%s'",
			       tls->name, tls->peer_role);
	if (!tls->role_right)
		return err_set(err, RC_REFUSED,
			       "the peer's certificate %s is for role '%s', expected '%s'",
			       tls->name, tls->role, tls->peer_role);
	if (mbedtls_x509_crt_verify_info(info, sizeof(info), "", tls->flags) <= 0)
		info[0] = '\0';
	info[strcspn(info, "\n")] = '\0';
	return err_set(err, RC_REFUSED, "the peer's certificate %s was refused: %s", tls->name,
		       info);
}

static unsigned char alert_for(uint32_t flags)
{
	if ((flags & MBEDTLS_X509_BADCERT_NOT_TRUSTED) != 0)
		return MBEDTLS_SSL_ALERT_MSG_UNKNOWN_CA;
	if ((flags & MBEDTLS_X509_BADCERT_EXPIRED) != 0)
		return MBEDTLS_SSL_ALERT_MSG_CERT_EXPIRED;
	if ((flags & MBEDTLS_X509_BADCERT_OTHER) != 0)
		return MBEDTLS_SSL_ALERT_MSG_ACCESS_DENIED;
	return MBEDTLS_SSL_ALERT_MSG_BAD_CERT;
}

static int judge_peer(struct tls *tls, struct err *err)
{
	uint32_t result = mbedtls_ssl_get_verify_result(&tls->ssl);
	unsigned char alert;
	int rc;

	if (result == 0 && tls->flags == 0 && tls->role_right &&
	    mbedtls_ssl_get_peer_cert(&tls->ssl) != NULL)
		return RC_OK;
	if (mbedtls_ssl_get_peer_cert(&tls->ssl) == NULL) {
		alert = ALERT_CERTIFICATE_REQUIRED;
		rc = err_set(err, RC_REFUSED, "the peer has no certificate");
	} else {
		tls->flags |= result;
		alert = alert_for(tls->flags);
		rc = describe_refusal(tls, err);
	}
	tls->over = true;
	(void)mbedtls_ssl_send_alert_message(&tls->ssl, MBEDTLS_SSL_ALERT_LEVEL_FATAL, alert);
	return rc;
}

/* ---- what went wrong ---- */

static const struct {
	unsigned char code;
	bool ours; /* our certificate is what the peer did not like */
	const char *text;
} alerts[] = {
	{ MBEDTLS_SSL_ALERT_MSG_UNKNOWN_CA, true, "unknown CA" },
	{ MBEDTLS_SSL_ALERT_MSG_CERT_EXPIRED, true, "expired, or not valid yet" },
	{ MBEDTLS_SSL_ALERT_MSG_ACCESS_DENIED, true, "not of the role that it expects" },
	{ MBEDTLS_SSL_ALERT_MSG_CERT_REVOKED, true, "revoked" },
	{ MBEDTLS_SSL_ALERT_MSG_UNSUPPORTED_CERT, true, "of a kind that it does not take" },
	{ MBEDTLS_SSL_ALERT_MSG_BAD_CERT, true, "bad certificate" },
	{ MBEDTLS_SSL_ALERT_MSG_CERT_UNKNOWN, true, "not acceptable" },
	{ ALERT_CERTIFICATE_REQUIRED, true, "it got none" },
	{ MBEDTLS_SSL_ALERT_MSG_PROTOCOL_VERSION, false, "it does not speak TLS 1.3" },
	{ MBEDTLS_SSL_ALERT_MSG_HANDSHAKE_FAILURE, false, "no cipher or key exchange in common" },
	{ MBEDTLS_SSL_ALERT_MSG_BAD_RECORD_MAC, false, "it could not decrypt a record" },
	{ MBEDTLS_SSL_ALERT_MSG_INTERNAL_ERROR, false, "an internal error" },
};

static int describe_alert(unsigned char code, struct err *err)
{
	size_t i;

	for (i = 0; i < sizeof(alerts) / sizeof(alerts[0]); i++) {
		if (alerts[i].code == code)
			return err_set(err, RC_REFUSED, "the peer refused our %s: %s",
				       alerts[i].ours ? "certificate" : "TLS connection",
				       alerts[i].text);
	}
	return err_set(err, RC_REFUSED, "the peer ended the TLS connection with alert %u", code);
}

/*
 * A client of mbedtls that refuses the server's certificate sends its alert in the clear, since it
 * switches to the handshake's keys only for its own certificate; mbedtls's server takes that for a
 * damaged record. The connection fails either way: the record, still in mbedtls's buffer, only
 * gives the better text.
 */
static bool is_plain_alert(const struct tls *tls, unsigned char *code)
{
	const unsigned char *record = tls->ssl.MBEDTLS_PRIVATE(in_hdr);

	if (tls->done || record[0] != MBEDTLS_SSL_MSG_ALERT || record[3] != 0 || record[4] != 2)
		return false;
	*code = record[6];
	return true;
}

/* mbedtls calls a record that its buffer cannot hold bad input; its header is still there. */
static int describe_input(const struct tls *tls, int r, struct err *err)
{
	unsigned len = bytes_get_be16(tls->ssl.MBEDTLS_PRIVATE(in_hdr) + 3);

	if (len <= RECORD_MAX)
		return tls_error(err, "TLS", r);
	return err_set(err, RC_INVALID,
		       "the peer sent a TLS record of %u bytes, longer than is allowed", len);
}

static int describe(struct tls *tls, int r, struct err *err)
{
	unsigned char alert;

	tls->over = true;
	switch (r) {
	case MBEDTLS_ERR_SSL_INVALID_MAC:
		return is_plain_alert(tls, &alert) ? describe_alert(alert, err) :
						     tls_error(err, "TLS", r);
	case MBEDTLS_ERR_SSL_BAD_INPUT_DATA:
	case MBEDTLS_ERR_SSL_INVALID_RECORD:
		return describe_input(tls, r, err);
	case MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY:
		return err_set(err, RC_CLOSED, "the peer closed the connection");
	case MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE:
		/* mbedtls has no other way to ask which alert it was. */
		return describe_alert(tls->ssl.MBEDTLS_PRIVATE(in_msg)[1], err);
	case MBEDTLS_ERR_X509_CERT_VERIFY_FAILED:
		return describe_refusal(tls, err);
	case MBEDTLS_ERR_SSL_BAD_PROTOCOL_VERSION:
		return err_set(err, RC_UNSUPPORTED, "the peer does not speak TLS 1.3");
	case MBEDTLS_ERR_SSL_ALLOC_FAILED:
		return err_nomem(err, "TLS");
	default:
		return tls_error(err, "TLS", r);
	}
}

/* ---- the connection ---- */

static int create(struct tls **tls, struct tls_identity *identity, bool server,
		  const char *peer_role, const char *host, struct err *err)
{
	struct tls *made = mem_zalloc(1, sizeof(*made));
	int r;

	*tls = NULL;
	if (made == NULL)
		return err_nomem(err, "TLS connection");
	made->server = server;
	made->peer_role = peer_role;
	made->host = host;
	made->output.limit = TLS_OUTPUT_MAX;
	mbedtls_ssl_init(&made->ssl);
	r = mbedtls_ssl_setup(&made->ssl, server ? &identity->server : &identity->client);
	/*
	 * NULL, no name to compare with, is said explicitly: without this call mbedtls refuses to
	 * verify.
	 */
	if (r == 0)
		r = mbedtls_ssl_set_hostname(&made->ssl, host);
	if (r != 0) {
		tls_destroy(made);
		return tls_error(err, "TLS connection", r);
	}
	mbedtls_ssl_set_verify(&made->ssl, on_certificate, made);
	mbedtls_ssl_set_bio(&made->ssl, made, send_out, receive, NULL);
	*tls = made;
	return RC_OK;
}

int tls_create(struct tls **tls, struct tls_identity *identity, bool server, const char *peer_role,
	       struct err *err)
{
	assert(peer_role != NULL);
	return create(tls, identity, server, peer_role, NULL, err);
}

int tls_create_client(struct tls **tls, struct tls_identity *identity, const char *host,
		      struct err *err)
{
	assert(host != NULL);
	return create(tls, identity, false, NULL, host, err);
}

int tls_feed(struct tls *tls, const uint8_t *data, size_t len, struct err *err)
{
	assert(tls->input_len == 0);
	if (!tls->spoke && len > 0) {
		tls->spoke = true;
		if (data[0] != MBEDTLS_SSL_MSG_HANDSHAKE && data[0] != MBEDTLS_SSL_MSG_ALERT) {
			tls->over = true;
			return err_set(err, RC_INVALID, "not TLS: a plain-text %s?",
				       tls->server ? "client" : "server");
		}
	}
	tls->input = data;
	tls->input_len = len;
	return RC_OK;
}

int tls_step(struct tls *tls, bool *done, struct err *err)
{
	int rc, r;

	*done = tls->done;
	if (tls->done)
		return RC_OK;
	if (tls->over)
		return err_set(err, RC_STATE, "the TLS connection is over");
	r = mbedtls_ssl_handshake(&tls->ssl);
	if (r == MBEDTLS_ERR_SSL_WANT_READ)
		return RC_OK;
	if (r != 0)
		return describe(tls, r, err);
	rc = judge_peer(tls, err);
	*done = tls->done = rc == RC_OK;
	return rc;
}

int tls_read(struct tls *tls, uint8_t *out, size_t size, size_t *got, struct err *err)
{
	int r;

	*got = 0;
	if (!tls->done || tls->over)
		return err_set(err, RC_STATE, "the TLS connection is not open");
	do
		r = mbedtls_ssl_read(&tls->ssl, out, size);
	while (r == MBEDTLS_ERR_SSL_RECEIVED_NEW_SESSION_TICKET);
	if (r > 0) {
		*got = (size_t)r;
		return RC_OK;
	}
	if (r == MBEDTLS_ERR_SSL_WANT_READ)
		return RC_OK;
	return describe(tls, r == 0 ? MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY : r, err);
}

int tls_write(struct tls *tls, const uint8_t *data, size_t len, struct err *err)
{
	int r;

	if (!tls->done || tls->over)
		return err_set(err, RC_STATE, "the TLS connection is not open");
	while (len > 0) {
		r = mbedtls_ssl_write(&tls->ssl, data, len);
		if (r <= 0)
			return describe(tls, r, err);
		data += r;
		len -= (size_t)r;
	}
	return RC_OK;
}

/* mbedtls numbers the records of a key from 0 on; it has no other way to ask for the number. */
uint64_t tls_records(const struct tls *tls)
{
	uint64_t in, out;

	if (!tls->done)
		return 0;
	in = bytes_get_be64(tls->ssl.MBEDTLS_PRIVATE(in_ctr));
	out = bytes_get_be64(tls->ssl.MBEDTLS_PRIVATE(cur_out_ctr));
	return in > out ? in : out;
}

struct buf *tls_output(struct tls *tls)
{
	return &tls->output;
}

void tls_shutdown(struct tls *tls)
{
	if (tls->done && !tls->over)
		(void)mbedtls_ssl_close_notify(&tls->ssl);
}

const char *tls_peer_name(const struct tls *tls)
{
	return tls->name;
}

const char *tls_cipher(const struct tls *tls)
{
	return tls->done ? mbedtls_ssl_get_ciphersuite(&tls->ssl) : "none";
}

void tls_destroy(struct tls *tls)
{
	if (tls == NULL)
		return;
	mbedtls_ssl_free(&tls->ssl);
	buf_free(&tls->output);
	mem_free(tls);
}
