/*
 * Theory of operation
 *
 * The handle outlives the processes behind it: what they have to know of every slot is kept here,
 * with duplicates of its descriptors, so that captures need not notice when one takes the place of
 * another. A packet that could not be sent (`told` is false) is sent later, or to the successor.
 *
 * A process is started in an order that leaves no gap: socket pair; the page and all that is
 * watched are written into it; only then the process. From the moment it exists, whatever becomes
 * of the agent, it will read all that and then see the agent's end. The only time in which nobody
 * would free an instance is from the end of one process to the start of the next.
 *
 * A process that works counts its turns in the page, several in GUARDIAN_LOOK_MS. One whose count
 * stands still at some looks in a row is killed, and replaced when it has ended: only then is it
 * certain that it does not go on one day and release what its successor guards. Looks are counted
 * and not the time between them, which passes for an agent that was held up itself. On a machine so
 * loaded that a guardian gets no processor for a second it is replaced in vain, which does no harm;
 * each one after that is given twice the time.
 */
#include "replica/guardian.h"

#include "appliance/base/clock.h"
#include "appliance/base/log.h"
#include "appliance/base/mem.h"
#include "replica/guardian_process.h"
#include "replica/guardian_spawn.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define STOP_MS 1000 /* a guardian that was told to stop has nothing to do but end */
#define TELL_MS 100  /* until it is tried again to send what its full queue did not take */

struct watched {
	bool used, told;
	unsigned count; /* of its descriptors */
	int fds[GUARDIAN_FDS];
	struct guardian_packet packet;
};

struct guardian {
	pid_t pid;   /* 0: none */
	int control; /* -1: none */
	int page;
	struct guardian_shared *shared;
	struct watched slots[GUARDIAN_SLOTS];
	bool left; /* leashes, to this process */

	uint32_t turns;	    /* as last seen in the page */
	uint64_t looked_ns; /* when that was */
	unsigned idle;	    /* looks in a row that found no new one */
	bool killed;

	uint64_t started_ns, ended_ns, due_ns; /* the last one; when the next is to be started */
	unsigned ends;			       /* of all processes of this agent */
	unsigned failures;		       /* in a row */
};

/* ---- the process --------------------------------------------------------------------------- */

/* True when nothing is left to be told. */
static bool tell_all(struct guardian *guardian)
{
	struct watched *watched;

	for (watched = guardian->slots; watched < guardian->slots + GUARDIAN_SLOTS; watched++) {
		if (watched->used && !watched->told)
			watched->told = guardian_spawn_send(guardian->control, &watched->packet,
							    watched->fds, watched->count) == 0;
		if (watched->used && !watched->told)
			return false;
	}
	return true;
}

/* With pid 0 and without a socket. */
static int begin(struct guardian *guardian, struct err *err)
{
	static const struct guardian_packet first = { .kind = GUARDIAN_BEGIN };
	enum log_level level;
	int pair[2], rc, r;
	bool json;
	size_t i;

	log_settings(&level, &json);
	guardian->shared->log_level = (int32_t)level;
	guardian->shared->log_json = json;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return err_system(err, errno, "guardian: socket pair");
	guardian->control = pair[0];
	r = guardian_spawn_send(pair[0], &first, &guardian->page, 1);
	for (i = 0; i < GUARDIAN_SLOTS; i++)
		guardian->slots[i].told = false;
	guardian->left = false;
	(void)tell_all(guardian);
	rc = r == 0 ? guardian_spawn(&guardian->pid, pair[1], err) :
		      err_system(err, r, "guardian: its first packet");
	(void)close(pair[1]);
	if (rc != RC_OK) {
		(void)close(pair[0]);
		guardian->control = -1;
		guardian->pid = 0;
	}
	guardian->started_ns = guardian->looked_ns = clock_now_ns();
	guardian->idle = 0;
	guardian->killed = false;
	return rc;
}

int guardian_start(struct guardian **out, struct err *err)
{
	struct guardian *guardian = mem_zalloc(1, sizeof(*guardian));
	int rc;

	*out = NULL;
	if (guardian == NULL)
		return err_nomem(err, "the guardian");
	rc = guardian_spawn_page(&guardian->page, &guardian->shared, err);
	if (rc != RC_OK) {
		mem_free(guardian);
		return rc;
	}
	rc = begin(guardian, err);
	if (rc != RC_OK) {
		guardian_stop(guardian);
		return rc;
	}
	*out = guardian;
	return RC_OK;
}

/* ---- one in place of another --------------------------------------------------------------- */

static uint32_t doubled(uint32_t ms, unsigned times, uint32_t most)
{
	while (times-- > 0 && ms < most)
		ms *= 2;
	return ms < most ? ms : most;
}

uint32_t guardian_wait_ms(unsigned failures)
{
	return failures == 0 ? 0 :
			       doubled(GUARDIAN_WAIT_MIN_MS, failures - 1, GUARDIAN_WAIT_MAX_MS);
}

uint32_t guardian_idle_ms(unsigned failures)
{
	return doubled(GUARDIAN_IDLE_MS, failures, GUARDIAN_IDLE_MS_MAX);
}

/* Ends a process that does nothing; it is collected like any other. */
static void look(struct guardian *guardian, uint64_t now_ns)
{
	const uint32_t turns = atomic_load(&guardian->shared->turns);
	const bool works = turns != guardian->turns;

	/* Calls in quick succession are one look. */
	if (!works && now_ns - guardian->looked_ns < GUARDIAN_LOOK_MS * CLOCK_NS_PER_MS / 2)
		return;
	guardian->turns = turns;
	guardian->looked_ns = now_ns;
	guardian->idle = works ? 0 : guardian->idle + 1;
	if (guardian->killed ||
	    guardian->idle * GUARDIAN_LOOK_MS < guardian_idle_ms(guardian->failures))
		return;
	log_warn("guardian", "the guardian process %d has done nothing for %u ms: ending it",
		 (int)guardian->pid, guardian->idle * GUARDIAN_LOOK_MS);
	guardian->killed = kill(guardian->pid, SIGKILL) == 0;
}

/* Sets the time of the next one; `when` is for the log. */
static void postpone(struct guardian *guardian, uint64_t now_ns, char when[32])
{
	uint32_t wait_ms = guardian_wait_ms(guardian->failures++);

	guardian->due_ns = now_ns + wait_ms * CLOCK_NS_PER_MS;
	if (wait_ms == 0)
		(void)snprintf(when, 32, "now");
	else
		(void)snprintf(when, 32, "in %u ms", wait_ms);
}

/* Notices that the process has ended. */
static void collect(struct guardian *guardian, uint64_t now_ns)
{
	const pid_t pid = guardian->pid;
	const char *how = "ended";
	char when[32];
	int status = 0;
	pid_t r = waitpid(pid, &status, WNOHANG);

	/* No such child: somebody else has collected it, or the system was told not to keep it. */
	if (r == 0 || (r < 0 && errno != ECHILD))
		return;
	if (r == pid && WIFSIGNALED(status))
		how = strsignal(WTERMSIG(status));
	(void)close(guardian->control);
	guardian->control = -1;
	guardian->pid = 0;
	guardian->ended_ns = now_ns;
	guardian->ends++;
	if (now_ns - guardian->started_ns >= GUARDIAN_STEADY_MS * CLOCK_NS_PER_MS)
		guardian->failures = 0;
	postpone(guardian, now_ns, when);
	log_warn("guardian",
		 "the guardian process %d is gone (%s); starting another %s (end no. %u)", (int)pid,
		 how, when, guardian->ends);
}

static void replace(struct guardian *guardian)
{
	struct err err = { 0 };
	unsigned count = 0, i;
	char when[32];

	if (begin(guardian, &err) != RC_OK) {
		postpone(guardian, clock_now_ns(), when);
		log_error("guardian", "%s; trying again %s (failure %u in a row)", err.text, when,
			  guardian->failures);
		return;
	}
	for (i = 0; i < GUARDIAN_INSTANCES_MAX; i++)
		count +=
			guardian->slots[i].used && guardian->slots[i].packet.kind == GUARDIAN_WATCH;
	log_info("guardian", "process %d has its place and %u instance(s), after %.1f ms",
		 (int)guardian->pid, count, clock_ms(guardian->started_ns - guardian->ended_ns));
}

int guardian_tend(struct guardian *guardian)
{
	uint64_t now_ns = clock_now_ns();

	if (guardian->pid > 0)
		collect(guardian, now_ns);
	if (guardian->pid > 0)
		look(guardian, now_ns);
	if (guardian->pid == 0 && now_ns >= guardian->due_ns)
		replace(guardian);
	if (guardian->pid > 0)
		return tell_all(guardian) ? GUARDIAN_LOOK_MS : TELL_MS;
	now_ns = clock_now_ns();
	return guardian->due_ns > now_ns ?
		       (int)((guardian->due_ns - now_ns) / CLOCK_NS_PER_MS) + 1 :
		       1;
}

/* ---- instances ----------------------------------------------------------------------------- */

static void forget(struct watched *watched)
{
	while (watched->count > 0)
		(void)close(watched->fds[--watched->count]);
	watched->used = watched->told = false;
}

/*
 * Of those from `first` on. An instance gets the one that it had before: what was left in it, the process
 * forgets when it is taken again.
 */
static struct watched *free_slot(struct guardian *guardian, unsigned first, unsigned last,
				 const char *name)
{
	struct watched *watched = guardian->slots + first, *found = NULL;
	const struct watched *end = guardian->slots + last;

	for (; watched < end; watched++) {
		if (watched->used)
			continue;
		if (strcmp(watched->packet.name, name) == 0)
			return watched;
		if (found == NULL || (*found->packet.name != '\0' && *watched->packet.name == '\0'))
			found = watched;
	}
	return found;
}

/* With duplicates of the descriptors; NULL: why not. */
static struct watched *take_slot(struct guardian *guardian, unsigned first, const char *name,
				 const int *fds, unsigned count, struct err *err)
{
	const unsigned last = first == 0 ? GUARDIAN_INSTANCES_MAX : GUARDIAN_SLOTS;
	struct watched *watched = free_slot(guardian, first, last, name);

	if (watched == NULL) {
		(void)err_set(err, RC_LIMIT, "the guardian watches %u instances already",
			      last - first);
		return NULL;
	}
	watched->packet = (struct guardian_packet){ .slot = (uint32_t)(watched - guardian->slots) };
	(void)snprintf(watched->packet.name, sizeof(watched->packet.name), "%s", name);
	while (watched->count < count) {
		watched->fds[watched->count] = fcntl(fds[watched->count], F_DUPFD_CLOEXEC, 0);
		if (watched->fds[watched->count] < 0) {
			(void)err_system(err, errno, "telling the guardian");
			forget(watched);
			return NULL;
		}
		watched->count++;
	}
	return watched;
}

static int watch(struct guardian *guardian, enum guardian_packet_kind kind, const char *name,
		 const int *fds, unsigned count, uint32_t freeze_limit_ms, unsigned *slot,
		 struct err *err)
{
	struct watched *watched;
	int r;

	(void)guardian_tend(guardian); /* its end may have come just before this */
	if (guardian->pid == 0)
		return err_set(err, RC_STATE, "the guardian process is gone; starting another");
	watched = take_slot(guardian, 0, name, fds, count, err);
	if (watched == NULL)
		return (int)err->code;
	watched->packet.kind = kind;
	watched->packet.freeze_limit_ms = freeze_limit_ms;
	atomic_store(&guardian->shared->held_since_ns[watched->packet.slot], 0);
	r = guardian_spawn_send(guardian->control, &watched->packet, watched->fds, watched->count);
	/* One that has ended meanwhile has not been collected yet: its successor will be told. */
	if (r != 0 && r != EPIPE && r != ECONNRESET) {
		forget(watched);
		return err_system(err, r, "telling the guardian");
	}
	watched->used = true;
	watched->told = r == 0;
	*slot = watched->packet.slot;
	return RC_OK;
}

int guardian_watch(struct guardian *guardian, const char *name, int qmp_fd, int colo_fd,
		   uint32_t freeze_limit_ms, unsigned *slot, struct err *err)
{
	const int fds[GUARDIAN_FDS] = { qmp_fd, colo_fd };

	return watch(guardian, GUARDIAN_WATCH, name, fds, GUARDIAN_FDS, freeze_limit_ms, slot, err);
}

int guardian_watch_socket(struct guardian *guardian, const char *name, int fd,
			  uint32_t freeze_limit_ms, unsigned *slot, struct err *err)
{
	return watch(guardian, GUARDIAN_SOCKET, name, &fd, 1, freeze_limit_ms, slot, err);
}

void guardian_hold(struct guardian *guardian, unsigned slot, bool held)
{
	assert(slot < GUARDIAN_INSTANCES_MAX);
	atomic_store(&guardian->shared->held_since_ns[slot], held ? clock_now_ns() : 0);
}

/*
 * If it cannot be told it does not live, or its queue of dozens of packets is full because it does not
 * run.
 */
static void give_up(struct guardian *guardian, unsigned slot, enum guardian_packet_kind kind)
{
	const struct guardian_packet packet = { .kind = kind, .slot = slot };

	if (guardian->pid > 0 && guardian->slots[slot].told)
		(void)guardian_spawn_send(guardian->control, &packet, NULL, 0);
	forget(&guardian->slots[slot]);
}

void guardian_unwatch(struct guardian *guardian, unsigned slot)
{
	assert(slot < GUARDIAN_INSTANCES_MAX && guardian->slots[slot].used);
	atomic_store(&guardian->shared->held_since_ns[slot], 0);
	give_up(guardian, slot, GUARDIAN_UNWATCH);
}

int guardian_leash(struct guardian *guardian, const char *name, int qmp_fd, bool stopped,
		   unsigned *leash, struct err *err)
{
	struct watched *watched = take_slot(guardian, GUARDIAN_LEASHES, name, &qmp_fd, 1, err);

	if (watched == NULL)
		return (int)err->code;
	*leash = watched->packet.slot - GUARDIAN_LEASHES;
	watched->packet.kind = GUARDIAN_LEASH;
	watched->used = true;
	guardian_leash_until(guardian, *leash, clock_now_ns(), stopped);
	if (guardian->pid > 0)
		(void)tell_all(guardian); /* or guardian_tend() does */
	return RC_OK;
}

void guardian_leash_until(struct guardian *guardian, unsigned leash, uint64_t until_ns,
			  bool stopped)
{
	assert(leash < GUARDIAN_LEASHES_MAX);
	atomic_store(&guardian->shared->stopped[leash], stopped);
	atomic_store(&guardian->shared->until_ns[leash], until_ns);
}

void guardian_unleash(struct guardian *guardian, unsigned leash, bool leave)
{
	const unsigned slot = leash + GUARDIAN_LEASHES;

	assert(leash < GUARDIAN_LEASHES_MAX && guardian->slots[slot].used);
	leave = leave && guardian->pid > 0 && guardian->slots[slot].told;
	guardian->left |= leave;
	give_up(guardian, slot, leave ? GUARDIAN_LEAVE : GUARDIAN_UNWATCH);
}

unsigned guardian_watched(const struct guardian *guardian, char *names, size_t size)
{
	const struct watched *watched;
	unsigned count = 0;
	size_t len = 0;

	*names = '\0';
	for (watched = guardian->slots; watched < guardian->slots + GUARDIAN_INSTANCES_MAX;
	     watched++) {
		if (!watched->used || watched->packet.kind != GUARDIAN_WATCH)
			continue;
		(void)snprintf(names + len, size - len, "%s%s", count > 0 ? ", " : "",
			       watched->packet.name);
		len += strlen(names + len);
		count++;
	}
	return count;
}

pid_t guardian_pid(const struct guardian *guardian)
{
	return guardian->pid;
}

bool guardian_alive(const struct guardian *guardian)
{
	siginfo_t info = { 0 };

	/* WNOWAIT leaves it to guardian_tend() and guardian_stop() to collect. */
	return guardian->pid > 0 && !guardian->killed &&
	       waitid(P_PID, (id_t)guardian->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
	       info.si_pid == 0;
}

/* ---- the end ------------------------------------------------------------------------------- */

static void end_process(struct guardian *guardian)
{
	struct guardian_packet packet = { .kind = GUARDIAN_STOP };
	uint64_t deadline_ns = clock_now_ns() + STOP_MS * CLOCK_NS_PER_MS;
	const bool heard = guardian_spawn_send(guardian->control, &packet, NULL, 0) == 0;

	if (heard && guardian->left) {
		(void)close(guardian->control);
		return;
	}
	if (heard) {
		while (guardian_alive(guardian) && clock_now_ns() < deadline_ns)
			(void)usleep(500);
	}
	/*
	 * Before the socket is closed: a guardian that did not hear us must not take that for the
	 * agent's end.
	 */
	if (guardian_alive(guardian))
		(void)kill(guardian->pid, SIGKILL);
	while (waitpid(guardian->pid, NULL, 0) < 0 && errno == EINTR)
		;
	(void)close(guardian->control);
}

void guardian_stop(struct guardian *guardian)
{
	size_t i;

	if (guardian == NULL)
		return;
	if (guardian->pid > 0)
		end_process(guardian);
	for (i = 0; i < GUARDIAN_SLOTS; i++) {
		if (guardian->slots[i].used)
			forget(&guardian->slots[i]);
	}
	(void)close(guardian->page);
	(void)munmap(guardian->shared, sizeof(*guardian->shared));
	mem_free(guardian);
}
