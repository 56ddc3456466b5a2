/*
 * Mutual TLS 1.3 over any byte pipe (mbedtls). No I/O: ciphertext goes in and comes out through
 * buffers, so that the link can sit on libuv and tests can sit on nothing. Both sides must show a
 * certificate of the configured CA that is valid now; the peer's role is in its certificate
 * (subject OU: "primary" or "standby", exactly one, as `understudy pki` makes them) and must be
 * the expected one. Names of hosts play no part. Keys are never logged; key files that others may
 * read are refused.
 *
 * There is a second profile, for other people's servers (etcd): TLS 1.3 too, but the server is who
 * its certificate's names say, roles play no part, and we may come without a certificate.
 *
 * One thread only, the loop's (mbedtls is built without locks). Keys are not updated during a
 * connection (mbedtls 3.6 cannot), so the caller has to count (tls_records()) and take a new
 * connection before TLS_RECORDS_MAX.
 */
#ifndef NET_TLS_H
#define NET_TLS_H

#include "appliance/base/buf.h"
#include "appliance/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TLS_FILE_MAX ((size_t)256 << 10) /* a CA file with a hundred certificates */
#define TLS_OUTPUT_MAX ((size_t)1 << 20) /* the caller takes the output away long before */
#define TLS_NAME_MAX 256		 /* of a subject; longer ones are cut */
/* Under one AES-GCM key: 2^24.5, RFC 8446 5.5; about 360 GiB if all are full. */
#define TLS_RECORDS_MAX UINT64_C(23726566)

struct tls_identity; /* CA, own certificate and key: shared by all connections of a process */
struct tls;	     /* one connection */

/*
 * PEM files. What is wrong is named with its file; a certificate of our own that peers will
 * refuse (expired, not of this CA) is logged as a warning, because it is theirs to refuse.
 */
int tls_identity_load(struct tls_identity **identity, const char *ca_path, const char *cert_path,
		      const char *key_path, struct err *err);
void tls_identity_free(struct tls_identity *identity);
/* From and until when our own certificate and its CA are both valid, in seconds since 1970. */
int64_t tls_identity_from(const struct tls_identity *identity);
int64_t tls_identity_until(const struct tls_identity *identity);

/*
 * For tls_create_client() only: `ca_path` is what the servers' certificates are verified with;
 * `cert_path` and `key_path` are what is shown to servers that ask, or both NULL.
 */
int tls_identity_load_client(struct tls_identity **identity, const char *ca_path,
			     const char *cert_path, const char *key_path, struct err *err);

/* `peer_role`: "primary" or "standby", what the other side has to be; static text. */
int tls_create(struct tls **tls, struct tls_identity *identity, bool server, const char *peer_role,
	       struct err *err);

/*
 * The client's end of a connection to a server whose certificate has to be for `host`: a DNS name,
 * or an IP address as text. `host` has to stay as long as the connection.
 */
int tls_create_client(struct tls **tls, struct tls_identity *identity, const char *host,
		      struct err *err);

/*
 * Ciphertext from the peer. It is not copied: it has to stay until tls_read() has nothing more, or
 * while the handshake goes on until tls_step() returns with *done false. RC_INVALID at once if it
 * is no TLS at all.
 */
int tls_feed(struct tls *tls, const uint8_t *data, size_t len, struct err *err);
/*
 * Goes on with the handshake; *done once it is over and the peer is who it has to be. On an error
 * the alert for the peer is in tls_output(); the error is final. A client's handshake is over
 * before the server has judged its certificate: a refusal then comes from the first tls_read(),
 * saying so.
 */
int tls_step(struct tls *tls, bool *done, struct err *err);
/*
 * Plain text from the peer into `out`, up to `size`; *got 0: none now. RC_CLOSED after the peer's
 * close_notify, RC_REFUSED after its alert, RC_INVALID for what is no TLS record of this
 * connection; all final.
 */
int tls_read(struct tls *tls, uint8_t *out, size_t size, size_t *got, struct err *err);
/* Encrypts all of `data` into records of 16 KiB; the ciphertext is added to tls_output(). */
int tls_write(struct tls *tls, const uint8_t *data, size_t len, struct err *err);
/*
 * Ciphertext to send. The caller takes it by buf_reset(), or takes the memory and leaves another
 * buffer's.
 */
struct buf *tls_output(struct tls *tls);
/*
 * Records so far in the direction that had more of them. A short record counts as a full one does.
 */
uint64_t tls_records(const struct tls *tls);
/* Adds close_notify to the output. */
void tls_shutdown(struct tls *tls);
/* "CN=..., OU=primary", once the peer's certificate has come; "" before. */
const char *tls_peer_name(const struct tls *tls);
/* "TLS1-3-AES-128-GCM-SHA256", once the handshake is done. */
const char *tls_cipher(const struct tls *tls);
void tls_destroy(struct tls *tls);

#endif
