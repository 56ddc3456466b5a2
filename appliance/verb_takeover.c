#include "appliance/operator.h"
#include "appliance/verb.h"

static const struct operator_command takeover = {
	.synopsis =
		"takeover (--config FILE | --http ADDRESS) --instance NAME [--yes] [--wait SECONDS] [--json]",
	.about =
		"Tells a standby to run its clone of an instance now, from the last committed epoch. What the instance did\n"
		"after that epoch is lost. If it still runs at the primary site, clients are not answered from there any more\n"
		"where they come through the standby (gateway), or once its lease has run out, for which is waited\n"
		"(\"without_standby\": \"hold\") or the witness has given the term to this site. Otherwise it answers until its\n"
		"agent hears of this: if the agent may be cut off, stop the instance first, or two of it serve.\n\n"
		"Waits until the clone serves, and says from which epoch; or until it is known that it does not, and why: the\n"
		"exit status is 1 then, as it is when the time to wait is over and neither is known.",
	.path = "/v1/takeover",
	.what = "the instance to take over",
	.question =
		"the standby will run its clone; what the instance did since the last committed epoch is lost. If it still runs "
		"at the primary site, with a network of its own, without \"hold\" and without a witness, stop it there first: "
		"two of it would serve.",
	.refused = "the standby did not take over",
	.done = "the takeover is under way",
	.followed = true,
};

int verb_takeover(int argc, char **argv)
{
	return operator_run(&takeover, argc, argv);
}
