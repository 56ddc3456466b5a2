/*
 * Theory of operation
 *
 * One loop, which waits for a signal (a child has ended, the machine is told to end), for the power button, or for the time at
 * which the standby is started again. While the standby does not run for more than a moment, because it ends over and over or
 * because there is no configuration that it could have, a process in its place serves the health endpoint and says why
 * (verb_trouble.c): a machine that is up and says what it lacks is of more use than one that reboots for ever. It is begun again when it
 * ends, and anew when what is to be told is another thing by now: what keeps the standby away is tried again and again.
 *
 * The end: the standby is told first, so that what it has acknowledged is on the disk; then all others, the hypervisors among
 * them. After that nothing is written any more. A hypervisor that a standby has left behind by a crash is nobody's child but ours, and runs on
 * until then: the next standby finds it again.
 *
 * A watchdog is told for as long as the loop goes round, and while the end waits for others and for what is still to be written.
 */
#include "appliance/init_supervise.h"

#include "appliance/base/clock.h"
#include "appliance/base/log.h"
#include "appliance/init_internal.h"
#include "appliance/init_processes.h"
#include "appliance/restart.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/input.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/reboot.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#define STANDBY_ENDS_WITHIN_MS 60000 /* a takeover under way is finished first: 35 s */
#define OTHERS_END_WITHIN_MS 5000
#define AGAIN_MS 5000 /* a health endpoint that ended */
#define TRIED_EVERY_MS \
	5000 /* what keeps the standby from being started, where that is only a look */
#define FAILED_EVERY_MS 20000 /* where it is more, and the kernel has its say each time */
#define TROUBLE_WORDS 13
#define PROCESSES_TEXT 1024 /* for some 30 */
#define NEVER UINT64_MAX

struct supervisor {
	const struct init_service *service;
	pid_t standby, trouble, helper; /* 0: none */
	uint64_t start_ms;		/* the standby is due; NEVER: it runs, or is not to */
	uint64_t
		trouble_ms; /* what is told in its place is due; NEVER: it is told, or there is nothing */
	uint64_t helper_ms; /* the helper is due; NEVER: it runs, or there is none */
	bool barred;	    /* by service->trouble, or what is now in its place: not to */
	uint64_t tried_ms;  /* whether it still is, is due; NEVER: it does not change */
	struct restart restart;
	char why[ERR_TEXT_MAX];
};

static uint64_t now_ms(void)
{
	return clock_now_ns() / CLOCK_NS_PER_MS;
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* ---- children ------------------------------------------------------------------------------------ */

/* As fork(): what the child then becomes is the caller's. */
static pid_t begin_child(const char *what)
{
	const pid_t pid = fork();
	sigset_t none;

	if (pid == 0) {
		(void)setsid();
		(void)sigemptyset(&none);
		(void)sigprocmask(SIG_SETMASK, &none, NULL);
	} else if (pid < 0) {
		log_error(INIT_PART, "starting %s: %s", what, strerror(errno));
	}
	return pid;
}

static void begin_helper(struct supervisor *s)
{
	const pid_t pid = begin_child(s->service->helper);

	if (pid == 0) {
		(void)execl(s->service->program, "understudy", s->service->helper, "--config",
			    s->service->config, (char *)NULL);
		_exit(127);
	}
	s->helper = pid > 0 ? pid : 0;
	s->helper_ms = pid > 0 ? NEVER : now_ms() + AGAIN_MS;
}

static void begin_standby(struct supervisor *s)
{
	pid_t pid;

	s->start_ms = now_ms() + RESTART_MS;
	if (s->trouble != 0) { /* it has the address */
		(void)kill(s->trouble, SIGTERM);
		return;
	}
	pid = begin_child("the standby");
	if (pid == 0) {
		(void)execl(s->service->program, "understudy", "standby", "--config",
			    s->service->config, s->service->problems != NULL ? "--problems" : NULL,
			    s->service->problems, (char *)NULL);
		_exit(127);
	}
	s->standby = pid > 0 ? pid : 0;
	s->start_ms = pid > 0 ? NEVER : now_ms() + AGAIN_MS;
	s->trouble_ms = pid > 0 ? NEVER : s->trouble_ms;
}

/* An execv() takes what it does not change as if it did. */
union words {
	const char *made[TROUBLE_WORDS];
	char *taken[TROUBLE_WORDS];
};

/* Of a standby that was begun it is told, too, what it has against its configuration. */
static void trouble_words(union words *words, const struct supervisor *s)
{
	const struct init_service *service = s->service;
	const char *const pairs[][2] = { { "--reason", s->why },
					 { "--http", service->http },
					 { "--http", service->http_else },
					 { "--config", s->barred ? NULL : service->config },
					 { "--problems", service->problems } };
	size_t count = 0;

	words->made[count++] = "understudy";
	words->made[count++] = "trouble";
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		if (pairs[i][1] != NULL) {
			words->made[count++] = pairs[i][0];
			words->made[count++] = pairs[i][1];
		}
	}
	words->made[count] = NULL;
}

static void begin_trouble(struct supervisor *s)
{
	const bool told = s->service->http != NULL || s->service->http_else != NULL;
	union words words;
	pid_t pid;

	s->trouble_ms = told ? now_ms() + RESTART_MS : NEVER;
	if (s->trouble != 0) /* it tells something else */
		(void)kill(s->trouble, SIGTERM);
	if (!told || s->trouble != 0)
		return;
	pid = begin_child("a health endpoint");
	if (pid == 0) {
		trouble_words(&words, s);
		(void)execv(s->service->program, words.taken);
		_exit(127);
	}
	s->trouble = pid > 0 ? pid : 0;
	s->trouble_ms = pid > 0 ? NEVER : now_ms() + AGAIN_MS;
}

/* In the standby's place. */
static void tell(struct supervisor *s, const char *why)
{
	(void)snprintf(s->why, sizeof(s->why), "%s", why);
	log_error(INIT_PART, "%s", s->why);
	s->trouble_ms = now_ms();
}

static void tell_end(char *out, size_t size, const char *who, int status)
{
	if (WIFSIGNALED(status))
		(void)snprintf(out, size, "%s was ended by signal %d (%s)", who, WTERMSIG(status),
			       strsignal(WTERMSIG(status)));
	else
		(void)snprintf(out, size, "%s ended with status %d", who, WEXITSTATUS(status));
}

static void on_standby_end(struct supervisor *s, int status)
{
	uint64_t wait_ms;
	bool trouble;
	char how[128], why[ERR_TEXT_MAX];

	s->standby = 0;
	tell_end(how, sizeof(how), "the standby", status);
	wait_ms = restart_after(&s->restart, now_ms(), &trouble);
	s->start_ms = now_ms() + wait_ms;
	if (!trouble) {
		log_error(INIT_PART, "%s; it is started again", how);
		return;
	}
	(void)snprintf(
		why, sizeof(why),
		"%s, over and over; it is started again in %u s; its last words are on the console",
		how, (unsigned)(wait_ms / 1000));
	tell(s, why);
}

/* Told to, to make room for the standby; or it could not serve, because the network is not there yet, say. */
static void on_trouble_end(struct supervisor *s)
{
	s->trouble = 0;
	s->trouble_ms = earlier(s->trouble_ms, now_ms() + AGAIN_MS);
}

static void on_helper_end(struct supervisor *s, int status)
{
	char how[128];

	tell_end(how, sizeof(how), s->service->helper, status);
	log_error(INIT_PART, "%s; it is started again", how);
	s->helper = 0;
	s->helper_ms = now_ms() + AGAIN_MS;
}

static void reap(struct supervisor *s)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid == s->standby)
			on_standby_end(s, status);
		else if (pid == s->trouble)
			on_trouble_end(s);
		else if (pid == s->helper)
			on_helper_end(s, status);
	}
}

/* ---- the end --------------------------------------------------------------------------------------- */

/* Until that child (-1: any) has ended, there is none, or the time is over. */
static void wait_for(struct supervisor *s, pid_t pid, uint64_t within_ms)
{
	const uint64_t end_ms = now_ms() + within_ms;

	while (now_ms() < end_ms) {
		const pid_t ended = waitpid(pid, NULL, WNOHANG);

		if (ended < 0 || (ended > 0 && pid > 0))
			return;
		init_watchdog_tell(s->service->watchdog, now_ms());
		if (ended == 0)
			(void)usleep(10000);
	}
}

static void end(struct supervisor *s, int how, const char *why) __attribute__((noreturn));

static void end(struct supervisor *s, int how, const char *why)
{
	char running[PROCESSES_TEXT];

	init_processes_tell(running, sizeof(running), "/proc");
	log_info(INIT_PART, "%s: the machine ends; what runs in it: %s", why, running);
	if (s->standby != 0) {
		(void)kill(s->standby, SIGTERM);
		wait_for(s, s->standby, STANDBY_ENDS_WITHIN_MS);
	}
	(void)kill(-1, SIGTERM);
	wait_for(s, -1, OTHERS_END_WITHIN_MS);
	(void)kill(-1, SIGKILL);
	wait_for(s, -1, OTHERS_END_WITHIN_MS);
	if (s->service->on_ended != NULL)
		s->service->on_ended();
	log_info(INIT_PART, "ended");
	init_watchdog_close(s->service->watchdog);
	(void)reboot(how);
	for (;;)
		(void)pause();
}

static void on_signal(struct supervisor *s)
{
	struct signalfd_siginfo info;

	while (read(s->service->ears->from[0].fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		if (info.ssi_signo == SIGCHLD)
			reap(s);
		else if (info.ssi_signo == SIGINT)
			end(s, RB_AUTOBOOT, "Ctrl-Alt-Del");
		else
			end(s, RB_POWER_OFF, "signal");
	}
}

static void on_button(struct supervisor *s, struct pollfd *button)
{
	struct input_event event;

	while (read(button->fd, &event, sizeof(event)) == (ssize_t)sizeof(event)) {
		if (event.type == EV_KEY && event.code == KEY_POWER && event.value != 0)
			end(s, RB_POWER_OFF, "power button");
	}
	if (errno != EAGAIN)
		button->fd = -1; /* it is gone, and would be ready for ever */
}

/* ---- life ------------------------------------------------------------------------------------------- */

static void hear(struct init_ears *ears, int fd)
{
	if (fd >= 0)
		ears->from[ears->count++] = (struct pollfd){ .fd = fd, .events = POLLIN };
}

void init_supervise_hear(struct init_ears *ears)
{
	char path[32];
	sigset_t set;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGCHLD);
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGINT);
	(void)sigprocmask(SIG_BLOCK, &set, NULL);
	(void)reboot(RB_DISABLE_CAD); /* SIGINT instead */
	ears->count = 0;
	hear(ears, signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
	for (unsigned i = 0; i < INIT_BUTTONS_MAX; i++) {
		(void)snprintf(path, sizeof(path), "/dev/input/event%u", i);
		hear(ears, open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK));
	}
}

static int timeout(const struct supervisor *s)
{
	const uint64_t now = now_ms();
	const uint64_t next = earlier(earlier(earlier(s->start_ms, s->trouble_ms), s->helper_ms),
				      earlier(s->tried_ms, s->service->watchdog->due_ms));

	if (next == NEVER)
		return -1;
	return next > now ? (int)(next - now) : 0;
}

static void try_again(struct supervisor *s)
{
	struct err err;
	const int rc = s->service->try_again(s->service->owner, &err);

	s->tried_ms = now_ms() + (rc == RC_STATE ? TRIED_EVERY_MS : FAILED_EVERY_MS);
	if (rc == RC_OK) {
		s->barred = false;
		s->tried_ms = NEVER;
		s->start_ms = now_ms();
	} else if (strcmp(err.text, s->why) != 0) {
		tell(s, err.text);
	}
}

/* What is due. */
static void act(struct supervisor *s)
{
	init_watchdog_tell(s->service->watchdog, now_ms());
	if (s->helper_ms != NEVER && now_ms() >= s->helper_ms)
		begin_helper(s);
	if (s->tried_ms != NEVER && now_ms() >= s->tried_ms)
		try_again(s);
	if (s->start_ms != NEVER && now_ms() >= s->start_ms)
		begin_standby(s);
	if (s->trouble_ms != NEVER && now_ms() >= s->trouble_ms)
		begin_trouble(s);
}

void init_supervise(const struct init_service *service)
{
	struct init_ears *ears = service->ears;
	struct supervisor s = { .service = service,
				.start_ms = NEVER,
				.trouble_ms = NEVER,
				.helper_ms = service->helper != NULL ? now_ms() : NEVER,
				.barred = service->trouble != NULL,
				.tried_ms = NEVER };

	if (s.barred)
		tell(&s, service->trouble);
	else
		s.start_ms = now_ms();
	if (s.barred && service->try_again != NULL)
		s.tried_ms = now_ms() + TRIED_EVERY_MS;
	act(&s);
	for (;;) {
		(void)poll(ears->from, ears->count, timeout(&s));
		for (nfds_t i = 1; i < ears->count; i++) {
			if (ears->from[i].revents != 0)
				on_button(&s, &ears->from[i]);
		}
		on_signal(&s);
		act(&s);
	}
}
