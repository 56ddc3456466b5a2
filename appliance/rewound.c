/*
 * Theory of operation. The journal is read first (rewind.h, a thread of its own), then the copy's QEMU is started, and fed
 * as a replica's is at a takeover; each callback is the next function's beginning. Whatever ends that, take_down() closes reader
 * and QEMU, and only then removes the image, which both have mapped. What is left then tells why, until rewound_close().
 *
 * Nothing of the replica's is touched: the image and the directory are the copy's own, and its arguments have been
 * through cmdline_isolate(). Our QMP connection is the first of two sockets: the other one is the operator's.
 */
#include "appliance/rewound.h"

#include "appliance/base/files.h"
#include "appliance/base/log.h"
#include "appliance/base/mem.h"
#include "appliance/seat.h"
#include "appliance/seat_disks.h"
#include "replica/activation.h"
#include "replica/cmdline_isolate.h"
#include "replica/hypervisor.h"
#include "replica/reservation.h"
#include "replica/rewind.h"
#include "replica/hypervisor_user.h"
#include "replica/oom.h"
#include "replica/rewound_room.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define DIR_NAME "rewound"
#define MEMORY_NAME \
	".rewound" /* no block's file begins with a dot, and nobody adds it to the replica's */
#define PATH_BYTES 512
#define NICE 10

enum state { READING, STARTING, RUNNING, READY, ENDED, FAILED };

static const char *const state_names[] = {
	[READING] = "reading", [STARTING] = "starting", [RUNNING] = "running",
	[READY] = "ready",     [ENDED] = "ended",	[FAILED] = "failed",
};

struct rewound {
	struct rewound_options options;
	uv_loop_t *loop;
	void (*on_read)(void *owner);
	void *owner;
	char part[96], dir[PATH_BYTES], memory_dir[PATH_BYTES], qmp[HYPERVISOR_PATH_MAX];
	char name[80];
	struct reservation reservation;
	struct cmdline_spec spec;
	struct image *image;
	struct rewind *rewind;
	struct hypervisor *hypervisor;
	enum state state;
	struct err why;
	uint64_t epoch, ms;
	uint64_t done, total; /* of reading, when that has ended */
	bool rewind_closing, hypervisor_closing, closing;
	void (*on_closed)(void *owner);
	void *closed_owner;
};

static int paths(char dir[PATH_BYTES], char memory_dir[PATH_BYTES], const char *in,
		 const char *memory_in, struct err *err)
{
	if (snprintf(dir, PATH_BYTES, "%s/" DIR_NAME, in) >= PATH_BYTES ||
	    snprintf(memory_dir, PATH_BYTES, "%s/" MEMORY_NAME, memory_in) >= PATH_BYTES)
		return err_set(err, RC_LIMIT, "%.200s: the path is too long", in);
	return RC_OK;
}

/* ---- the end: reader and QEMU, then the image -------------------------------------------------- */

static void take_down(struct rewound *r);

static void on_rewind_closed(void *owner)
{
	struct rewound *r = owner;

	r->rewind = NULL;
	if (r->closing || r->state >= ENDED)
		take_down(r);
}

static void on_hypervisor_closed(void *owner)
{
	struct rewound *r = owner;

	r->hypervisor = NULL;
	take_down(r);
}

static void free_all(struct rewound *r)
{
	void (*on_closed)(void *) = r->on_closed;
	void *owner = r->closed_owner;

	cmdline_spec_free(&r->spec);
	reservation_free(&r->reservation);
	mem_free(r);
	if (on_closed != NULL)
		on_closed(owner);
}

static void take_down(struct rewound *r)
{
	if (r->rewind != NULL && !r->rewind_closing) {
		r->rewind_closing = true;
		rewind_close(r->rewind, on_rewind_closed, r);
		return; /* on_rewind_closed() goes on, or has done so already */
	}
	if (r->hypervisor != NULL && !r->hypervisor_closing) {
		r->hypervisor_closing = true;
		hypervisor_close(r->hypervisor, false, on_hypervisor_closed);
		return;
	}
	if (r->rewind != NULL || r->hypervisor != NULL)
		return;
	if (r->image != NULL) {
		image_destroy(r->image, false);
		(void)rmdir(r->memory_dir);
		seat_disks_remove_copies(r->dir);
		r->image = NULL;
	}
	if (r->closing)
		free_all(r);
}

/* It is over; what is left of it is told until rewound_close(). */
static void end(struct rewound *r, enum state state, const struct err *why)
{
	r->state = state;
	r->why = *why;
	log_write(state == FAILED ? LOG_LEVEL_ERROR : LOG_LEVEL_INFO, r->part, "rewound: %s",
		  why->text);
	take_down(r);
}

/* ---- the way to a copy that runs --------------------------------------------------------------- */

/* What goes on beside it comes first. */
static void be_nice(pid_t pid)
{
	const struct dirent *entry;
	char path[64];
	DIR *dir;

	(void)snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	dir = opendir(path);
	while (dir != NULL && (entry = readdir(dir)) != NULL)
		if (entry->d_name[0] != '.')
			(void)setpriority(PRIO_PROCESS, (id_t)strtoul(entry->d_name, NULL, 10),
					  NICE);
	if (dir != NULL)
		(void)closedir(dir);
}

static void on_ready(void *owner)
{
	const struct activation_block *blocks;
	struct rewound *r = owner;
	struct err err = { 0 };
	size_t len, nblocks;
	int fd, rc;

	image_held_by(r->image, hypervisor_pid(r->hypervisor));
	be_nice(hypervisor_pid(r->hypervisor));
	oom_set(hypervisor_pid(r->hypervisor), OOM_REWOUND);
	blocks = hypervisor_blocks(r->hypervisor, &nblocks);
	rc = activation_stream(r->image, blocks, nblocks, &fd, &len, &err);
	if (rc == RC_OK)
		rc = hypervisor_activate(r->hypervisor, fd, &err);
	if (rc != RC_OK)
		end(r, FAILED, &err);
}

static void on_failed(void *owner, const struct err *err)
{
	end(owner, FAILED, err);
}

static void on_running(void *owner, uint64_t took_ns)
{
	struct rewound *r = owner;
	char when[HISTORY_TIME_MAX];

	(void)took_ns;
	r->state = RUNNING;
	history_print_time(when, r->ms);
	log_info(r->part, "rewound: epoch %llu (%s) runs isolated: process %d, in %s",
		 (unsigned long long)r->epoch, when, (int)hypervisor_pid(r->hypervisor), r->dir);
}

static void on_exit_of(void *owner, const struct err *err)
{
	struct rewound *r = owner;

	end(r, r->state == RUNNING ? ENDED : FAILED, err);
}

static const struct hypervisor_ops hypervisor_callbacks = {
	.on_ready = on_ready,
	.on_failed = on_failed,
	.on_running = on_running,
	.on_exit = on_exit_of,
};

static int start_hypervisor(struct rewound *r, struct err *err)
{
	const struct hypervisor_options options = {
		.name = r->name,
		.program = r->options.config->hypervisor,
		.firmware = r->options.config->firmware,
		.accel = r->options.config->accel,
		.confine = r->options.config->confine,
		.run_dir = r->dir,
		.operator_socket = true,
		.lock = image_lock(r->image),
	};

	return hypervisor_start(&r->hypervisor, r->loop, &options, &r->spec, &hypervisor_callbacks,
				r, err);
}

/* Its owner may end it from there. */
static void be_ready(struct rewound *r)
{
	r->state = READY;
	r->options.on_ready(r->owner);
}

static void on_read(void *owner, uint64_t epoch, uint64_t ms, const struct err *result)
{
	struct rewound *r = owner;
	struct err err = *result;

	rewind_progress(r->rewind, &r->done, &r->total);
	r->rewind_closing = true;
	rewind_close(r->rewind, on_rewind_closed, r);
	r->on_read(r->owner);
	if (err.code == RC_OK) {
		r->epoch = epoch;
		r->ms = ms;
		r->state = STARTING;
		if (r->options.on_ready == NULL)
			(void)start_hypervisor(r, &err);
	}
	if (err.code != RC_OK)
		end(r, FAILED, &err);
	else if (r->options.on_ready != NULL)
		be_ready(r);
}

/* Alone it is what the replica would be; beside it, nobody else is to notice. */
static int derive(struct rewound *r, struct err *err)
{
	int rc = seat_recall(r->options.dir, &r->reservation, err);

	return rc == RC_OK ? cmdline_isolate(&r->spec, &r->reservation.spec, err) : rc;
}

static int make(struct rewound *r, struct err *err)
{
	const struct rewound_options *o = &r->options;
	struct rewind_options reading = { .dirs = o->journal->dirs,
					  .ndirs = o->journal->count,
					  .place = o->place };
	uint64_t bytes = 0;
	size_t i;
	int rc = paths(r->dir, r->memory_dir, o->dir, o->memory_dir, err);

	if (rc == RC_OK)
		rc = derive(r, err);
	for (i = 0; rc == RC_OK && i < r->spec.nbackends; i++)
		bytes += r->spec.backends[i].bytes;
	if (rc == RC_OK)
		rc = rewound_room_check(o->memory_dir, bytes, err);
	if (rc == RC_OK)
		rc = seat_disks_check_room(o->instance, &r->spec, o->dir, err);
	if (rc == RC_OK)
		rc = files_make_dir(r->dir, err);
	if (rc == RC_OK)
		rc = files_make_dir(r->memory_dir, err);
	if (rc == RC_OK)
		rc = hypervisor_user_let_work(r->dir, err);
	if (rc == RC_OK)
		rc = hypervisor_user_let_pass(r->memory_dir, err);
	if (rc == RC_OK && snprintf(r->qmp, sizeof(r->qmp), "%s/" HYPERVISOR_OPERATOR_NAME,
				    r->dir) >= (int)sizeof(r->qmp))
		rc = err_set(err, RC_LIMIT, "%.200s: a socket's path in it is too long", r->dir);
	if (rc == RC_OK)
		rc = image_create(&r->image, r->memory_dir, r->dir, r->spec.backends,
				  r->spec.nbackends, (size_t)o->instance->standby_staging_mib << 20,
				  err);
	if (rc == RC_OK)
		rc = seat_disks_add_copies(r->image, o->instance, &r->spec, r->dir, err);
	reading.image = r->image;
	return rc == RC_OK ? rewind_open(&r->rewind, r->loop, &reading, on_read, r, err) : rc;
}

/* ---- life -------------------------------------------------------------------------------------- */

int rewound_open(struct rewound **out, uv_loop_t *loop, const struct rewound_options *options,
		 void (*on_read_it)(void *owner), void *owner, struct err *err)
{
	struct rewound *r = mem_zalloc(1, sizeof(*r));
	int rc;

	if (r == NULL)
		return err_nomem(err, "a rewound copy");
	r->options = *options;
	r->loop = loop;
	r->on_read = on_read_it;
	r->owner = owner;
	if (options->place.until_ms == UINT64_MAX) /* else it turns out when it is read */
		r->epoch = options->place.epoch;
	(void)snprintf(r->part, sizeof(r->part), "%s", options->part);
	(void)snprintf(r->name, sizeof(r->name), "%s (rewound)", options->instance->name);
	rc = make(r, err);
	if (rc != RC_OK) {
		r->closing = true;
		take_down(r); /* nothing is there that takes its time */
		return rc;
	}
	*out = r;
	return RC_OK;
}

const struct image *rewound_image(const struct rewound *r)
{
	return r->image;
}

void rewound_fail(struct rewound *r, const struct err *why)
{
	end(r, FAILED, why);
}

void rewound_status(const struct rewound *r, struct rewound_status *status)
{
	*status = (struct rewound_status){
		.state = state_names[r->state],
		.serve = r->options.on_ready != NULL,
		.ready = r->state == READY,
		.reason = r->why.code != RC_OK ? r->why.text : "",
		.epoch = r->epoch,
		.ms = r->ms,
		.done = r->done,
		.total = r->total,
		.dir = r->dir,
		.qmp = r->state == RUNNING ? r->qmp : "",
	};
	if (r->rewind != NULL && !r->rewind_closing)
		rewind_progress(r->rewind, &status->done, &status->total);
}

void rewound_close(struct rewound *r, void (*on_closed)(void *owner), void *owner)
{
	r->on_closed = on_closed;
	r->closed_owner = owner;
	r->closing = true;
	take_down(r);
}

/* ---- what an earlier life left ------------------------------------------------------------------ */

static bool is_there(const struct cmdline *cmdline, const char *argument)
{
	size_t i;

	for (i = 0; i < cmdline->count; i++) {
		if (strcmp(cmdline->args[i], argument) == 0)
			return true;
	}
	return false;
}

/* Its command line names the socket that only a copy of this directory has. */
static void kill_if_ours(const char *part, pid_t pid, const char *qmp)
{
	const int process = (int)syscall(SYS_pidfd_open, pid, 0);
	struct cmdline cmdline = { 0 };
	struct err err;

	if (process < 0)
		return;
	if (cmdline_of_pid(&cmdline, pid, &err) == RC_OK && is_there(&cmdline, qmp) &&
	    syscall(SYS_pidfd_send_signal, process, SIGKILL, NULL, 0) == 0)
		log_warn(part, "a rewound copy was left running (process %d): it is ended",
			 (int)pid);
	cmdline_free(&cmdline);
	(void)close(process);
}

static void end_qemu(const char *part, const char *qmp)
{
	DIR *dir = opendir("/proc");
	const struct dirent *entry;
	char *end;
	long pid;

	while (dir != NULL && (entry = readdir(dir)) != NULL) {
		pid = strtol(entry->d_name, &end, 10);
		if (pid > 1 && *end == '\0')
			kill_if_ours(part, (pid_t)pid, qmp);
	}
	if (dir != NULL)
		(void)closedir(dir);
}

static void remove_files(const char *path)
{
	DIR *dir = opendir(path);
	const struct dirent *entry;

	while (dir != NULL && (entry = readdir(dir)) != NULL)
		(void)unlinkat(dirfd(dir), entry->d_name, 0);
	if (dir != NULL)
		(void)closedir(dir);
	(void)rmdir(path);
}

void rewound_clear(const char *part, const char *in, const char *memory_in)
{
	char dir[PATH_BYTES], memory_dir[PATH_BYTES], path[HYPERVISOR_PATH_MAX];
	char *value = NULL;
	struct err err;

	/* Memory is gone when the machine has started anew; links to images of disks are not. */
	if (paths(dir, memory_dir, in, memory_in, &err) != RC_OK ||
	    (access(memory_dir, F_OK) != 0 && access(dir, F_OK) != 0))
		return;
	if (hypervisor_qmp_path(path, dir, &err) == RC_OK)
		value = cmdline_qmp_value(path, &err);
	if (value != NULL)
		end_qemu(part, value);
	mem_free(value);
	seat_disks_remove_copies(dir);
	remove_files(memory_dir);
}
