#include "replica/cmdline_derive.h"

#include "appliance/base/mem.h"

#include <stdio.h>
#include <string.h>

#define SOCKET_TEXT_MAX 512 /* a unix socket's path has 107 bytes; commas are doubled */

static int check_token(const struct cmdline_token *token, struct err *err)
{
	const char *name = cmdline_token_name(token);
	bool is_object = strcmp(name, "object") == 0;
	struct optstring options;
	bool ours = false;

	if (token->rule != NULL && token->rule->ours)
		return cmdline_refuse(token, NULL, "is the standby's own to set", err);
	if (!is_object && strcmp(name, "machine") != 0 && strcmp(name, "M") != 0)
		return RC_OK;
	if (cmdline_options(token, is_object ? "qom-type" : "type", &options, err) != RC_OK)
		return (int)err->code;
	ours = is_object ? cmdline_is_memory(&options) : optstring_get(&options, "accel") != NULL;
	optstring_free(&options);
	if (ours)
		return cmdline_refuse(token, NULL,
				      is_object ? "memory is the standby's own to set" :
						  "accel= is the standby's own to set",
				      err);
	return RC_OK;
}

int cmdline_check(const struct cmdline_spec *spec, struct err *err)
{
	struct cmdline_token *tokens;
	size_t count;
	int rc;

	rc = cmdline_tokens(&tokens, &count, spec->args.args, spec->args.count, 0, err);
	for (size_t i = 0; i < count && rc == RC_OK; i++)
		rc = check_token(&tokens[i], err);
	mem_free(tokens);
	return rc;
}

static int add_pair(struct cmdline *out, const char *option, const char *value, struct err *err)
{
	int rc = cmdline_add(out, option, err);

	if (rc == RC_OK)
		rc = cmdline_add(out, value, err);
	return rc;
}

static int add_qmp(struct cmdline *out, const char *path, struct err *err)
{
	char *escaped = optstring_escape(path);
	char text[SOCKET_TEXT_MAX];
	int len;

	if (escaped == NULL)
		return err_nomem(err, "a command line");
	len = snprintf(text, sizeof(text), "unix:%s,server=on,wait=off", escaped);
	mem_free(escaped);
	if (len < 0 || (size_t)len >= sizeof(text))
		return err_set(err, RC_LIMIT, "QMP socket %.64s...: the path is too long", path);
	return add_pair(out, "-qmp", text, err);
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
		rc = cmdline_add_backends(out, spec, err);
	if (rc == RC_OK)
		rc = add_pair(out, "-accel", accel, err);
	if (rc == RC_OK && firmware != NULL)
		rc = add_pair(out, "-L", firmware, err);
	if (rc == RC_OK)
		rc = add_qmp(out, qmp_path, err);
	if (rc == RC_OK)
		rc = add_pair(out, "-incoming", "defer", err);
	if (rc != RC_OK)
		cmdline_free(out);
	return rc;
}
