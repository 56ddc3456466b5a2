#include "appliance/protection_state.h"

const struct protection_state_row protection_states[PROTECTION_STATES] = {
	[PROTECTION_CONNECTING] = { "connecting", false, LOG_LEVEL_INFO },
	[PROTECTION_REFUSED] = { "refused", false, LOG_LEVEL_WARN },
	[PROTECTION_WAITING] = { "waiting", false, LOG_LEVEL_INFO },
	[PROTECTION_RESERVING] = { "reserving", true, LOG_LEVEL_INFO },
	[PROTECTION_COPYING] = { "copying", true, LOG_LEVEL_INFO },
	[PROTECTION_PROTECTED] = { "protected", true, LOG_LEVEL_INFO },
	[PROTECTION_CATCHING_UP] = { "catching-up", true, LOG_LEVEL_INFO },
	[PROTECTION_UNPROTECTED] = { "unprotected", false, LOG_LEVEL_WARN },
	[PROTECTION_ENDED] = { "ended", true, LOG_LEVEL_INFO },
	[PROTECTION_CRASHED] = { "crashed", false, LOG_LEVEL_ERROR },
	[PROTECTION_SUPERSEDED] = { "superseded", false, LOG_LEVEL_WARN },
};
