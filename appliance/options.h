/*
 * A verb's command line: its options are a table, from which come the parsing, `--help` and the
 * near misses.
 */
#ifndef APPLIANCE_OPTIONS_H
#define APPLIANCE_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

/* Exit statuses of every verb. */
enum exit_status {
	EXIT_FINE = 0,
	EXIT_FAILED = 1,
	EXIT_USAGE = 2,
	EXIT_LEFT = 3, /* an agent: its guardian has still to let instances go */
};

struct option {
	const char *name;  /* "config", written --config VALUE or --config=VALUE */
	const char *value; /* what the help calls its value ("FILE"); NULL: it takes none */
	const char *doc;
	bool *flag; /* set when it is given */
	const char *
		*text; /* its value; points into argv. An array of `most` when it may be repeated */
	size_t most;   /* 0: once */
	size_t *count; /* of `most`: how many were given */
};

struct command {
	const char *synopsis; /* "status (--config FILE | --http ADDRESS) [--json]" */
	const char *about;    /* a paragraph */
	const struct option *options;
	size_t count;
	const char **operand; /* the one argument that is no option, or NULL: there is none */
	const char *operand_name;
	bool operand_may_lack; /* NULL then */
};

/*
 * Goes through argv[1] and on. What begins with a dash is an option, up to "--"; but "-" is none. True: run the verb. False: return *status at once; --help or a
 * mistake has been dealt with.
 */
bool options_parse(const struct command *command, int argc, char **argv, int *status);

/* A mistake that no table can tell: says so with a hint at --help. Returns EXIT_USAGE. */
int options_wrong(const struct command *command, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* "understudy: TEXT" on standard error. Returns EXIT_FAILED. */
int options_failed(const char *text);

#endif
