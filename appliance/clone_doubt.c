/*
 * Before this standby is anybody's: whether another one may serve the instance, as far as can be known here.
 * The witness tells (doubt.h), and the lock on the replica's memory does: a process that holds it, and is not
 * the warm QEMU that an earlier life has left at our own QMP socket, is a replica of which this life knows
 * nothing, as after its state_dir was lost. Until neither does, no primary is let in: so no lease is granted,
 * and no term is heard of that would be taken for known in the next life.
 *
 * A replica that an earlier life has brought up is known, and looked for: clone_takeover.c.
 */
#include "appliance/clone_internal.h"

#include "appliance/base/clock.h"
#include "appliance/base/files.h"
#include "appliance/base/lock_file.h"
#include "appliance/base/log.h"
#include "replica/cmdline.h"
#include "replica/hypervisor.h"
#include "replica/image.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define HOLDER_LOOK_NS CLOCK_NS_PER_S

/* Who listens at the replica's QMP socket; 0: nobody. */
static pid_t listener_at(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	socklen_t len = sizeof(struct ucred);
	struct ucred peer = { 0 };
	int fd;

	if (strlen(path) >= sizeof(address.sun_path))
		return 0;
	memcpy(address.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return 0;
	if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) != 0 ||
	    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) != 0)
		peer.pid = 0;
	(void)close(fd);
	return peer.pid;
}

/*
 * What is this process's own is not where its QEMU writes. A version before had both in one directory: a QEMU of that time, and what
 * it reaches its clients by, is found there until it has ended.
 */
void clone_doubt_run_dir(struct clone *c)
{
	char path[sizeof(c->dir) + sizeof(CMDLINE_QMP_NAME)];

	(void)snprintf(path, sizeof(path), "%s/" CMDLINE_QMP_NAME, c->dir);
	(void)snprintf(c->run_dir, sizeof(c->run_dir), "%.390s%s", c->dir,
		       listener_at(path) > 0 ? "" : "/qemu");
}

/* The lock tells the standby itself until its QEMU is ready; if that is no more, its QEMU has it. */
static bool is_ours(const struct clone *c, pid_t holder)
{
	char path[HYPERVISOR_PATH_MAX];
	struct err err;
	pid_t listener;

	if (hypervisor_qmp_path(path, c->run_dir, &err) != RC_OK)
		return false;
	listener = listener_at(path);
	return listener > 0 && (listener == holder || (kill(holder, 0) != 0 && errno == ESRCH));
}

/* Nothing of it is ours yet: what is free now is taken, and kept, by the first reservation. */
static void look_at_holder(struct clone *c)
{
	char path[sizeof(c->memory_dir) + 8];
	int lock = LOCK_FILE_NONE;
	pid_t holder = 0;
	struct err err;

	(void)snprintf(path, sizeof(path), "%s/" IMAGE_LOCK, c->memory_dir);
	if (lock_file_take(path, &lock, &holder, &err) == RC_OK) {
		lock_file_let_go(lock);
		c->held = false;
	} else {
		c->held = err.code == RC_STATE && !is_ours(c, holder);
	}
	c->holder = holder;
	c->holder_look_ns = clock_now_ns() + HOLDER_LOOK_NS;
}

static void describe(const struct clone *c, char text[ERR_TEXT_MAX])
{
	const struct witness_value *seen = &c->doubt.seen;
	char where[FILES_CLIP + 1];

	files_clip(where, c->memory_dir);
	if (c->held)
		(void)snprintf(
			text, ERR_TEXT_MAX,
			"memory_dir: %s: in use by process %d as the memory of a replica that this "
			"standby knows nothing of, and which may serve: if that is not wanted, end "
			"the process, else give this standby a memory_dir of its own",
			where, (int)c->holder);
	else if (c->doubt.another)
		(void)snprintf(
			text, ERR_TEXT_MAX,
			"the witness says that the standby of site %s serves the instance, with term "
			"%llu, and this standby knows nothing of that: it is no primary's standby "
			"before it is known that that one does not serve, and `understudy release` here",
			seen->site, (unsigned long long)seen->term);
	else
		(void)snprintf(
			text, ERR_TEXT_MAX,
			"the witness has not said yet whether another standby serves the instance");
}

bool clone_is_clear(const struct clone *c)
{
	return c->doubt.clear && !c->held;
}

bool clone_in_doubt(const struct clone *c)
{
	return c->held || (!c->doubt.clear && (c->doubt.another || c->doubt.unanswered));
}

/* Says once what does not pass by itself. */
static void note(struct clone *c)
{
	char text[ERR_TEXT_MAX] = "";

	if (!clone_is_clear(c))
		describe(c, text);
	if (clone_in_doubt(c) && strcmp(text, c->doubt_text) != 0)
		log_warn(c->part, "%s", text);
	memcpy(c->doubt_text, text, sizeof(text));
}

void clone_doubt_open(struct clone *c)
{
	doubt_init(&c->doubt, &c->record, c->claimant != NULL);
	if (c->record.kind != TERM_TOOK_OVER)
		look_at_holder(c);
	clone_doubt_tick(c);
}

void clone_doubt_tick(struct clone *c)
{
	const uint64_t now_ns = clock_now_ns();

	if (clone_is_clear(c))
		return;
	if (c->held && now_ns >= c->holder_look_ns)
		look_at_holder(c);
	if (c->failover.state != FAILOVER_CLAIMING && doubt_is_due(&c->doubt, now_ns)) {
		c->doubting = true;
		claimant_look(c->claimant, c->failover.term);
	}
	note(c);
}

void clone_doubt_answer(struct clone *c, enum claimant_answer answer)
{
	const struct witness_view *view = claimant_view(c->claimant);

	if (answer == CLAIMANT_UNANSWERED)
		doubt_unanswered(&c->doubt);
	else
		doubt_seen(&c->doubt, view->present ? &view->value : NULL,
			   strcmp(view->value.site, c->config->site) == 0);
	note(c);
}

/* Its term is put on the disk: for the next life it is known. */
bool clone_doubt_release(struct clone *c)
{
	const uint64_t term = c->doubt.seen.term;
	struct failover_update update;

	if (!doubt_release(&c->doubt))
		return false;
	clone_decide_event(c, (struct failover_event){ .type = FAILOVER_OUTDATED, .term = term },
			   &update);
	clone_say(c, "released by the operator: the other standby does not serve");
	log_warn(c->part, "%s", c->reason);
	note(c);
	return true;
}
