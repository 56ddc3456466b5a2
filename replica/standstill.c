#include "replica/standstill.h"

#include "appliance/base/words.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

bool standstill_stop(struct standstill *standstill, unsigned granted)
{
	if (standstill->stops < granted) {
		standstill->stops++;
		return false;
	}
	standstill->stands = true;
	standstill->by_hand = false;
	standstill->reason[0] = '\0';
	standstill->again = standstill->asking;
	standstill->asking = true;
	return !standstill->again;
}

bool standstill_resume(struct standstill *standstill)
{
	bool stood = standstill->stands;

	standstill->stands = standstill->by_hand = false;
	standstill->reason[0] = '\0';
	return stood;
}

enum standstill_news standstill_answer(struct standstill *standstill, const char *status)
{
	/* "suspended" is the guest's own sleep: its clock runs and checkpoints are taken. */
	static const char *const going[] = { "running", "suspended" };
	static const char *const passing[] = { "colo", "finish-migrate", "save-vm", "" };

	standstill->asking = false;
	if (!standstill->stands)
		return STANDSTILL_NOTHING;
	if (standstill->again || status == NULL) {
		standstill->again = false;
		standstill->asking = true;
		return STANDSTILL_ASK;
	}
	if (WORDS_ONE_OF(status, passing))
		return STANDSTILL_NOTHING;
	if (WORDS_ONE_OF(status, going)) {
		standstill->stands = false;
		return STANDSTILL_GOES_ON;
	}
	standstill->by_hand = strcmp(status, "paused") == 0;
	if (standstill->by_hand)
		status = "stopped by hand";
	(void)snprintf(standstill->reason, sizeof(standstill->reason),
		       "%.40s: no checkpoints until it goes on", status);
	return STANDSTILL_FOUND;
}

const char *standstill_reason(const struct standstill *standstill)
{
	return standstill->reason[0] != '\0' ? standstill->reason : NULL;
}
