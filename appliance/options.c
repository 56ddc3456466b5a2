#include "appliance/options.h"

#include "appliance/base/near_miss.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define NAME_COLUMN 22 /* of the help */

static void print_help(const struct command *command)
{
	const struct option *option;
	char name[64];

	(void)printf("usage: understudy %s\n\n%s\n", command->synopsis, command->about);
	for (size_t i = 0; i < command->count; i++) {
		option = &command->options[i];
		(void)snprintf(name, sizeof(name), "--%s%s%s", option->name,
			       option->value != NULL ? " " : "",
			       option->value != NULL ? option->value : "");
		(void)printf("%s  %-*s %s\n", i == 0 ? "\n" : "", NAME_COLUMN, name, option->doc);
	}
}

int options_wrong(const struct command *command, const char *format, ...)
{
	int verb = (int)strcspn(command->synopsis, " ");
	va_list args;

	(void)fprintf(stderr, "understudy %.*s: ", verb, command->synopsis);
	va_start(args, format);
	(void)vfprintf(stderr, format, args);
	va_end(args);
	(void)fprintf(stderr, "\nusage: understudy %s\n", command->synopsis);
	return EXIT_USAGE;
}

int options_failed(const char *text)
{
	(void)fprintf(stderr, "understudy: %s\n", text);
	return EXIT_FAILED;
}

static const struct option *find(const struct command *command, const char *name, size_t len)
{
	for (size_t i = 0; i < command->count; i++) {
		if (strncmp(command->options[i].name, name, len) == 0 &&
		    command->options[i].name[len] == '\0')
			return &command->options[i];
	}
	return NULL;
}

static int unknown(const struct command *command, const char *argument)
{
	int dashes = argument[1] == '-' ? 2 : 1;
	char name[NEAR_MISS_WORD_MAX + 1];
	struct near_miss miss;

	argument += dashes;
	(void)snprintf(name, sizeof(name), "%.*s", (int)strcspn(argument, "="), argument);
	miss = near_miss_of(name);
	for (size_t i = 0; i < command->count; i++)
		near_miss_offer(&miss, command->options[i].name);
	if (miss.best == NULL)
		return options_wrong(command, "unknown option %.*s%s", dashes, "--", name);
	return options_wrong(command, "unknown option %.*s%s; did you mean --%s?", dashes, "--",
			     name, miss.best);
}

/*
 * Stores the option's value, `value` or else the next argument. Returns how many arguments it took,
 * 0 after a mistake.
 */
static int take(const struct command *command, const struct option *option, const char *value,
		const char *next)
{
	size_t most = option->most > 0 ? option->most : 1, given;
	bool separate = option->value != NULL && value == NULL;

	if (option->value == NULL && value != NULL) {
		(void)options_wrong(command, "--%s takes no value", option->name);
		return 0;
	}
	if (option->flag != NULL)
		*option->flag = true;
	if (option->value == NULL)
		return 1;
	value = separate ? next : value;
	if (value == NULL || *value == '\0') {
		(void)options_wrong(command, "--%s needs a value: %s", option->name, option->value);
		return 0;
	}
	given = option->count != NULL ? *option->count : option->text[0] != NULL;
	if (given == most) {
		(void)options_wrong(command, "--%s is given too often", option->name);
		return 0;
	}
	option->text[given] = value;
	if (option->count != NULL)
		*option->count = given + 1;
	return separate ? 2 : 1;
}

static bool take_operand(const struct command *command, const char *argument)
{
	if (command->operand == NULL || *command->operand != NULL) {
		(void)options_wrong(command, "unexpected argument '%s'", argument);
		return false;
	}
	*command->operand = argument;
	return true;
}

bool options_parse(const struct command *command, int argc, char **argv, int *status)
{
	const struct option *option;
	const char *equals;
	bool operands = false; /* behind "--" there is nothing else */
	int taken;

	*status = EXIT_USAGE;
	for (int i = 1; i < argc; i += taken) {
		taken = 1;
		if (operands || argv[i][0] != '-' || argv[i][1] == '\0') {
			if (!take_operand(command, argv[i]))
				return false;
			continue;
		}
		if (strcmp(argv[i], "--") == 0) {
			operands = true;
			continue;
		}
		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
			print_help(command);
			*status = EXIT_FINE;
			return false;
		}
		equals = strchr(argv[i], '=');
		option = argv[i][1] == '-' ? find(command, argv[i] + 2, strcspn(argv[i] + 2, "=")) :
					     NULL;
		if (option == NULL) {
			(void)unknown(command, argv[i]);
			return false;
		}
		taken = take(command, option, equals != NULL ? equals + 1 : NULL, argv[i + 1]);
		if (taken == 0)
			return false;
	}
	if (command->operand != NULL && *command->operand == NULL && !command->operand_may_lack) {
		(void)options_wrong(command, "%s is missing", command->operand_name);
		return false;
	}
	return true;
}
