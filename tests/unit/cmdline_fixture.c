#include "tests/unit/cmdline_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct cmdline_spec arguments_spec;
struct err arguments_err;

void arguments_lines(struct cmdline *cmdline, const char *text)
{
	struct err why;
	char *copy = strdup(text), *at = copy, *line;

	*cmdline = (struct cmdline){ 0 };
	while ((line = strsep(&at, "\n")) != NULL)
		assert_int_equal(cmdline_add(cmdline, line, &why), RC_OK);
	free(copy);
}

int arguments_derive_for(const char *machine, const char *text)
{
	struct cmdline source;
	char *whole;
	int rc;

	cmdline_spec_free(&arguments_spec);
	assert_true(asprintf(&whole, "qemu-system-x86_64%s%s", *text != '\0' ? "\n" : "", text) >
		    0);
	arguments_lines(&source, whole);
	rc = cmdline_derive(&arguments_spec, &source, machine, "pc.ram", 256 * MIB, &arguments_err);
	cmdline_free(&source);
	free(whole);
	return rc;
}

int arguments_reserve(struct reservation *reservation, const char *text, char *const *own,
		      struct err *err)
{
	const struct precheck_facts facts = { .machine = "pc-i440fx-10.0",
					      .default_ram_id = "pc.ram",
					      .memory_bytes = 256 * MIB,
					      .cpus = 1 };
	struct cmdline source;
	char whole[4096];
	int rc;

	(void)snprintf(whole, sizeof(whole), "qemu\n-nodefaults\n%s", text);
	arguments_lines(&source, whole);
	rc = reservation_derive(reservation, &source, &facts, own, err);
	cmdline_free(&source);
	return rc;
}

int arguments_derive(const char *text)
{
	return arguments_derive_for("pc-i440fx-10.0", text);
}

const char *arguments_joined(const struct cmdline *cmdline)
{
	static char text[65536];
	size_t used = 0;

	text[0] = '\0';
	for (size_t i = 0; i < cmdline->count; i++)
		used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%s",
					 i > 0 ? "\n" : "", cmdline->args[i]);
	return text;
}

void arguments_becomes(const char *from, const char *to)
{
	if (arguments_derive(from) != RC_OK)
		fail_msg("%s: %s", from, arguments_err.text);
	assert_string_equal(arguments_joined(&arguments_spec.args), to);
}

void arguments_refused_naming(const char *from, const char *word)
{
	int rc = arguments_derive(from);

	assert_int_not_equal(rc, RC_OK);
	assert_int_equal(rc, arguments_err.code);
	if (strstr(arguments_err.text, word) == NULL)
		fail_msg("\"%s\" does not name \"%s\"", arguments_err.text, word);
}

int arguments_teardown(void **state)
{
	(void)state;
	cmdline_spec_free(&arguments_spec);
	return 0;
}
