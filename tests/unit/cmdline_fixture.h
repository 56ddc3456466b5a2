/* For tests of QEMU's command lines, which they write with a newline after each argument. */
#ifndef TESTS_UNIT_CMDLINE_FIXTURE_H
#define TESTS_UNIT_CMDLINE_FIXTURE_H

#include "replica/cmdline.h"
#include "replica/reservation.h"

#define MIB (UINT64_C(1) << 20)

/* Most of what is derived begins and ends like this. */
#define PC "-machine\npc-i440fx-10.0,memory-backend=pc.ram\n"
#define NONE "-display\nnone"
#define PORT "-serial\nfile:console-0.log"

/* What came out last, and why nothing did. */
extern struct cmdline_spec arguments_spec;
extern struct err arguments_err;
/* Frees the former: for cmocka. */
int arguments_teardown(void **state);

/* Splits at newlines: arguments may hold spaces. The caller frees *cmdline. */
void arguments_lines(struct cmdline *cmdline, const char *text);
/* reservation_derive() of `text` behind a program's name and -nodefaults, on a machine of 256 MiB; its RC. */
int arguments_reserve(struct reservation *reservation, const char *text, char *const *own,
		      struct err *err);
/* What came out, arguments joined by newlines; valid until the next call. */
const char *arguments_joined(const struct cmdline *cmdline);

/* cmdline_derive() of `text` behind a program's name; its RC. */
int arguments_derive_for(const char *machine, const char *text);
int arguments_derive(const char *text);
/* Fails the test unless `to` is derived from `from`. */
void arguments_becomes(const char *from, const char *to);
/* Fails it unless `from` is refused with a message that has `word` in it. */
void arguments_refused_naming(const char *from, const char *word);

#endif
