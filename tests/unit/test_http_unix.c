/* The HTTP server on a unix socket: who may use it, and what it says when it cannot be made. */
#include "tests/unit/http_fixture.h"
#include "tests/unit/scratch.h"
#include "tests/unit/unix_socket.h"

#include "net/http_socket.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static void a_unix_socket_is_private_and_replaces_a_stale_one(void **state)
{
	struct fixture *f = *state;
	char directory[SCRATCH_MAX], path[SCRATCH_MAX + 16], address[SCRATCH_MAX + 32];
	struct http_server *second;
	struct stat info;
	struct err err;
	int round, fd;

	assert_int_equal(scratch_make(directory, "http"), 0);
	(void)snprintf(path, sizeof(path), "%s/socket", directory);
	(void)snprintf(address, sizeof(address), "unix:%s", path);
	for (round = 0; round < 2; round++) {
		if (round == 1) /* as a process leaves it that was killed */
			close(unix_socket_bind(path));
		web_start(f, address);
		assert_int_equal(lstat(path, &info), 0);
		assert_int_equal(info.st_mode & 0777, 0600);
		assert_int_equal(http_listen(&second, &f->loop, address, web_echo, f, &err), RC_IO);
		assert_int_equal(http_port(f->server), 0);
		web_stop(f);
		assert_int_equal(lstat(path, &info), -1);
	}
	/* A file that is no socket is nobody's to remove. */
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(http_listen(&second, &f->loop, address, web_echo, f, &err), RC_IO);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(rmdir(directory), 0);
}

static void expect_no_socket(struct fixture *f, const char *address, const char *text)
{
	struct http_server *server;
	struct err err;

	assert_int_equal(http_listen(&server, &f->loop, address, web_echo, f, &err), RC_IO);
	assert_null(server);
	if (strstr(err.text, text) == NULL || strstr(err.text, address) == NULL)
		fail_msg("\"%s\" does not contain \"%s\" and \"%s\"", err.text, text, address);
}

static void a_unix_socket_that_cannot_be_made_names_the_true_cause(void **state)
{
	char directory[SCRATCH_MAX], address[SCRATCH_MAX + 32];
	struct fixture *f = *state;
	int fd;

	assert_int_equal(scratch_make(directory, "http"), 0);
	(void)snprintf(address, sizeof(address), "unix:%s/none/socket", directory);
	expect_no_socket(f, address,
			 "/none: No such file or directory; make it first, or choose another path");
	(void)snprintf(address, sizeof(address), "%s/file", directory);
	fd = open(address, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	close(fd);
	(void)snprintf(address, sizeof(address), "unix:%s/file/socket", directory);
	expect_no_socket(f, address, "not a directory");
	(void)snprintf(address, sizeof(address), "%s/file", directory);
	assert_int_equal(unlink(address), 0);
	assert_int_equal(rmdir(directory), 0);
}

/* Without root's privileges, which is what the rights of a directory are for. */
static void a_unix_socket_in_a_directory_of_others_says_who_may_not(void **state)
{
	char directory[SCRATCH_MAX], address[SCRATCH_MAX + 32];
	struct fixture *f = *state;
	const uid_t nobody = 65534;
	bool root = geteuid() == 0;

	assert_int_equal(scratch_make(directory, "http"), 0);
	assert_int_equal(chmod(directory, 0555), 0);
	(void)snprintf(address, sizeof(address), "unix:%s/socket", directory);
	if (root)
		assert_int_equal(seteuid(nobody), 0);
	expect_no_socket(f, address, "permission denied: user ");
	if (root)
		assert_int_equal(seteuid(0), 0);
	assert_int_equal(rmdir(directory), 0);
}

static void what_only_this_machine_reaches_is_known(void **state)
{
	(void)state;
	assert_true(http_socket_is_local("unix:/run/us") && http_socket_is_local("127.0.0.2:80"));
	assert_true(http_socket_is_local("[::1]:80") && http_socket_is_local("localhost:0"));
	assert_false(http_socket_is_local("0.0.0.0:80") || http_socket_is_local("[::]:80"));
	assert_false(http_socket_is_local("192.0.2.1:80") ||
		     http_socket_is_local("127.example:80"));
}

#define SERVER(test) cmocka_unit_test_setup_teardown(test, web_setup, web_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		SERVER(a_unix_socket_is_private_and_replaces_a_stale_one),
		SERVER(a_unix_socket_that_cannot_be_made_names_the_true_cause),
		SERVER(a_unix_socket_in_a_directory_of_others_says_who_may_not),
		cmocka_unit_test(what_only_this_machine_reaches_is_known),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
