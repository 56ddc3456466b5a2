#include "replica/guardian_keeper.h"

#include <signal.h>
#include <string.h>

static void on_again(uv_timer_t *timer);

static void tend(struct guardian_keeper *keeper)
{
	int again_ms = guardian_tend(keeper->guardian);

	uv_update_time(keeper->again.loop);
	(void)uv_timer_start(&keeper->again, on_again, (uint64_t)again_ms, 0);
}

static void on_again(uv_timer_t *timer)
{
	tend(timer->data);
}

static void on_child_ended(uv_signal_t *handle, int signum)
{
	(void)signum;
	tend(handle->data);
}

int guardian_keeper_begin(struct guardian_keeper *keeper, uv_loop_t *loop,
			  struct guardian *guardian, struct err *err)
{
	int r;

	memset(keeper, 0, sizeof(*keeper));
	r = uv_signal_init(loop, &keeper->child_ended);
	if (r != 0)
		return err_set(err, RC_IO, "keeping the guardian: %s", uv_strerror(r));
	r = uv_signal_start(&keeper->child_ended, on_child_ended, SIGCHLD);
	if (r != 0) {
		uv_close((uv_handle_t *)&keeper->child_ended, NULL);
		return err_set(err, RC_IO, "keeping the guardian: %s", uv_strerror(r));
	}
	(void)uv_timer_init(loop, &keeper->again); /* cannot fail */
	keeper->guardian = guardian;
	keeper->child_ended.data = keeper->again.data = keeper;
	tend(keeper); /* it may have ended before anybody listened */
	return RC_OK;
}

void guardian_keeper_end(struct guardian_keeper *keeper)
{
	if (keeper->guardian == NULL)
		return;
	keeper->guardian = NULL;
	uv_close((uv_handle_t *)&keeper->child_ended, NULL);
	uv_close((uv_handle_t *)&keeper->again, NULL);
}
