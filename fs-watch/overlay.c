/*
 * Theory of operation. What comes from the workdir waits for the next event of the same upperdir: if overlayfs has exchanged the two, that is
 * the way back, by the same two names, and both together tell what has happened:
 *
 *   in         out           means
 *   whiteout   -             a file is deleted, or a directory of lower layers only
 *   whiteout   directory     a directory is deleted
 *   other      whiteout      made anew, where something had been deleted
 *   directory  directory     nothing: before a directory is removed, one without the lower layers' part takes its place
 *   directory  -             copied up
 *   other      -             copied up if its origin says so; else made where something had been deleted
 */
#include "fs-watch/overlay.h"

#include "appliance/base/mem.h"

#include <string.h>

/* NULL: it is not in there. "": it is that directory itself. */
static const char *below(const char *dir, const char *path)
{
	const size_t len = strlen(dir);

	if (path == NULL || strncmp(path, dir, len) != 0)
		return NULL;
	return path[len] == '/' ? path + len + 1 : path[len] == '\0' ? path + len : NULL;
}

static const char *in_diff(const char *path)
{
	return below("diff", path);
}

static bool comes_in(const struct watch_event *event)
{
	return event->kind == WATCH_RENAME && in_diff(event->path) != NULL &&
	       below("work", event->from) != NULL;
}

static bool goes_out(const struct watch_event *event)
{
	return event->kind == WATCH_RENAME && in_diff(event->from) != NULL &&
	       below("work", event->path) != NULL;
}

struct overlay_wants overlay_wants(const struct watch_event *event)
{
	const bool is_in = in_diff(event->path) != NULL;

	return (struct overlay_wants){
		.what = comes_in(event) ||
			(is_in && !event->is_dir &&
			 (event->kind == WATCH_DELETE || event->kind == WATCH_RENAME)) ||
			(is_in && *in_diff(event->path) != '\0' &&
			 (event->kind == WATCH_CREATE || event->kind == WATCH_FOUND)) ||
			goes_out(event),
		.lower = is_in && event->kind == WATCH_CREATE && *in_diff(event->path) != '\0',
	};
}

/* ---- telling --------------------------------------------------------------------------------- */

typedef void (*teller)(void *owner, const struct watch_event *event);

static void tell_waiting(const struct overlay_state *state, enum watch_kind kind, bool is_dir,
			 teller tell, void *owner)
{
	const struct watch_event event = {
		.kind = kind,
		.is_dir = is_dir,
		.time_ns = state->time_ns,
		.path = state->path,
	};

	tell(owner, &event);
}

/* By itself: nothing was exchanged for it. */
static void tell_alone(const struct overlay_state *state, teller tell, void *owner)
{
	enum watch_kind kind = WATCH_CREATE;

	if (state->what == OVERLAY_WHITEOUT)
		kind = WATCH_DELETE;
	else if (state->is_dir || state->what == OVERLAY_COPY)
		kind = WATCH_COPY_UP;
	tell_waiting(state, kind, state->is_dir, tell, owner);
}

static void tell_exchanged(const struct overlay_state *state, bool out_is_dir, teller tell,
			   void *owner)
{
	if (state->what == OVERLAY_WHITEOUT)
		tell_waiting(state, WATCH_DELETE, out_is_dir, tell, owner);
	else if (!(state->is_dir && out_is_dir))
		tell_waiting(state, WATCH_CREATE, state->is_dir, tell, owner);
}

void overlay_forget(struct overlay_state *state)
{
	mem_free(state->path);
	mem_free(state->work);
	*state = (struct overlay_state){ 0 };
}

void overlay_flush(struct overlay_state *state, teller tell, void *owner)
{
	if (state->waits)
		tell_alone(state, tell, owner);
	overlay_forget(state);
}

/* ---- deciding -------------------------------------------------------------------------------- */

static void wait_with(struct overlay_state *state, const struct watch_event *event,
		      const struct overlay_facts *facts, teller tell, void *owner)
{
	*state = (struct overlay_state){
		.waits = true,
		.is_dir = event->is_dir,
		.what = facts->what,
		.time_ns = event->time_ns,
		.path = mem_strdup(in_diff(event->path)),
		.work = mem_strdup(event->from),
	};
	if (state->path != NULL && state->work != NULL)
		return;
	state->waits = false;
	overlay_forget(state);
	tell(owner, &(struct watch_event){ .kind = WATCH_LOST, .is_dir = true, .path = "" });
}

static void tell_plain(const struct watch_event *event, enum watch_kind kind, teller tell,
		       void *owner)
{
	struct watch_event told = *event;

	told.kind = kind;
	told.path = in_diff(event->path);
	told.from = NULL;
	tell(owner, &told);
}

static void tell_rename(const struct watch_event *event, const struct overlay_facts *facts,
			teller tell, void *owner)
{
	struct watch_event told = *event;

	if (facts->what == OVERLAY_WHITEOUT) /* of an exchange with what has its name now */
		return;
	told.from = in_diff(event->from);
	told.path = in_diff(event->path);
	if (told.path == NULL) { /* into the workdir, and nothing came for it */
		told.kind = WATCH_DELETE;
		told.path = told.from;
		told.from = NULL;
	} else if (told.from == NULL) {
		told.kind = WATCH_CREATE;
	}
	tell(owner, &told);
}

/* The upperdir itself is made, and removed. */
static bool is_of_engine(const struct watch_event *event)
{
	return *in_diff(event->path) == '\0' && event->kind != WATCH_ATTRIBUTE;
}

/* Of one in the upperdir. */
static enum watch_kind kind_of(const struct watch_event *event, const struct overlay_facts *facts)
{
	if (event->kind == WATCH_CREATE && facts->is_lower)
		return WATCH_COPY_UP;
	return event->kind == WATCH_FOUND && facts->what == OVERLAY_WHITEOUT ? WATCH_DELETE :
									       event->kind;
}

static bool is_way_back(const struct overlay_state *state, const struct watch_event *event)
{
	return state->waits && goes_out(event) && strcmp(state->work, event->path) == 0 &&
	       strcmp(state->path, in_diff(event->from)) == 0;
}

void overlay_event(struct overlay_state *state, const struct watch_event *event,
		   const struct overlay_facts *facts, teller tell, void *owner)
{
	if (is_way_back(state, event)) {
		tell_exchanged(state, event->is_dir, tell, owner);
		overlay_forget(state);
		return;
	}
	overlay_flush(state, tell, owner);
	if (comes_in(event)) {
		wait_with(state, event, facts, tell, owner);
		return;
	}
	if (event->kind == WATCH_RENAME) {
		if (in_diff(event->path) != NULL || in_diff(event->from) != NULL)
			tell_rename(event, facts, tell, owner);
		return;
	}
	if (in_diff(event->path) == NULL || is_of_engine(event) ||
	    ((event->kind == WATCH_DELETE || event->kind == WATCH_CREATE) &&
	     facts->what == OVERLAY_WHITEOUT))
		return;
	tell_plain(event, kind_of(event, facts), tell, owner);
}

bool overlay_judge_seen(enum watch_kind *kind, const struct watch_event *event,
			const struct overlay_facts *facts)
{
	*kind = event->kind;
	if (event->kind == WATCH_CREATE && facts->what == OVERLAY_WHITEOUT)
		*kind = WATCH_DELETE;
	else if (event->kind == WATCH_CREATE && facts->what == OVERLAY_COPY)
		*kind = WATCH_COPY_UP;
	else if (event->kind == WATCH_DELETE)
		return facts->what == OVERLAY_UNKNOWN; /* else something was exchanged for it */
	else if (event->kind == WATCH_RENAME)
		return facts->what != OVERLAY_WHITEOUT;
	return true;
}
