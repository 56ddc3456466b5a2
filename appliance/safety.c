#include "appliance/safety.h"

#include <inttypes.h>
#include <string.h>

static int check_identities(const struct safety *safety, struct err *err)
{
	const uint64_t primary = safety->primary_identity, standby = safety->standby_identity;

	if (primary == 0 || standby == 0 || primary == standby)
		return RC_OK;
	return err_set(
		err, RC_REFUSED,
		"never two servers: %.160s is another etcd where the primary is (%" PRIx64
		") than where the standby is (%" PRIx64
		"), so both could be let serve; give witness.endpoints that lead to one from both",
		safety->primary_witness, primary, standby);
}

int safety_check(const struct safety *safety, struct err *err)
{
	const bool asks = *safety->primary_witness != '\0';

	if (asks && *safety->standby_witness != '\0') {
		if (strcmp(safety->primary_witness, safety->standby_witness) == 0)
			return check_identities(safety, err);
		return err_set(
			err, RC_REFUSED,
			"never two servers: two different witnesses could let both sites serve; give both sites the same "
			"witness.endpoints (primary: %.120s; standby: %.120s)",
			safety->primary_witness, safety->standby_witness);
	}
	if (safety->gateway)
		return RC_OK;
	if (asks)
		return err_set(
			err, RC_REFUSED,
			"never two servers: the primary would go on by its witness's word, for which the standby does not ask, "
			"neither by itself nor when its operator takes over; give the standby the same witness");
	if (!safety->automatic || !safety->continues)
		return RC_OK;
	return err_set(
		err, RC_REFUSED,
		"never two servers: the standby takes over by itself (takeover \"automatic\") and the primary goes "
		"on without it (without_standby \"continue\"), so both would serve when the link fails; set one to "
		"\"manual\" or \"hold\", give both sites a witness, or put every network card into gateway mode");
}

static int check_heard(const char *who, uint32_t heartbeat_ms, const char *by, uint32_t detect_ms,
		       struct err *err)
{
	if (heartbeat_ms == 0 || detect_ms == 0 || detect_ms / SAFETY_HEARTBEATS >= heartbeat_ms)
		return RC_OK;
	return err_set(
		err, RC_REFUSED,
		"link.heartbeat_ms of the %s is %u, and link.detect_ms of the %s %u: not %d heartbeats, so one lost or "
		"late would pass for a failed site; lower heartbeat_ms at the %s to %u, or raise detect_ms at the %s "
		"to %llu",
		who, heartbeat_ms, by, detect_ms, SAFETY_HEARTBEATS, who,
		detect_ms / SAFETY_HEARTBEATS, by,
		(unsigned long long)heartbeat_ms * SAFETY_HEARTBEATS);
}

int safety_check_pace(const struct safety_pace *primary, const struct safety_pace *standby,
		      struct err *err)
{
	int rc = check_heard("primary", primary->heartbeat_ms, "standby", standby->detect_ms, err);

	if (rc != RC_OK)
		return rc;
	return check_heard("standby", standby->heartbeat_ms, "primary", primary->detect_ms, err);
}
