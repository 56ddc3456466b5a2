/*
 * Theory of operation
 *
 * Executed anew, the process has nothing of the agent's memory. It believes that an agent started
 * it when it finds a socket of the right kind in the right place and, in its first packet, a page
 * of the right size that nobody can shrink; otherwise it is an understudy with an odd name (main()
 * goes on as usual), or ends at once.
 *
 * Then two phases, no way back. WATCH: wait for packets from the agent and look, a few times within
 * the shortest freeze limit, whether it holds an instance for too long, and, to the moment, whether a
 * lease is over; and count the turns of that in the page, for the agent to see that somebody watches.
 * RELEASE: the agent's end of the pair was closed, which the kernel does however the agent ends; every
 * watched instance is let go (release.c), all at the same time, then the process ends: not before every
 * QEMU has let go of its guest, or is gone itself.
 *
 * An instance on a leash runs to the end of its lease, also without an agent, and is stopped then:
 *
 *   (its capture is released) -> the lease's end -> stopped, seen to stand -> STOPPED -> gone
 *
 * When the lease has no time left for a release, there is none: QEMU would set it running. It stands
 * in COLO then, and the next agent lets it go with its cables out (let_go.h). In STOPPED nothing is left
 * but the mark, for the next agent to know that this instance is to run when it may, until that agent's
 * own guardian has its leash, or QEMU ends.
 *
 * A frozen agent still owns its QMP connection and will read from it, so in WATCH nothing is read
 * there: a command is written and its reply is for the agent. That a checkpoint is held for too long is
 * known, so nothing has to be asked, and the agent ignores a reply without an id. Of an instance that is
 * stopped it is asked first whether it runs, with an id that the agent knows (QMP_GUARDIAN_ID): it is
 * the agent that sets it running again.
 *
 * Each phase is marked on every QEMU (guardian_mark.h), for the next agent to see who keeps its socket.
 *
 * Nothing here may wait for anything but poll(2): not for the log (a full pipe drops the line), not
 * for QEMU. Nothing allocates: all state is static. The process keeps four descriptors, three for each
 * capture, two for each leash, and no privileges.
 */
#include "replica/guardian_process.h"

#include "appliance/base/clock.h"
#include "appliance/base/log.h"
#include "replica/guardian_confine.h"
#include "replica/guardian_mark.h"
#include "replica/guardian_receive.h"
#include "replica/leash.h"
#include "replica/qmp.h"
#include "replica/release.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CONTROL GUARDIAN_CONTROL /* the agent's socket */
#define FREEZE_LOOKS 8	/* looks within a freeze limit; two have to agree: at most a quarter late */
#define LOOK_MS_MIN 5	/* between looks, however short the limit */
#define LOOK_MS_MAX 100 /* and however long, or without any: it wakes ten times a second */
/* A lease has to last so long for a release: at worst that takes half of it. */
#define RELEASE_NS (20 * CLOCK_NS_PER_MS)
#define SAID_MS (16 * LEASH_AGAIN_MS) /* an agent that is only a little late is not worth a line */
#define STOPPED_MS 500		      /* between looks whether another guardian has the leash */

struct slot {
	bool used, late; /* late: said that its release takes long */
	bool ends;	 /* it has no agent any more */
	char name[GUARDIAN_NAME_MAX + 1];
	/* mark: on QEMU's process, or -1; colo -1: of a leash; qmp -1: `colo` is a socket alone. */
	int qmp, colo, mark;
	enum guardian_mark shows;
	/* of a capture */
	uint32_t freeze_limit_ms;
	uint64_t suspected_ns; /* the hold that was too long at the last look */
	uint64_t frozen_ns;    /* the hold that was ended by us */
	size_t told;	       /* bytes of freeze_command that are written */
	/* of a leash */
	struct leash leash;
	bool stops;  /* its lease is over, and `release` stops it */
	int process; /* QEMU's, in STOPPED; else -1 */

	struct release release;
};

/* The agent may have frozen in the middle of writing a command: 0xff, as in release.c. */
static const char freeze_command[] = "\xff\n" RELEASE_COMMAND;
static const char stop_command[] =
	"\xff\n{\"execute\":\"query-status\",\"id\":" QMP_GUARDIAN_ID_TEXT "}\n"
	"{\"execute\":\"stop\"}\n";
static struct slot slots[GUARDIAN_SLOTS];
static struct guardian_shared *shared_page;

/* A log that nobody reads must not stop us: a pipe that says POLLOUT has room for a line. */
static void say(enum log_level level, const char *name, const char *text)
{
	struct pollfd error = { .fd = STDERR_FILENO, .events = POLLOUT };

	if (poll(&error, 1, 0) == 1 && (error.revents & POLLOUT) != 0)
		log_write(level, "guardian", "%s: %s", name, text);
}

/* ---- packets ------------------------------------------------------------------------------- */

static void forget(struct slot *slot)
{
	if (slot->qmp >= 0)
		(void)close(slot->qmp);
	if (slot->colo >= 0)
		(void)close(slot->colo);
	if (slot->process >= 0)
		(void)close(slot->process);
	if (slot->mark >= 0)
		(void)close(slot->mark);
	slot->used = false;
	/* Closing one has ended all of that QEMU. */
	for (slot = slots; slot < slots + GUARDIAN_SLOTS; slot++) {
		if (slot->used)
			guardian_mark_become(slot->mark, slot->shows);
	}
}

static void show(struct slot *slot, enum guardian_mark mark)
{
	slot->shows = mark;
	guardian_mark_become(slot->mark, mark);
}

static bool is_leash(const struct slot *slot)
{
	return slot >= slots + GUARDIAN_LEASHES;
}

static bool is_socket(const struct slot *slot)
{
	return !is_leash(slot) && slot->qmp < 0;
}

/* Of that instance: its capture, or its leash; NULL: it has none. */
static struct slot *find(const char *name, bool leash)
{
	struct slot *slot = leash ? slots + GUARDIAN_LEASHES : slots;
	const struct slot *end = slots + (leash ? GUARDIAN_SLOTS : GUARDIAN_LEASHES);

	for (; slot < end; slot++) {
		if (slot->used && !is_socket(slot) && strcmp(slot->name, name) == 0)
			return slot;
	}
	return NULL;
}

static void watch(struct guardian_packet *packet, const int fds[GUARDIAN_FDS])
{
	struct slot *slot = &slots[packet->slot], *before;

	packet->name[GUARDIAN_NAME_MAX] = '\0';
	before = is_leash(slot) ? find(packet->name, true) : NULL;
	if (before != NULL) /* that was left, and is taken again */
		forget(before);
	memset(slot, 0, sizeof(*slot));
	slot->used = true;
	slot->qmp = packet->kind == GUARDIAN_SOCKET ? -1 : fds[0];
	slot->colo = packet->kind == GUARDIAN_SOCKET ? fds[0] : fds[1];
	slot->process = -1;
	slot->mark = slot->qmp >= 0 ? guardian_mark_set(slot->qmp) : -1;
	slot->shows = GUARDIAN_MARK_WATCHES;
	slot->freeze_limit_ms = packet->freeze_limit_ms;
	memcpy(slot->name, packet->name, sizeof(slot->name));
}

enum heard { HEARD_NOTHING, HEARD_PACKET, HEARD_STOP, HEARD_END };

static void leave(struct slot *slot);

static enum heard take_packet(void)
{
	struct guardian_packet packet;
	int fds[GUARDIAN_FDS];
	struct slot *slot;
	ssize_t r = guardian_receive(&packet, fds);

	if (r < 0 && (errno == EAGAIN || errno == EINTR))
		return HEARD_NOTHING;
	if (r <= 0)
		return HEARD_END;
	if (r != (ssize_t)sizeof(packet) || packet.slot >= GUARDIAN_SLOTS)
		return HEARD_PACKET; /* only the agent can write here: it never does that */
	if (packet.kind == GUARDIAN_STOP)
		return HEARD_STOP;
	slot = &slots[packet.slot];
	if (packet.kind == GUARDIAN_LEAVE) {
		if (slot->used)
			leave(slot);
		return HEARD_PACKET;
	}
	if (slot->used)
		forget(slot);
	if (packet.kind != GUARDIAN_UNWATCH && fds[packet.kind == GUARDIAN_WATCH ? 1 : 0] >= 0)
		watch(&packet, fds);
	return HEARD_PACKET;
}

/* ---- an agent that is frozen --------------------------------------------------------------- */

/* Milliseconds until the next look. */
static int look_interval_ms(void)
{
	uint32_t shortest = UINT32_MAX, i;
	const uint32_t most = LOOK_MS_MAX, least = LOOK_MS_MIN;

	for (i = 0; i < GUARDIAN_LEASHES; i++) {
		if (slots[i].used && slots[i].freeze_limit_ms > 0 &&
		    slots[i].freeze_limit_ms < shortest)
			shortest = slots[i].freeze_limit_ms;
	}
	shortest /= FREEZE_LOOKS;
	shortest = shortest < most ? shortest : most;
	return (int)(shortest > least ? shortest : least);
}

static void unfreeze(struct slot *slot, uint64_t since_ns)
{
	ssize_t r;

	if (slot->frozen_ns != since_ns) {
		slot->frozen_ns = since_ns;
		slot->told = 0;
		(void)shutdown(slot->colo, SHUT_RDWR);
		say(LOG_LEVEL_WARN, slot->name,
		    slot->qmp >= 0 ?
			    "the agent holds a checkpoint for too long: released without it" :
			    "the agent does not answer: the instance goes on without it");
	}
	if (slot->qmp < 0 || slot->told == sizeof(freeze_command) - 1)
		return;
	r = send(slot->qmp, freeze_command + slot->told, sizeof(freeze_command) - 1 - slot->told,
		 MSG_DONTWAIT | MSG_NOSIGNAL);
	if (r > 0)
		slot->told += (size_t)r;
}

/* Without an agent that sees to it; of one that is on no leash: UINT64_MAX. */
static uint64_t lease_end_ns(const struct slot *leash)
{
	if (leash == NULL)
		return UINT64_MAX;
	return leash_end_ns(atomic_load(&shared_page->until_ns[leash - slots - GUARDIAN_LEASHES]),
			    false);
}

/* QEMU sets running what it lets go of: not without a lease that lasts so long. */
static bool may_be_released(const struct slot *capture, uint64_t now_ns)
{
	const uint64_t end_ns = lease_end_ns(find(capture->name, true));

	return end_ns == UINT64_MAX || now_ns + RELEASE_NS < end_ns;
}

/*
 * Two looks in a row have to agree: when everything was stopped (a suspended machine), the agent is
 * given the time to go on.
 */
static void look(struct slot *slot, uint64_t now_ns)
{
	uint64_t since_ns = atomic_load(&shared_page->held_since_ns[slot - slots]);

	if (slot->freeze_limit_ms == 0 || since_ns == 0 || now_ns < since_ns ||
	    now_ns - since_ns < slot->freeze_limit_ms * CLOCK_NS_PER_MS) {
		slot->suspected_ns = 0;
		return;
	}
	if (slot->suspected_ns == since_ns && (is_socket(slot) || may_be_released(slot, now_ns)))
		unfreeze(slot, since_ns);
	slot->suspected_ns = since_ns;
}

/* One whose agent has let its lease pass: dead, frozen or late, which is not known yet. */
static void keep_to_lease(struct slot *slot, uint64_t now_ns)
{
	const size_t index = (size_t)(slot - slots) - GUARDIAN_LEASHES;

	if (!leash_step(&slot->leash, atomic_load(&shared_page->until_ns[index]), now_ns))
		return;
	/* Whole, or not at all: it is said again. */
	(void)send(slot->qmp, stop_command, sizeof(stop_command) - 1, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (slot->leash.again_ms == SAID_MS)
		say(LOG_LEVEL_WARN, slot->name,
		    "it may run no longer, and the agent has not paused it: pausing it instead");
}

/* ---- an agent that is gone ----------------------------------------------------------------- */

static void report(const struct slot *slot, uint64_t now_ns)
{
	double ms = clock_ms(now_ns - slot->release.started_ns);
	char text[128];

	switch (slot->release.end) {
	case RELEASE_GOING:
		return;
	case RELEASE_RUNS:
		(void)snprintf(text, sizeof(text), "the agent is gone; %s on its own after %.1f ms",
			       slot->release.status, ms);
		break;
	case RELEASE_LEFT:
		(void)snprintf(text, sizeof(text),
			       "the agent is gone; left as its operator had it (%s)",
			       slot->release.status);
		break;
	case RELEASE_STANDS:
		(void)snprintf(
			text, sizeof(text),
			slot->release.ran ?
				"the agent is gone, and its lease is over: paused after %.1f ms" :
				"the agent is gone: it stands, as it did before",
			ms);
		break;
	case RELEASE_QEMU_GONE:
		(void)snprintf(text, sizeof(text), "the agent is gone, and so is QEMU");
		break;
	}
	say(LOG_LEVEL_WARN, slot->name, text);
}

static void report_late(struct slot *slot, uint64_t now_ns)
{
	const struct release *release = &slot->release;
	char text[160];

	if (slot->late || now_ns - release->started_ns < RELEASE_LATE_MS * CLOCK_NS_PER_MS)
		return;
	slot->late = true;
	(void)snprintf(text, sizeof(text),
		       "the agent is gone; not %s within %d s (%s%s%s): still trying",
		       release->stand ? "paused" : "released", RELEASE_LATE_MS / 1000,
		       release->status[0] != '\0' ? release->status : "QEMU does not answer",
		       release->migration[0] != '\0' ? ", migration " : "", release->migration);
	say(LOG_LEVEL_ERROR, slot->name, text);
}

/* What poll(2) is to wait for. */
struct waits {
	struct pollfd fds[GUARDIAN_SLOTS + 1];
	nfds_t count;
	uint64_t until_ns;
};

static void wait_until(struct waits *waits, uint64_t ns)
{
	waits->until_ns = ns < waits->until_ns ? ns : waits->until_ns;
}

static void wait_for(struct waits *waits, int fd, short events)
{
	waits->fds[waits->count++] = (struct pollfd){ .fd = fd, .events = events };
}

/* True when it has ended. */
static bool step(struct slot *slot, uint64_t now_ns, struct waits *waits)
{
	struct release *release = &slot->release;

	if (release_step(release, now_ns) != RELEASE_GOING)
		return true;
	report_late(slot, now_ns);
	wait_until(waits, now_ns + (uint64_t)release_wait_ms(release, now_ns) * CLOCK_NS_PER_MS);
	wait_for(waits, slot->qmp, release_wants_to_write(release) ? POLLIN | POLLOUT : POLLIN);
	return false;
}

/* It stands. The mark stays where the next agent is to set it running. */
static void now_stands(struct slot *slot)
{
	const size_t index = (size_t)(slot - slots) - GUARDIAN_LEASHES;
	const bool ours = slot->release.ran || atomic_load(&shared_page->stopped[index]);
	struct ucred peer = { 0 };
	socklen_t len = sizeof(peer);

	if (ours && slot->mark >= 0 &&
	    getsockopt(slot->qmp, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0)
		slot->process = (int)syscall(SYS_pidfd_open, peer.pid, 0);
	if (slot->process < 0) {
		forget(slot);
		return;
	}
	show(slot, GUARDIAN_MARK_STOPPED);
	(void)close(slot->qmp); /* the agent that returns can have it */
	slot->qmp = -1;
}

static void end_leash(struct slot *slot, uint64_t now_ns, struct waits *waits)
{
	const uint64_t end_ns = lease_end_ns(slot);
	struct pollfd process = { .fd = slot->process, .events = POLLIN };

	if (slot->process >= 0) {
		if (poll(&process, 1, 0) == 1 || guardian_mark_has_other(slot->mark)) {
			forget(slot);
			return;
		}
		wait_until(waits, now_ns + STOPPED_MS * CLOCK_NS_PER_MS);
		wait_for(waits, slot->process, POLLIN);
		return;
	}
	if (end_ns == UINT64_MAX) {
		forget(slot);
		return;
	}
	if (find(slot->name, false) != NULL)
		return; /* that comes first */
	if (now_ns < end_ns) {
		wait_until(waits, end_ns);
		return;
	}
	if (!slot->stops) {
		slot->stops = true;
		release_stand(&slot->release, slot->qmp, now_ns);
	}
	if (!step(slot, now_ns, waits))
		return;
	report(slot, now_ns);
	wait_until(waits, now_ns);
	if (slot->release.end == RELEASE_STANDS)
		now_stands(slot);
	else
		forget(slot);
}

/* One turn for every instance whose agent is gone: captures first. False: there is none. */
static bool end_turn(struct waits *waits)
{
	bool going = false;
	struct slot *slot;
	uint64_t now_ns;

	for (slot = slots; slot < slots + GUARDIAN_SLOTS; slot++) {
		if (!slot->used || !slot->ends)
			continue;
		now_ns = clock_now_ns();
		if (is_leash(slot)) {
			end_leash(slot, now_ns, waits);
		} else if (step(slot, now_ns, waits)) {
			/* The socket first: the agent that returns can have it. */
			forget(slot);
			report(slot, now_ns);
		}
		going |= slot->used;
	}
	return going;
}

/* It has no agent any more. */
static void leave(struct slot *slot)
{
	const uint64_t now_ns = clock_now_ns();

	slot->ends = true;
	show(slot, GUARDIAN_MARK_RELEASES);
	if (is_leash(slot))
		return;
	(void)shutdown(slot->colo, SHUT_RDWR);
	if (is_socket(slot)) {
		forget(slot);
		return;
	}
	if (may_be_released(slot, now_ns)) {
		release_begin(&slot->release, slot->qmp,
			      atomic_load(&shared_page->held_since_ns[slot - slots]) != 0, now_ns);
	} else {
		say(LOG_LEVEL_WARN, slot->name,
		    "the agent is gone, and its lease is over: not released, to stand where it is");
		forget(slot);
	}
}

/* ---- the loop ------------------------------------------------------------------------------ */

static void look_at_all(uint64_t now_ns, struct waits *waits)
{
	static uint64_t next_look_ns;
	const uint64_t interval_ns = (uint64_t)look_interval_ms() * CLOCK_NS_PER_MS;
	const bool due = now_ns >= next_look_ns;
	struct slot *slot;

	if (due)
		next_look_ns = now_ns + interval_ns;
	wait_until(waits, next_look_ns);
	for (slot = slots; slot < slots + GUARDIAN_SLOTS; slot++) {
		if (!slot->used || slot->ends)
			continue;
		if (is_leash(slot)) {
			keep_to_lease(slot, now_ns);
			wait_until(waits, slot->leash.next_ns);
		} else if (due) {
			look(slot, now_ns);
		}
	}
}

/* False: the agent is gone. */
static bool hear_agent(void)
{
	struct slot *slot;
	enum heard heard;

	while ((heard = take_packet()) == HEARD_PACKET)
		;
	if (heard == HEARD_NOTHING)
		return true;
	for (slot = slots; slot < slots + GUARDIAN_SLOTS; slot++) {
		if (!slot->used || slot->ends)
			continue;
		if (heard == HEARD_END)
			leave(slot);
		else
			forget(slot);
	}
	return false;
}

static void sleep_until_woken(struct waits *waits)
{
	const uint64_t now_ns = clock_now_ns();
	const uint64_t ns = waits->until_ns > now_ns ? waits->until_ns - now_ns : 0;
	const struct timespec timeout = { .tv_sec = (time_t)(ns / CLOCK_NS_PER_S),
					  .tv_nsec = (long)(ns % CLOCK_NS_PER_S) };

	(void)ppoll(waits->fds, waits->count, &timeout, NULL);
}

/* Until the agent is gone, and all that it left is as it is to be. */
static void work(void)
{
	struct waits waits;
	bool lives = true;

	for (;;) {
		waits.count = 0;
		waits.until_ns = UINT64_MAX;
		(void)atomic_fetch_add(&shared_page->turns, 1);
		lives = lives && hear_agent();
		if (!end_turn(&waits) && !lives)
			return;
		if (lives) {
			look_at_all(clock_now_ns(), &waits);
			wait_for(&waits, CONTROL, POLLIN);
		}
		sleep_until_woken(&waits);
	}
}

/* ---- the beginning ------------------------------------------------------------------------- */

static bool main_asks;

bool guardian_process_is_one(int argc, char **argv)
{
	int domain = 0, type = 0;
	socklen_t len = sizeof(int);

	main_asks = true;
	return argc == 1 && strcmp(argv[0], GUARDIAN_PROCESS_NAME) == 0 &&
	       getsockopt(CONTROL, SOL_SOCKET, SO_DOMAIN, &domain, &len) == 0 &&
	       domain == AF_UNIX && getsockopt(CONTROL, SOL_SOCKET, SO_TYPE, &type, &len) == 0 &&
	       type == SOCK_SEQPACKET;
}

bool guardian_process_can_start(void)
{
	return main_asks;
}

_Noreturn void guardian_process_run(void)
{
	(void)setsid();
	guardian_confine_signals();
	guardian_confine_descriptors();
	(void)prctl(PR_SET_NAME, GUARDIAN_PROCESS_NAME, 0, 0, 0);
	(void)chdir("/");
	shared_page = guardian_receive_page();
	if (shared_page == NULL)
		_exit(1);
	guardian_confine_privileges();
	work();
	_exit(0);
}
