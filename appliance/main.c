#include "appliance/base/near_miss.h"
#include "appliance/init.h"
#include "appliance/options.h"
#include "appliance/verb.h"
#include "replica/confine_process.h"
#include "replica/guardian_process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const struct {
	const char *name;
	const char *doc;
	int (*run)(int argc, char **argv);
} verbs[] = {
	{ "standby", "keep clones of instances, and run them when their site fails", verb_standby },
	{ "primary", "protect the instances that run here", verb_primary },
	{ "check", "check a configuration file; print its JSON Schema or its keys", verb_check },
	{ "status", "show what a running primary or standby is doing", verb_status },
	{ "takeover", "tell a standby to run its clone of an instance now", verb_takeover },
	{ "release", "let go of what a takeover left, at a standby or a primary", verb_release },
	{ "history", "show what of an instance's past a standby can bring back", verb_history },
	{ "mark", "mark the present epoch of an instance", verb_mark },
	{ "rewind", "run an earlier epoch of an instance, isolated", verb_rewind },
	{ "pki", "make the certificates with which the two sites know each other", verb_pki },
	{ "config-drive", "make the drive that configures an appliance's image",
	  verb_config_drive },
	{ "dhcp", "keep the addresses that an appliance's image gets by DHCP", verb_dhcp },
	{ "trouble", "serve a health endpoint that says what is wrong", verb_trouble },
	{ "run", "run a container, and tell of every change in its file system", verb_run },
	{ "watch", "tell of every change below a directory", verb_watch },
	{ "version", "print versions", verb_version },
};
#define VERBS (sizeof(verbs) / sizeof(verbs[0]))

static void print_help(FILE *to)
{
	(void)fprintf(to, "usage: understudy VERB [OPTION]...\n\n");
	for (size_t i = 0; i < VERBS; i++)
		(void)fprintf(to, "  %-12s %s\n", verbs[i].name, verbs[i].doc);
	(void)fprintf(to, "\n'understudy VERB --help' explains a verb.\n");
}

static int unknown_verb(const char *name)
{
	struct near_miss miss = near_miss_of(name);

	for (size_t i = 0; i < VERBS; i++)
		near_miss_offer(&miss, verbs[i].name);
	if (miss.best != NULL)
		(void)fprintf(stderr, "understudy: unknown verb '%s'; did you mean '%s'?\n", name,
			      miss.best);
	else
		(void)fprintf(stderr,
			      "understudy: unknown verb '%s'; 'understudy --help' lists them\n",
			      name);
	return EXIT_USAGE;
}

static int run(int argc, char **argv)
{
	if (argc < 2) {
		print_help(stderr);
		return EXIT_USAGE;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
	    strcmp(argv[1], "help") == 0) {
		print_help(stdout);
		return EXIT_FINE;
	}
	if (strcmp(argv[1], "--version") == 0)
		return verb_version(1, argv + 1);
	for (size_t i = 0; i < VERBS; i++) {
		if (strcmp(argv[1], verbs[i].name) == 0)
			return verbs[i].run(argc - 1, argv + 1);
	}
	return unknown_verb(argv[1]);
}

/*
 * Whoever started us with a standard descriptor closed would have the next file that is opened get
 * its number: the log would be written into a lock or a connection. What stands there instead fails
 * as a closed one does.
 */
static bool occupy_standard_descriptors(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
		if (fcntl(fd, F_GETFD) < 0 &&
		    open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) != fd)
			return false;
	}
	return true;
}

int main(int argc, char **argv)
{
	int status;

	if (guardian_process_is_one(argc, argv))
		guardian_process_run();
	if (confine_process_is_one(argc, argv))
		confine_process_run(argv);
	if (init_is_one(argc, argv))
		init_run();
	if (!occupy_standard_descriptors())
		return EXIT_FAILED;
	/*
	 * A peer, a pipe or a terminal that went away is an error to handle where it happens, not
	 * our end.
	 */
	(void)signal(SIGPIPE, SIG_IGN);
	status = run(argc, argv);
	if ((fflush(stdout) != 0 || ferror(stdout)) && errno != EPIPE) {
		perror("understudy: standard output");
		return status != EXIT_FINE ? status : EXIT_FAILED;
	}
	return status;
}
