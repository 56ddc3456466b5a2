#include "tests/unit/preflight_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

struct preflight preflight;

void preflight_fixture_read(enum config_role role, const char *text)
{
	struct err err;

	preflight = (struct preflight){ .name = "f.json", .role_known = true };
	if (config_parse(&preflight.config, role, "f.json", "/tmp", text, strlen(text), &err) !=
	    RC_OK)
		fail_msg("%s", err.text);
}

void preflight_fixture_expect(const struct buf *lines, const char *part)
{
	const char *line;
	size_t at = 0;
	int len;

	line = preflight_line(lines, &at, &len);
	if (part == NULL ? line != NULL :
			   line == NULL || at != lines->len ||
				   memmem(line, (size_t)len, part, strlen(part)) == NULL)
		fail_msg("expected \"%s\", got:\n%.*s", part != NULL ? part : "nothing",
			 (int)lines->len, lines->len > 0 ? (const char *)lines->data : "");
	preflight_free(&preflight);
}
