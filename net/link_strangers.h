/*
 * Which of the connections that have not said HELLO goes when there are too many of them. Pure: no
 * I/O, no clock.
 *
 * Anybody can open connections; only who holds a certificate of our CA gets through TLS. So those
 * that are through are kept as long as there is another one to take, and of the others one goes of
 * the source that has the most: of the older half the oldest that has not said a single byte (an
 * honest dialler speaks at once), else the oldest. The newcomer is never the one.
 *
 * A flood from one source thus displaces itself, and an honest peer at another one is not touched.
 * One at the same source has the time in which LINK_STRANGERS_PER_SOURCE others come, all of which
 * have spoken; when they are silent, it has all its time.
 */
#ifndef NET_LINK_STRANGERS_H
#define NET_LINK_STRANGERS_H

#include <stddef.h>
#include <stdint.h>

enum link_stranger_stage {
	LINK_STRANGER_SILENT,	/* nothing came from it */
	LINK_STRANGER_SPEAKING, /* in the TLS handshake */
	LINK_STRANGER_KNOWN,	/* TLS is done: it has a certificate of our CA */
	LINK_STRANGER_STAGES
};

struct link_stranger {
	uint64_t source; /* address_source() */
	enum link_stranger_stage stage;
};

/*
 * `strangers`: the oldest first, the newcomer last. The index of the one that has to go; `count`
 * when all can stay. Over LINK_STRANGERS_PER_SOURCE it is one of the newcomer's source.
 */
size_t link_strangers_excess(const struct link_stranger *strangers, size_t count);

#endif
