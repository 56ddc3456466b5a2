/*
 * The two sites' certificates, without any other tool: an authority of our own and a certificate
 * for each side.
 *
 * ECDSA on P-256 with SHA-256. The authority may only sign certificates, and no authorities below
 * it. A site's certificate serves as client and as server; its subject says who it is and for what:
 * "CN=seoul, OU=primary, O=understudy". net/tls.h insists on that OU. Private keys are readable by
 * their owner only. Nothing that exists is ever overwritten.
 */
#ifndef APPLIANCE_PKI_H
#define APPLIANCE_PKI_H

#include "appliance/base/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#define PKI_CA_DAYS 3650
#define PKI_SITE_DAYS 825 /* what common TLS software takes at most */
#define PKI_DAYS_MAX 36500
#define PKI_SUBJECT_MAX 256

enum pki_member { PKI_CA, PKI_PRIMARY, PKI_STANDBY, PKI_MEMBERS };

struct pki_request {
	const char *dir;
	uint32_t ca_days, site_days;
	const char *names[PKI_MEMBERS]; /* the CN of the two sites: their names */
	time_t now;
};

/* What there is now for one member: NAME.crt and NAME.key. */
struct pki_made {
	bool made; /* by this call; else it was there already */
	char subject[PKI_SUBJECT_MAX];
	char until[11]; /* "2036-11-17", UTC */
};

/*
 * Makes what is missing in the directory (which is made, too, mode 0700): ca, primary, standby. An
 * authority that is there is used for the others. What is there has to fit, and to be for its role.
 * On an error every file that this call made is gone again; after a process that was killed the next
 * call goes on. RC_STATE while another process is at it, or where what is there is not valid at that time.
 */
int pki_make(const struct pki_request *request, struct pki_made made[PKI_MEMBERS], struct err *err);

/* The name of a member's files: "ca", "primary", "standby". */
const char *pki_member_name(enum pki_member member);

/*
 * Whether the three files fit together and to a role ("primary", "standby") at a time. *days_left:
 * until the first of them runs out. The error names the file; RC_STATE: only its time is over, or not
 * yet there.
 */
int pki_inspect(const char *ca_path, const char *cert_path, const char *key_path, const char *role,
		time_t now, int64_t *days_left, struct err *err);

#endif
