/*
 * The standby's warm QEMU: started at reservation with `-incoming defer` and the image's files as
 * its memory, brought to life in milliseconds.
 *
 * Starting it early also proves, before it matters, that this standby can run this instance:
 * whatever QEMU says against it comes back in err, in QEMU's own words. A replica QEMU that dies
 * while it waits is reported by on_exit.
 */
#ifndef REPLICA_HYPERVISOR_H
#define REPLICA_HYPERVISOR_H

#include "appliance/base/err.h"
#include "replica/activation.h"
#include "replica/cmdline.h"

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

struct hypervisor;

struct hypervisor_options {
	const char *name;     /* of the instance */
	const char *program;  /* the QEMU binary */
	const char *firmware; /* directory, may be NULL */
	const char *accel;    /* "auto" (what the instance runs under), "kvm" or "tcg" */
	const char *run_dir;  /* of this replica alone: QEMU's working directory, sockets, logs */
	bool operator_socket; /* also a QMP socket of the operator's: HYPERVISOR_OPERATOR_NAME in run_dir */
	bool confine;	      /* it gives up what it does not need: confine.h */
	int lock; /* QEMU keeps this descriptor open as long as it lives: image_lock(); -1: none */
};

#define HYPERVISOR_OPERATOR_NAME "operator.qmp"

/* Where QEMU's QMP socket is for a run_dir, which has to exist. */
#define HYPERVISOR_PATH_MAX 108 /* sun_path's */
int hypervisor_qmp_path(char path[HYPERVISOR_PATH_MAX], const char *run_dir, struct err *err);
/*
 * And where it exports the targets of the spec's disks by NBD, under their names, from on_ready until
 * hypervisor_activate().
 */
int hypervisor_disks_path(char path[HYPERVISOR_PATH_MAX], const char *run_dir, struct err *err);

/* Called from the loop only, never from inside a function of this header. Each may close it. */
struct hypervisor_ops {
	void (*on_ready)(void *owner); /* waiting for its memory's content */
	/* Could not be started. Then hypervisor_close(). */
	void (*on_failed)(void *owner, const struct err *err);
	/* After hypervisor_activate(): from that call to the guest running. */
	void (*on_running)(void *owner, uint64_t took_ns);
	/* It ended, was lost, or could not be activated (then it was killed); once. Then
	 * hypervisor_close(). */
	void (*on_exit)(void *owner, const struct err *err);
	/* QMP events of the running replica; `data` may be NULL. May be NULL. */
	void (*on_event)(void *owner, const char *name, const cJSON *data);
};

/*
 * on_ready or on_failed follows. Nobody may be in run_dir any more: predecessor.h. All that is
 * pointed to is copied, but `ops`.
 */
int hypervisor_start(struct hypervisor **hypervisor, uv_loop_t *loop,
		     const struct hypervisor_options *options, const struct cmdline_spec *spec,
		     const struct hypervisor_ops *ops, void *owner, struct err *err);

/* Its shared blocks, for activation_stream(); from on_ready on. */
const struct activation_block *hypervisor_blocks(const struct hypervisor *hypervisor,
						 size_t *count);

/*
 * Whether its RAM blocks can take the instance's layout: `done` is called once, from the loop, with
 * code RC_OK or RC_UNSUPPORTED and the reason; not when QEMU is lost or closed before (on_exit
 * tells). RC_STATE unless it is warm.
 */
int hypervisor_check_layout(struct hypervisor *hypervisor, const struct layout *layout,
			    void (*done)(void *owner, const struct err *result), void *owner,
			    struct err *err);

/*
 * Feeds it the activation stream in `fd` (taken over, also on failure); on_running or on_exit
 * follows. RC_STATE unless it is warm.
 */
int hypervisor_activate(struct hypervisor *hypervisor, int fd, struct err *err);

/*
 * The guest may have run, if only for a moment, so that its memory is that of no epoch any more. From
 * on_exit on this is final: what could still run it has ended. Between hypervisor_activate() and that,
 * true.
 */
bool hypervisor_may_have_run(const struct hypervisor *hypervisor);

/* It is warm, and a question was not answered for seconds. */
bool hypervisor_is_silent(const struct hypervisor *hypervisor);

pid_t hypervisor_pid(const struct hypervisor *hypervisor); /* 0: none */
const char *hypervisor_state(
	const struct hypervisor
		*hypervisor); /* "starting", "warm", "activating", "running", "ended" */

/*
 * Ends it (SIGTERM, then SIGKILL) unless `leave`: then it keeps running without us. Idempotent.
 * Calls on_closed after all handles are closed.
 */
void hypervisor_close(struct hypervisor *hypervisor, bool leave, void (*on_closed)(void *owner));

#endif
