#include "appliance/operator.h"
#include "appliance/verb.h"

static const struct operator_command release = {
	.synopsis = "release (--config FILE | --http ADDRESS) --instance NAME [--yes] [--json]",
	.about =
		"Lets go of what a takeover left, so that the instance can be protected again.\n\n"
		"Asked of a standby whose replica served and has ended ('lost'), or could not be brought to life ('failed'):\n"
		"a primary may go on with the state that it has. What the replica did after the takeover is given up.\n"
		"Asked of a standby that says since its restart that an instance was protected there, and is not, or that one\n"
		"could not be protected: that is as it should be, and no longer worth a warning.\n"
		"Asked of a primary whose instance is 'superseded': it is protected again as soon as it runs, and it does not\n"
		"run before you resume it (QMP command cont), and on \"hold\" not before a standby lets it. Refused while\n"
		"the standby is connected and says that it serves, or has: it is released there first.\n"
		"Asked of a primary whose instance stands for a takeover that the standby's operator has ordered, while that\n"
		"standby is not connected: it runs again, on \"hold\" not before a standby lets it. If the standby serves, two\n"
		"of it do.\n"
		"Asked of a primary at whose standby's address another standby answers: that one may protect it. The former one\n"
		"is taken not to serve, now or later; if it does, two of it do.\n"
		"Asked of a standby to which the witness says that another one serves, of which it knows nothing: it takes a\n"
		"primary from now on. If that one serves, two of it do.\n"
		"Asked of a standby that keeps an epoch of one site's instance, and has refused another site's of the same\n"
		"name: the epoch is given up, while its own primary is not connected.",
	.path = "/v1/release",
	.what = "the instance to let go of",
	.question =
		"of two states of the instance, the one at this site or the one at the other is given up by this.",
	.refused = "not released",
	.done = "released",
};

int verb_release(int argc, char **argv)
{
	return operator_run(&release, argc, argv);
}
