/*
 * The replica that an earlier process of ours brought to life and left running: found again by its
 * QMP socket, asked what it is, and watched for its end from then on. Nothing here ever ends it. One
 * whose socket's file was removed is found among the processes, and cannot be asked.
 */
#ifndef REPLICA_SURVIVOR_H
#define REPLICA_SURVIVOR_H

#include "appliance/base/err.h"

#include <sys/types.h>
#include <uv.h>

struct survivor;

enum survivor_kind {
	SURVIVOR_NONE,	/* it has ended */
	SURVIVOR_WAITS, /* a QEMU that still waits for its memory: it was never brought to life */
	SURVIVOR_RUNS,	/* it holds the instance; survivor_state() */
	SURVIVOR_SILENT /* its process is there and does not answer: it may be serving */
};

struct survivor_ops {
	/*
	 * Once; or, after SURVIVOR_SILENT, once more when it answers. After NONE and WAITS:
	 * survivor_close().
	 */
	void (*on_found)(void *owner, enum survivor_kind kind);
	/* After RUNS or SILENT: its process has ended. Once; then survivor_close(). */
	void (*on_ended)(void *owner);
};

/* `part` names it in the log. Callbacks come from the loop, never from inside a call. */
int survivor_seek(struct survivor **survivor, uv_loop_t *loop, const char *part,
		  const char *qmp_path, const struct survivor_ops *ops, void *owner,
		  struct err *err);

pid_t survivor_pid(const struct survivor *survivor);	     /* 0: not known */
const char *survivor_state(const struct survivor *survivor); /* QEMU's word: "running", "paused" */
/* Of SURVIVOR_SILENT: why it is so. NULL will do for one that was let go. */
const char *survivor_silence(const struct survivor *survivor);

/* Lets go of it, whatever it does; frees, then calls on_closed. Idempotent. */
void survivor_close(struct survivor *survivor, void (*on_closed)(void *owner));

#endif
