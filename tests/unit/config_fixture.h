/* Configurations that the tests of the reader begin with, and what they expect of one. */
#ifndef TESTS_UNIT_CONFIG_FIXTURE_H
#define TESTS_UNIT_CONFIG_FIXTURE_H

#include "appliance/config.h"

#define TLS "\"tls\": {\"ca\": \"ca.crt\", \"cert\": \"/etc/u/p.crt\", \"key\": \"keys/p.key\"}"
#define PRIMARY_WITH(link, instances)                                                          \
	"{\"site\": \"seoul\", " TLS ", \"link\": {\"connect\": \"192.0.2.7:7400\"" link "}, " \
	"\"instances\": [" instances "]}"
#define PRIMARY_INSTANCE(more) "{\"name\": \"vm1\", \"qmp\": \"run/vm1.qmp\"" more "}"
#define PRIMARY PRIMARY_WITH("", PRIMARY_INSTANCE(""))
#define STANDBY_WITH(link, more)                                                                  \
	"{\"site\": \"busan\", " TLS ", \"link\": {\"listen\": \"[2001:db8::7]:7400\"" link "}, " \
	"\"hypervisor\": {\"program\": \"/q/qemu\"}, \"state_dir\": \"state\", "                  \
	"\"instances\": [{\"name\": \"vm1\"" more "}]}"
#define STANDBY STANDBY_WITH("", "")

/* What was read last, and why it could not be. */
extern struct config config;
extern struct err err;

int parse(enum config_role role, const char *text);
/* Fails the test if it is taken, or for another reason. */
void refuses(enum config_role role, const char *text, const char *message);
/* Fails the test if it is not taken; config_free(&config) is the caller's. */
void takes(enum config_role role, const char *text);

#endif
