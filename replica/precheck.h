/*
 * Before the instance is touched: can this QEMU be protected at all, and if not, exactly why and
 * what would help.
 *
 * Questions are put by QMP (query-version, query-kvm, query-status, query-migrate, ...) and change
 * nothing; the verdict is a pure function of the answers: COLO compiled in; no release that never
 * enters COLO; under TCG only a build with the lock fix; no migration under way; nothing that
 * blocks migration; the guest runs (QEMU starts a paused guest when it enters COLO, and who paused
 * it would not expect that); no device but those of the command line (cold_devices.h). What was
 * plugged in later and is gone again is not seen.
 */
#ifndef REPLICA_PRECHECK_H
#define REPLICA_PRECHECK_H

#include "appliance/base/err.h"
#include "replica/cold_devices.h"
#include "replica/qmp.h"

#include <stdbool.h>
#include <stdint.h>

#define PRECHECK_TEXT_MAX 128
#define PRECHECK_REASON_MAX 256
#define PRECHECK_PACKAGE \
	"understudy-colo2" /* a build with both TCG fixes (image/qemu-*.patch); the first did without the second */

struct precheck_facts {
	uint32_t major, minor, micro;
	char package[PRECHECK_TEXT_MAX];
	bool kvm;				      /* the accelerator in use */
	bool has_colo, has_ignore_shared, has_events; /* migration capabilities */
	char status[PRECHECK_TEXT_MAX];		      /* query-status */
	char migration[PRECHECK_TEXT_MAX];	      /* query-migrate's status, empty: none */
	char blocked[PRECHECK_REASON_MAX];	      /* first blocked-reason, empty: none */
	char machine[PRECHECK_TEXT_MAX];	      /* "pc-i440fx-10.0" */
	char default_ram_id[PRECHECK_TEXT_MAX];	      /* "pc.ram" */
	uint64_t memory_bytes;			      /* without memory devices */
	uint32_t cpus;				      /* present now */
	struct cold_devices cold;		      /* precheck_run()'s own */
	char added
		[PRECHECK_REASON_MAX]; /* the first device beside those, and its kind; empty: none */
};

/*
 * RC_OK, RC_UNSUPPORTED (never like this) or RC_STATE (not now), with the reason and the remedy.
 * Pure.
 */
int precheck_verdict(const struct precheck_facts *facts, struct err *err);

/*
 * The reply to question `index` (0 on) into *facts; false when it is not what QEMU answers, or there
 * is no such question. Pure.
 */
bool precheck_take(struct precheck_facts *facts, size_t index, const cJSON *reply);

/*
 * `source`, which has to last for this call only: the command line that the replica's is derived
 * from; NULL: its devices are not compared, the operator says what the replica has.
 *
 * Asks all and calls back exactly once, from the loop, also when `qmp` is closed meanwhile
 * (RC_CANCELLED). `err->code` is RC_OK when the instance can be protected; else it is the verdict,
 * or why it could not be asked (facts as far as known). Both are valid during the call only, which
 * may close `qmp`. After an error of precheck_run() itself `done` is not called.
 */
int precheck_run(struct qmp *qmp, const struct cmdline *source,
		 void (*done)(void *owner, const struct precheck_facts *facts,
			      const struct err *err),
		 void *owner, struct err *err);

#endif
