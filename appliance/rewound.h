/*
 * An epoch of an instance's past, running isolated beside what goes on: a memory image of its own, which the
 * journal is read into, and a QEMU of its own, whose network cards lead nowhere (cmdline_isolate.h). The
 * reservation's arguments make it; its sockets and consoles are in a directory of their own.
 *
 *   reading -> starting -> running -> ended
 *      any of these -> failed
 *
 * Or an epoch that the instance is to go live from: then it is only read, for its owner to take what is in the image.
 *
 *   reading -> ready
 *      any of these -> failed
 */
#ifndef APPLIANCE_REWOUND_H
#define APPLIANCE_REWOUND_H

#include "appliance/config.h"
#include "replica/history.h"

#include <uv.h>

struct rewound;

struct rewound_options {
	const struct config *config;
	const struct config_instance *instance;
	const char *part;	      /* for the log */
	const char *dir, *memory_dir; /* of the instance's replica: below each is its own */
	const struct journal_place *journal;
	struct history_place place;
	void (*on_ready)(void *owner); /* it is read; NULL: it is to run, isolated */
};

/*
 * RC_LIMIT: there is no room. `on_read`, once, unless it is closed before: the journal is not needed any more.
 * What is pointed to has to last as long as it.
 */
int rewound_open(struct rewound **rewound, uv_loop_t *loop, const struct rewound_options *options,
		 void (*on_read)(void *owner), void *owner, struct err *err);

/* What was read, between on_ready and the end. */
const struct image *rewound_image(const struct rewound *rewound);
/* Its owner has no use for it after all: what it took is given back, and `why` is told until rewound_close(). */
void rewound_fail(struct rewound *rewound, const struct err *why);

#define REWOUND_ENDING "ending" /* the state of one between rewound_close() and on_closed */

struct rewound_status {
	const char *state;
	bool serve, ready;    /* it is to go live; and is read for that */
	const char *reason;   /* why it failed or ended; "" */
	uint64_t epoch, ms;   /* what it runs from, or is to; 0: not known (yet) */
	uint64_t done, total; /* of reading: bytes */
	const char *dir;      /* its consoles and sockets */
	const char *qmp;      /* its QMP socket; "": none (yet, or any more) */
};
void rewound_status(const struct rewound *rewound, struct rewound_status *status);

/* Ends its QEMU, gives its memory back, frees, then calls on_closed. */
void rewound_close(struct rewound *rewound, void (*on_closed)(void *owner), void *owner);

/*
 * What an earlier life of this process left of one is ended and removed: its QEMU, known by its sockets' directory on its
 * command line, is killed. To be called before anything is opened there.
 */
void rewound_clear(const char *part, const char *dir, const char *memory_dir);

#endif
