/*
 * The NBD server as the target of a real QEMU's mirror job, as disks are captured: a copy of all
 * that is there, then each write before it is answered; and what it does to strangers.
 */
#include "net/nbd_server.h"

#include "appliance/base/bytes.h"
#include "appliance/base/clock.h"
#include "tests/unit/scratch.h"
#include "tests/unit/unix_socket.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define QEMU "build/qemu/qemu-system-x86_64"
#define BYTES (8U << 20)
#define DATA_AT (1U << 20) /* of the source; the rest is a hole */
#define DATA_LEN (512U << 10)
#define PATIENCE_NS (30 * CLOCK_NS_PER_S)

static struct play {
	uv_loop_t loop;
	struct nbd_server *server;
	char dir[SCRATCH_MAX], socket[SCRATCH_MAX + 8], source[SCRATCH_MAX + 8];
	uint8_t disk[BYTES];
	size_t written, holes;
	unsigned flushes;
	enum nbd_error error; /* of what changes the disk */
	bool closed;
	/* QEMU, and its monitor on its standard input and output */
	pid_t qemu;
	int monitor;
	char heard[65536];
	size_t heard_len;
} play;

/* ---- the disk ------------------------------------------------------------------------------- */

static enum nbd_error on_read(void *owner, uint64_t offset, uint8_t *to, uint32_t len)
{
	(void)owner;
	memcpy(to, play.disk + offset, len);
	return NBD_OK;
}

static enum nbd_error on_write(void *owner, uint64_t offset, const uint8_t *data, uint32_t len)
{
	(void)owner;
	if (play.error == NBD_OK)
		memcpy(play.disk + offset, data, len);
	play.written += len;
	return play.error;
}

static enum nbd_error on_zero(void *owner, uint64_t offset, uint32_t len, bool hole)
{
	(void)owner;
	memset(play.disk + offset, 0, len);
	play.holes += hole ? len : 0;
	return play.error;
}

static enum nbd_error on_flush(void *owner)
{
	(void)owner;
	play.flushes++;
	return NBD_OK;
}

static uint32_t on_extent(void *owner, uint64_t offset, uint32_t len, uint32_t *flags)
{
	(void)owner;
	(void)offset;
	*flags = 0;
	return len;
}

static const struct nbd_server_ops ops = { on_read, on_write, on_zero, on_flush, on_extent, NULL };
static const struct nbd_export export = { .name = "disk0", .bytes = BYTES, .block = 65536 };

/* ---- QEMU ----------------------------------------------------------------------------------- */

static void start_qemu(void)
{
	char drive[SCRATCH_MAX + 64];
	int ends[2];

	/* A device's view of the disk, above which the mirror puts its filter. */
	(void)snprintf(drive, sizeof(drive), "if=none,id=src,format=raw,discard=unmap,file=%s",
		       play.source);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	play.qemu = fork();
	if (play.qemu == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* however this test ends */
		(void)dup2(ends[1], STDIN_FILENO);
		(void)dup2(ends[1], STDOUT_FILENO);
		(void)execl(QEMU, QEMU, "-machine", "none", "-nodefaults", "-display", "none",
			    "-drive", drive, "-qmp", "stdio", (char *)NULL);
		_exit(127);
	}
	(void)close(ends[1]);
	play.monitor = ends[0];
	assert_int_equal(fcntl(play.monitor, F_SETFL, O_NONBLOCK), 0);
}

/* Runs the server until QEMU has said `word`; what it has said up to there is forgotten. */
static void wait_for(const char *word)
{
	const uint64_t end = clock_now_ns() + PATIENCE_NS;
	ssize_t got;
	char *at;

	while ((at = strstr(play.heard, word)) == NULL) {
		if (clock_now_ns() > end)
			fail_msg("QEMU does not say %s, but: %s", word, play.heard);
		(void)uv_run(&play.loop, UV_RUN_NOWAIT);
		got = read(play.monitor, play.heard + play.heard_len,
			   sizeof(play.heard) - 1 - play.heard_len);
		if (got > 0)
			play.heard_len += (size_t)got;
		else
			(void)usleep(1000);
		play.heard[play.heard_len] = '\0';
	}
	at += strlen(word);
	play.heard_len -= (size_t)(at - play.heard);
	memmove(play.heard, at, play.heard_len + 1);
}

static void tell(const char *command)
{
	const size_t len = strlen(command);

	assert_int_equal(write(play.monitor, command, len), (ssize_t)len);
}

static void execute(const char *command)
{
	tell(command);
	wait_for("\"return\": {");
}

/* A command of qemu-io on the source, which the guest of a machine would have written. */
static void guest(const char *io)
{
	char command[256];

	(void)snprintf(
		command, sizeof(command),
		"{'execute': 'human-monitor-command', 'arguments': {'command-line': 'qemu-io "
		"src \\\"%s\\\"'}}\n",
		io);
	tell(command);
	wait_for("\"return\": \"");
}

static void mirror(void)
{
	char text[768];

	execute("{'execute': 'qmp_capabilities'}\n");
	(void)snprintf(
		text, sizeof(text),
		"{'execute': 'blockdev-add', 'arguments': {'driver': 'nbd', 'node-name': 'dst', "
		"'export': 'disk0', 'server': {'type': 'unix', 'path': '%s'}}}\n",
		play.socket);
	execute(text);
	execute("{'execute': 'blockdev-mirror', 'arguments': {'job-id': 'm', 'device': 'src', 'target': "
		"'dst', 'sync': 'full', 'copy-mode': 'write-blocking'}}\n");
	wait_for("BLOCK_JOB_READY");
}

static void quit(void)
{
	int status;

	tell("{'execute': 'quit'}\n");
	while (waitpid(play.qemu, &status, WNOHANG) == 0) {
		(void)uv_run(&play.loop, UV_RUN_NOWAIT);
		(void)usleep(1000);
	}
	assert_int_equal(status, 0);
	(void)close(play.monitor);
	play.qemu = 0;
}

/* ---- each test ------------------------------------------------------------------------------ */

static void make_source(void)
{
	static uint8_t data[DATA_LEN];
	size_t i;
	int fd = open(play.source, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	for (i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 7 + i / 256);
	assert_int_equal(ftruncate(fd, BYTES), 0);
	assert_int_equal(pwrite(fd, data, sizeof(data), DATA_AT), sizeof(data));
	assert_int_equal(close(fd), 0);
}

static int begin(void **state)
{
	struct err err;

	(void)state;
	memset(&play, 0, sizeof(play));
	assert_int_equal(scratch_make(play.dir, "nbd"), 0);
	(void)snprintf(play.socket, sizeof(play.socket), "%s/socket", play.dir);
	(void)snprintf(play.source, sizeof(play.source), "%s/source", play.dir);
	make_source();
	memset(play.disk, 0xee, sizeof(play.disk)); /* whatever was there before */
	assert_int_equal(uv_loop_init(&play.loop), 0);
	assert_int_equal(nbd_server_open(&play.server, &play.loop, play.socket, &export, &ops, NULL,
					 &err),
			 RC_OK);
	return 0;
}

static void on_closed(void *owner)
{
	(void)owner;
	play.closed = true;
}

static int end(void **state)
{
	(void)state;
	if (play.qemu > 0) {
		(void)kill(play.qemu, SIGKILL);
		(void)waitpid(play.qemu, NULL, 0);
	}
	nbd_server_close(play.server, on_closed);
	while (uv_run(&play.loop, UV_RUN_DEFAULT) != 0)
		;
	assert_true(play.closed);
	assert_int_equal(uv_loop_close(&play.loop), 0);
	assert_int_equal(access(play.socket, F_OK), -1);
	(void)unlink(play.source);
	return rmdir(play.dir);
}

static void disks_are_equal(void)
{
	static uint8_t source[BYTES];
	int fd = open(play.source, O_RDONLY | O_CLOEXEC);

	assert_int_equal(pread(fd, source, sizeof(source), 0), sizeof(source));
	(void)close(fd);
	assert_memory_equal(source, play.disk, sizeof(source));
}

static void a_mirror_copies_all_and_then_each_write_before_it_is_answered(void **state)
{
	(void)state;
	if (access(QEMU, X_OK) != 0)
		skip();
	start_qemu();
	mirror();
	assert_true(nbd_server_clients(play.server) >= 1);
	disks_are_equal();
	assert_true(play.written < BYTES); /* its holes did not travel */
	guest("write -P 0x55 4096 12288");
	assert_int_equal(play.disk[4096], 0x55);
	assert_int_equal(play.disk[4096 + 12287], 0x55);
	guest("write -P 0x56 -f 513 1024");
	guest("write -z 1048576 65536");
	assert_int_equal(play.disk[1048576], 0);
	guest("write -z -u 1114112 65536");
	guest("flush");
	assert_true(play.flushes > 0);
	disks_are_equal();
	quit();
}

static blkcnt_t source_blocks(void)
{
	struct stat info;

	assert_int_equal(stat(play.source, &info), 0);
	return info.st_blocks;
}

/*
 * QEMU's mirror takes discards (its filter node has no "unmap", whatever the disk has) and does nothing with
 * them. One that did them would have to do them at both sides, or these would no longer read the same.
 */
static void what_a_guest_discards_while_it_is_mirrored_is_discarded_nowhere(void **state)
{
	blkcnt_t before;

	(void)state;
	if (access(QEMU, X_OK) != 0)
		skip();
	start_qemu();
	mirror();
	before = source_blocks();
	guest("discard 1048576 262144");
	guest("flush");
	assert_int_equal(source_blocks(), before);
	disks_are_equal();
	execute("{'execute': 'block-job-cancel', 'arguments': {'device': 'm'}}\n");
	wait_for("BLOCK_JOB_COMPLETED");
	guest("discard 1048576 262144");
	assert_true(source_blocks() < before); /* it was the mirror */
	quit();
}

static void an_error_is_the_job_s_and_not_the_guest_s(void **state)
{
	(void)state;
	if (access(QEMU, X_OK) != 0)
		skip();
	start_qemu();
	mirror();
	play.error = NBD_ENOSPC;
	guest("write -P 0x57 0 4096");
	wait_for("BLOCK_JOB_COMPLETED");
	play.error = NBD_OK;
	guest("read -P 0x57 0 4096");
	assert_null(strstr(play.heard, "failed"));
	quit();
}

/* ---- clients that are no QEMU --------------------------------------------------------------- */

static void receive(int client, void *to, size_t len)
{
	const uint64_t end = clock_now_ns() + PATIENCE_NS;
	size_t done = 0;
	ssize_t got;

	while (done < len) {
		assert_true(clock_now_ns() < end);
		(void)uv_run(&play.loop, UV_RUN_NOWAIT);
		got = recv(client, (uint8_t *)to + done, len - done, MSG_DONTWAIT);
		assert_true(got != 0);
		done += got > 0 ? (size_t)got : 0;
	}
}

/* All of it at once, as far as the socket takes it. */
static void say(int client, const struct buf *said)
{
	size_t done = 0;
	ssize_t sent;

	while (done < said->len) {
		sent = send(client, said->data + done, said->len - done, MSG_DONTWAIT);
		done += sent > 0 ? (size_t)sent : 0;
		(void)uv_run(&play.loop, UV_RUN_NOWAIT);
	}
}

static int client_open(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	const int client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	uint8_t greeting[18], answer[10];
	struct buf said = { 0 };

	memcpy(address.sun_path, play.socket, strlen(play.socket) + 1);
	assert_int_equal(connect(client, (struct sockaddr *)&address, sizeof(address)), 0);
	(void)buf_append_be32(&said, NBD_FIXED_NEWSTYLE | NBD_NO_ZEROES);
	(void)buf_append_be64(&said, NBD_OPTION_MAGIC);
	(void)buf_append_be32(&said, NBD_OPTION_EXPORT_NAME);
	(void)buf_append_be32(&said, (uint32_t)strlen(export.name));
	(void)buf_append(&said, export.name, strlen(export.name));
	say(client, &said);
	buf_free(&said);
	receive(client, greeting, sizeof(greeting));
	receive(client, answer, sizeof(answer));
	assert_int_equal(bytes_get_be64(answer), BYTES);
	assert_true((bytes_get_be16(answer + 8) & NBD_CAN_MULTI_CONN) != 0);
	return client;
}

static void add_request(struct buf *said, uint16_t command, uint64_t cookie, uint64_t offset,
			uint32_t len)
{
	(void)buf_append_be32(said, NBD_REQUEST_MAGIC);
	(void)buf_append_be16(said, 0);
	(void)buf_append_be16(said, command);
	(void)buf_append_be64(said, cookie);
	(void)buf_append_be64(said, offset);
	(void)buf_append_be32(said, len);
}

static void expect_done(int client, uint64_t cookie)
{
	uint8_t reply[16];

	receive(client, reply, sizeof(reply));
	assert_int_equal(bytes_get_be32(reply), NBD_SIMPLE_MAGIC);
	assert_int_equal(bytes_get_be32(reply + 4), NBD_OK);
	assert_int_equal(bytes_get_be64(reply + 8), cookie);
}

/* `len` bytes of it, all of them `value`. */
static void expect_data(int client, uint64_t cookie, uint32_t len, uint8_t value)
{
	static uint8_t data[BYTES];

	expect_done(client, cookie);
	receive(client, data, len);
	assert_int_equal(data[0], value);
	assert_memory_equal(data, data + 1, len - 1);
}

static void what_one_connection_was_answered_all_of_them_see(void **state)
{
	struct buf said = { 0 };
	const int one = client_open(), other = client_open();

	(void)state;
	add_request(&said, NBD_WRITE, 1, 4096, 512);
	memset(buf_extend(&said, 512), 0x11, 512);
	say(one, &said);
	expect_done(one, 1);
	buf_reset(&said);
	add_request(&said, NBD_READ, 2, 4096, 512);
	add_request(&said, NBD_FLUSH, 3, 0, 0);
	say(other, &said);
	expect_data(other, 2, 512, 0x11);
	expect_done(other, 3);
	assert_int_equal(play.flushes, 1);
	buf_reset(&said);
	add_request(&said, NBD_WRITE, 4, 4096, 512);
	bytes_put_be16(said.data + 4, NBD_FUA);
	memset(buf_extend(&said, 512), 0x33, 512);
	say(one, &said);
	expect_done(one, 4);
	assert_int_equal(play.flushes, 2); /* before it is answered */
	buf_free(&said);
	(void)close(one);
	(void)close(other);
}

/* More replies than the socket takes, to a client that reads none before it has asked for all. */
static void requests_that_come_together_are_answered_one_after_the_other(void **state)
{
	struct buf said = { 0 };
	const int client = client_open();
	uint64_t cookie;

	(void)state;
	for (cookie = 0; cookie < 4; cookie++) {
		add_request(&said, NBD_READ, cookie, 0, BYTES);
		add_request(&said, NBD_TRIM, 100 + cookie, 0, 4096);
		add_request(&said, NBD_WRITE, 200 + cookie, 0, 4096);
		memset(buf_extend(&said, 4096), 0xee, 4096);
	}
	add_request(&said, NBD_WRITE, 300, 0, 1 << 16);
	memset(buf_extend(&said, 1 << 16), 0x22, 1 << 16);
	add_request(&said, NBD_READ, 301, 0, 1 << 16);
	assert_false(said.failed);
	say(client, &said);
	for (cookie = 0; cookie < 4; cookie++) {
		expect_data(client, cookie, BYTES, 0xee);
		expect_done(client, 100 + cookie);
		expect_done(client, 200 + cookie);
	}
	expect_done(client, 300);
	expect_data(client, 301, 1 << 16, 0x22);
	buf_free(&said);
	(void)close(client);
}

static void as_many_clients_as_are_taken_and_no_more(void **state)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int clients[NBD_CONNECTIONS_MAX + 2], i;
	char byte;

	(void)state;
	memcpy(address.sun_path, play.socket, strlen(play.socket) + 1);
	for (i = 0; i < NBD_CONNECTIONS_MAX + 2; i++) {
		clients[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		assert_int_equal(connect(clients[i], (struct sockaddr *)&address, sizeof(address)),
				 0);
		(void)uv_run(&play.loop, UV_RUN_NOWAIT);
	}
	for (i = 0; i < 5; i++)
		(void)uv_run(&play.loop, UV_RUN_NOWAIT);
	assert_int_equal(nbd_server_clients(play.server), NBD_CONNECTIONS_MAX);
	assert_int_equal(read(clients[0], &byte, 1), 1);
	assert_int_equal(read(clients[NBD_CONNECTIONS_MAX], &byte, 1), 0);
	assert_int_equal(write(clients[0], "nonsense", 8), 8);
	for (i = 0; i < 5; i++)
		(void)uv_run(&play.loop, UV_RUN_NOWAIT);
	assert_int_equal(nbd_server_clients(play.server), NBD_CONNECTIONS_MAX - 1);
	for (i = 0; i < NBD_CONNECTIONS_MAX + 2; i++)
		(void)close(clients[i]);
}

static void the_socket_is_ours_alone_and_a_stale_one_makes_way(void **state)
{
	struct nbd_server *second;
	struct stat info;
	struct err err;
	char path[SCRATCH_MAX + 8];
	int stale;

	(void)state;
	assert_int_equal(stat(play.socket, &info), 0);
	assert_int_equal(info.st_mode & 0777, 0600);
	assert_int_equal(nbd_server_open(&second, &play.loop, play.socket, &export, &ops, NULL,
					 &err),
			 RC_IO);
	assert_non_null(strstr(err.text, play.socket));
	(void)snprintf(path, sizeof(path), "%s/stale", play.dir);
	stale = unix_socket_bind(path);
	(void)close(stale);
	assert_int_equal(nbd_server_open(&second, &play.loop, path, &export, &ops, NULL, &err),
			 RC_OK);
	nbd_server_close(second, NULL);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
	const struct CMUnitTest tests[] = {
		TEST(a_mirror_copies_all_and_then_each_write_before_it_is_answered),
		TEST(what_a_guest_discards_while_it_is_mirrored_is_discarded_nowhere),
		TEST(an_error_is_the_job_s_and_not_the_guest_s),
		TEST(what_one_connection_was_answered_all_of_them_see),
		TEST(requests_that_come_together_are_answered_one_after_the_other),
		TEST(as_many_clients_as_are_taken_and_no_more),
		TEST(the_socket_is_ours_alone_and_a_stale_one_makes_way),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
