/*
 * A channel: one TLS connection over TCP on a libuv loop, from connecting or accepting to the last
 * byte. It carries plain bytes; what they mean is its owner's business (link.c).
 *
 * The process has to ignore SIGPIPE. All functions and callbacks are the loop thread's. Callbacks
 * come from the loop only, never from within a call. Any callback may call channel_end().
 */
#ifndef NET_CHANNEL_H
#define NET_CHANNEL_H

#include "appliance/base/err.h"
#include "net/address.h"
#include "net/tls.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#define CHANNEL_INPUT \
	((size_t)256 << 10) /* read at once; only what is used of it becomes resident */
#define CHANNEL_BURST \
	((size_t)1 << 20) /* read in one turn of the loop, so that timers keep their time */
#define CHANNEL_NOTSENT ((int)128 << 10) /* what the kernel may hold that it has not sent yet */
#define CHANNEL_LINGER_MS 500 /* for the last words to leave and the peer's end to come */

struct channel;

/*
 * None may be NULL. An int is RC_OK, or an error with `err` filled that ends the channel (on_end
 * follows).
 */
struct channel_ops {
	/* TLS is done, the peer is who it has to be. */
	int (*on_open)(void *owner, struct err *err);
	/* Bytes came; channel_read() until it has none. */
	int (*on_input)(void *owner, struct err *err);
	/*
	 * Asked for with channel_wake(), or what was being written has left: more may be written.
	 */
	int (*on_output)(void *owner, struct err *err);
	/*
	 * The connection ended, not by channel_end(), and why (the text begins with the peer's
	 * address).
	 */
	void (*on_end)(void *owner, const struct err *err);
	/*
	 * After channel_end() or on_end: the loop has let go of everything and the channel is
	 * freed.
	 */
	void (*on_gone)(void *owner);
};

struct channel_options {
	struct tls_identity *identity;
	const char *peer_role;	  /* as tls_create() */
	const char *server_name;  /* not NULL: as tls_create_client(); channel_connect() only */
	uint32_t retransmit_us;	  /* the shortest wait for an acknowledgement; 0: the system's */
	uint32_t user_timeout_ms; /* bytes unacknowledged for so long end it; 0: the system's */
};

/* If these fail there is no channel and no callback follows. */
int channel_connect(struct channel **channel, uv_loop_t *loop, const struct sockaddr_storage *to,
		    const struct channel_options *options, const struct channel_ops *ops,
		    void *owner, struct err *err);
int channel_accept(struct channel **channel, uv_stream_t *listener,
		   const struct channel_options *options, const struct channel_ops *ops,
		   void *owner, struct err *err);

/* Plain bytes that came; *got 0: none now. Within on_input and on_open only. */
int channel_read(struct channel *channel, uint8_t *out, size_t size, size_t *got, struct err *err);

/*
 * Encrypts; the ciphertext leaves when the callback that this is called from returns, or with
 * channel_end().
 */
int channel_write(struct channel *channel, const uint8_t *data, size_t len, struct err *err);

/* Ciphertext that was not handed to the socket yet, in bytes. */
size_t channel_unsent(const struct channel *channel);
/*
 * Nothing handed to the socket is waiting there; and: not so much that no more should be written.
 */
bool channel_is_idle(const struct channel *channel);
bool channel_is_writable(const struct channel *channel);

/* on_output in the loop's next turn. */
void channel_wake(struct channel *channel);

/*
 * Sends what was written and a goodbye, waits a little for the peer to do so too, closes.
 * Idempotent.
 */
void channel_end(struct channel *channel);

/* At once, without a word; on_gone follows. Idempotent, also after channel_end(). */
void channel_close(struct channel *channel);

/*
 * "192.0.2.7:7400"; as address_source(); the certificate's name as tls_peer_name(); as
 * tls_cipher().
 */
const char *channel_address(const struct channel *channel);
uint64_t channel_source(const struct channel *channel);
const char *channel_peer_name(const struct channel *channel);
const char *channel_cipher(const struct channel *channel);
/* "connecting", "in the TLS handshake", "open": for messages. */
const char *channel_stage(const struct channel *channel);
/* TLS is done, the peer is who it has to be, and the end has not begun. */
bool channel_is_open(const struct channel *channel);
/* As tls_records(). */
uint64_t channel_records(const struct channel *channel);

/* Both ends of the TCP connection; false: the system does not tell. */
bool channel_addresses(const struct channel *channel, struct sockaddr_storage *own,
		       struct sockaddr_storage *peer);
/* TCP has sent something again, and has had no word of the peer's since. */
bool channel_is_stuck(const struct channel *channel);

/* Bytes on the wire so far. */
uint64_t channel_sent(const struct channel *channel);
uint64_t channel_received(const struct channel *channel);

#endif
