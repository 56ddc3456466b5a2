#include "appliance/silence.h"

#include "appliance/witness_value.h"

#include <stdio.h>

#define DETECT_STEP_MS 50 /* what is advised is a round number, */
#define DETECT_FACTOR 2	  /* and leaves the network some room */

void silence_note(struct silence *silence, bool may_answer, uint64_t now_ns)
{
	if (now_ns - silence->last_ns > SILENCE_MOMENT_NS)
		silence->lapses = 0;
	if (may_answer) {
		silence->since_ns = 0;
		return;
	}
	silence->last_ns = now_ns;
	if (silence->since_ns != 0)
		return;
	silence->since_ns = now_ns;
	silence->lapses++;
}

static void another(char text[ERR_TEXT_MAX], const char *instance, uint64_t term)
{
	struct witness_keys keys;
	struct err err;

	if (witness_value_keys(&keys, instance, &err) != RC_OK)
		(void)snprintf(keys.key, sizeof(keys.key), "of %s", instance);
	(void)snprintf(
		text, ERR_TEXT_MAX,
		"the witness says that another site serves %s, with term %llu: release it there. If that "
		"site is gone for good, delete the key %s from etcd, start this agent again and resume "
		"the instance",
		instance, (unsigned long long)term, keys.key);
}

static bool is_late(const struct silence_facts *facts)
{
	return facts->round_trip_ns > 0 && facts->lease_ns > 0 &&
	       facts->round_trip_ns + facts->heartbeat_ns > facts->lease_ns;
}

static void late(char text[ERR_TEXT_MAX], const struct silence_facts *facts)
{
	const double least_ms =
		DETECT_FACTOR * clock_ms(facts->round_trip_ns + facts->heartbeat_ns);

	(void)snprintf(
		text, ERR_TEXT_MAX,
		"the link's round trip (%.0f ms), and a heartbeat (%.0f ms), is longer than the lease "
		"(%.0f ms), so that the instance may not answer: raise link.detect_ms on both sites to at "
		"least %u",
		clock_ms(facts->round_trip_ns), clock_ms(facts->heartbeat_ns),
		clock_ms(facts->lease_ns),
		((unsigned)(least_ms / DETECT_STEP_MS) + 1) * DETECT_STEP_MS);
}

static void yielded(char text[ERR_TEXT_MAX], const char *instance)
{
	(void)snprintf(
		text, ERR_TEXT_MAX,
		"%s stands because the standby's operator has ordered a takeover, and the standby has not said "
		"since what became of that: look there. If it serves, nothing is to be done here; if it is known "
		"not to, `understudy release` here",
		instance);
}

enum silence_kind silence_explain(const struct silence *silence, const struct silence_facts *facts,
				  char text[ERR_TEXT_MAX])
{
	const bool lasting =
		silence->since_ns != 0 && silence->last_ns - silence->since_ns >= SILENCE_MOMENT_NS;

	*text = '\0';
	if (facts->another) {
		another(text, facts->instance, facts->term);
		return SILENCE_ANOTHER;
	}
	if (lasting && facts->yielded) {
		yielded(text, facts->instance);
		return SILENCE_YIELDED;
	}
	if ((lasting || silence->lapses >= SILENCE_LAPSES) && is_late(facts)) {
		late(text, facts);
		return SILENCE_LATE;
	}
	if (!lasting)
		return SILENCE_NONE;
	(void)snprintf(text, ERR_TEXT_MAX, "the instance may not answer: %.400s",
		       *facts->why != '\0' ? facts->why : "the standby has not let it yet");
	return SILENCE_LASTING;
}
