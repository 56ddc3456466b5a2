#include "appliance/operator.h"
#include "appliance/verb.h"

static const struct operator_command takeover = {
	.synopsis =
		"takeover (--config FILE | --http ADDRESS) --instance NAME [--yes] [--wait SECONDS] [--json]",
	.about =
		"Tells a standby to run its clone of an instance now, from the last committed epoch. What the instance did\n"
		"after that epoch is lost. Where the primary site may still be alive, stop the instance there first: two of\n"
		"it would serve at once.\n\n"
		"Waits until the clone serves, and says from which epoch; or until it is known that it does not, and why: the\n"
		"exit status is 1 then, as it is when the time to wait is over and neither is known.",
	.path = "/v1/takeover",
	.what = "the instance to take over",
	.question =
		"the standby will run its clone. If the instance still runs at the primary site, there will be two.",
	.refused = "the standby did not take over",
	.done = "the takeover is under way",
	.followed = true,
};

int verb_takeover(int argc, char **argv)
{
	return operator_run(&takeover, argc, argv);
}
