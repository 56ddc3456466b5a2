/*
 * What can be told of a configuration before anything is started: the one list of checks behind
 * `understudy check`, which prints it, and behind the daemons, which log it and do not start on an
 * error. What may be missing for a while (a QEMU that is not running yet, a peer) is a warning.
 */
#ifndef APPLIANCE_PREFLIGHT_H
#define APPLIANCE_PREFLIGHT_H

#include "appliance/base/files.h"
#include "appliance/config.h"

struct preflight {
	char name[FILES_CLIP + 1]; /* of the file, in messages */
	bool role_known;	   /* config.role is the file's */
	struct config config;
	/* A line each: "FILE: KEY: what is wrong; what to do". Both empty: fine. */
	struct buf errors, warnings;
};

/*
 * Reads the file at `path` ("-": standard input) for a role (NULL: told from the file) and checks
 * it and what it names. RC_OK: there are no errors; warnings there may be. Otherwise `errors` has a
 * line at least (but RC_STATE: the role cannot be told, that is in err alone; RC_NOMEM: they may
 * not be complete). preflight_free() in any case.
 */
int preflight_run(struct preflight *preflight, const enum config_role *role, const char *path,
		  struct err *err);
/*
 * After that, what only `understudy check` looks at, since it may take some seconds: adds to the
 * errors and warnings. RC_INVALID if there was an error.
 */
int preflight_look(struct preflight *preflight, struct err *err);
/*
 * Whether the two sites' configurations may be used together: adds to the errors of `preflight`
 * what safety.h forbids, and where they do not fit. RC_INVALID if that was anything.
 */
int preflight_pair(struct preflight *preflight, const struct config *peer, struct err *err);
/*
 * Instead of preflight_run(), for a standby's file that is to be used in the appliance's image, on another machine: what can be
 * told of it here.
 */
int preflight_run_appliance(struct preflight *preflight, const char *path, struct err *err);
/* Of that: adds a line for each address that it would listen at and that only the appliance itself reaches, where nobody is to ask. */
void preflight_unreachable(struct buf *to, const char *name, const struct config *config);
void preflight_free(struct preflight *preflight);

/* Goes through `lines` from *at = 0: the next one, without its end, NULL after the last. */
const char *preflight_line(const struct buf *lines, size_t *at, int *len);

/* Errors and warnings, to standard error. */
void preflight_print(const struct preflight *preflight);

#endif
