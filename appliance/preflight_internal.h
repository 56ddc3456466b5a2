/* What the files of the preflight share. */
#ifndef APPLIANCE_PREFLIGHT_INTERNAL_H
#define APPLIANCE_PREFLIGHT_INTERNAL_H

#include "appliance/preflight.h"

#include <sys/types.h>

void preflight_note(struct buf *to, const char *name, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
#define preflight_error(preflight, ...) \
	preflight_note(&(preflight)->errors, (preflight)->name, __VA_ARGS__)
#define preflight_warning(preflight, ...) \
	preflight_note(&(preflight)->warnings, (preflight)->name, __VA_ARGS__)

/*
 * What to do about an error of the system: `remedy`, or where something is there and only may not
 * be used, who we are and that this user has to be let. The text is in `out`.
 */
#define PREFLIGHT_REMEDY_MAX 200
const char *preflight_remedy(char out[PREFLIGHT_REMEDY_MAX], int error, const char *remedy);

/* ---- preflight.c: that the certificate and its CA are valid now ---- */
void preflight_check_time(struct preflight *preflight);

/* ---- preflight_network.c: where we listen, and the devices and sockets of network cards ---- */
void preflight_network(struct preflight *preflight);

/* ---- preflight_disks.c: the images of one instance's disks ---- */
void preflight_check_disks(struct preflight *preflight, size_t index);

/* ---- preflight_appliance.c: what the appliance's image has, and has not; `path` is the file's ---- */
void preflight_appliance(struct preflight *preflight, const char *path);

#endif
