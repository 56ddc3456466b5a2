#include "replica/cmdline.h"

#include "appliance/base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void cmdline_free(struct cmdline *cmdline)
{
	for (size_t i = 0; i < cmdline->count; i++)
		mem_free(cmdline->args[i]);
	mem_free(cmdline->args);
	*cmdline = (struct cmdline){ 0 };
}

static int add_len(struct cmdline *cmdline, const char *arg, size_t len, struct err *err)
{
	size_t capacity = cmdline->capacity > 0 ? cmdline->capacity * 2 : 32;
	char **grown;
	char *copy;

	if (cmdline->count == CMDLINE_ARGS_MAX)
		return err_set(err, RC_LIMIT, "more than %d arguments", CMDLINE_ARGS_MAX);
	if (len >= CMDLINE_BYTES_MAX - cmdline->bytes)
		return err_set(err, RC_LIMIT, "more than %zu bytes of arguments",
			       CMDLINE_BYTES_MAX);
	if (cmdline->count + 1 >= cmdline->capacity) {
		grown = mem_realloc(cmdline->args, capacity * sizeof(*grown));
		if (grown == NULL)
			return err_nomem(err, "a command line");
		cmdline->args = grown;
		cmdline->capacity = capacity;
	}
	copy = mem_strndup(arg, len);
	if (copy == NULL)
		return err_nomem(err, "a command line");
	cmdline->args[cmdline->count++] = copy;
	cmdline->args[cmdline->count] = NULL;
	cmdline->bytes += len + 1;
	return RC_OK;
}

int cmdline_add(struct cmdline *cmdline, const char *arg, struct err *err)
{
	return add_len(cmdline, arg, strlen(arg), err);
}

int cmdline_parse(struct cmdline *cmdline, const uint8_t *bytes, size_t len, struct err *err)
{
	const char *at = (const char *)bytes;
	size_t arg_len;
	int rc = RC_OK;

	*cmdline = (struct cmdline){ 0 };
	if (len == 0)
		return err_set(err, RC_INVALID, "no command line: the process has ended");
	while (len > 0 && rc == RC_OK) {
		arg_len = strnlen(at, len);
		rc = add_len(cmdline, at, arg_len, err);
		if (arg_len < len)
			arg_len++; /* its NUL; the last one may have lost it */
		at += arg_len;
		len -= arg_len;
	}
	if (rc != RC_OK)
		cmdline_free(cmdline);
	return rc;
}

/*
 * Everything of a file of /proc, which tells no size; one byte more than the limit tells that it is
 * too long.
 */
static int read_proc(const char *path, uint8_t *bytes, size_t size, size_t *len, struct err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t r = 1;

	*len = 0;
	if (fd < 0)
		return err_system(err, errno, "%s", path);
	while (r > 0 && *len < size) {
		r = read(fd, bytes + *len, size - *len);
		if (r < 0 && errno == EINTR)
			r = 1;
		else if (r > 0)
			*len += (size_t)r;
	}
	if (r < 0)
		(void)err_system(err, errno, "%s", path);
	(void)close(fd);
	return r < 0 ? RC_IO : RC_OK;
}

int cmdline_of_pid(struct cmdline *cmdline, pid_t pid, struct err *err)
{
	uint8_t *bytes = mem_alloc(CMDLINE_BYTES_MAX + 1);
	char path[64];
	size_t len;
	int rc;

	*cmdline = (struct cmdline){ 0 };
	if (bytes == NULL)
		return err_nomem(err, "a command line");
	(void)snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)pid);
	rc = read_proc(path, bytes, CMDLINE_BYTES_MAX + 1, &len, err);
	if (rc == RC_OK && len > CMDLINE_BYTES_MAX)
		rc = err_set(err, RC_LIMIT, "%s: more than %zu bytes", path, CMDLINE_BYTES_MAX);
	if (rc == RC_OK && cmdline_parse(cmdline, bytes, len, err) != RC_OK)
		rc = err_prefix(err, "%s: ", path);
	mem_free(bytes);
	return rc;
}
