#include "appliance/seat_kept.h"

#include "appliance/base/files.h"
#include "appliance/seat.h"
#include "replica/reservation.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define RECALLED "reservation.json"

int seat_kept_read(struct buf *json, const char *dir, struct err *err)
{
	char path[512];

	(void)snprintf(path, sizeof(path), "%s/" RECALLED, dir);
	return files_read(json, AT_FDCWD, path, FILES_NO_LINK, err);
}

int seat_kept_write(const char *dir, const char *wanted, struct err *err)
{
	struct buf kept = { .limit = RESERVATION_JSON_MAX };
	const size_t len = strlen(wanted);
	const bool same = seat_kept_read(&kept, dir, err) == RC_OK && kept.len == len &&
			  memcmp(kept.data, wanted, len) == 0;

	buf_free(&kept);
	return same ? RC_OK : files_replace(dir, RECALLED, wanted, len, err);
}

int seat_recall(const char *dir, struct reservation *reservation, struct err *err)
{
	struct buf json = { .limit = RESERVATION_JSON_MAX };
	int rc;

	*reservation = (struct reservation){ 0 };
	rc = seat_kept_read(&json, dir, err);
	if (rc == RC_OK)
		rc = reservation_from_json(reservation, json.data, json.len, err);
	buf_free(&json);
	return rc;
}
