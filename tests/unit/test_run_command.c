/*
 * `docker run` is `docker create`, and `docker start` with what belongs to that.
 */
#include "appliance/run_command.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define WORDS_MAX 32

static void join(char out[512], char **words)
{
	out[0] = '\0';
	for (; *words != NULL; words++)
		(void)snprintf(out + strlen(out), 512 - strlen(out), "%s%s",
			       *out != '\0' ? " " : "", *words);
}

static void check(const char *text, const char *create, const char *start, bool detached)
{
	char copy[512], joined[512], *words[WORDS_MAX + 1] = { NULL }, *rest, id[] = "ID";
	struct run_command command;
	struct err err;
	int n = 0;

	(void)snprintf(copy, sizeof(copy), "%s", text);
	for (char *word = strtok_r(copy, " ", &rest); word != NULL && n < WORDS_MAX;
	     word = strtok_r(NULL, " ", &rest))
		words[n++] = word;
	assert_int_equal(run_command_make(&command, n, words, &err), RC_OK);
	*command.id = id;
	join(joined, command.create);
	assert_string_equal(joined, create);
	join(joined, command.start);
	assert_string_equal(joined, start);
	assert_int_equal(command.detached, detached);
	run_command_free(&command);
}

static void test_commands(void **unused)
{
	(void)unused;
	check("docker run image", "docker create image", "docker start --attach ID", false);
	check("docker run -d image -d run", "docker create image -d run", "docker start ID", true);
	check("docker run -itd --name x image sh", "docker create -it --name x image sh",
	      "docker start ID", true);
	check("docker run -it image sh -c true", "docker create -it image sh -c true",
	      "docker start --attach --interactive ID", false);
	check("docker run --rm --interactive image", "docker create --rm --interactive image",
	      "docker start --attach --interactive ID", false);
}

static void test_where_the_image_is(void **unused)
{
	(void)unused;
	check("docker run -v /a:/b -p80:80 -e A=b --rm --network none image -d",
	      "docker create -v /a:/b -p80:80 -e A=b --rm --network none image -d",
	      "docker start --attach ID", false);
	check("docker run -dv /a:/b image -i", "docker create -v /a:/b image -i", "docker start ID",
	      true);
	check("docker run --network=none --detach image --detach",
	      "docker create --network=none image --detach", "docker start ID", true);
	check("docker run --detach=false -- image -d", "docker create -- image -d",
	      "docker start --attach ID", false);
	check("docker run --hostname", "docker create --hostname", "docker start --attach ID",
	      false);
}

static void test_what_start_takes(void **unused)
{
	(void)unused;
	check("docker run --sig-proxy=false --detach-keys ctrl-a image", "docker create image",
	      "docker start --sig-proxy=false --detach-keys ctrl-a --attach ID", false);
	check("docker -H unix:///s container run image",
	      "docker -H unix:///s container create image",
	      "docker -H unix:///s container start --attach ID", false);
	check("podman run --replace --name x -d image", "podman create --replace --name x image",
	      "podman start ID", true);
}

static void test_what_is_no_such_command(void **unused)
{
	char docker[] = "docker", run[] = "run", ps[] = "ps";
	char *none[] = { docker, ps, NULL }, *short_one[] = { docker, run, NULL };
	struct run_command command;
	struct err err;

	(void)unused;
	assert_int_equal(run_command_make(&command, 2, none, &err), RC_INVALID);
	assert_int_equal(run_command_make(&command, 2, short_one, &err), RC_INVALID);
	assert_int_equal(run_command_make(&command, 1, none, &err), RC_INVALID);
	run_command_free(&command);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_commands),
		cmocka_unit_test(test_where_the_image_is),
		cmocka_unit_test(test_what_start_takes),
		cmocka_unit_test(test_what_is_no_such_command),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
