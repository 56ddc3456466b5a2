/* Certificates in a directory of a test's own. */
#ifndef TESTS_UNIT_PKI_FIXTURE_H
#define TESTS_UNIT_PKI_FIXTURE_H

#include "appliance/pki.h"

#include <stddef.h>

#define PKI_PATH_SIZE 512
#define PKI_FILE_SIZE 8192
#define PKI_FILES 6

extern char pki_top[]; /* of the whole program */
extern char pki_dir[]; /* of one test: does not exist at its start */
extern struct pki_made pki_made[PKI_MEMBERS];
extern struct err pki_err;
extern const char *const pki_files[PKI_FILES];

/* For cmocka: around the program, around a test. */
int pki_fixture_open(void **state);
int pki_fixture_close(void **state);
int pki_fixture_set_up(void **state);
int pki_fixture_tear_down(void **state);

/* Of a file there; one of four buffers. */
const char *pki_path(const char *name);
struct pki_request pki_fixture_request(void);
/* pki_make() of it. */
int pki_fixture_try(void);
/* It has to do. */
void pki_fixture_make(void);
size_t pki_fixture_read(const char *name, char out[PKI_FILE_SIZE]);
/* How many files there are. */
size_t pki_fixture_entries(void);
/* Removes the six, and the directory, in which there must be no other. */
void pki_fixture_clear(void);

#endif
