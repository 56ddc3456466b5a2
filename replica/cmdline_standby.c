#include "replica/cmdline_derive.h"

#include "appliance/base/mem.h"

#include <stdio.h>
#include <string.h>

#define SOCKET_TEXT_MAX 512 /* a unix socket's path has 107 bytes; commas are doubled */

static int add_pair(struct cmdline *out, const char *option, const char *value, struct err *err)
{
	int rc = cmdline_add(out, option, err);

	if (rc == RC_OK)
		rc = cmdline_add(out, value, err);
	return rc;
}

char *cmdline_qmp_value(const char *path, struct err *err)
{
	char *escaped = optstring_escape(path), *value;
	char text[SOCKET_TEXT_MAX];
	int len;

	if (escaped == NULL) {
		(void)err_nomem(err, "a command line");
		return NULL;
	}
	len = snprintf(text, sizeof(text), "unix:%s,server=on,wait=off", escaped);
	mem_free(escaped);
	if (len < 0 || (size_t)len >= sizeof(text)) {
		(void)err_set(err, RC_LIMIT, "QMP socket %.64s...: the path is too long", path);
		return NULL;
	}
	value = mem_strdup(text);
	if (value == NULL)
		(void)err_nomem(err, "a command line");
	return value;
}

static int add_qmp(struct cmdline *out, const char *path, struct err *err)
{
	char *value = cmdline_qmp_value(path, err);
	int rc = value != NULL ? add_pair(out, "-qmp", value, err) : (int)err->code;

	mem_free(value);
	return rc;
}

int cmdline_standby(struct cmdline *out, const struct cmdline_spec *spec, const char *program,
		    const char *accel, const char *firmware, const char *qmp_path, struct err *err)
{
	int rc = cmdline_check(spec, err);

	*out = (struct cmdline){ 0 };
	if (rc == RC_OK)
		rc = cmdline_add(out, program, err);
	for (size_t i = 0; i < spec->args.count && rc == RC_OK; i++)
		rc = cmdline_add(out, spec->args.args[i], err);
	if (rc == RC_OK)
		rc = cmdline_put_targets(out, spec, err);
	if (rc == RC_OK)
		rc = cmdline_add_backends(out, spec, err);
	if (rc == RC_OK)
		rc = add_pair(out, "-accel", accel, err);
	if (rc == RC_OK && firmware != NULL)
		rc = add_pair(out, "-L", firmware, err);
	if (rc == RC_OK)
		rc = add_qmp(out, qmp_path, err);
	/* Not even the one that QEMU makes by itself, on a display's console. */
	if (rc == RC_OK)
		rc = add_pair(out, "-monitor", "none", err);
	if (rc == RC_OK)
		rc = add_pair(out, "-incoming", "defer", err);
	if (rc != RC_OK)
		cmdline_free(out);
	return rc;
}
