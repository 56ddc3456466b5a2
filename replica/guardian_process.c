/*
 * Theory of operation
 *
 * Executed anew, the process has nothing of the agent's memory. It believes that an agent started
 * it when it finds a socket of the right kind in the right place and, in its first packet, a page
 * of the right size that nobody can shrink; otherwise it is an understudy with an odd name (main()
 * goes on as usual), or ends at once.
 *
 * Then two phases, no way back. WATCH: wait for packets from the agent and look, a few times within
 * the shortest freeze limit, whether it holds an instance for too long; and count the turns of that
 * in the page, for the agent to see that somebody watches. RELEASE: the agent's end of
 * the pair was closed, which the kernel does however the agent ends; every watched instance is let
 * go (release.c), all at the same time, then the process ends: not before every QEMU has let go of
 * its guest, or is gone itself.
 *
 * A frozen agent still owns its QMP connection and will read from it, so in WATCH nothing is read
 * there: the command is written and its reply (without an id) is for the agent to ignore. The
 * instance is known to be in a checkpoint then, so nothing has to be asked.
 *
 * Each phase is marked on every QEMU (guardian_mark.h), for the next agent to see who keeps its socket.
 *
 * Nothing here may wait for anything but poll(2): not for the log (a full pipe drops the line), not
 * for QEMU. Nothing allocates: all state is static. The process keeps four descriptors and three per
 * instance, and no privileges.
 */
#include "replica/guardian_process.h"

#include "appliance/base/clock.h"
#include "appliance/base/log.h"
#include "replica/guardian_mark.h"
#include "replica/release.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CONTROL GUARDIAN_CONTROL /* the agent's socket */
/* Some more come with a packet. */
#define FDS_MAX (CONTROL + 1 + 3 * GUARDIAN_INSTANCES_MAX + GUARDIAN_FDS)
#define FREEZE_LOOKS 8	/* looks within a freeze limit; two have to agree: at most a quarter late */
#define LOOK_MS_MIN 5	/* between looks, however short the limit */
#define LOOK_MS_MAX 100 /* and however long, or without any: it wakes ten times a second */

struct slot {
	bool used, late; /* late: said that its release takes long */
	char name[GUARDIAN_NAME_MAX + 1];
	int qmp, colo, mark; /* mark: on QEMU's process, or -1; qmp -1: `colo` is a socket alone */
	uint32_t freeze_limit_ms;
	uint64_t suspected_ns; /* the hold that was too long at the last look */
	uint64_t frozen_ns;    /* the hold that was ended by us */
	size_t told;	       /* bytes of freeze_command that are written */
	struct release release;
};

/* The agent may have frozen in the middle of writing a command: 0xff, as in release.c. */
static const char freeze_command[] = "\xff\n" RELEASE_COMMAND;
static struct slot slots[GUARDIAN_INSTANCES_MAX];
static struct guardian_shared *shared_page;

/* A log that nobody reads must not stop us: a pipe that says POLLOUT has room for a line. */
static void say(enum log_level level, const char *name, const char *text)
{
	struct pollfd error = { .fd = STDERR_FILENO, .events = POLLOUT };

	if (poll(&error, 1, 0) == 1 && (error.revents & POLLOUT) != 0)
		log_write(level, "guardian", "%s: %s", name, text);
}

/* ---- becoming small ------------------------------------------------------------------------ */

/* What can be ignored; the kernel refuses the rest, and faults of our own must still end us. */
static void ignore_signals(void)
{
	struct sigaction ignore = { .sa_handler = SIG_IGN }, standard = { .sa_handler = SIG_DFL };
	static const int faults[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGSYS };
	sigset_t none;
	size_t i;
	int n;

	for (n = 1; n < NSIG; n++)
		(void)sigaction(n, &ignore, NULL);
	for (i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
		(void)sigaction(faults[i], &standard, NULL);
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
}

/*
 * Standard error and the control socket stay; 0 and 1 are made harmless, so that no received
 * descriptor gets their numbers.
 */
static void close_others(void)
{
	int null, fd;

	(void)fcntl(CONTROL, F_SETFD, FD_CLOEXEC);
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	for (fd = 0; fd < CONTROL; fd++) {
		if (fd != STDERR_FILENO || fcntl(fd, F_GETFD) < 0)
			(void)dup2(null >= 0 ? null : CONTROL, fd);
	}
	if (syscall(SYS_close_range, CONTROL + 1, ~0U, 0) < 0) {
		for (fd = CONTROL + 1; fd < 65536; fd++)
			(void)close(fd);
	}
}

static void drop_privileges(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = { { 0 } };
	static const struct rlimit nothing = { 0, 0 }, fds = { FDS_MAX, FDS_MAX };
	int capability;

	(void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	(void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	for (capability = 0; capability < 64; capability++)
		(void)prctl(PR_CAPBSET_DROP, capability, 0, 0, 0);
	(void)syscall(SYS_capset, &header, none);
	(void)setrlimit(RLIMIT_NOFILE, &fds);
	(void)setrlimit(RLIMIT_CORE, &nothing);
	(void)setrlimit(RLIMIT_NPROC, &nothing);
	(void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}

/* ---- packets ------------------------------------------------------------------------------- */

static void forget(struct slot *slot)
{
	if (slot->qmp >= 0)
		(void)close(slot->qmp);
	if (slot->colo >= 0)
		(void)close(slot->colo);
	if (slot->mark >= 0)
		(void)close(slot->mark);
	slot->used = false;
}

static void watch(const struct guardian_packet *packet, const int fds[GUARDIAN_FDS])
{
	struct slot *slot = &slots[packet->slot];

	memset(slot, 0, sizeof(*slot));
	slot->used = true;
	slot->qmp = packet->kind == GUARDIAN_WATCH ? fds[0] : -1;
	slot->colo = packet->kind == GUARDIAN_WATCH ? fds[1] : fds[0];
	slot->mark = slot->qmp >= 0 ? guardian_mark_set(slot->qmp) : -1;
	slot->freeze_limit_ms = packet->freeze_limit_ms;
	memcpy(slot->name, packet->name, sizeof(slot->name));
	slot->name[GUARDIAN_NAME_MAX] = '\0';
}

/* The descriptors that came along; -1 where there are none. */
static void take_fds(struct msghdr *message, int fds[GUARDIAN_FDS])
{
	struct cmsghdr *header = CMSG_FIRSTHDR(message);

	fds[0] = fds[1] = -1;
	if (header != NULL && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS)
		memcpy(fds, CMSG_DATA(header),
		       header->cmsg_len - CMSG_LEN(0)); /* at most `ancillary` */
}

/* One packet, as recvmsg() returns it. */
static ssize_t receive(struct guardian_packet *packet, int fds[GUARDIAN_FDS])
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(GUARDIAN_FDS * sizeof(int))];
	} ancillary = { .bytes = { 0 } };
	struct iovec iov = { .iov_base = packet, .iov_len = sizeof(*packet) };
	struct msghdr message = { .msg_iov = &iov,
				  .msg_iovlen = 1,
				  .msg_control = ancillary.bytes,
				  .msg_controllen = sizeof(ancillary.bytes) };
	ssize_t r = recvmsg(CONTROL, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	fds[0] = fds[1] = -1;
	if (r > 0)
		take_fds(&message, fds);
	return r;
}

/* The first packet, which was there before the process was. */
static bool take_page(void)
{
	int fds[GUARDIAN_FDS], seals;
	struct guardian_packet packet;
	struct stat stat;
	void *page;

	if (receive(&packet, fds) != (ssize_t)sizeof(packet) || packet.kind != GUARDIAN_BEGIN ||
	    fds[0] < 0 || fds[1] >= 0)
		return false;
	seals = fcntl(fds[0], F_GET_SEALS);
	if (seals < 0 || (seals & F_SEAL_SHRINK) == 0 || fstat(fds[0], &stat) != 0 ||
	    stat.st_size != (off_t)sizeof(*shared_page))
		return false;
	page = mmap(NULL, sizeof(*shared_page), PROT_READ | PROT_WRITE, MAP_SHARED, fds[0], 0);
	if (page == MAP_FAILED)
		return false;
	(void)close(fds[0]);
	shared_page = page;
	log_setup((enum log_level)shared_page->log_level, shared_page->log_json != 0);
	return true;
}

enum heard { HEARD_NOTHING, HEARD_PACKET, HEARD_STOP, HEARD_END };

static enum heard take_packet(void)
{
	struct guardian_packet packet;
	int fds[GUARDIAN_FDS];
	ssize_t r = receive(&packet, fds);

	if (r < 0 && (errno == EAGAIN || errno == EINTR))
		return HEARD_NOTHING;
	if (r <= 0)
		return HEARD_END;
	if (r != (ssize_t)sizeof(packet) || packet.slot >= GUARDIAN_INSTANCES_MAX)
		return HEARD_PACKET; /* only the agent can write here: it never does that */
	if (packet.kind == GUARDIAN_STOP)
		return HEARD_STOP;
	if (slots[packet.slot].used)
		forget(&slots[packet.slot]);
	if ((packet.kind == GUARDIAN_WATCH && fds[1] >= 0) ||
	    (packet.kind == GUARDIAN_SOCKET && fds[0] >= 0))
		watch(&packet, fds);
	return HEARD_PACKET;
}

/* ---- an agent that is frozen --------------------------------------------------------------- */

/* Milliseconds until the next look. */
static int look_interval_ms(void)
{
	uint32_t shortest = UINT32_MAX, i;
	const uint32_t most = LOOK_MS_MAX, least = LOOK_MS_MIN;

	for (i = 0; i < GUARDIAN_INSTANCES_MAX; i++) {
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

/*
 * Two looks in a row have to agree: when everything was stopped (a suspended machine), the agent is
 * given the time to go on.
 */
static void look(struct slot *slot, unsigned index, uint64_t now_ns)
{
	uint64_t since_ns = atomic_load(&shared_page->held_since_ns[index]);

	if (slot->freeze_limit_ms == 0 || since_ns == 0 || now_ns < since_ns ||
	    now_ns - since_ns < slot->freeze_limit_ms * CLOCK_NS_PER_MS) {
		slot->suspected_ns = 0;
		return;
	}
	if (slot->suspected_ns == since_ns)
		unfreeze(slot, since_ns);
	slot->suspected_ns = since_ns;
}

/* Returns when the agent is gone; ends the process when it says so. */
static void watch_agent(void)
{
	struct pollfd control = { .fd = CONTROL, .events = POLLIN };
	uint64_t next_look_ns = 0, now_ns;
	int interval_ms;
	enum heard heard;
	unsigned i;

	for (;;) {
		(void)atomic_fetch_add(&shared_page->turns, 1);
		interval_ms = look_interval_ms();
		(void)poll(&control, 1, interval_ms);
		do {
			heard = take_packet();
			if (heard == HEARD_STOP)
				_exit(0);
			if (heard == HEARD_END)
				return;
		} while (heard == HEARD_PACKET);
		now_ns = clock_now_ns();
		if (now_ns < next_look_ns)
			continue;
		next_look_ns = now_ns + (uint64_t)interval_ms * CLOCK_NS_PER_MS / 2;
		for (i = 0; i < GUARDIAN_INSTANCES_MAX; i++) {
			if (slots[i].used)
				look(&slots[i], i, now_ns);
		}
	}
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
		       "the agent is gone; not released within %d s (%s%s%s): still trying",
		       RELEASE_LATE_MS / 1000,
		       release->status[0] != '\0' ? release->status : "QEMU does not answer",
		       release->migration[0] != '\0' ? ", migration " : "", release->migration);
	say(LOG_LEVEL_ERROR, slot->name, text);
}

/*
 * One turn for every instance; the number that still need more. Descriptors to wait for go into
 * `fds`, and for how long at most into *wait_ms.
 */
static nfds_t release_turn(struct pollfd fds[GUARDIAN_INSTANCES_MAX], int *wait_ms)
{
	uint64_t now_ns;
	struct slot *slot;
	nfds_t going = 0;
	int ms;

	for (slot = slots; slot < slots + GUARDIAN_INSTANCES_MAX; slot++) {
		if (!slot->used)
			continue;
		now_ns = clock_now_ns();
		if (release_step(&slot->release, now_ns) != RELEASE_GOING) {
			/* The socket first: the agent that returns can have it. */
			forget(slot);
			report(slot, now_ns);
			continue;
		}
		report_late(slot, now_ns);
		ms = release_wait_ms(&slot->release, now_ns);
		*wait_ms = going == 0 || ms < *wait_ms ? ms : *wait_ms;
		fds[going].fd = slot->qmp;
		fds[going].events =
			release_wants_to_write(&slot->release) ? POLLIN | POLLOUT : POLLIN;
		going++;
	}
	return going;
}

static void release_all(void)
{
	struct pollfd fds[GUARDIAN_INSTANCES_MAX];
	nfds_t going;
	unsigned i;
	int wait_ms;

	for (i = 0; i < GUARDIAN_INSTANCES_MAX; i++) {
		if (!slots[i].used)
			continue;
		(void)shutdown(slots[i].colo, SHUT_RDWR);
		if (slots[i].qmp < 0) {
			forget(&slots[i]);
			continue;
		}
		guardian_mark_release(slots[i].mark);
		release_begin(&slots[i].release, slots[i].qmp,
			      atomic_load(&shared_page->held_since_ns[i]) != 0, clock_now_ns());
	}
	while ((going = release_turn(fds, &wait_ms)) > 0)
		(void)poll(fds, going, wait_ms);
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
	ignore_signals();
	close_others();
	(void)prctl(PR_SET_NAME, GUARDIAN_PROCESS_NAME, 0, 0, 0);
	(void)chdir("/");
	if (!take_page())
		_exit(1);
	drop_privileges();
	watch_agent();
	release_all();
	_exit(0);
}
