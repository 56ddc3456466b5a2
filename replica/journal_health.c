/* How a journal's copies are, for any thread: as their states say, but for a good one whose disk does not answer. */
#include "replica/journal_copies_internal.h"

#include "appliance/base/clock.h"
#include "appliance/base/log.h"

#include <stdio.h>

#define SILENT "this disk does not answer"

static void look_at_silence(struct copy *copy, uint64_t now)
{
	const uint64_t limit = copy->owner->place.silent_ms * CLOCK_NS_PER_MS;
	const bool silent = limit > 0 && copy->state == JOURNAL_COPY_GOOD && copy->since_ns != 0 &&
			    now > copy->since_ns && now - copy->since_ns > limit;

	if (silent && !copy->silent)
		log_error("journal", "%s: " SILENT, copy->dir.path);
	else if (!silent && copy->silent && copy->state == JOURNAL_COPY_GOOD)
		log_info("journal", "%s: this disk answers again", copy->dir.path);
	copy->silent = silent;
}

const struct journal_file *journal_copies_files(const struct journal_copies *c, size_t *count)
{
	*count = c->nfiles;
	return c->files;
}

void journal_copies_health(struct journal_copies *c, struct journal_health *health)
{
	const uint64_t now = clock_now_ns();
	unsigned i;

	*health = (struct journal_health){ .count = c->place.count, .quorum = c->place.quorum };
	uv_mutex_lock(&c->mutex);
	copies_serve(c);
	health->repaired = c->repaired;
	health->mended = c->scrub.mended;
	health->rounds = c->scrub.rounds;
	health->done = c->scrub.done;
	if (c->nfiles > 0 && c->scrub.rotten >= c->files[0].sequence) {
		health->rotten = c->scrub.rotten;
		(void)snprintf(health->rot, sizeof(health->rot), "%s", c->scrub.why);
	}
	(void)snprintf(health->unmended, sizeof(health->unmended), "%s", c->scrub.unmended);
	for (i = 0; i < c->place.count; i++) {
		struct copy *copy = &c->copy[i];

		(void)snprintf(health->copy[i].path, sizeof(health->copy[i].path), "%s",
			       copy->dir.path);
		(void)snprintf(health->copy[i].why, sizeof(health->copy[i].why), "%s",
			       copy->why.code != RC_OK ? copy->why.text : "");
		health->copy[i].state = copy->state;
		look_at_silence(copy, now);
		if (copy->silent) {
			health->copy[i].state = JOURNAL_COPY_FAILED;
			(void)snprintf(health->copy[i].why, sizeof(health->copy[i].why),
				       "%.400s: " SILENT, copy->dir.path);
		}
		health->good += health->copy[i].state == JOURNAL_COPY_GOOD;
	}
	uv_mutex_unlock(&c->mutex);
}
