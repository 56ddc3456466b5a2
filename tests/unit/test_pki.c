#include "appliance/pki.h"
#include "appliance/pki_certificate.h"
#include "net/tls.h"
#include "tests/unit/certs.h"
#include "tests/unit/pki_fixture.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define DAY 86400

static int inspect(const char *role, time_t now, int64_t *days)
{
	return pki_inspect(pki_path("ca.crt"), pki_path("primary.crt"), pki_path("primary.key"),
			   role, now, days, &pki_err);
}

/* ---- what is made ---- */

static void everything_is_made_with_its_mode(void **state)
{
	mode_t old = umask(077);
	struct stat st;

	(void)state;
	pki_fixture_make();
	(void)umask(old);
	assert_int_equal(pki_fixture_entries(), PKI_FILES);
	assert_int_equal(stat(pki_dir, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
	for (size_t i = 0; i < PKI_FILES; i++) {
		assert_int_equal(stat(pki_path(pki_files[i]), &st), 0);
		assert_int_equal(st.st_mode & 0777,
				 strstr(pki_files[i], ".key") != NULL ? 0600 : 0644);
	}
	assert_true(pki_made[PKI_CA].made && pki_made[PKI_PRIMARY].made &&
		    pki_made[PKI_STANDBY].made);
	assert_string_equal(pki_made[PKI_PRIMARY].subject, "CN=seoul, OU=primary, O=understudy");
	assert_string_equal(pki_made[PKI_STANDBY].subject, "CN=busan, OU=standby, O=understudy");
}

static void a_certificate_is_for_its_role_and_no_other(void **state)
{
	time_t now = time(NULL);
	int64_t days = 0;

	(void)state;
	pki_fixture_make();
	assert_int_equal(inspect("primary", now, &days), RC_OK);
	assert_in_range(days, 9, 10);
	assert_int_equal(inspect("standby", now, &days), RC_INVALID);
	assert_non_null(strstr(
		pki_err.text,
		"primary.crt: its subject says OU=primary, so it is not for this side; OU=standby is needed"));
}

static void a_certificate_for_two_roles_is_for_none_as_at_the_connection(void **state)
{
	struct certs certs = { 0 };
	char ca[CERTS_PATH_MAX], cert[CERTS_PATH_MAX];
	int64_t days = 0;

	(void)state;
	certs_open(&certs);
	certs_make_ca(&certs, "ca", "CN=ca");
	certs_make(&certs, "two", "ca", "CN=p,OU=primary,O=standby", -DAY, DAY);
	(void)snprintf(ca, sizeof(ca), "%s", certs_path(&certs, "ca", "pem"));
	(void)snprintf(cert, sizeof(cert), "%s", certs_path(&certs, "two", "pem"));
	assert_int_equal(pki_inspect(ca, cert, certs_path(&certs, "two", "key"), "primary",
				     time(NULL), &days, &pki_err),
			 RC_INVALID);
	assert_non_null(strstr(pki_err.text, "more than one"));
	certs_close(&certs);
}

static void a_certificate_has_its_time(void **state)
{
	time_t now = time(NULL);
	int64_t days;

	(void)state;
	pki_fixture_make();
	assert_int_equal(inspect("primary", now + 11 * DAY, &days), RC_STATE);
	assert_non_null(strstr(pki_err.text, "the certificate has expired"));
	assert_int_equal(inspect("primary", now + 21 * DAY, &days), RC_STATE);
	assert_non_null(strstr(pki_err.text, "the authority's certificate has expired"));
	assert_int_equal(inspect("primary", now - 3000, &days), RC_OK); /* a clock that is behind */
	assert_int_equal(inspect("primary", now - DAY, &days), RC_STATE);
	assert_non_null(strstr(pki_err.text, "not valid yet"));
	assert_int_equal(inspect("standby", now + 11 * DAY, &days), RC_INVALID); /* at no time */
}

static void no_certificate_outlives_its_authority(void **state)
{
	struct pki_request wanted = pki_fixture_request();

	(void)state;
	wanted.site_days = 4000;
	assert_int_equal(pki_make(&wanted, pki_made, &pki_err), RC_OK);
	assert_string_equal(pki_made[PKI_PRIMARY].until, pki_made[PKI_CA].until);
}

static void constraints_usage_and_serials_are_as_promised(void **state)
{
	mbedtls_x509_crt ca, site, other;

	(void)state;
	pki_fixture_make();
	mbedtls_x509_crt_init(&ca);
	mbedtls_x509_crt_init(&site);
	mbedtls_x509_crt_init(&other);
	assert_int_equal(mbedtls_x509_crt_parse_file(&ca, pki_path("ca.crt")), 0);
	assert_int_equal(mbedtls_x509_crt_parse_file(&site, pki_path("primary.crt")), 0);
	assert_int_equal(mbedtls_x509_crt_parse_file(&other, pki_path("standby.crt")), 0);
	assert_int_equal(mbedtls_x509_crt_get_ca_istrue(&ca), 1);
	assert_int_equal(mbedtls_x509_crt_get_ca_istrue(&site), 0);
	assert_int_equal(mbedtls_x509_crt_check_key_usage(&ca, MBEDTLS_X509_KU_KEY_CERT_SIGN), 0);
	assert_int_not_equal(
		mbedtls_x509_crt_check_key_usage(&ca, MBEDTLS_X509_KU_DIGITAL_SIGNATURE), 0);
	assert_int_not_equal(mbedtls_x509_crt_check_key_usage(&site, MBEDTLS_X509_KU_KEY_CERT_SIGN),
			     0);
	assert_int_equal(mbedtls_x509_crt_check_extended_key_usage(
				 &site, "\x2b\x06\x01\x05\x05\x07\x03\x01", 8),
			 0);
	assert_int_equal(mbedtls_x509_crt_check_extended_key_usage(
				 &site, "\x2b\x06\x01\x05\x05\x07\x03\x02", 8),
			 0);
	assert_int_not_equal(mbedtls_x509_crt_check_extended_key_usage(
				     &site, "\x2b\x06\x01\x05\x05\x07\x03\x03", 8),
			     0);
	assert_int_equal(site.serial.len, 16);
	assert_int_equal(other.serial.len, 16);
	assert_memory_not_equal(site.serial.p, other.serial.p, 16);
	assert_int_equal(mbedtls_pk_get_bitlen(&site.pk), 256);
	mbedtls_x509_crt_free(&ca);
	mbedtls_x509_crt_free(&site);
	mbedtls_x509_crt_free(&other);
}

static void the_link_takes_what_was_made(void **state)
{
	struct tls_identity *identity = NULL;

	(void)state;
	pki_fixture_make();
	if (tls_identity_load(&identity, pki_path("ca.crt"), pki_path("standby.crt"),
			      pki_path("standby.key"), &pki_err) != RC_OK)
		fail_msg("%s", pki_err.text);
	tls_identity_free(identity);
}

/* Runs a program without its output; its exit status, 127 when it is not there. */
static int run(char *const argv[])
{
	pid_t pid = fork();
	int status, null;

	assert_int_not_equal(pid, -1);
	if (pid == 0) {
		null = open("/dev/null", O_RDWR);
		(void)dup2(null, 1);
		(void)dup2(null, 2);
		(void)execvp(argv[0], argv);
		_exit(127);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

/* openssl verify with its strictest rules. */
static int openssl_verify(const char *ca, const char *cert)
{
	char program[] = "openssl", verb[] = "verify", strict[] = "-x509_strict",
	     file[] = "-CAfile";
	char ca_path[PKI_PATH_SIZE], cert_path[PKI_PATH_SIZE];
	char *argv[] = { program, verb, strict, file, ca_path, cert_path, NULL };

	(void)snprintf(ca_path, sizeof(ca_path), "%s", pki_path(ca));
	(void)snprintf(cert_path, sizeof(cert_path), "%s", pki_path(cert));
	return run(argv);
}

static void other_software_agrees(void **state)
{
	char program[] = "openssl", verb[] = "version";
	char *version[] = { program, verb, NULL };

	(void)state;
	if (run(version) == 127) {
		print_message("openssl is not installed\n");
		skip();
	}
	pki_fixture_make();
	assert_int_equal(openssl_verify("ca.crt", "primary.crt"), 0);
	assert_int_equal(openssl_verify("ca.crt", "standby.crt"), 0);
	assert_int_not_equal(openssl_verify("primary.crt", "standby.crt"), 0);
}

/* ---- what is there already ---- */

static void nothing_is_overwritten(void **state)
{
	char before[PKI_FILES][PKI_FILE_SIZE], after[PKI_FILE_SIZE];

	(void)state;
	pki_fixture_make();
	for (size_t i = 0; i < PKI_FILES; i++)
		(void)pki_fixture_read(pki_files[i], before[i]);
	pki_fixture_make();
	assert_false(pki_made[PKI_CA].made || pki_made[PKI_PRIMARY].made ||
		     pki_made[PKI_STANDBY].made);
	assert_string_equal(pki_made[PKI_PRIMARY].subject, "CN=seoul, OU=primary, O=understudy");
	for (size_t i = 0; i < PKI_FILES; i++) {
		(void)pki_fixture_read(pki_files[i], after);
		assert_string_equal(after, before[i]);
	}
}

static void an_authority_that_is_there_signs_what_is_missing(void **state)
{
	char before[PKI_FILE_SIZE], after[PKI_FILE_SIZE];
	int64_t days;

	(void)state;
	pki_fixture_make();
	(void)pki_fixture_read("ca.crt", before);
	assert_int_equal(unlink(pki_path("primary.crt")), 0);
	assert_int_equal(unlink(pki_path("primary.key")), 0);
	pki_fixture_make();
	assert_true(pki_made[PKI_PRIMARY].made);
	assert_false(pki_made[PKI_CA].made || pki_made[PKI_STANDBY].made);
	(void)pki_fixture_read("ca.crt", after);
	assert_string_equal(after, before);
	assert_int_equal(inspect("primary", time(NULL), &days), RC_OK);
}

static void what_does_not_fit_together_is_refused_untouched(void **state)
{
	static const struct {
		const char *without[4];
		const char *reason;
	} cases[] = {
		{ { "primary.crt" }, "primary.key is there but primary.crt is not" },
		{ { "standby.key" }, "standby.crt is there but standby.key is not" },
		{ { "ca.crt" },
		  "primary.crt is there but the authority that signed it (ca.crt) is not" },
		{ { "ca.crt", "ca.key" },
		  "primary.crt is there but the authority that signed it (ca.crt) is not" },
		{ { "ca.key", "primary.crt", "primary.key" },
		  "ca.key is needed to sign what is missing" },
	};
	size_t left;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		pki_fixture_make();
		left = PKI_FILES;
		for (size_t k = 0; k < 4 && cases[i].without[k] != NULL; k++, left--)
			assert_int_equal(unlink(pki_path(cases[i].without[k])), 0);
		assert_int_equal(pki_fixture_try(), RC_STATE);
		assert_non_null(strstr(pki_err.text, cases[i].reason));
		assert_int_equal(pki_fixture_entries(), left);
		pki_fixture_clear();
	}
}

static void the_authoritys_key_may_be_kept_elsewhere(void **state)
{
	(void)state;
	pki_fixture_make();
	assert_int_equal(unlink(pki_path("ca.key")), 0);
	pki_fixture_make();
	assert_false(pki_made[PKI_CA].made || pki_made[PKI_PRIMARY].made ||
		     pki_made[PKI_STANDBY].made);
	assert_int_equal(pki_fixture_entries(), PKI_FILES - 1);
}

static void keys_and_directories_open_to_others_are_refused(void **state)
{
	int64_t days;

	(void)state;
	pki_fixture_make();
	assert_int_equal(chmod(pki_path("primary.key"), 0640), 0);
	assert_int_equal(inspect("primary", time(NULL), &days), RC_REFUSED);
	assert_non_null(strstr(pki_err.text, "others than its owner may use it"));
	assert_int_equal(pki_fixture_try(), RC_REFUSED);
	assert_int_equal(chmod(pki_path("primary.key"), 0600), 0);
	assert_int_equal(chmod(pki_dir, 0770), 0);
	assert_int_equal(pki_fixture_try(), RC_REFUSED);
	assert_non_null(strstr(pki_err.text, "others may write to this directory"));
	assert_int_equal(chmod(pki_dir, 0700), 0);
}

static void a_link_in_a_files_place_is_not_followed(void **state)
{
	char target[PKI_PATH_SIZE];

	(void)state;
	assert_int_equal(mkdir(pki_dir, 0700), 0);
	(void)snprintf(target, sizeof(target), "%s/elsewhere", pki_top);
	assert_int_equal(symlink(target, pki_path("ca.key")), 0);
	assert_int_equal(pki_fixture_try(), RC_STATE);
	assert_int_not_equal(access(target, F_OK), 0);
}

static void strangers_and_mix_ups_are_noticed(void **state)
{
	char first_ca[PKI_PATH_SIZE], first_key[PKI_PATH_SIZE];
	int64_t days;

	(void)state;
	pki_fixture_make();
	(void)snprintf(first_ca, sizeof(first_ca), "%s/first.crt", pki_top);
	(void)snprintf(first_key, sizeof(first_key), "%s/first.key", pki_top);
	assert_int_equal(rename(pki_path("ca.crt"), first_ca), 0);
	assert_int_equal(rename(pki_path("primary.key"), first_key), 0);
	pki_fixture_clear();
	pki_fixture_make();
	assert_int_equal(pki_inspect(first_ca, pki_path("primary.crt"), pki_path("primary.key"),
				     "primary", time(NULL), &days, &pki_err),
			 RC_INVALID);
	assert_non_null(strstr(pki_err.text, "the certificate is not one of this authority"));
	assert_int_equal(pki_inspect(pki_path("ca.crt"), pki_path("primary.crt"), first_key,
				     "primary", time(NULL), &days, &pki_err),
			 RC_INVALID);
	assert_non_null(strstr(pki_err.text, "the key is not the certificate's"));
	assert_int_equal(unlink(first_ca), 0);
	assert_int_equal(unlink(first_key), 0);
}

/* Both of one pair, and of this authority: only the role is wrong. */
static void the_other_sites_pair_under_a_sites_name_is_no_pair_to_keep(void **state)
{
	(void)state;
	pki_fixture_make();
	for (size_t i = 0; i < 2; i++) {
		const char *suffix = i == 0 ? "crt" : "key";
		char of_primary[16], of_standby[16];

		(void)snprintf(of_primary, sizeof(of_primary), "primary.%s", suffix);
		(void)snprintf(of_standby, sizeof(of_standby), "standby.%s", suffix);
		assert_int_equal(unlink(pki_path(of_primary)), 0);
		assert_int_equal(link(pki_path(of_standby), pki_path(of_primary)), 0);
	}
	assert_int_equal(pki_fixture_try(), RC_INVALID);
	assert_non_null(strstr(pki_err.text, "/primary.crt: its subject says OU=standby"));
	assert_non_null(strstr(pki_err.text, "move primary.crt and primary.key away"));
	assert_int_equal(pki_fixture_entries(), PKI_FILES);
	assert_int_equal(unlink(pki_path("primary.crt")), 0);
	assert_int_equal(unlink(pki_path("primary.key")), 0);
	pki_fixture_make();
	assert_true(pki_made[PKI_PRIMARY].made && !pki_made[PKI_STANDBY].made);
}

static void a_file_that_is_no_certificate_is_named(void **state)
{
	int64_t days;
	int fd;

	(void)state;
	pki_fixture_make();
	fd = open(pki_path("ca.crt"), O_WRONLY | O_TRUNC);
	assert_int_equal(write(fd, "hello\n", 6), 6);
	assert_int_equal(close(fd), 0);
	assert_int_equal(inspect("primary", time(NULL), &days), RC_INVALID);
	assert_non_null(strstr(pki_err.text, "ca.crt: no certificate (PEM)"));
	assert_int_equal(truncate(pki_path("ca.crt"), (off_t)TLS_FILE_MAX + 1), 0);
	assert_int_equal(inspect("primary", time(NULL), &days), RC_LIMIT);
}

static void a_bundle_that_is_cut_off_is_not_taken_for_a_shorter_one(void **state)
{
	char text[PKI_FILE_SIZE];
	int64_t days;
	FILE *file;

	(void)state;
	pki_fixture_make();
	(void)pki_fixture_read("ca.crt", text);
	file = fopen(pki_path("ca.crt"), "a");
	assert_non_null(file);
	assert_int_equal(fwrite(text, 1, 100, file), 100);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(inspect("primary", time(NULL), &days), RC_INVALID);
	assert_non_null(strstr(pki_err.text, "ca.crt: 1 of its 2 certificates cannot be read"));
	file = fopen(pki_path("ca.crt"), "w");
	assert_non_null(file);
	(void)fprintf(file, "%s%s", text, text);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(inspect("primary", time(NULL), &days), RC_OK);
}

static void an_authority_with_anothers_key_signs_nothing(void **state)
{
	char other[PKI_PATH_SIZE];

	(void)state;
	pki_fixture_make();
	(void)snprintf(other, sizeof(other), "%s/other.key", pki_top);
	assert_int_equal(rename(pki_path("ca.key"), other), 0);
	pki_fixture_clear();
	pki_fixture_make();
	assert_int_equal(rename(other, pki_path("ca.key")), 0);
	assert_int_equal(unlink(pki_path("primary.crt")), 0);
	assert_int_equal(unlink(pki_path("primary.key")), 0);
	assert_int_equal(pki_fixture_try(), RC_INVALID);
	assert_non_null(strstr(pki_err.text, "ca.key is not the key of ca.crt"));
	assert_int_not_equal(access(pki_path("primary.crt"), F_OK), 0);
}

static void names_that_would_change_the_subject_are_refused(void **state)
{
	struct pki_request wanted = pki_fixture_request();

	(void)state;
	wanted.names[PKI_PRIMARY] =
		"0123456789012345678901234567890123456789012345678901234567890123X";
	assert_int_equal(pki_make(&wanted, pki_made, &pki_err), RC_INVALID);
	assert_non_null(strstr(pki_err.text, "at most 64 bytes"));
	wanted.names[PKI_PRIMARY] = "x,OU=standby";
	assert_int_equal(pki_make(&wanted, pki_made, &pki_err), RC_INVALID);
	assert_int_equal(pki_fixture_entries(), 0);
	assert_int_not_equal(access(pki_dir, F_OK), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, pki_fixture_set_up, pki_fixture_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(everything_is_made_with_its_mode),
		TEST(a_certificate_is_for_its_role_and_no_other),
		TEST(a_certificate_for_two_roles_is_for_none_as_at_the_connection),
		TEST(a_certificate_has_its_time),
		TEST(no_certificate_outlives_its_authority),
		TEST(constraints_usage_and_serials_are_as_promised),
		TEST(the_link_takes_what_was_made),
		TEST(other_software_agrees),
		TEST(nothing_is_overwritten),
		TEST(an_authority_that_is_there_signs_what_is_missing),
		TEST(what_does_not_fit_together_is_refused_untouched),
		TEST(the_authoritys_key_may_be_kept_elsewhere),
		TEST(keys_and_directories_open_to_others_are_refused),
		TEST(a_link_in_a_files_place_is_not_followed),
		TEST(strangers_and_mix_ups_are_noticed),
		TEST(the_other_sites_pair_under_a_sites_name_is_no_pair_to_keep),
		TEST(a_file_that_is_no_certificate_is_named),
		TEST(a_bundle_that_is_cut_off_is_not_taken_for_a_shorter_one),
		TEST(an_authority_with_anothers_key_signs_nothing),
		TEST(names_that_would_change_the_subject_are_refused),
	};

	return cmocka_run_group_tests(tests, pki_fixture_open, pki_fixture_close);
}
