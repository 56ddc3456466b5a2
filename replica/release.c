/*
 * Theory of operation
 *
 * Each round asks query-migrate, then query-status, with ids of that round, and decides when both
 * are answered. The order matters: a migration seen as over and a guest seen running *after that*
 * is a guest that stays running.
 *
 * Telling once is not enough. Between the end of the first copy and COLO's start QEMU resets its
 * failover state (colo_process_checkpoint), and a command that came just before is forgotten while
 * the guest waits for it; so as long as QEMU says that it is in COLO, it is told again. Told twice,
 * it answers with an error and nothing happens. A guest that stands in COLO's state for
 * RELEASE_LATE_MS of that is told "cont", once.
 *
 * There is no giving up: nobody else frees the guest. A QEMU that does not answer (stopped, or in
 * slow storage) always has a question of ours to answer when it goes on. It is put again after a
 * wait that doubles, and never while QEMU's socket still holds us up: commands do not pile up. Time
 * without answers does not count as time in which telling did not help.
 *
 * One that is to stand is asked query-status, stop, query-status in each round: the first tells whether
 * it ran. In COLO's states it counts as running, since QEMU sets it running after a checkpoint, until
 * QEMU has said that it does no more of them (COLO_EXIT). If the agent has read that, time has to do.
 * If it was stopped before by the guardian, and that agent has not heard of it, the reply is still there.
 *
 * The agent may have died in the middle of writing a command. 0xff makes QEMU's JSON parser forget
 * what it has (docs/interop/qmp-spec, "Forcing the JSON parser into known-good state"), at the
 * price of one error reply without an id.
 */
#include "replica/release.h"

#include "appliance/base/clock.h"
#include "appliance/base/words.h"
#include "replica/qmp.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define ROUND_SHARE 32 /* the wait between two rounds: this share of what they took so far */
#define CONTINUE "{\"execute\":\"cont\"}\n"
#define STOPPED_ID "\"id\": " QMP_GUARDIAN_ID_TEXT /* as QEMU writes it */
#define EXIT "\"COLO_EXIT\""			   /* in no other reply to what is asked here */
#define STOP "{\"execute\":\"stop\"}\n"

/* What a guest is in while COLO holds it or has not begun. */
static bool is_passing(const char *status)
{
	static const char *const passing[] = { "colo", "finish-migrate" };

	return WORDS_ONE_OF(status, passing);
}

enum release_verdict release_decide(const char *migration, const char *status)
{
	/* Migrations that do not come back. */
	static const char *const over[] = { "", "none", "completed", "failed", "cancelled" };
	static const char *const held[] = { "running", "colo", "finish-migrate", "suspended" };

	if (strcmp(migration, "colo") == 0)
		return WORDS_ONE_OF(status, held) ? RELEASE_TELL : RELEASE_LEAVE;
	if (!WORDS_ONE_OF(migration, over) || is_passing(status))
		return RELEASE_WAIT;
	return RELEASE_DONE;
}

static void say(struct release *release, const char *text)
{
	size_t len = strlen(text);

	if (release->out_sent == release->out_len)
		release->out_sent = release->out_len = 0;
	if (len > sizeof(release->out) - release->out_len)
		return; /* not with what is said here: one round has room, and the next waits for it */
	memcpy(release->out + release->out_len, text, len);
	release->out_len += len;
}

static void tell(struct release *release)
{
	say(release, RELEASE_COMMAND);
	release->told++;
}

static void ask(struct release *release, uint64_t now_ns)
{
	char text[160];

	release->round++;
	release->asked_ns = now_ns;
	release->have_migration = release->have_status = false;
	if (release->stand)
		(void)snprintf(text, sizeof(text),
			       "{\"execute\":\"query-status\",\"id\":\"us-guardian-m%u\"}\n" STOP
			       "{\"execute\":\"query-status\",\"id\":\"us-guardian-s%u\"}\n",
			       release->round, release->round);
	else
		(void)snprintf(text, sizeof(text),
			       "{\"execute\":\"query-migrate\",\"id\":\"us-guardian-m%u\"}\n"
			       "{\"execute\":\"query-status\",\"id\":\"us-guardian-s%u\"}\n",
			       release->round, release->round);
	say(release, text);
}

static void begin(struct release *release, int qmp_fd, uint64_t now_ns)
{
	memset(release, 0, sizeof(*release));
	release->fd = qmp_fd;
	release->started_ns = now_ns;
	release->answer_ms = RELEASE_ANSWER_MS;
	qmp_scan_init(&release->scan);
	say(release, "\xff\n");
}

void release_begin(struct release *release, int qmp_fd, bool held, uint64_t now_ns)
{
	begin(release, qmp_fd, now_ns);
	release->held = held;
	if (held)
		tell(release);
	ask(release, now_ns);
}

void release_stand(struct release *release, int qmp_fd, uint64_t now_ns)
{
	begin(release, qmp_fd, now_ns);
	release->stand = true;
	ask(release, now_ns);
}

bool release_wants_to_write(const struct release *release)
{
	return release->out_sent < release->out_len;
}

static bool write_out(struct release *release)
{
	ssize_t r;

	while (release_wants_to_write(release)) {
		r = send(release->fd, release->out + release->out_sent,
			 release->out_len - release->out_sent, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (r < 0 && errno != EINTR)
			return errno == EAGAIN;
		if (r > 0)
			release->out_sent += (size_t)r;
	}
	return true;
}

/* Or is set running when what holds it is over. */
static bool runs(const char *status)
{
	static const char *const running[] = { "running", "suspended", "save-vm" };

	return WORDS_ONE_OF(status, running) || is_passing(status);
}

static void take_reply(struct release *release)
{
	struct qmp_scan_reply reply;
	char expected[QMP_SCAN_WORD_MAX];

	if (memmem(release->scan.text, release->scan.len, EXIT, sizeof(EXIT) - 1) != NULL)
		release->out_of_colo = true;
	qmp_scan_reply(release->scan.text, release->scan.len, &reply);
	if (!reply.returned)
		return;
	if (memmem(release->scan.text, release->scan.len, STOPPED_ID, sizeof(STOPPED_ID) - 1) !=
	    NULL)
		release->ran |= runs(reply.status);
	(void)snprintf(expected, sizeof(expected), "us-guardian-m%u", release->round);
	if (strcmp(reply.id, expected) == 0) {
		release->have_migration = true;
		memcpy(release->migration, reply.status, sizeof(release->migration));
		release->ran |= release->stand && runs(reply.status);
	}
	(void)snprintf(expected, sizeof(expected), "us-guardian-s%u", release->round);
	if (strcmp(reply.id, expected) == 0) {
		release->have_status = true;
		memcpy(release->status, reply.status, sizeof(release->status));
	}
}

/* False when the connection is over. */
static bool read_in(struct release *release)
{
	uint8_t bytes[4096];
	const uint8_t *at;
	size_t left;
	ssize_t r;

	for (;;) {
		r = recv(release->fd, bytes, sizeof(bytes), MSG_DONTWAIT);
		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			return r < 0 && errno == EAGAIN;
		at = bytes;
		left = (size_t)r;
		while (qmp_scan_feed(&release->scan, &at, &left))
			take_reply(release);
	}
}

static bool passed(uint64_t since_ns, uint64_t now_ns, uint64_t ms)
{
	return now_ns - since_ns >= ms * CLOCK_NS_PER_MS;
}

/* How long this has been going on with a QEMU that answers. */
static uint64_t answering_ms(const struct release *release, uint64_t now_ns)
{
	return (now_ns - release->started_ns - release->silent_ns) / CLOCK_NS_PER_MS;
}

static uint32_t round_ms(const struct release *release, uint64_t now_ns)
{
	uint64_t ms = answering_ms(release, now_ns) / ROUND_SHARE;

	if (ms < RELEASE_ROUND_MS)
		return RELEASE_ROUND_MS;
	return ms < RELEASE_ROUND_MS_MAX ? (uint32_t)ms : RELEASE_ROUND_MS_MAX;
}

static bool is_answered(const struct release *release)
{
	return release->have_migration && release->have_status;
}

int release_wait_ms(const struct release *release, uint64_t now_ns)
{
	uint64_t due_ns = release->asked_ns;

	due_ns += (is_answered(release) ? round_ms(release, now_ns) : release->answer_ms) *
		  CLOCK_NS_PER_MS;
	return due_ns > now_ns ? (int)((due_ns - now_ns) / CLOCK_NS_PER_MS) + 1 : 1;
}

/* The guest has stood in COLO's state for too long, whatever the migration is in. */
static void go_on(struct release *release, uint64_t now_ns)
{
	if (release->continued || answering_ms(release, now_ns) < RELEASE_LATE_MS ||
	    strcmp(release->status, "colo") != 0)
		return;
	say(release, CONTINUE);
	release->continued = true;
}

static bool stands(const struct release *release, uint64_t now_ns)
{
	if (*release->status == '\0')
		return false;
	return !runs(release->status) ||
	       (strcmp(release->status, "colo") == 0 &&
		(release->out_of_colo || answering_ms(release, now_ns) >= RELEASE_LATE_MS));
}

/* With both answers of this round. */
static void act(struct release *release, uint64_t now_ns)
{
	if (release->stand) {
		if (stands(release, now_ns))
			release->end = RELEASE_STANDS;
		else
			ask(release, now_ns);
		return;
	}
	switch (release_decide(release->migration, release->status)) {
	case RELEASE_DONE:
		release->end = RELEASE_RUNS;
		return;
	case RELEASE_LEAVE:
		/* In a held checkpoint the guest was told already, and may not have moved yet. */
		if (!release->held)
			release->end = RELEASE_LEFT;
		break;
	case RELEASE_TELL:
		tell(release);
		go_on(release, now_ns);
		break;
	case RELEASE_WAIT:
		go_on(release, now_ns);
		break;
	}
	if (release->end == RELEASE_GOING)
		ask(release, now_ns);
}

/* What has to be done at once, and what after a wait that is over. */
static bool is_due(const struct release *release, uint64_t now_ns)
{
	enum release_verdict verdict = release_decide(release->migration, release->status);

	if (release->stand)
		return stands(release, now_ns) ||
		       passed(release->asked_ns, now_ns, round_ms(release, now_ns));
	return verdict == RELEASE_DONE || (verdict == RELEASE_TELL && release->told == 0) ||
	       passed(release->asked_ns, now_ns, round_ms(release, now_ns));
}

static void ask_again(struct release *release, uint64_t now_ns)
{
	release->silent_ns += now_ns - release->asked_ns;
	release->asked_ns = now_ns;
	release->answer_ms = release->answer_ms < RELEASE_ANSWER_MS_MAX / 2 ?
				     release->answer_ms * 2 :
				     RELEASE_ANSWER_MS_MAX;
	if (release_wants_to_write(release))
		return;
	if (release->held)
		tell(release);
	ask(release, now_ns);
}

enum release_end release_step(struct release *release, uint64_t now_ns)
{
	bool was_answered = is_answered(release);

	if (release->end != RELEASE_GOING)
		return release->end;
	if (!write_out(release) || !read_in(release)) {
		release->end = RELEASE_QEMU_GONE;
		return release->end;
	}
	if (is_answered(release)) {
		if (!was_answered && passed(release->asked_ns, now_ns, RELEASE_ANSWER_MS))
			release->silent_ns += now_ns - release->asked_ns;
		release->answer_ms = RELEASE_ANSWER_MS;
		if (is_due(release, now_ns))
			act(release, now_ns);
	} else if (passed(release->asked_ns, now_ns, release->answer_ms)) {
		ask_again(release, now_ns);
	}
	if (!write_out(release))
		release->end = RELEASE_QEMU_GONE;
	return release->end;
}
