#include "appliance/safety.h"

int safety_check(const struct safety *safety, struct err *err)
{
	if (!safety->automatic || !safety->continues || safety->witness || safety->gateway)
		return RC_OK;
	return err_set(
		err, RC_REFUSED,
		"never two servers: the standby takes over by itself (takeover \"automatic\") and the primary goes "
		"on without it (without_standby \"continue\"), so both would serve when the link fails; set one to "
		"\"manual\" or \"hold\", give both sites a witness, or put every network card into gateway mode");
}
