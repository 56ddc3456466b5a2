/*
 * What the verbs that command something have in common (takeover, release): their options, the
 * question whether it is meant, the request to a running process, what came of it: for a takeover
 * that is whether the replica serves, which is known some time after the request was answered.
 */
#ifndef APPLIANCE_OPERATOR_H
#define APPLIANCE_OPERATOR_H

#include <stdbool.h>

struct operator_command {
	const char *synopsis, *about;
	const char *path;     /* of the request: POST {"instance": NAME} */
	const char *what;     /* does --instance name? "the instance to take over" */
	const char *question; /* what it means, behind the instance's name */
	const char *refused;  /* "the standby did not take over" */
	const char *done;     /* "the takeover is under way" */
	/* It takes a while, and may fail: --wait, and the verb ends when the instance serves or it is
	 * known that it will not. */
	bool followed;
};

/* The verb; returns the process's exit status. */
int operator_run(const struct operator_command *order, int argc, char **argv);

#endif
