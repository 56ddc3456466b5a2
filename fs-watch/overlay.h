/*
 * What an event in the directories of an overlayfs means for who uses it. No I/O: facts come with the event.
 *
 * overlayfs changes its upperdir by plain means, in steps of which some are its own: it makes things in its workdir and renames them into
 * place, exchanges one for the other, copies up. In its upperdir are
 *   a name that was made        is one for its user, too; but where a lower layer has that name, it was copied up from there
 *   one renamed from the workdir  is a whiteout (something was deleted), something made in place of a whiteout, or copied up; a directory
 *                               that takes a directory's place is nothing at all: the same one, emptied
 *   one renamed to the workdir  is the other half of an exchange, which tells what was in that place before
 *   a whiteout that goes, or that a rename has left behind  is nothing: its name was gone before
 * Nothing else of the workdir matters.
 */
#ifndef FS_WATCH_OVERLAY_H
#define FS_WATCH_OVERLAY_H

#include "fs-watch/event.h"

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

/* What an object is. */
enum overlay_what {
	OVERLAY_UNKNOWN,  /* it is gone, or could not be looked at */
	OVERLAY_PLAIN,	  /* made there */
	OVERLAY_COPY,	  /* has been copied up, as its origin says */
	OVERLAY_WHITEOUT, /* stands for something of a lower layer that was deleted */
};

struct overlay_facts {
	enum overlay_what what; /* who has, or had, the name */
	bool is_lower;		/* a lower layer shows something by that name */
};

/* Which of the facts an event needs. */
struct overlay_wants {
	bool what, lower;
};

/* One event that came from the workdir, until it is known what it has replaced. One for each upperdir; zero at first. */
struct overlay_state {
	bool waits;
	bool is_dir;
	enum overlay_what what;
	uint64_t time_ns;
	char *path, *work; /* where it has come to, and from */
};

/*
 * `event` has paths that begin where "diff" and "work" are. It is told by `tell` as what it means, with paths that begin in "diff", now or
 * by a later call; what does not matter is not told of. Without memory an event may be taken for another; the state is right.
 */
struct overlay_wants overlay_wants(const struct watch_event *event);
void overlay_event(struct overlay_state *state, const struct watch_event *event,
		   const struct overlay_facts *facts,
		   void (*tell)(void *owner, const struct watch_event *event), void *owner);
/* No more is to come for now: what waits is told. Also releases what it has. */
void overlay_flush(struct overlay_state *state,
		   void (*tell)(void *owner, const struct watch_event *event), void *owner);
/* What waits is told of nobody. */
void overlay_forget(struct overlay_state *state);

/*
 * The same where only the upperdir is seen, by inotify: something that came from, or went to, the workdir was made, or is gone; `facts` are of
 * what has the name now. False: it does not matter; else *kind is what it means.
 */
bool overlay_judge_seen(enum watch_kind *kind, const struct watch_event *event,
			const struct overlay_facts *facts);

#endif
