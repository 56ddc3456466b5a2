/*
 * What a watcher of a directory tree is measured with.
 *
 * bench_watch delay DIR EVENTS COMMAND...: runs the command, whose lines name what was made in DIR, and makes so many files, one after the
 * other was told of, with a moment between. Prints the time from before the system call until the line has been read, in µs, as JSON.
 *
 * bench_watch work DIR WRITERS OPERATIONS: so many processes share the operations: a directory is made, files in it at once,
 * and all is removed. Prints how many names were made.
 */
#include "appliance/base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAUSE_US 500
#define GIVE_UP_MS 3000
#define START_TRIES 100
#define FILES 8

static char told[1 << 16];
static size_t ntold;

static int fail(const char *what)
{
	(void)fprintf(stderr, "bench_watch: %s: %s\n", what, strerror(errno));
	return 1;
}

/* Reads until a line has the name. */
static bool wait_for(int fd, const char *name, int limit_ms)
{
	struct pollfd readable = { .fd = fd, .events = POLLIN };
	ssize_t got;

	ntold = 0;
	while (poll(&readable, 1, limit_ms) > 0) {
		if (ntold > sizeof(told) / 2)
			ntold = 0;
		got = read(fd, told + ntold, sizeof(told) - 1 - ntold);
		if (got <= 0)
			return false;
		ntold += (size_t)got;
		told[ntold] = '\0';
		if (strstr(told, name) != NULL)
			return true;
	}
	return false;
}

static bool make(int dir, const char *name)
{
	const int fd = openat(dir, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	return fd >= 0 && close(fd) == 0;
}

static pid_t start(char **command, int *out)
{
	int ends[2];
	pid_t pid;

	if (pipe(ends) != 0)
		return -1;
	pid = fork();
	if (pid == 0) {
		(void)dup2(ends[1], 1);
		(void)close(ends[0]);
		(void)close(ends[1]);
		(void)execvp(command[0], command);
		_exit(127);
	}
	(void)close(ends[1]);
	*out = ends[0];
	return pid;
}

static int delay(const char *path, unsigned events, char **command)
{
	const int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char name[32];
	unsigned missed = 0;
	bool ready = false;
	uint64_t begin;
	int out;
	const pid_t pid = start(command, &out);

	if (dir < 0 || pid < 0)
		return fail(path);
	for (unsigned i = 0; i < START_TRIES && !ready; i++) {
		(void)snprintf(name, sizeof(name), "start-%u.", i);
		ready = make(dir, name) && wait_for(out, name, 100);
	}
	(void)printf("[");
	for (unsigned i = 0; ready && i < events; i++) {
		(void)snprintf(name, sizeof(name), "event-%u.", i);
		(void)usleep(PAUSE_US);
		begin = clock_now_ns();
		if (!make(dir, name))
			return fail(name);
		if (wait_for(out, name, GIVE_UP_MS))
			(void)printf("%s%.1f", i > missed ? "," : "",
				     (double)(clock_now_ns() - begin) / 1000);
		else
			missed++;
	}
	(void)printf("]\n");
	(void)kill(pid, SIGTERM);
	(void)waitpid(pid, NULL, 0);
	return ready ? 0 : fail("it tells nothing");
}

/* How many names it has made; -1: it could not. */
static long write_there(const char *path, unsigned number, unsigned operations)
{
	char name[64];
	long made = 0;

	if (chdir(path) != 0)
		return -1;
	for (unsigned done = 0; done < operations; done += 2 * FILES + 2) {
		(void)snprintf(name, sizeof(name), "%u-%u", number, done);
		if (mkdir(name, 0700) != 0)
			return -1;
		made++;
		for (unsigned i = 0; i < 2 * FILES; i++) {
			(void)snprintf(name, sizeof(name), "%u-%u/%u", number, done, i % FILES);
			if (i < FILES ? !make(AT_FDCWD, name) : unlink(name) != 0)
				return -1;
			made += i < FILES;
		}
		(void)snprintf(name, sizeof(name), "%u-%u", number, done);
		if (rmdir(name) != 0)
			return -1;
	}
	return made;
}

static int work(const char *path, unsigned writers, unsigned operations)
{
	long made = 0, each;
	int ends[2], status;

	if (pipe(ends) != 0)
		return fail("pipe");
	for (unsigned i = 0; i < writers; i++) {
		if (fork() != 0)
			continue;
		each = write_there(path, i, operations / writers);
		_exit(each < 0 || write(ends[1], &each, sizeof(each)) != sizeof(each));
	}
	for (unsigned i = 0; i < writers; i++) {
		if (wait(&status) < 0 || status != 0 ||
		    read(ends[0], &each, sizeof(each)) != sizeof(each))
			return fail("a writer");
		made += each;
	}
	(void)printf("%ld\n", made);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc > 4 && strcmp(argv[1], "delay") == 0)
		return delay(argv[2], (unsigned)strtoul(argv[3], NULL, 10), argv + 4);
	if (argc == 5 && strcmp(argv[1], "work") == 0)
		return work(argv[2], (unsigned)strtoul(argv[3], NULL, 10),
			    (unsigned)strtoul(argv[4], NULL, 10));
	(void)fprintf(stderr, "usage: see the head of tests/bench/bench_watch.c\n");
	return 2;
}
