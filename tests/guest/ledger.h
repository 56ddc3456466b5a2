/*
 * The ledger: what a client was told is in it must be in it for ever. Entries are numbered from 1 on
 * in the order of their arrival, without a gap; kept in memory, so a copy of the machine from an
 * earlier moment lacks the last ones.
 */
#ifndef TESTS_GUEST_LEDGER_H
#define TESTS_GUEST_LEDGER_H

#include <stddef.h>

#define LEDGER_TEXT_MAX 200 /* bytes of an entry */

/* Both as snprintf(): the new entry's number; the text of the entry of that number. */
int ledger_append_answer(const char *text, char *to, size_t size);
int ledger_entry_answer(const char *number, char *to, size_t size);

#endif
