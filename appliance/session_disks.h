/*
 * A session's disks: what the configuration and the examination say of them, and their part in its epochs.
 */
#ifndef APPLIANCE_SESSION_DISKS_H
#define APPLIANCE_SESSION_DISKS_H

#include "appliance/session.h"
#include "replica/disk_capture.h"

struct session_disks_ops {
	void (*on_lost)(void *owner, const struct err *err);
	/* After session_disks_end_epoch(): it is whole, and what belongs to it has been given to the sender. */
	void (*on_settled)(void *owner, const struct capture_epoch *epoch);
};

/* Embedded by the session; all of it is private. */
struct session_disks {
	const struct session_options *options;
	const struct session_disks_ops *ops;
	void *owner;
	struct disk_capture *capture; /* NULL: there are none, or it is not open */
	struct capture *memory;
	struct sender *sender;
	uint64_t capturing; /* the epoch whose capture has not ended */
	uv_check_t settle;
	struct capture_epoch ended;
	unsigned open_parts;
	char part[96]; /* for the log */
	void (*on_closed)(void *owner);
};

void session_disks_init(struct session_disks *disks, const struct session_options *options);
/* For the capture of memory, whose thread ends before the disks do: the options' own, and the cut. */
struct capture_hooks session_disks_hooks(struct session_disks *disks);

/* `whole`: the memory's layout with the instance's disks behind it. */
int session_disks_layout(struct layout *whole, const struct layout *memory,
			 const struct session_options *options, struct err *err);
/*
 * Of such a layout, which has some; as disk_capture_open(). What is captured goes to the sender; when nothing
 * is missing, memory may be copied (capture_go()).
 */
int session_disks_open(struct session_disks *disks, const struct layout *whole,
		       struct capture *memory, struct sender *sender,
		       const struct session_disks_ops *ops, void *owner, struct err *err);
void session_disks_event(struct session_disks *disks, const char *name, const cJSON *data);
/*
 * The capture of memory tells of its end: false, there are no disks. Else on_settled follows, when it is
 * known that no mirror had failed before the instance was stopped for it (on_lost).
 */
bool session_disks_end_epoch(struct session_disks *disks, const struct capture_epoch *epoch);
bool session_disks_are_open(const struct session_disks *disks);
/* False: there is nothing to close. Else on_closed follows, with the owner. */
bool session_disks_close(struct session_disks *disks, void (*on_closed)(void *owner));

#endif
