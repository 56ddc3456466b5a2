/*
 * For tests of the guardian: an agent in a process of its own, which keeps a guardian and does what
 * it is told, and the ends of the sockets that the QEMUs of its instances would have.
 */
#ifndef TESTS_UNIT_GUARDIAN_FIXTURE_H
#define TESTS_UNIT_GUARDIAN_FIXTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define GUARDED_TELL "{\"execute\":\"x-colo-lost-heartbeat\"}"
#define GUARDED_PATIENCE_MS 5000 /* a test that waits longer has failed */
#define GUARDED_QEMUS_MAX 4
#define GUARDED_LEASE_MS 600

/* One instance as its QEMU sees it. */
struct guarded_qemu {
	int qmp, colo;		   /* QEMU's ends */
	int agent_qmp, agent_colo; /* the agent's; closed here once the agent has them */
	char heard[16384];
	size_t heard_len;
};

struct guarded {
	struct guarded_qemu qemus[GUARDED_QEMUS_MAX];
	unsigned count;
	bool sockets; /* only the one for COLO is watched, as any socket */
	pid_t agent;
	pid_t guardian; /* the first, or the one last seen by guarded_successor() */
	int orders;
};

int guarded_setup(void **state);
int guarded_teardown(void **state);

/* An agent that has `count` instances watched. */
void guarded_start(struct guarded *f, unsigned count, uint32_t freeze_limit_ms);
/*
 * The agent does, before this returns: 'h' hold, 'r' release, 'u' unwatch all instances; 'l' leave
 * the guardian alone from now on, 't' tend it again; 's' stop it. 'L' takes the first on a leash, 'F' lets
 * it run as long as it likes, 'M' for GUARDED_LEASE_MS more; 'S' it stands, 'O' it has stopped it and it
 * stands; 'U' unleash it, 'V' and leave it.
 */
void guarded_order(struct guarded *f, char what);
void guarded_kill_agent(struct guarded *f);
/* SIGKILL and SIGSTOP for the guardian. */
void guarded_kill_guardian(const struct guarded *f);
void guarded_stop_guardian(const struct guarded *f);
/* Waits until the agent has another guardian, and nothing is left of the one before. */
void guarded_successor(struct guarded *f);

/* The next line that the QEMU was sent; false when the connection ended or nothing came. */
bool guarded_next_line(struct guarded_qemu *qemu, char *line, size_t size, int timeout_ms);
void guarded_expect_line(struct guarded_qemu *qemu, const char *expected);
void guarded_expect_silence(struct guarded_qemu *qemu);
/* The other side has closed every copy of its end, or shut it down. */
void guarded_expect_end(int fd);
/* Waits for the two questions of a round and answers them. */
void guarded_expect_round(struct guarded_qemu *qemu, const char *round, const char *migration,
			  const char *status);

/* Waits for a round of two questions with `stop` between them, and answers. */
void guarded_expect_stop(struct guarded_qemu *qemu, const char *round, const char *before,
			 const char *after);
void guarded_say(struct guarded_qemu *qemu, const char *text);

/* The value of a line of /proc/PID/status. */
void guarded_read_status(pid_t pid, const char *key, char *value, size_t size);

#endif
