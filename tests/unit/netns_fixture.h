/*
 * Network namespaces of a test's own, as root or as any user who may have user namespaces: a test
 * program enters them and never leaves, so nothing of the machine's network is touched.
 */
#ifndef TESTS_UNIT_NETNS_FIXTURE_H
#define TESTS_UNIT_NETNS_FIXTURE_H

#include <stdbool.h>

/*
 * The calling process, which must have one thread, gets two namespaces, "here" and "there", with
 * the ends of a cable named "cable" in both, up; it is here. False: the machine does not let us.
 */
bool netns_fixture_create(void);

/* netns_fixture_create() and netns_fixture_remove(), as cmocka calls what is before and behind a test. */
int netns_fixture_set_up(void **state);
int netns_fixture_tear_down(void **state);

/* The test is skipped, and that is said, where there are none. */
void netns_fixture_need(void);

/* The cable was deleted: another one, of the same name. From here. */
void netns_fixture_lay_cable(void);

/* Both are gone; what is next created is new. */
void netns_fixture_remove(void);

/* Moves the calling process. */
void netns_fixture_here(void);
void netns_fixture_there(void);

/* Runs a shell command where the process is; its output, which the next call overwrites. */
const char *netns_fixture_run(const char *command);
/* What it puts out has that in it. */
void netns_fixture_shows(const char *command, const char *part);

#endif
