#include "appliance/epoch_figures.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define MS UINT64_C(1000000)

static struct epoch_figures figures;
static struct status_instance status;

static int set_up(void **state)
{
	(void)state;
	memset(&figures, 0, sizeof(figures));
	return 0;
}

static void receive(uint64_t epoch, uint64_t now_ns, uint64_t age_ns, uint64_t pause_ns)
{
	const struct wire_commit commit = {
		.pages = 10, .timed = true, .age_ns = age_ns, .pause_ns = pause_ns
	};

	epoch_figures_batch(&figures, 4096);
	epoch_figures_batch(&figures, 4096);
	epoch_figures_end(&figures, epoch, &commit, now_ns, 20 * MS);
}

static void look(uint64_t now_ns)
{
	status_clear(&status, "vm1");
	epoch_figures_status(&figures, now_ns, &status);
}

static void assert_ms(double is, double should)
{
	assert_true(is > should - 0.0001 && is < should + 0.0001);
}

static void a_replica_is_as_old_as_its_last_committed_epochs_capture(void **state)
{
	(void)state;
	look(1000 * MS);
	assert_true(status.lag_ms < 0 && status.pause_last_ms < 0 && status.wire_ratio < 0);
	receive(7, 1000 * MS, 30 * MS, 2 * MS);
	look(1000 * MS);
	assert_true(status.lag_ms < 0); /* not committed yet */
	receive(8, 1100 * MS, 5 * MS, 4 * MS);
	epoch_figures_committed(&figures, 7);
	look(1100 * MS);
	assert_ms(status.lag_ms, 140);
	assert_ms(status.pause_last_ms, 2);
	epoch_figures_committed(&figures, 8);
	look(1500 * MS);
	assert_ms(status.lag_ms, 415);
	assert_ms(status.pause_last_ms, 4);
	assert_ms(status.wire_bytes, 16384);
	assert_ms(status.wire_ratio, 0.2);
}

static void what_is_no_longer_true_is_not_told(void **state)
{
	const struct wire_commit old = { .pages = 10 };

	(void)state;
	receive(7, 1000 * MS, 30 * MS, 2 * MS);
	epoch_figures_session(&figures);
	epoch_figures_committed(&figures, 7); /* of the session before: whose times are gone */
	look(1100 * MS);
	assert_true(status.lag_ms < 0 && status.pages < 0);
	epoch_figures_end(&figures, 8, &old, 1100 * MS, 0); /* of a primary that tells no times */
	epoch_figures_committed(&figures, 8);
	look(1100 * MS);
	assert_true(status.lag_ms < 0 && status.pause_last_ms < 0);
	assert_ms(status.pages, 10);
	receive(9, 1200 * MS, 0, MS);
	epoch_figures_committed(&figures, 9);
	epoch_figures_forget(&figures);
	look(1300 * MS);
	assert_true(status.lag_ms < 0);
}

static void a_peer_may_say_what_it_likes(void **state)
{
	(void)state;
	receive(7, 5 * MS, UINT64_MAX, UINT64_MAX);
	epoch_figures_committed(&figures, 7);
	look(100 * MS);
	assert_ms(status.lag_ms, 100);
	for (uint64_t i = 0; i < 100; i++) /* more than are kept */
		receive(8 + i, 5 * MS, 0, 0);
	epoch_figures_committed(&figures, 8);
	look(100 * MS);
	assert_true(status.lag_ms < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(a_replica_is_as_old_as_its_last_committed_epochs_capture,
				       set_up),
		cmocka_unit_test_setup(what_is_no_longer_true_is_not_told, set_up),
		cmocka_unit_test_setup(a_peer_may_say_what_it_likes, set_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
