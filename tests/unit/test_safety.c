/* Never two servers: which policies go together, and whether two witnesses are one. */
#include "appliance/base/mem.h"
#include "appliance/safety.h"
#include "appliance/witness_place.h"
#include "net/address.h"
#include "net/etcd.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct err err;

static void what_may_be_used_together(void **state)
{
	static const struct {
		struct safety safety;
		const char *refused; /* NULL: safe */
	} cases[] = {
		{ { false, true, false, "", "", 0, 0 }, NULL },
		{ { false, false, false, "", "", 0, 0 }, NULL },
		{ { true, false, false, "", "", 0, 0 }, NULL },
		{ { true, true, false, "", "", 0, 0 }, "set one to \"manual\" or \"hold\"" },
		{ { true, true, true, "", "", 0, 0 }, NULL },
		{ { true, true, false, "e", "e", 0, 0 }, NULL },
		{ { true, false, false, "e", "e", 0, 0 }, NULL },
		{ { false, true, false, "e", "", 0, 0 }, "give the standby the same witness" },
		{ { false, false, false, "e", "", 0, 0 }, "give the standby the same witness" },
		{ { false, true, true, "e", "", 0, 0 }, NULL },
		{ { true, false, false, "", "e", 0, 0 }, NULL },
		{ { true, true, false, "", "e", 0, 0 }, "set one to \"manual\" or \"hold\"" },
		{ { true, true, true, "e", "", 0, 0 }, NULL },
		/* By its witness's word it would go on. */
		{ { true, false, false, "e", "", 0, 0 }, "give the standby the same witness" },
		{ { true, true, false, "e", "", 0, 0 }, "give the standby the same witness" },
		{ { true, true, false, "e", "f", 0, 0 }, "(primary: e; standby: f)" },
		{ { true, false, false, "e", "f", 0, 0 }, "(primary: e; standby: f)" },
		{ { true, true, true, "e", "f", 0, 0 }, "(primary: e; standby: f)" },
		{ { false, false, false, "e", "f", 0, 0 }, "(primary: e; standby: f)" },
		{ { true, true, false, "e", "e", 7, 7 }, NULL },
		{ { true, true, false, "e", "e", 7, 0 }, NULL },
		{ { true, true, false, "e", "e", 0, 7 }, NULL },
		{ { true, true, false, "e", "e", 7, 0x1f },
		  "e is another etcd where the primary is (7) than where the standby is (1f)" },
		{ { true, true, true, "e", "e", 7, 8 }, "lead to one from both" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (safety_check(&cases[i].safety, &err) == RC_OK) {
			if (cases[i].refused != NULL)
				fail_msg("case %zu: taken", i);
		} else if (cases[i].refused == NULL || strstr(err.text, cases[i].refused) == NULL) {
			fail_msg("case %zu: %s", i, err.text);
		}
	}
}

static void expect_place(const char *expected, char *a, char *b, char *c)
{
	char *endpoints[] = { a, b, c, NULL };
	const struct config config = { .witness_endpoints = endpoints };
	char text[RESERVATION_WITNESS_MAX + 1];

	witness_place(text, &config);
	assert_string_equal(text, expected);
}

static void equal_endpoints_are_equal_in_whatever_order(void **state)
{
	static char a[] = "https://etcd-1:2379", b[] = "https://ETCD-2:2379",
		    c[] = "https://[2001:db8::7]:02379";
	const struct config none = { .witness_endpoints = NULL };
	char text[RESERVATION_WITNESS_MAX + 1];

	(void)state;
	expect_place("https://[2001:db8::7]:2379 https://etcd-1:2379 https://etcd-2:2379", a, b, c);
	expect_place("https://[2001:db8::7]:2379 https://etcd-1:2379 https://etcd-2:2379", c, b, a);
	expect_place("https://etcd-1:2379", a, a, NULL);
	witness_place(text, &none);
	assert_string_equal(text, "");
}

static void the_longest_names_fit(void **state)
{
	char longest[ADDRESS_HOST_MAX + 16] = "https://", *endpoints[ETCD_ENDPOINTS_MAX + 1];
	const struct config config = { .witness_endpoints = endpoints };
	char text[RESERVATION_WITNESS_MAX + 1];
	size_t i;

	(void)state;
	memset(longest + 8, 'a', ADDRESS_HOST_MAX);
	for (i = 63; i < ADDRESS_HOST_MAX; i += 64)
		longest[8 + i] = '.';
	memcpy(longest + 8 + ADDRESS_HOST_MAX, ":65535", 7);
	for (i = 0; i < ETCD_ENDPOINTS_MAX; i++) {
		endpoints[i] = mem_strdup(longest);
		assert_non_null(endpoints[i]);
		endpoints[i][8] = (char)('a' + i);
	}
	endpoints[i] = NULL;
	witness_place(text, &config);
	assert_int_equal(strlen(text), ETCD_ENDPOINTS_MAX * (strlen(longest) + 1) - 1);
	for (i = 0; i < ETCD_ENDPOINTS_MAX; i++)
		mem_free(endpoints[i]);
}

/* Each site's heartbeats within what the other one waits; an older program does not tell them. */
static void heartbeats_fit_into_the_other_sites_patience(void **state)
{
	static const struct {
		struct safety_pace primary, standby;
		const char *refused; /* NULL: they fit */
	} cases[] = {
		{ { 50, 300 }, { 50, 300 }, NULL },
		{ { 100, 3000 }, { 10, 300 }, NULL },
		{ { 101, 3000 },
		  { 10, 300 },
		  "heartbeat_ms of the primary is 101, and link.detect_ms of the standby 300: not 3 heartbeats" },
		{ { 1000, 3000 },
		  { 10, 100 },
		  "lower heartbeat_ms at the primary to 33, or raise detect_ms at the standby to 3000" },
		{ { 10, 100 },
		  { 50, 300 },
		  "lower heartbeat_ms at the standby to 33, or raise detect_ms at the primary to 150" },
		{ { 0, 0 }, { 50, 300 }, NULL },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (safety_check_pace(&cases[i].primary, &cases[i].standby, &err) == RC_OK) {
			if (cases[i].refused != NULL)
				fail_msg("case %zu: taken", i);
		} else if (cases[i].refused == NULL || strstr(err.text, cases[i].refused) == NULL) {
			fail_msg("case %zu: %s", i, err.text);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_may_be_used_together),
		cmocka_unit_test(equal_endpoints_are_equal_in_whatever_order),
		cmocka_unit_test(the_longest_names_fit),
		cmocka_unit_test(heartbeats_fit_into_the_other_sites_patience),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
