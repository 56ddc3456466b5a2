#include "appliance/base/mem.h"
#include "appliance/pki.h"
#include "appliance/pki_certificate.h"
#include "net/tls.h"
#include "tests/unit/certs.h"

#include <dirent.h>
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
#define PATH_SIZE 128
#define FILE_SIZE 8192

static char top[] = "/tmp/test_pki.XXXXXX"; /* of the whole program */
static char dir[64];			    /* of one test: does not exist at its start */
static struct pki_made made[PKI_MEMBERS];
static struct err err;

static const char *const files[] = { "ca.crt",	    "ca.key",	   "primary.crt",
				     "primary.key", "standby.crt", "standby.key" };
#define FILES (sizeof(files) / sizeof(files[0]))

static const char *path_of(const char *name)
{
	static char paths[4][PATH_SIZE];
	static unsigned turn;
	char *path = paths[turn++ % 4];

	(void)snprintf(path, PATH_SIZE, "%s/%s", dir, name);
	return path;
}

static struct pki_request request(void)
{
	return (struct pki_request){ .dir = dir,
				     .ca_days = 20,
				     .site_days = 10,
				     .now = time(NULL),
				     .names = {
					     [PKI_PRIMARY] = "seoul", [PKI_STANDBY] = "busan" } };
}

static int make(void)
{
	struct pki_request wanted = request();

	return pki_make(&wanted, made, &err);
}

static void make_it(void)
{
	if (make() != RC_OK)
		fail_msg("%s", err.text);
}

static size_t slurp(const char *name, char out[FILE_SIZE])
{
	FILE *file = fopen(path_of(name), "r");
	size_t len;

	assert_non_null(file);
	len = fread(out, 1, FILE_SIZE - 1, file);
	(void)fclose(file);
	out[len] = '\0';
	return len;
}

static size_t entries(void)
{
	DIR *stream = opendir(dir);
	size_t count = 0;

	if (stream == NULL)
		return 0;
	while (readdir(stream) != NULL)
		count++;
	(void)closedir(stream);
	return count - 2; /* . and .. */
}

static void clear(void)
{
	for (size_t i = 0; i < FILES; i++)
		(void)unlink(path_of(files[i]));
	(void)rmdir(dir);
}

static int set_up(void **state)
{
	(void)state;
	(void)snprintf(dir, sizeof(dir), "%s/pki", top);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	fault_arm(FAULT_WRITE, 0);
	fault_arm(FAULT_FSYNC, 0);
	clear();
	return 0;
}

static int inspect(const char *role, time_t now, int64_t *days)
{
	return pki_inspect(path_of("ca.crt"), path_of("primary.crt"), path_of("primary.key"), role,
			   now, days, &err);
}

/* ---- what is made ---- */

static void everything_is_made_with_its_mode(void **state)
{
	mode_t old = umask(077);
	struct stat st;

	(void)state;
	make_it();
	(void)umask(old);
	assert_int_equal(entries(), FILES);
	assert_int_equal(stat(dir, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
	for (size_t i = 0; i < FILES; i++) {
		assert_int_equal(stat(path_of(files[i]), &st), 0);
		assert_int_equal(st.st_mode & 0777, strstr(files[i], ".key") != NULL ? 0600 : 0644);
	}
	assert_true(made[PKI_CA].made && made[PKI_PRIMARY].made && made[PKI_STANDBY].made);
	assert_string_equal(made[PKI_PRIMARY].subject, "CN=seoul, OU=primary, O=understudy");
	assert_string_equal(made[PKI_STANDBY].subject, "CN=busan, OU=standby, O=understudy");
}

static void a_certificate_is_for_its_role_and_no_other(void **state)
{
	time_t now = time(NULL);
	int64_t days = 0;

	(void)state;
	make_it();
	assert_int_equal(inspect("primary", now, &days), RC_OK);
	assert_in_range(days, 9, 10);
	assert_int_equal(inspect("standby", now, &days), RC_INVALID);
	assert_non_null(strstr(
		err.text,
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
				     time(NULL), &days, &err),
			 RC_INVALID);
	assert_non_null(strstr(err.text, "more than one"));
	certs_close(&certs);
}

static void a_certificate_has_its_time(void **state)
{
	time_t now = time(NULL);
	int64_t days;

	(void)state;
	make_it();
	assert_int_equal(inspect("primary", now + 11 * DAY, &days), RC_INVALID);
	assert_non_null(strstr(err.text, "the certificate has expired"));
	assert_int_equal(inspect("primary", now + 21 * DAY, &days), RC_INVALID);
	assert_non_null(strstr(err.text, "the authority's certificate has expired"));
	assert_int_equal(inspect("primary", now - 3000, &days), RC_OK); /* a clock that is behind */
	assert_int_equal(inspect("primary", now - DAY, &days), RC_INVALID);
	assert_non_null(strstr(err.text, "not valid yet"));
}

static void no_certificate_outlives_its_authority(void **state)
{
	struct pki_request wanted = request();

	(void)state;
	wanted.site_days = 4000;
	assert_int_equal(pki_make(&wanted, made, &err), RC_OK);
	assert_string_equal(made[PKI_PRIMARY].until, made[PKI_CA].until);
}

static void constraints_usage_and_serials_are_as_promised(void **state)
{
	mbedtls_x509_crt ca, site, other;

	(void)state;
	make_it();
	mbedtls_x509_crt_init(&ca);
	mbedtls_x509_crt_init(&site);
	mbedtls_x509_crt_init(&other);
	assert_int_equal(mbedtls_x509_crt_parse_file(&ca, path_of("ca.crt")), 0);
	assert_int_equal(mbedtls_x509_crt_parse_file(&site, path_of("primary.crt")), 0);
	assert_int_equal(mbedtls_x509_crt_parse_file(&other, path_of("standby.crt")), 0);
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
	make_it();
	if (tls_identity_load(&identity, path_of("ca.crt"), path_of("standby.crt"),
			      path_of("standby.key"), &err) != RC_OK)
		fail_msg("%s", err.text);
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
	char ca_path[PATH_SIZE], cert_path[PATH_SIZE];
	char *argv[] = { program, verb, strict, file, ca_path, cert_path, NULL };

	(void)snprintf(ca_path, sizeof(ca_path), "%s", path_of(ca));
	(void)snprintf(cert_path, sizeof(cert_path), "%s", path_of(cert));
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
	make_it();
	assert_int_equal(openssl_verify("ca.crt", "primary.crt"), 0);
	assert_int_equal(openssl_verify("ca.crt", "standby.crt"), 0);
	assert_int_not_equal(openssl_verify("primary.crt", "standby.crt"), 0);
}

/* ---- what is there already ---- */

static void nothing_is_overwritten(void **state)
{
	char before[FILES][FILE_SIZE], after[FILE_SIZE];

	(void)state;
	make_it();
	for (size_t i = 0; i < FILES; i++)
		(void)slurp(files[i], before[i]);
	make_it();
	assert_false(made[PKI_CA].made || made[PKI_PRIMARY].made || made[PKI_STANDBY].made);
	assert_string_equal(made[PKI_PRIMARY].subject, "CN=seoul, OU=primary, O=understudy");
	for (size_t i = 0; i < FILES; i++) {
		(void)slurp(files[i], after);
		assert_string_equal(after, before[i]);
	}
}

static void an_authority_that_is_there_signs_what_is_missing(void **state)
{
	char before[FILE_SIZE], after[FILE_SIZE];
	int64_t days;

	(void)state;
	make_it();
	(void)slurp("ca.crt", before);
	assert_int_equal(unlink(path_of("primary.crt")), 0);
	assert_int_equal(unlink(path_of("primary.key")), 0);
	make_it();
	assert_true(made[PKI_PRIMARY].made);
	assert_false(made[PKI_CA].made || made[PKI_STANDBY].made);
	(void)slurp("ca.crt", after);
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
		make_it();
		left = FILES;
		for (size_t k = 0; k < 4 && cases[i].without[k] != NULL; k++, left--)
			assert_int_equal(unlink(path_of(cases[i].without[k])), 0);
		assert_int_equal(make(), RC_STATE);
		assert_non_null(strstr(err.text, cases[i].reason));
		assert_int_equal(entries(), left);
		clear();
	}
}

static void the_authoritys_key_may_be_kept_elsewhere(void **state)
{
	(void)state;
	make_it();
	assert_int_equal(unlink(path_of("ca.key")), 0);
	make_it();
	assert_false(made[PKI_CA].made || made[PKI_PRIMARY].made || made[PKI_STANDBY].made);
	assert_int_equal(entries(), FILES - 1);
}

static void keys_and_directories_open_to_others_are_refused(void **state)
{
	int64_t days;

	(void)state;
	make_it();
	assert_int_equal(chmod(path_of("primary.key"), 0640), 0);
	assert_int_equal(inspect("primary", time(NULL), &days), RC_REFUSED);
	assert_non_null(strstr(err.text, "others than its owner may use it"));
	assert_int_equal(make(), RC_REFUSED);
	assert_int_equal(chmod(path_of("primary.key"), 0600), 0);
	assert_int_equal(chmod(dir, 0770), 0);
	assert_int_equal(make(), RC_REFUSED);
	assert_non_null(strstr(err.text, "others may write to this directory"));
	assert_int_equal(chmod(dir, 0700), 0);
}

static void a_link_in_a_files_place_is_not_followed(void **state)
{
	char target[PATH_SIZE];

	(void)state;
	assert_int_equal(mkdir(dir, 0700), 0);
	(void)snprintf(target, sizeof(target), "%s/elsewhere", top);
	assert_int_equal(symlink(target, path_of("ca.key")), 0);
	assert_int_equal(make(), RC_STATE);
	assert_int_not_equal(access(target, F_OK), 0);
}

static void strangers_and_mix_ups_are_noticed(void **state)
{
	char first_ca[PATH_SIZE], first_key[PATH_SIZE];
	int64_t days;

	(void)state;
	make_it();
	(void)snprintf(first_ca, sizeof(first_ca), "%s/first.crt", top);
	(void)snprintf(first_key, sizeof(first_key), "%s/first.key", top);
	assert_int_equal(rename(path_of("ca.crt"), first_ca), 0);
	assert_int_equal(rename(path_of("primary.key"), first_key), 0);
	clear();
	make_it();
	assert_int_equal(pki_inspect(first_ca, path_of("primary.crt"), path_of("primary.key"),
				     "primary", time(NULL), &days, &err),
			 RC_INVALID);
	assert_non_null(strstr(err.text, "the certificate is not one of this authority"));
	assert_int_equal(pki_inspect(path_of("ca.crt"), path_of("primary.crt"), first_key,
				     "primary", time(NULL), &days, &err),
			 RC_INVALID);
	assert_non_null(strstr(err.text, "the key is not the certificate's"));
	assert_int_equal(unlink(first_ca), 0);
	assert_int_equal(unlink(first_key), 0);
}

static void a_file_that_is_no_certificate_is_named(void **state)
{
	int64_t days;
	int fd;

	(void)state;
	make_it();
	fd = open(path_of("ca.crt"), O_WRONLY | O_TRUNC);
	assert_int_equal(write(fd, "hello\n", 6), 6);
	assert_int_equal(close(fd), 0);
	assert_int_equal(inspect("primary", time(NULL), &days), RC_INVALID);
	assert_non_null(strstr(err.text, "ca.crt: no certificate (PEM)"));
	assert_int_equal(truncate(path_of("ca.crt"), (off_t)TLS_FILE_MAX + 1), 0);
	assert_int_equal(inspect("primary", time(NULL), &days), RC_LIMIT);
}

static void a_bundle_that_is_cut_off_is_not_taken_for_a_shorter_one(void **state)
{
	char text[FILE_SIZE];
	int64_t days;
	FILE *file;

	(void)state;
	make_it();
	(void)slurp("ca.crt", text);
	file = fopen(path_of("ca.crt"), "a");
	assert_non_null(file);
	assert_int_equal(fwrite(text, 1, 100, file), 100);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(inspect("primary", time(NULL), &days), RC_INVALID);
	assert_non_null(strstr(err.text, "ca.crt: 1 of its 2 certificates cannot be read"));
	file = fopen(path_of("ca.crt"), "w");
	assert_non_null(file);
	(void)fprintf(file, "%s%s", text, text);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(inspect("primary", time(NULL), &days), RC_OK);
}

static void an_authority_with_anothers_key_signs_nothing(void **state)
{
	char other[PATH_SIZE];

	(void)state;
	make_it();
	(void)snprintf(other, sizeof(other), "%s/other.key", top);
	assert_int_equal(rename(path_of("ca.key"), other), 0);
	clear();
	make_it();
	assert_int_equal(rename(other, path_of("ca.key")), 0);
	assert_int_equal(unlink(path_of("primary.crt")), 0);
	assert_int_equal(unlink(path_of("primary.key")), 0);
	assert_int_equal(make(), RC_INVALID);
	assert_non_null(strstr(err.text, "ca.key is not the key of ca.crt"));
	assert_int_not_equal(access(path_of("primary.crt"), F_OK), 0);
}

static void names_that_would_change_the_subject_are_refused(void **state)
{
	struct pki_request wanted = request();

	(void)state;
	wanted.names[PKI_PRIMARY] = "x,OU=standby";
	assert_int_equal(pki_make(&wanted, made, &err), RC_INVALID);
	assert_int_equal(entries(), 0);
	assert_int_not_equal(access(dir, F_OK), 0);
}

/* ---- faults ---- */

static void after_a_fault_everything_is_as_before(void **state)
{
	static const enum fault_kind kinds[] = { FAULT_WRITE, FAULT_FSYNC, FAULT_ALLOC };
	unsigned long n;

	(void)state;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		for (n = 1;; n++) {
			fault_arm(kinds[i], n);
			if (make() == RC_OK)
				break;
			assert_true(fault_fired(kinds[i]));
			assert_int_not_equal(access(dir, F_OK), 0);
		}
		assert_false(fault_fired(kinds[i]));
		fault_arm(kinds[i], 0);
		assert_true(n > 5); /* six files */
		assert_int_equal(entries(), FILES);
		clear();
	}
}

static void a_fault_does_not_harm_what_was_there(void **state)
{
	char before[FILE_SIZE], after[FILE_SIZE];

	(void)state;
	make_it();
	(void)slurp("standby.key", before);
	assert_int_equal(unlink(path_of("primary.crt")), 0);
	assert_int_equal(unlink(path_of("primary.key")), 0);
	fault_arm(FAULT_FSYNC, 2);
	assert_int_equal(make(), RC_IO);
	assert_int_equal(entries(), FILES - 2);
	(void)slurp("standby.key", after);
	assert_string_equal(after, before);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

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
		TEST(a_file_that_is_no_certificate_is_named),
		TEST(a_bundle_that_is_cut_off_is_not_taken_for_a_shorter_one),
		TEST(an_authority_with_anothers_key_signs_nothing),
		TEST(names_that_would_change_the_subject_are_refused),
		TEST(after_a_fault_everything_is_as_before),
		TEST(a_fault_does_not_harm_what_was_there),
	};
	int failed;

	if (mkdtemp(top) == NULL)
		return 1;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	(void)rmdir(top);
	return failed;
}
