/*
 * What a container engine's API answers (Docker's, and podman's compatible one): JSON taken apart. No I/O.
 */
#ifndef FS_WATCH_ENGINE_FORMAT_H
#define FS_WATCH_ENGINE_FORMAT_H

#include "appliance/base/err.h"

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ENGINE_ID_MAX 64
#define ENGINE_NAME_MAX 255

/* GET /info */
struct engine_info {
	char driver[64]; /* "overlay2", podman's "overlay" */
	char root[PATH_MAX];
};

/* GET /containers/ID/json */
struct engine_container {
	char id[ENGINE_ID_MAX + 1];
	char name[ENGINE_NAME_MAX + 1];
	bool running;
	uint64_t started_ns;  /* since 1970; 0: never */
	char upper[PATH_MAX]; /* its upperdir; "": the engine does not tell */
};

/* GET /events, a line */
enum engine_event_kind {
	ENGINE_OTHER, /* nothing that matters here */
	ENGINE_CREATE,
	ENGINE_START,
	ENGINE_DIE,
	ENGINE_DESTROY,
	ENGINE_RENAME,
};

struct engine_event {
	enum engine_event_kind kind;
	char id[ENGINE_ID_MAX + 1];
	char name[ENGINE_NAME_MAX + 1]; /* "": it is not told */
};

/* RC_INVALID: it is not what an engine answers; RC_NOMEM. An id is hexadecimal digits, a name of letters, digits, and "_.-". */
int engine_format_info(struct engine_info *info, const char *json, size_t len, struct err *err);
int engine_format_container(struct engine_container *container, const char *json, size_t len,
			    struct err *err);
int engine_format_event(struct engine_event *event, const char *json, size_t len, struct err *err);

/* GET /containers/json: the id of each. */
int engine_format_list(const char *json, size_t len, void (*each)(void *owner, const char *id),
		       void *owner, struct err *err);

/* "2026-11-29T15:01:38.949566758Z", or with "+01:00" for the Z. False: it is none. 0: before 1970, as the engine's "never" is. */
bool engine_format_time(uint64_t *ns, const char *text);

#endif
