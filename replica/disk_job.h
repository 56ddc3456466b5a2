/*
 * QEMU's mirror of one disk: its QMP commands and what is said of it. Pure. Names begin with "us-": a job and
 * a node for the disk of that number, of the one instance that a QEMU is.
 */
#ifndef REPLICA_DISK_JOB_H
#define REPLICA_DISK_JOB_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DISK_JOB_EXPORT "disk"
#define DISK_JOB_BUFFER (4 << 20) /* bytes that one reads ahead at most */

/* Arguments; NULL: no memory. For block-job-pause, -resume and -cancel; */
cJSON *disk_job_named(size_t disk);
/* blockdev-del; */
cJSON *disk_job_node(size_t disk);
/* blockdev-add and blockdev-mirror. */
cJSON *disk_job_target(size_t disk, const char *socket);
cJSON *disk_job_mirror(size_t disk, const char *node, uint64_t bytes_s); /* 0: as fast as it goes */

struct disk_job_state {
	size_t disk;
	uint64_t done;
	bool ready;  /* the target has all */
	bool paused; /* by somebody, or by an error */
};
/* An item of query-block-jobs; false: it is not one of ours. */
bool disk_job_read(const cJSON *item, struct disk_job_state *state);
/* The same of an event; `why`: its error, or "". */
bool disk_job_event(const cJSON *data, size_t *disk, char *why, size_t size);

/* Of BLOCK_JOB_ERROR: it is the disk that cannot be read. */
bool disk_job_is_reading(const cJSON *data);

#endif
