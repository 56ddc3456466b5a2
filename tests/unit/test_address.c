#include "net/address.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct err err;

static void good(const char *text, const char *host, uint16_t port, const char *printed)
{
	struct sockaddr_storage numeric;
	char out[ADDRESS_TEXT_MAX];
	struct address address;

	assert_int_equal(address_parse(&address, text, false, &err), RC_OK);
	assert_string_equal(address.host, host);
	assert_int_equal(address.port, port);
	assert_int_equal(address_to_socket(&address, &numeric), printed != NULL);
	if (printed != NULL) {
		address_print(out, &numeric);
		assert_string_equal(out, printed);
	}
}

static void numbers_and_names_are_read(void **state)
{
	(void)state;
	good("192.0.2.7:7400", "192.0.2.7", 7400, "192.0.2.7:7400");
	good("[2001:db8::7]:1", "2001:db8::7", 1, "[2001:db8::7]:1");
	good("[::]:65535", "::", 65535, "[::]:65535");
	good("standby-2.example.org:7400", "standby-2.example.org", 7400, NULL);
	good("my_host:1", "my_host", 1, NULL);
}

static void bad(const char *text, const char *complaint)
{
	struct address address;

	assert_int_equal(address_parse(&address, text, false, &err), RC_INVALID);
	if (strstr(err.text, complaint) == NULL)
		fail_msg("\"%s\": \"%s\" does not say \"%s\"", text, err.text, complaint);
}

static void what_is_wrong_is_said(void **state)
{
	char long_name[ADDRESS_HOST_MAX + 10];

	(void)state;
	bad("", "no valid port");
	bad("192.0.2.7", "no valid port");
	bad("192.0.2.7:", "no valid port");
	bad("192.0.2.7:0", "no valid port");
	bad("192.0.2.7:65536", "no valid port");
	bad("192.0.2.7:7400x", "no valid port");
	bad("192.0.2.7:-1", "no valid port");
	bad("2001:db8::7:7400", "needs brackets");
	bad("[2001:db8::7:7400", "']'");
	bad("[192.0.2.7]:7400", "not an IPv6 address");
	bad("[x::y]:7400", "not an IPv6 address");
	bad("[]:7400", "not an IPv6 address");
	bad(":7400", "not a host's name");
	bad("a b:7400", "not a host's name");
	bad("-a:7400", "not a host's name");
	bad("300.1.1.1:7400", "\"300.1.1.1\" is not an IPv4 address");
	bad("192.0.2:7400", "is not an IPv4 address");
	bad("host.7:7400", "is not an IPv4 address");
	memset(long_name, 'a', sizeof(long_name));
	memcpy(long_name + ADDRESS_HOST_MAX + 1, ":7400", 6);
	bad(long_name, "longer than");
}

static void any_port_is_for_those_who_ask_for_it(void **state)
{
	struct address address;

	(void)state;
	assert_int_equal(address_parse(&address, "127.0.0.1:0", true, &err), RC_OK);
	assert_int_equal(address.port, 0);
}

static void an_unknown_family_is_printed_as_such(void **state)
{
	struct sockaddr_storage other = { .ss_family = AF_UNIX };
	char out[ADDRESS_TEXT_MAX];

	(void)state;
	address_print(out, &other);
	assert_string_equal(out, "?");
}

static uint64_t source_of(const char *text)
{
	struct sockaddr_storage out;
	struct address address;

	assert_int_equal(address_parse(&address, text, false, &err), RC_OK);
	assert_true(address_to_socket(&address, &out));
	return address_source(&out);
}

static void a_source_is_an_ipv4_address_or_a_64_of_ipv6(void **state)
{
	struct sockaddr_storage other = { .ss_family = AF_UNIX };

	(void)state;
	assert_true(source_of("192.0.2.7:1") == source_of("192.0.2.7:2"));
	assert_true(source_of("192.0.2.7:1") != source_of("192.0.2.8:1"));
	assert_true(source_of("192.0.2.7:1") == source_of("[::ffff:192.0.2.7]:1"));
	assert_true(source_of("[2001:db8:1:2::1]:1") == source_of("[2001:db8:1:2:ffff::9]:1"));
	assert_true(source_of("[2001:db8:1:2::1]:1") != source_of("[2001:db8:1:3::1]:1"));
	assert_true(source_of("[2001:db8:1:2::1]:1") != 0);
	assert_true(address_source(&other) == 0);
}

static bool is_loopback(const char *text)
{
	struct address address;

	assert_int_equal(address_parse(&address, text, false, &err), RC_OK);
	return address_is_loopback(&address);
}

static void this_machine_itself_is_known_however_it_is_written(void **state)
{
	(void)state;
	assert_true(is_loopback("127.0.0.1:1") && is_loopback("127.9.9.9:1"));
	assert_true(is_loopback("[::1]:1") && is_loopback("[::ffff:127.0.0.1]:1"));
	assert_true(is_loopback("localhost:1") && is_loopback("LocalHost:1"));
	assert_false(is_loopback("0.0.0.0:1") || is_loopback("128.0.0.1:1"));
	assert_false(is_loopback("[2001:db8::1]:1") || is_loopback("localhost.example:1"));
}

static bool is_any(const char *text)
{
	struct address address;

	assert_int_equal(address_parse(&address, text, false, &err), RC_OK);
	return address_is_any(&address);
}

static void where_one_listens_is_known_however_it_is_written(void **state)
{
	(void)state;
	assert_true(is_any("0.0.0.0:1") && is_any("[::]:1") && is_any("[0:0::0]:1"));
	assert_true(is_any("[::0.0.0.0]:1") && is_any("[::ffff:0.0.0.0]:1"));
	assert_true(is_any("[0:0:0:0:0:FFFF:0:0]:1"));
	assert_false(is_any("0.0.0.1:1") || is_any("[::1]:1") || is_any("[::ffff:0]:1"));
	assert_false(is_any("[ffff::]:1") || is_any("[::ffff:192.0.2.7]:1") || is_any("any:1"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(numbers_and_names_are_read),
		cmocka_unit_test(what_is_wrong_is_said),
		cmocka_unit_test(any_port_is_for_those_who_ask_for_it),
		cmocka_unit_test(an_unknown_family_is_printed_as_such),
		cmocka_unit_test(where_one_listens_is_known_however_it_is_written),
		cmocka_unit_test(a_source_is_an_ipv4_address_or_a_64_of_ipv6),
		cmocka_unit_test(this_machine_itself_is_known_however_it_is_written),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
