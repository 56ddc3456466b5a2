#include "appliance/role_primary.h"
#include "appliance/run_role.h"
#include "appliance/verb.h"

int verb_primary(int argc, char **argv)
{
	return run_role(
		CONFIG_PRIMARY, "primary --config FILE [--debug]",
		"Protects the instances that run at this site: keeps their clones at the standby up to date until\n"
		"SIGTERM or SIGINT (SIGHUP is ignored). The instances run on when it ends, unprotected. If a QEMU does not answer, the end\n"
		"takes up to 20 s (1 s when the signal comes again), and the exit status is 3: the guardian process\n"
		"waits for that QEMU and lets its instance run.",
		role_primary_run, argc, argv);
}
