#include "appliance/role_standby.h"
#include "appliance/run_role.h"
#include "appliance/verb.h"

int verb_standby(int argc, char **argv)
{
	return run_role(
		CONFIG_STANDBY, "standby --config FILE [--debug]",
		"Keeps clones of the instances that primaries protect here, and runs them when their site fails,\n"
		"until SIGTERM or SIGINT (SIGHUP is ignored). A clone that has taken over runs on when it ends.",
		role_standby_run, argc, argv);
}
