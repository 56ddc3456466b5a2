/*
 * Errors: one list of codes for the whole program and a message that every layer may prefix.
 *
 * A function that can fail returns RC_OK (0) or a code of this list, and fills the `struct err`
 * that it was given. Callers add what they know ("instances[0].qmp: ") on the way up, so that the
 * line an operator reads names the thing, the reason and, where there is one, the remedy.
 */
#ifndef APPLIANCE_BASE_ERR_H
#define APPLIANCE_BASE_ERR_H

enum rc {
	RC_OK = 0,
	RC_NOMEM,	/* an allocation failed */
	RC_IO,		/* a system call failed; the text carries its reason */
	RC_INVALID,	/* outside data is not what its format says */
	RC_LIMIT,	/* outside data is well formed but larger than we take */
	RC_REFUSED,	/* a peer, QEMU or a rule said no */
	RC_CLOSED,	/* the other end is gone */
	RC_TIMEOUT,	/* a bounded wait ran out */
	RC_UNSUPPORTED, /* this version, machine or feature cannot do it */
	RC_STATE,	/* not now: the object is in another state */
	RC_CANCELLED,	/* we stopped it ourselves */
	RC_COUNT
};

#define ERR_TEXT_MAX 512 /* one log line; longer texts are cut, never grown */

struct err {
	enum rc code;
	char text[ERR_TEXT_MAX];
};

/* Sets code and text, forgetting what was there. Returns the code, so that it can be returned at
 * once. */
int err_set(struct err *err, enum rc code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/*
 * As err_set(RC_IO) with ": " and the text of `errnum` (an errno value) at the end; with EACCES, who
 * may not, too.
 */
int err_system(struct err *err, int errnum, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* RC_NOMEM, naming what the memory was for. */
int err_nomem(struct err *err, const char *what);

/* Puts text in front of the present message. Returns the present code. */
int err_prefix(struct err *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Puts text behind it. */
int err_append(struct err *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The code's short name, "refused" for RC_REFUSED; for logs and JSON. */
const char *err_name(enum rc code);

#endif
