#include "appliance/role_primary.h"
#include "appliance/run_role.h"
#include "appliance/verb.h"

int verb_primary(int argc, char **argv)
{
	return run_role(
		CONFIG_PRIMARY, "primary --config FILE [--debug]",
		"Protects the instances that run at this site: keeps their clones at the standby up to date until\n"
		"SIGTERM or SIGINT. The instances run on when it ends, unprotected.",
		role_primary_run, argc, argv);
}
