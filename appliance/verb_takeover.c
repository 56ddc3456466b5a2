#include "appliance/operator.h"
#include "appliance/verb.h"

static const struct operator_command takeover = {
	.synopsis =
		"takeover (--config FILE | --http ADDRESS) --instance NAME [--yes] [--wait SECONDS] [--json]",
	.about =
		"Tells a standby to run its clone of an instance now, from the last committed epoch. What the instance did\n"
		"after that epoch is lost. If the primary site is heard, its instance is paused first. If it is not heard but\n"
		"runs, clients are not answered from there any more where they come through the standby (gateway), or once its\n"
		"lease has run out, for which is waited (\"without_standby\": \"hold\"), or the witness has given the term to\n"
		"this site. Otherwise it answers until its agent hears of this: then stop the instance first, or two of it\n"
		"serve.\n\n"
		"Waits until the clone serves, and says from which epoch; or until it is known that it does not, and why: the\n"
		"exit status is 1 then, as it is when the time to wait is over and neither is known. Where clients are known to\n"
		"have had answers that the epoch may lack, that is said: before the question, and when it serves.",
	.path = "/v1/takeover",
	.what = "the instance to take over",
	.question =
		"the standby will run its clone; what the instance did since the last committed epoch is lost. If the primary "
		"site is cut off from here and it still runs there, with a network of its own, without \"hold\" and without a "
		"witness, stop it there first: two of it would serve.",
	.refused = "the standby did not take over",
	.done = "the takeover is under way",
	.followed = true,
};

int verb_takeover(int argc, char **argv)
{
	return operator_run(&takeover, argc, argv);
}
