/*
 * How the first copy comes to an end. QEMU copies memory in passes while the guest writes; it stops
 * the guest for the rest when it believes that the rest can be sent within `downtime_ms`. This
 * decides what to tell it, and when to give up. Pure.
 *
 * QEMU is told a speed of its own for that moment (FIRST_COPY_SPEED, where it knows the parameter):
 * the rest goes into chunks that are kept ready, at the speed of memory, however slow the link to
 * the standby is. So downtime_ms begins with what those chunks hold. If passes do not bring the
 * rest below that, it is doubled, as long as the guest would stand for at most half of what it may:
 * the chunks' part at the speed of memory, the rest at the speed of the passes. QEMU itself slows a
 * guest down (auto-converge) that writes as fast as is copied; and a copy that is not done after
 * FIRST_COPY_PASSES and FIRST_COPY_NS is given up.
 */
#ifndef REPLICA_FIRST_COPY_H
#define REPLICA_FIRST_COPY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes/s into chunks: a third of what was measured (18 MiB in 6 ms), for slower machines. */
#define FIRST_COPY_SPEED (UINT64_C(1) << 30)
/*
 * Per doubling: most guests converge within so many passes, and small guests pass in milliseconds.
 */
#define FIRST_COPY_PATIENCE_PASSES 3
#define FIRST_COPY_PATIENCE_NS UINT64_C(500000000)
/*
 * Slowing a guest down to 20 % takes QEMU 14 passes. The first pass is as long as memory is large:
 * not counted.
 */
#define FIRST_COPY_PASSES 60
#define FIRST_COPY_NS UINT64_C(120000000000)

struct first_copy {
	uint64_t downtime_ms, most_ms;
	uint64_t ready;			/* bytes of chunks */
	uint64_t passes, passed_ns;	/* at the last change */
	uint64_t begin_ns, begin_bytes; /* at the end of the first pass; 0: not yet */
};

enum first_copy_verdict {
	FIRST_COPY_ON,
	FIRST_COPY_RAISED, /* tell QEMU downtime_ms */
	FIRST_COPY_HOPELESS,
};

/* `ready`: bytes of chunks kept ready. */
void first_copy_init(struct first_copy *copy, size_t ready, uint32_t pause_limit_ms);

struct first_copy_state {
	uint64_t now_ns;
	uint64_t passes;      /* how often QEMU has looked for dirty pages */
	uint64_t transferred; /* bytes, since the beginning */
	bool speed_known; /* QEMU counts with FIRST_COPY_SPEED, not with the speed of its passes */
};
enum first_copy_verdict first_copy_step(struct first_copy *copy,
					const struct first_copy_state *state);

#endif
