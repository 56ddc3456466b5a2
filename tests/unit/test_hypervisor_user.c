/* As root, what is of another user; processes of the test's own become it. */
#include "replica/child.h"
#include "replica/confine_process.h"
#include "replica/hypervisor_user.h"

#include "tests/unit/scratch.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define USER 64123

static struct err err, how;

/* In a user namespace there may be none but root. */
static bool has_others(void)
{
	int status = -1;
	const pid_t pid = fork();

	if (pid == 0)
		_exit(setresuid(USER, USER, USER) == 0 ? 0 : 1);
	return waitpid(pid, &status, 0) == pid && geteuid() == 0 && status == 0;
}

static void need_others(void)
{
	if (!has_others()) {
		print_message("only root can be another user\n");
		skip();
	}
}

static int find(const char *name, bool confine, uid_t *uid, gid_t *gid)
{
	struct hypervisor_user user;
	const int rc = hypervisor_user_find(&user, name, confine, &err);

	*uid = user.uid;
	*gid = user.gid;
	return rc;
}

static void one_that_cannot_be_is_refused_with_the_reason(void **state)
{
	uid_t uid;
	gid_t gid;

	(void)state;
	assert_int_equal(find("no-such-user", true, &uid, &gid), RC_INVALID);
	assert_non_null(strstr(err.text, "no such user"));
	assert_int_equal(find("64123x", true, &uid, &gid), RC_INVALID);
	assert_int_equal(find("99999999999", true, &uid, &gid), RC_INVALID);
	assert_int_equal(find(NULL, false, &uid, &gid), RC_OK); /* none is asked for */
	assert_int_equal(uid, geteuid());
	need_others();
	assert_int_equal(find("0", true, &uid, &gid), RC_OK); /* who we are */
	assert_int_equal(find("64123", false, &uid, &gid), RC_INVALID);
	assert_non_null(strstr(err.text, "hypervisor.confine"));
	assert_int_equal(find("64123", true, &uid, &gid), RC_OK);
	assert_int_equal(uid, USER);
	assert_int_equal(gid, USER);
	assert_int_equal(find("nobody", true, &uid, &gid), RC_OK);
	assert_int_not_equal(uid, 0);
}

static void on_end(void *owner, const struct err *why)
{
	struct child **child = owner;

	how = *why;
	child_close(*child, false, NULL);
}

/* That a child of that user is it, with its groups, and has what its words are said to need: a tap. */
static int try_child(void)
{
	const struct hypervisor_user user = { USER, USER };
	char sh[] = "/bin/sh", c[] = "-c", tap[] = "tap", wanted[256];
	char script[] = "while read -r name value; do case $name in "
			"Uid:|Gid:|Groups:|CapPrm:|CapEff:|CapAmb:) echo \"$name\" $value >&2;; "
			"esac; done </proc/self/status; exit 3";
	char *args[] = { sh, c, script, tap, NULL };
	const struct child_options options = {
		.part = "test", .args = args, .cwd = "/", .keep = -1, .confine = true
	};
	const unsigned right = 1u << CAP_NET_ADMIN;
	struct child *child;
	uv_loop_t loop;

	hypervisor_user_set(&user);
	if (!hypervisor_user_is(USER) || !hypervisor_user_is(0) || hypervisor_user_is(USER + 1))
		return 1;
	if (uv_loop_init(&loop) != 0 ||
	    child_start(&child, &loop, &options, on_end, &child, &err) != RC_OK)
		return 2;
	(void)uv_run(&loop, UV_RUN_DEFAULT);
	(void)snprintf(wanted, sizeof(wanted),
		       "sh ended with status 3: Uid: %d %d %d %d; Gid: %d %d %d %d; Groups: %d; "
		       "CapPrm: %016x; CapEff: %016x; CapAmb: %016x",
		       USER, USER, USER, USER, USER, USER, USER, USER, USER, right, right, right);
	if (strcmp(how.text, wanted) == 0)
		return 0;
	print_message("%s\n", how.text);
	return 3;
}

static mode_t mode_of(const char *path, gid_t *gid)
{
	struct stat st = { 0 };

	(void)stat(path, &st);
	*gid = st.st_gid;
	return st.st_mode & 07777;
}

/* Directories that are ours, and one that is somebody's group's, too; a file of ours, and one of another user. */
static int try_files(const char *dir)
{
	const struct hypervisor_user user = { USER, USER };
	char path[SCRATCH_MAX + 16];
	gid_t gid;
	int fd;

	(void)snprintf(path, sizeof(path), "%s/file", dir);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (hypervisor_user_give(fd, path, &err) != RC_OK || mode_of(path, &gid) != 0600)
		return 1; /* there is no other user yet */
	hypervisor_user_set(&user);
	if (hypervisor_user_let_pass(dir, &err) != RC_OK || mode_of(dir, &gid) != 0710 ||
	    gid != USER)
		return 2;
	if (hypervisor_user_let_work(dir, &err) != RC_OK || mode_of(dir, &gid) != 03770)
		return 3;
	if (chown(dir, 0, 1) != 0 || chmod(dir, 0750) != 0 ||
	    hypervisor_user_let_pass(dir, &err) != RC_OK || mode_of(dir, &gid) != 0751 || gid != 1)
		return 4;
	if (hypervisor_user_give(fd, path, &err) != RC_OK || mode_of(path, &gid) != 0660 ||
	    gid != USER)
		return 5;
	if (fchown(fd, 1, 1) != 0 || fchmod(fd, 0600) != 0 ||
	    hypervisor_user_give(fd, path, &err) != RC_OK || mode_of(path, &gid) != 0600)
		return 6;
	return unlink(path) == 0 ? 0 : 7;
}

static void in_a_process(int (*claim)(const char *dir), const char *dir)
{
	int status;
	const pid_t pid = fork();

	if (pid == 0)
		_exit(claim(dir));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static int try_child_anywhere(const char *dir)
{
	(void)dir;
	return try_child();
}

static void a_child_is_that_user_with_what_it_needs(void **state)
{
	(void)state;
	need_others();
	in_a_process(try_child_anywhere, NULL);
}

static void it_gets_at_what_is_given_and_no_more(void **state)
{
	char dir[SCRATCH_MAX];

	(void)state;
	need_others();
	assert_int_equal(scratch_make(dir, "user"), 0);
	in_a_process(try_files, dir);
	assert_int_equal(rmdir(dir), 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_that_cannot_be_is_refused_with_the_reason),
		cmocka_unit_test(a_child_is_that_user_with_what_it_needs),
		cmocka_unit_test(it_gets_at_what_is_given_and_no_more),
	};

	if (confine_process_is_one(argc, argv))
		confine_process_run(argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
