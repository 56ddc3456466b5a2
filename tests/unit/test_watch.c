/* Every change below a directory, told in its order and once, by either way of watching. */
#include "fs-watch/watch.h"
#include "tests/unit/scratch.h"

#include "appliance/base/buf.h"
#include "appliance/base/mem.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define LIMIT_MS 20000

struct fixture {
	uv_loop_t loop;
	uv_timer_t limit;
	struct watch *watch;
	char dir[SCRATCH_MAX];
	char tree[SCRATCH_MAX + 8];
	struct buf told;
	char until[64]; /* the line that is waited for */
	bool is_there;
	bool saw[WATCH_KINDS];
	bool may_fail;
};

static void on_event(void *owner, const struct watch_event *event)
{
	struct fixture *f = owner;
	char line[512];

	(void)snprintf(line, sizeof(line), "%s%s %s%s%s%s", watch_kind_name(event->kind),
		       event->scanned ? "(scanned)" : "", event->from != NULL ? event->from : "",
		       event->from != NULL ? ">" : "", event->path, event->is_dir ? "/" : "");
	assert_ptr_equal(event->root, f);
	if (strcmp(line, f->until) == 0) {
		f->is_there = true;
		uv_stop(&f->loop);
		return;
	}
	/* How many writes there are to a file is the kernel's to say. */
	if (event->kind == WATCH_WRITE || event->kind == WATCH_CLOSE)
		f->saw[event->kind] |= strcmp(event->path, "old/f") == 0;
	else
		assert_true(buf_printf(&f->told, "%s\n", line));
}

static void on_failed(void *owner, const struct err *err)
{
	const struct fixture *f = owner;

	if (!f->may_fail)
		fail_msg("%s", err->text);
}

static void on_limit(uv_timer_t *timer)
{
	uv_stop(timer->loop);
}

/* As another process, since what we do is not told. */
static void run(struct fixture *f, const char *commands)
{
	const pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0) {
		if (chdir(f->tree) == 0)
			(void)execl("/bin/sh", "sh", "-ec", commands, (char *)NULL);
		_exit(127);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* What was told until now. */
static const char *told(struct fixture *f)
{
	static unsigned number;
	char command[64];

	(void)snprintf(f->until, sizeof(f->until), "create end%u", ++number);
	(void)snprintf(command, sizeof(command), ": >end%u", number);
	run(f, command);
	f->is_there = false;
	(void)uv_timer_start(&f->limit, on_limit, LIMIT_MS, 0);
	(void)uv_run(&f->loop, UV_RUN_DEFAULT);
	(void)uv_timer_stop(&f->limit);
	assert_true(f->is_there);
	assert_true(buf_append_u8(&f->told, 0));
	f->told.len--;
	return (const char *)f->told.data;
}

static void expect(struct fixture *f, const char *expected)
{
	assert_string_equal(told(f), expected);
	buf_reset(&f->told);
}

static int open_by(void **state, enum watch_way way, const char *before)
{
	static const struct watch_ops ops = { .on_event = on_event, .on_failed = on_failed };
	struct fixture *f = mem_zalloc(1, sizeof(*f));
	struct err err = { 0 };

	if (f == NULL || uv_loop_init(&f->loop) != 0 || scratch_make(f->dir, "watch") != 0)
		return -1;
	*state = f;
	(void)snprintf(f->tree, sizeof(f->tree), "%s", f->dir);
	run(f, "mkdir tree outside");
	(void)snprintf(f->tree, sizeof(f->tree), "%s/tree", f->dir);
	run(f, before);
	(void)uv_timer_init(&f->loop, &f->limit);
	if (watch_open(&f->watch, &f->loop, way, &ops, f, &err) == RC_OK &&
	    watch_add(f->watch, f->tree, f, &err) == RC_OK)
		return 0;
	print_message("%s\n", err.text);
	return err.code == RC_UNSUPPORTED ? 0 : -1;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	int r;

	watch_close(f->watch, NULL, NULL);
	uv_close((uv_handle_t *)&f->limit, NULL);
	(void)uv_run(&f->loop, UV_RUN_DEFAULT);
	r = uv_loop_close(&f->loop);
	(void)snprintf(f->tree, sizeof(f->tree), "%s", f->dir);
	run(f, "rm -r \"$PWD\"");
	buf_free(&f->told);
	mem_free(f);
	return r;
}

static bool is_watched(struct fixture *f)
{
	if (watch_way_of(f->watch, f) == NULL)
		skip();
	return true;
}

#define BEFORE \
	"mkdir -p old/deep d; : >old/f; : >old/deep/g; mkdir -p ../outside/o/p; : >../outside/o/p/f"

static int by_fanotify(void **state)
{
	return open_by(state, WATCH_FANOTIFY, BEFORE);
}

static int by_inotify(void **state)
{
	return open_by(state, WATCH_INOTIFY, BEFORE);
}

static void each_kind_is_told_with_its_path(void **state)
{
	struct fixture *f = *state;

	(void)is_watched(f);
	run(f, ": >a; chmod 600 a");
	expect(f, "create a\nattribute a\n");
	run(f, "mv a old/b; rm old/b; mkdir n; chmod 700 n; rmdir n; ln -s x l");
	expect(f, "rename a>old/b\ndelete old/b\ncreate n/\nattribute n/\ndelete n/\ncreate l\n");
}

static void a_write_and_its_close_are_told(void **state)
{
	struct fixture *f = *state;

	(void)is_watched(f);
	run(f, "echo 1 >>old/f");
	expect(f, "");
	assert_true(f->saw[WATCH_WRITE] && f->saw[WATCH_CLOSE]);
}

static void what_was_there_before_is_known_when_it_is_removed_at_once(void **state)
{
	struct fixture *f = *state;

	(void)is_watched(f);
	run(f, "rm old/f old/deep/g; rmdir old/deep old");
	expect(f, "delete old/f\ndelete old/deep/g\ndelete old/deep/\ndelete old/\n");
}

static void a_directory_takes_what_is_in_it_along(void **state)
{
	struct fixture *f = *state;

	(void)is_watched(f);
	run(f, ": >old/deep/h");
	expect(f, "create old/deep/h\n");
	run(f, "mv old d/new; mv d e");
	expect(f, "rename old>d/new/\nrename d>e/\n");
	run(f, ": >e/new/deep/i; mv e/new/deep/i e/j");
	expect(f, "create e/new/deep/i\nrename e/new/deep/i>e/j\n");
}

static void what_comes_in_is_told_with_all_that_is_in_it_and_what_leaves_is_gone(void **state)
{
	struct fixture *f = *state;

	(void)is_watched(f);
	run(f, "mv ../outside/o in");
	expect(f, "create in/\ncreate(scanned) in/p/\ncreate(scanned) in/p/f\n");
	run(f, ": >in/p/g; rm in/p/f");
	expect(f, "create in/p/g\ndelete in/p/f\n");
	run(f, "mv in ../outside/o; : >../outside/o/p/x; mv ../outside/o/p/x y");
	expect(f, "delete in/\ncreate y\n");
}

static void what_happens_elsewhere_is_not_told(void **state)
{
	struct fixture *f = *state;

	(void)is_watched(f);
	run(f, ": >../outside/a; mv ../outside/a ../outside/b; rm -r ../outside/o");
	expect(f, "");
}

static void a_name_that_is_used_again_is_another(void **state)
{
	struct fixture *f = *state;

	(void)is_watched(f);
	run(f, "mkdir x; : >x/1; mv x y; mkdir x; : >x/2; mv x z; mkdir x; : >x/3");
	(void)told(f); /* some of it as found by looking */
	buf_reset(&f->told);
	run(f, "rm y/1 z/2 x/3");
	expect(f, "delete y/1\ndelete z/2\ndelete x/3\n");
}

static void one_tree_in_another_is_refused(void **state)
{
	struct fixture *f = *state;
	char inner[sizeof(f->tree) + 8];
	struct err err;

	(void)is_watched(f);
	(void)snprintf(inner, sizeof(inner), "%s/old", f->tree);
	assert_int_equal(watch_add(f->watch, inner, state, &err), RC_INVALID);
	assert_int_equal(watch_add(f->watch, f->dir, state, &err), RC_INVALID);
	(void)snprintf(inner, sizeof(inner), "%s/old/f", f->tree);
	assert_int_not_equal(watch_add(f->watch, inner, state, &err), RC_OK);
	assert_non_null(strstr(err.text, "old/f"));
}

static void one_that_is_removed_tells_no_more(void **state)
{
	struct fixture *f = *state;
	char tree[sizeof(f->tree)];

	(void)is_watched(f);
	watch_remove(f->watch, f);
	assert_null(watch_way_of(f->watch, f));
	run(f, ": >a");
	memcpy(tree, f->tree, sizeof(tree));
	(void)snprintf(f->tree, sizeof(f->tree), "%s/outside", f->dir);
	assert_int_equal(watch_add(f->watch, f->tree, f, &(struct err){ 0 }), RC_OK);
	expect(f, "");
	memcpy(f->tree, tree, sizeof(tree));
}

/* Whatever fails for want of memory is told as lost, and nothing is torn. */
static void without_memory_events_are_lost_and_said_to_be(void **state)
{
	struct fixture *f = *state;
	bool fired = true;
	char command[64];

	(void)is_watched(f);
	f->may_fail = true;
	for (unsigned long n = 1; fired && n < 200; n++) {
		(void)snprintf(command, sizeof(command), "mkdir m%lu; : >m%lu/f; mv m%lu r%lu", n,
			       n, n, n);
		run(f, command);
		fault_arm(FAULT_ALLOC, n);
		(void)uv_run(&f->loop, UV_RUN_NOWAIT);
		fired = fault_fired(FAULT_ALLOC);
		fault_arm(FAULT_ALLOC, 0);
	}
	assert_false(fired);
}

#define BOTH(test)                                                   \
	{ #test " (fanotify)", test, by_fanotify, teardown, NULL },  \
	{                                                            \
#test " (inotify)", test, by_inotify, teardown, NULL \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(each_kind_is_told_with_its_path),
		BOTH(a_write_and_its_close_are_told),
		BOTH(what_was_there_before_is_known_when_it_is_removed_at_once),
		BOTH(a_directory_takes_what_is_in_it_along),
		BOTH(what_comes_in_is_told_with_all_that_is_in_it_and_what_leaves_is_gone),
		BOTH(what_happens_elsewhere_is_not_told),
		BOTH(a_name_that_is_used_again_is_another),
		BOTH(one_tree_in_another_is_refused),
		BOTH(one_that_is_removed_tells_no_more),
		BOTH(without_memory_events_are_lost_and_said_to_be),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
