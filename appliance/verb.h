/*
 * The verbs of the program, one file each (verb_check.c, ...). argv[0] is the verb itself; returns
 * the process's exit status (enum exit_status in options.h).
 */
#ifndef APPLIANCE_VERB_H
#define APPLIANCE_VERB_H

int verb_check(int argc, char **argv);
int verb_config_drive(int argc, char **argv);
int verb_dhcp(int argc, char **argv);
int verb_history(int argc, char **argv);
int verb_mark(int argc, char **argv);
int verb_pki(int argc, char **argv);
int verb_primary(int argc, char **argv);
int verb_release(int argc, char **argv);
int verb_rewind(int argc, char **argv);
int verb_run(int argc, char **argv);
int verb_standby(int argc, char **argv);
int verb_status(int argc, char **argv);
int verb_takeover(int argc, char **argv);
int verb_trouble(int argc, char **argv);
int verb_version(int argc, char **argv);
int verb_watch(int argc, char **argv);

#endif
