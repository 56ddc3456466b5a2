/*
 * A long-lived child process (a QEMU): started in a session of its own, its standard error read
 * into the debug log, its last words kept, ended in an orderly way or left running.
 */
#ifndef REPLICA_CHILD_H
#define REPLICA_CHILD_H

#include "appliance/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <uv.h>

struct child;

#define CHILD_WORDS_MAX \
	380 /* of its last words, so that they fit into an error text with something in front */

struct child_options {
	const char *part; /* names it in the log */
	char **args;	  /* NULL-terminated; the first is the program */
	const char *cwd;
	int keep;     /* inherited as number 3; -1: none */
	bool confine; /* as a hypervisor: confine_process.h; for a main() that asks whether it is one */
};

/*
 * Standard input and output are /dev/null. on_end is called once, from the loop, when the process has ended and its last words were
 * read: RC_CLOSED with how it ended and what it said.
 */
int child_start(struct child **child, uv_loop_t *loop, const struct child_options *options,
		void (*on_end)(void *owner, const struct err *how), void *owner, struct err *err);

pid_t child_pid(const struct child *child); /* 0: it has ended */

int child_signal(const struct child *child); /* that ended it; 0: none, or it has not ended */

/* What it said last, as last_words_text(). */
void child_words(const struct child *child, char *text, size_t size);

/* SIGKILL, at once: for a process that must not do anything any more. on_end follows. */
void child_kill(struct child *child);

/*
 * No on_end from now on. Ends it (SIGTERM, then SIGKILL) unless `leave`; after that frees, then
 * calls on_closed (may be NULL). Idempotent.
 */
void child_close(struct child *child, bool leave, void (*on_closed)(void *owner));

#endif
