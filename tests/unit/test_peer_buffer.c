/* Another process's socket: a child that has one, and says how large its send buffer is. */
#include "net/peer_buffer.h"
#include "tests/unit/scratch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define BYTES ((size_t)4 << 20)

static char dir[SCRATCH_MAX], path[SCRATCH_MAX + 16];
static struct {
	pid_t pid;
	int control; /* a byte asks; an int answers; the end of it ends the child */
} peer;

static void be_the_peer(int control)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_DGRAM, 0), bytes = 0;
	socklen_t len = sizeof(bytes);
	char ask;

	memcpy(address.sun_path, path, strlen(path) + 1);
	if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) != 0)
		_exit(1);
	while (read(control, &ask, 1) == 1) {
		if (getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, &len) != 0 ||
		    write(control, &bytes, sizeof(bytes)) != sizeof(bytes))
			_exit(1);
	}
	_exit(0);
}

static size_t its_buffer(void)
{
	int bytes = 0;

	assert_int_equal(write(peer.control, "?", 1), 1);
	assert_int_equal(read(peer.control, &bytes, sizeof(bytes)), sizeof(bytes));
	return (size_t)bytes;
}

static int set_up(void **state)
{
	int pair[2];

	(void)state;
	if (scratch_make(dir, "peer") != 0 || socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0)
		return -1;
	(void)snprintf(path, sizeof(path), "%s/qemu", dir);
	peer.control = pair[0];
	peer.pid = fork();
	if (peer.pid == 0) {
		(void)close(pair[0]);
		be_the_peer(pair[1]);
	}
	(void)close(pair[1]);
	(void)its_buffer(); /* it is bound */
	return peer.pid > 0 ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	(void)close(peer.control);
	(void)waitpid(peer.pid, NULL, 0);
	(void)unlink(path);
	return rmdir(dir);
}

static void a_buffer_is_raised_once_and_not_lowered(void **state)
{
	size_t had = its_buffer(), has;
	struct err err = { 0 };
	int rc = peer_buffer_raise(peer.pid, path, BYTES, &err);

	(void)state;
	if (rc == RC_IO && strstr(err.text, "Operation not permitted") != NULL)
		skip(); /* a machine where nobody may trace anybody */
	has = its_buffer();
	assert_true(has > had);
	assert_int_equal(rc, has >= BYTES ? RC_OK : RC_IO);
	(void)peer_buffer_raise(peer.pid, path, had, &err);
	assert_int_equal(its_buffer(), has);
}

static void what_is_not_there_is_said_with_its_name(void **state)
{
	struct err err = { 0 };

	(void)state;
	if (peer_buffer_raise(peer.pid, "/no/such/socket", BYTES, &err) == RC_IO)
		skip();
	assert_int_equal(err.code, RC_STATE);
	assert_non_null(strstr(err.text, "/no/such/socket"));
	assert_int_not_equal(peer_buffer_raise(0x7ffffff0, path, BYTES, &err), RC_OK);
	assert_non_null(strstr(err.text, "process 2147483632"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_buffer_is_raised_once_and_not_lowered, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(what_is_not_there_is_said_with_its_name, set_up,
						tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
