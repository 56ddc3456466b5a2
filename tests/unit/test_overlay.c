/*
 * What overlayfs does in its upperdir, as the kernel tells it (Linux 6.18), and what that means for who uses the file system.
 */
#include "fs-watch/overlay.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

struct step {
	const char *path, *from;
	struct overlay_facts facts;
	enum watch_kind kind;
	bool is_dir;
};

#define STEP(does, at, was, dir, is)                                                             \
	{                                                                                        \
		.kind = (does), .path = (at), .from = (was), .is_dir = (dir), .facts.what = (is) \
	}
#define IN(to, dir, is) STEP(WATCH_RENAME, "diff/" to, "work/work/#1", dir, is)
#define OUT(of, dir, is) STEP(WATCH_RENAME, "work/work/#1", "diff/" of, dir, is)

struct log {
	char text[512];
};

static void note(void *owner, const struct watch_event *event)
{
	struct log *log = owner;
	const size_t len = strlen(log->text);

	(void)snprintf(log->text + len, sizeof(log->text) - len, "%s%s %s%s%s%s",
		       len > 0 ? ", " : "", watch_kind_name(event->kind),
		       event->from != NULL ? event->from : "", event->from != NULL ? " > " : "",
		       event->path, event->is_dir ? "/" : "");
}

static void check(const struct step *steps, size_t count, const char *means)
{
	struct overlay_state state = { 0 };
	struct log log = { "" };

	for (size_t i = 0; i < count; i++) {
		const struct watch_event event = { .kind = steps[i].kind,
						   .path = steps[i].path,
						   .from = steps[i].from,
						   .is_dir = steps[i].is_dir,
						   .time_ns = i };

		overlay_event(&state, &event, &steps[i].facts, note, &log);
	}
	overlay_flush(&state, note, &log);
	assert_false(state.waits);
	assert_string_equal(log.text, means);
}
#define CHECK(means, ...)                                              \
	do {                                                           \
		const struct step steps[] = { __VA_ARGS__ };           \
		check(steps, sizeof(steps) / sizeof(steps[0]), means); \
	} while (0)

static void test_what_is_plain_stays(void **unused)
{
	(void)unused;
	CHECK("create a, write a, close a, rename a > b, attribute b, delete b",
	      { .kind = WATCH_CREATE, .path = "diff/a" }, { .kind = WATCH_WRITE, .path = "diff/a" },
	      { .kind = WATCH_CLOSE, .path = "diff/a" },
	      { .kind = WATCH_RENAME, .path = "diff/b", .from = "diff/a" },
	      { .kind = WATCH_ATTRIBUTE, .path = "diff/b" },
	      { .kind = WATCH_DELETE, .path = "diff/b" });
}

static void test_a_name_that_is_in_a_lower_layer_is_copied_up(void **unused)
{
	(void)unused;
	CHECK("copy-up d/a, write d/a",
	      { .kind = WATCH_CREATE, .path = "diff/d/a", .facts = { .is_lower = true } },
	      { .kind = WATCH_WRITE, .path = "diff/d/a" });
	/* Another name of a copy is new, whatever the origin of what has it. */
	CHECK("create b",
	      { .kind = WATCH_CREATE, .path = "diff/b", .facts = { .what = OVERLAY_COPY } });
}

static void test_what_came_from_the_workdir_alone(void **unused)
{
	(void)unused;
	CHECK("delete a", IN("a", false, OVERLAY_WHITEOUT));
	CHECK("copy-up d/", IN("d", true, OVERLAY_COPY));
	CHECK("copy-up link", IN("link", false, OVERLAY_COPY));
	CHECK("create a", IN("a", false, OVERLAY_PLAIN));
	CHECK("create a", IN("a", false, OVERLAY_UNKNOWN));
}

static void test_an_exchange_is_one_event(void **unused)
{
	(void)unused;
	CHECK("delete d/", IN("d", true, OVERLAY_PLAIN), OUT("d", true, OVERLAY_COPY),
	      IN("d", false, OVERLAY_WHITEOUT), OUT("d", true, OVERLAY_PLAIN));
	CHECK("create d/", IN("d", true, OVERLAY_PLAIN), OUT("d", false, OVERLAY_WHITEOUT));
}

static void test_another_event_is_no_way_back(void **unused)
{
	(void)unused;
	CHECK("delete a, delete b", IN("a", false, OVERLAY_WHITEOUT),
	      OUT("b", false, OVERLAY_PLAIN));
	CHECK("delete a, write b", IN("a", false, OVERLAY_WHITEOUT),
	      { .kind = WATCH_WRITE, .path = "diff/b" });
	/* The same file is deleted, made, and deleted. */
	CHECK("delete a, create a, delete a", IN("a", false, OVERLAY_WHITEOUT),
	      IN("a", false, OVERLAY_PLAIN), IN("a", false, OVERLAY_WHITEOUT));
}

static void test_a_whiteout_goes_unseen(void **unused)
{
	(void)unused;
	CHECK("rename a > b", { .kind = WATCH_RENAME, .path = "diff/b", .from = "diff/a" },
	      STEP(WATCH_RENAME, "diff/a", "diff/b", false, OVERLAY_WHITEOUT),
	      STEP(WATCH_DELETE, "diff/a", NULL, false, OVERLAY_WHITEOUT));
}

/* By a look at all, after events were lost. */
static void test_a_whiteout_that_is_found(void **unused)
{
	(void)unused;
	CHECK("found a, delete b, found d/", STEP(WATCH_FOUND, "diff/a", NULL, false, OVERLAY_COPY),
	      STEP(WATCH_FOUND, "diff/b", NULL, false, OVERLAY_WHITEOUT),
	      STEP(WATCH_FOUND, "diff/d", NULL, true, OVERLAY_PLAIN));
}

static void test_the_workdir_and_the_top_are_nobodys(void **unused)
{
	(void)unused;
	CHECK("attribute /", { .kind = WATCH_CREATE, .path = "diff", .is_dir = true },
	      { .kind = WATCH_ATTRIBUTE, .path = "diff", .is_dir = true },
	      { .kind = WATCH_WRITE, .path = "work/work/#1" },
	      { .kind = WATCH_CREATE, .path = "work/work/#2" },
	      { .kind = WATCH_RENAME, .path = "work/work/#2", .from = "work/work/#1" },
	      { .kind = WATCH_WRITE, .path = "difference" },
	      { .kind = WATCH_WRITE, .path = "link" },
	      { .kind = WATCH_DELETE, .path = "diff", .is_dir = true });
}

static void test_only_the_facts_that_are_needed(void **unused)
{
	const struct watch_event write = { .kind = WATCH_WRITE, .path = "diff/a" },
				 create = { .kind = WATCH_CREATE, .path = "diff/a" },
				 in = { .kind = WATCH_RENAME,
					.path = "diff/a",
					.from = "work/work/#1" },
				 inner = { .kind = WATCH_CREATE, .path = "work/work/#1" };

	(void)unused;
	assert_false(overlay_wants(&write).what || overlay_wants(&write).lower);
	assert_false(overlay_wants(&inner).what || overlay_wants(&inner).lower);
	assert_true(overlay_wants(&create).lower);
	assert_true(overlay_wants(&in).what && !overlay_wants(&in).lower);
}

static void test_without_the_workdir(void **unused)
{
	static const struct {
		enum watch_kind kind;
		enum overlay_what what;
		enum watch_kind means;
		bool matters;
	} cases[] = {
		{ WATCH_CREATE, OVERLAY_PLAIN, WATCH_CREATE, true },
		{ WATCH_CREATE, OVERLAY_UNKNOWN, WATCH_CREATE, true },
		{ WATCH_CREATE, OVERLAY_COPY, WATCH_COPY_UP, true },
		{ WATCH_CREATE, OVERLAY_WHITEOUT, WATCH_DELETE, true },
		{ WATCH_DELETE, OVERLAY_UNKNOWN, WATCH_DELETE, true },
		{ WATCH_DELETE, OVERLAY_WHITEOUT, WATCH_DELETE, false },
		{ WATCH_DELETE, OVERLAY_PLAIN, WATCH_DELETE, false },
		{ WATCH_RENAME, OVERLAY_WHITEOUT, WATCH_RENAME, false },
		{ WATCH_WRITE, OVERLAY_PLAIN, WATCH_WRITE, true },
	};
	enum watch_kind kind;

	(void)unused;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct watch_event event = { .kind = cases[i].kind, .path = "a" };
		const struct overlay_facts facts = { .what = cases[i].what };

		assert_int_equal(overlay_judge_seen(&kind, &event, &facts), cases[i].matters);
		if (cases[i].matters)
			assert_int_equal(kind, cases[i].means);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_plain_stays),
		cmocka_unit_test(test_a_name_that_is_in_a_lower_layer_is_copied_up),
		cmocka_unit_test(test_what_came_from_the_workdir_alone),
		cmocka_unit_test(test_an_exchange_is_one_event),
		cmocka_unit_test(test_another_event_is_no_way_back),
		cmocka_unit_test(test_a_whiteout_goes_unseen),
		cmocka_unit_test(test_a_whiteout_that_is_found),
		cmocka_unit_test(test_the_workdir_and_the_top_are_nobodys),
		cmocka_unit_test(test_only_the_facts_that_are_needed),
		cmocka_unit_test(test_without_the_workdir),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
