/*
 * One client of an NBD export, as the server sees it: the fixed newstyle handshake is held here, and
 * requests come out that fit the export. No I/O: the caller asks where the next bytes belong, puts
 * them there, and sends what `out` has.
 *
 * What is wrong with a request is answered here and goes no further; what cannot be understood
 * ends the connection. Bounded: one option (NBD_OPTION_MAX bytes, NBD_OPTIONS_MAX of them) and one
 * write (NBD_PAYLOAD_MAX) at a time, and NBD_READ_AHEAD bytes of what follows.
 *
 * Spoken: EXPORT_NAME, ABORT, LIST, INFO, GO, structured replies, the context "base:allocation";
 * READ, WRITE, FLUSH, TRIM, WRITE_ZEROES, BLOCK_STATUS, FUA. The rest is answered with "unsupported",
 * as the protocol asks. TLS is not among it: the socket is a unix socket of ours.
 */
#ifndef NET_NBD_SESSION_H
#define NET_NBD_SESSION_H

#include "appliance/base/buf.h"
#include "appliance/base/err.h"
#include "net/nbd_format.h"

#define NBD_NAME_MAX 64			   /* of an export: a word of ours */
#define NBD_OPTION_MAX ((size_t)4096)	   /* a name of 4096 bytes is for other servers */
#define NBD_OPTIONS_MAX 64		   /* in one handshake; QEMU sends 4 */
#define NBD_PAYLOAD_MAX ((size_t)32 << 20) /* what clients expect to be taken; QEMU's limit */
#define NBD_READ_AHEAD ((size_t)16 << 10)  /* a request with the data of most writes */
#define NBD_CONTEXT_ALLOCATION 1	   /* "base:allocation", once a client has chosen it */

struct nbd_export {
	char name[NBD_NAME_MAX + 1];
	uint64_t bytes;
	uint32_t block; /* the best size of requests; any size is taken */
};

struct nbd_request {
	enum nbd_command command; /* READ, WRITE, FLUSH, TRIM, WRITE_ZEROES or BLOCK_STATUS */
	uint16_t flags;		  /* enum nbd_command_flags, only such as belong to it */
	uint64_t cookie, offset;  /* offset + length is within the export */
	uint32_t length;	  /* 0 of FLUSH only */
	const uint8_t *data;	  /* of WRITE */
};

enum nbd_state { NBD_GREETING, NBD_OPTIONS, NBD_SERVING, NBD_ENDED };

struct nbd_session {
	/* readable by all */
	enum nbd_state state; /* ENDED: send what `out` has, and close */
	bool structured;      /* for the replies */
	bool contexts;	      /* BLOCK_STATUS was agreed upon */
	struct buf out;	      /* the caller empties it */
	/* private */
	const struct nbd_export *export;
	struct buf
		in; /* what was begun: a header, and the data that follow it; then what follows them */
	size_t have, want;
	unsigned options;
	bool no_zeroes, in_data, done; /* done: the request is the caller's */
	struct nbd_request request;
};

/* `export` stays the caller's and outlives the session. `out_max` bounds the replies waiting. */
int nbd_session_init(struct nbd_session *session, const struct nbd_export *export, size_t out_max,
		     struct err *err);
void nbd_session_free(struct nbd_session *session);

/* Where the next bytes go, and how many at most: at least 1; NULL when the session has ended. */
uint8_t *nbd_session_space(struct nbd_session *session, size_t *room);
/* `got` bytes were put there. */
void nbd_session_filled(struct nbd_session *session, size_t got);

/*
 * The next request among what has come; NULL: more has to come first. It is to be answered once with a
 * reply of nbd_format.h, and is valid until this is called again, which has to be before more is read. An
 * error (RC_INVALID, RC_LIMIT, RC_NOMEM) is final.
 */
int nbd_session_next(struct nbd_session *session, const struct nbd_request **request,
		     struct err *err);

#endif
