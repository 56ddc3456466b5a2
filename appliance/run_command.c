/*
 * Theory of operation. Where the options end and the image begins cannot be told without knowing which of them take a value: those that take
 * none are listed, as there are fewer. `create` takes the options of `run` but for a few.
 */
#include "appliance/run_command.h"

#include "appliance/base/mem.h"

#include <stddef.h>
#include <string.h>

static char word_create[] = "create", word_start[] = "start", word_attach[] = "--attach",
	    word_interactive[] = "--interactive";

/* Options without a value. */
static const char *const bare[] = {
	"detach",
	"interactive",
	"tty",
	"init",
	"privileged",
	"publish-all",
	"read-only",
	"rm",
	"no-healthcheck",
	"quiet",
	"sig-proxy",
	"disable-content-trust",
	"oom-kill-disable",
	"use-api-socket",
	/* podman's */
	"replace",
	"rmi",
	"read-only-tmpfs",
	"no-hosts",
	"env-host",
	"http-proxy",
	"passwd",
	"tls-verify",
	"rootfs",
	"no-hostname",
};
static const char bare_letters[] = "ditPq";

struct parse {
	struct run_command *command;
	size_t ncreate, nstart;
	bool interactive;
};

static bool is_option(const char *word, const char *name)
{
	const size_t len = strlen(name);

	return strncmp(word, "--", 2) == 0 && strncmp(word + 2, name, len) == 0 &&
	       (word[2 + len] == '\0' || word[2 + len] == '=');
}

static bool is_bare(const char *word)
{
	for (size_t i = 0; i < sizeof(bare) / sizeof(bare[0]); i++) {
		if (is_option(word, bare[i]))
			return true;
	}
	return false;
}

/* "--detach", "--detach=true"; not "--detach=false". */
static bool is_on(const char *word)
{
	const char *value = strchr(word, '=');

	return value == NULL || strcmp(value, "=true") == 0 || strcmp(value, "=1") == 0;
}

/* How many words it has. */
static int take_long(struct parse *parse, char **words)
{
	const bool alone = is_bare(words[0]) || strchr(words[0], '=') != NULL;
	const int count = alone || words[1] == NULL ? 1 : 2;
	const bool to_start =
		is_option(words[0], "sig-proxy") || is_option(words[0], "detach-keys");

	if (is_option(words[0], "interactive"))
		parse->interactive = is_on(words[0]);
	if (is_option(words[0], "detach")) {
		parse->command->detached = is_on(words[0]);
		return count;
	}
	for (int i = 0; i < count; i++) {
		if (to_start)
			parse->command->start[parse->nstart++] = words[i];
		else
			parse->command->create[parse->ncreate++] = words[i];
	}
	return count;
}

/* "-it", "-dv" and what its last takes, "-p80:80". Without the d. */
static int take_letters(struct parse *parse, char **words)
{
	char *at = words[0] + 1;
	int count = 1;

	while (*at != '\0' && strchr(bare_letters, *at) != NULL) {
		parse->interactive = parse->interactive || *at == 'i';
		if (*at == 'd') {
			parse->command->detached = true;
			memmove(at, at + 1, strlen(at));
		} else {
			at++;
		}
	}
	if (*at != '\0' && at[1] == '\0' && words[1] != NULL)
		count = 2;
	if (words[0][1] == '\0') /* it was only that */
		return count;
	for (int i = 0; i < count; i++)
		parse->command->create[parse->ncreate++] = words[i];
	return count;
}

static int find_run(int argc, char **argv)
{
	int at = 1;

	while (at < argc && strcmp(argv[at], "run") != 0)
		at++;
	return at;
}

/* The words before "run". */
static void begin(struct parse *parse, char **argv, int count)
{
	for (int i = 0; i < count; i++) {
		parse->command->create[parse->ncreate++] = argv[i];
		parse->command->start[parse->nstart++] = argv[i];
	}
	parse->command->create[parse->ncreate++] = word_create;
	parse->command->start[parse->nstart++] = word_start;
}

static void take_options(struct parse *parse, char **at, char **end)
{
	while (at < end && at[0][0] == '-' && at[0][1] != '\0' && strcmp(at[0], "--") != 0)
		at += at[0][1] == '-' ? take_long(parse, at) : take_letters(parse, at);
	for (; at < end; at++)
		parse->command->create[parse->ncreate++] = *at;
}

int run_command_make(struct run_command *command, int argc, char **argv, struct err *err)
{
	const int run = find_run(argc, argv);
	struct parse parse = { .command = command };

	*command = (struct run_command){ 0 };
	if (run + 1 >= argc)
		return err_set(err, RC_INVALID, "'docker run IMAGE ...' is wanted, or podman's");
	command->create = mem_zalloc((size_t)argc + 1, sizeof(char *));
	command->start = mem_zalloc((size_t)argc + 4, sizeof(char *));
	if (command->create == NULL || command->start == NULL) {
		run_command_free(command);
		return err_nomem(err, "a command");
	}
	begin(&parse, argv, run);
	take_options(&parse, argv + run + 1, argv + argc);
	if (!command->detached)
		command->start[parse.nstart++] = word_attach;
	if (parse.interactive && !command->detached)
		command->start[parse.nstart++] = word_interactive;
	command->id = &command->start[parse.nstart];
	return RC_OK;
}

void run_command_free(struct run_command *command)
{
	mem_free(command->create);
	mem_free(command->start);
	*command = (struct run_command){ 0 };
}
