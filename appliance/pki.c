/*
 * First look at everything that is in the directory, and refuse what does not fit together before
 * anything is made. Then make what is missing, authority first. A pair comes into being in this
 * order:
 *   1. key and certificate are written to .NAME.key.tmp and .NAME.crt.tmp, with O_EXCL, their final
 *      mode and an fsync each
 *   2. they are renamed, the key first
 * A process that is killed before 2 leaves nothing that counts: the next one removes it. Killed
 * between the two renames it leaves one file, and the other whole: the next one renames that, if it
 * fits. Both mind only names that are ours, and one process at a time has the directory (flock(),
 * which ends with it). All is on the disk before the call reports success; after a failure what was
 * made so far is removed again, so that the next try starts from what was there before.
 */
#include "appliance/pki.h"

#include "appliance/base/files.h"
#include "appliance/base/json_value.h"
#include "appliance/base/mem.h"
#include "appliance/pki_certificate.h"
#include "net/tls.h"
#include "net/tls_bundle.h"
#include "net/tls_role.h"

#include <assert.h>
#include <errno.h>
#include <mbedtls/psa_util.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define DAY 86400
#define CLOCKS_APART \
	3600 /* certificates are valid from an hour ago: the sites' clocks may differ */
#define FILE_NAME_MAX 32

static const char *const names[] = {
	[PKI_CA] = "ca", [PKI_PRIMARY] = "primary", [PKI_STANDBY] = "standby"
};
static_assert(sizeof(names) / sizeof(names[0]) == PKI_MEMBERS, "a name for every member");

struct making {
	const struct pki_request *request;
	struct pki_made *made;
	int dir;
	bool dir_made;
	bool key_made[PKI_MEMBERS], cert_made[PKI_MEMBERS]; /* what undo() may remove */
	struct pki_identity ca;
	struct err *err;
};

const char *pki_member_name(enum pki_member member)
{
	return names[member];
}

static void file_name(char out[FILE_NAME_MAX], enum pki_member member, const char *suffix)
{
	(void)snprintf(out, FILE_NAME_MAX, "%s.%s", names[member], suffix);
}

static void temporary_name(char out[FILE_NAME_MAX], enum pki_member member, const char *suffix)
{
	(void)snprintf(out, FILE_NAME_MAX, ".%s.%s.tmp", names[member], suffix);
}

static bool exists(const struct making *making, enum pki_member member, const char *suffix)
{
	char name[FILE_NAME_MAX];
	struct stat st;

	file_name(name, member, suffix);
	return fstatat(making->dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

/* ---- reading ---- */

static int read_cert(int dir, const char *path, mbedtls_x509_crt *cert, struct err *err)
{
	struct buf file = { .limit = TLS_FILE_MAX };
	int rc = files_read(&file, dir, path, FILES_PLAIN, err);

	if (rc == RC_OK) {
		rc = tls_bundle_parse(cert, (const char *)file.data, file.len, err);
		if (rc != RC_OK)
			(void)err_prefix(err, "%s: ", path);
	}
	buf_free(&file);
	return rc;
}

static int read_key(int dir, const char *path, mbedtls_pk_context *key, struct err *err)
{
	struct buf file = { .limit = TLS_FILE_MAX };
	int rc = files_read(&file, dir, path, FILES_SECRET, err);

	if (rc == RC_OK) {
		rc = pki_key_parse(key, (const char *)file.data, file.len, err);
		if (rc != RC_OK)
			(void)err_prefix(err, "%s: ", path);
	}
	files_free_secret(&file);
	return rc;
}

static int check_role(const mbedtls_x509_crt *cert, const char *role, struct err *err)
{
	char found[TLS_ROLE_MAX];

	if (tls_role_is(cert, role, found))
		return RC_OK;
	return err_set(err, RC_INVALID, "its subject %s%s%s; OU=%s is needed",
		       *found != '\0' ? "says OU=" : "has no OU", found,
		       *found != '\0' ? ", so it is not for this side" : "", role);
}

int pki_inspect(const char *ca_path, const char *cert_path, const char *key_path, const char *role,
		time_t now, int64_t *days_left, struct err *err)
{
	struct pki_identity own;
	mbedtls_x509_crt ca;
	time_t until, ca_until;
	int rc;

	pki_identity_init(&own);
	mbedtls_x509_crt_init(&ca);
	rc = pki_random_start(err);
	rc = rc == RC_OK ? read_cert(AT_FDCWD, ca_path, &ca, err) : rc;
	rc = rc == RC_OK ? read_cert(AT_FDCWD, cert_path, &own.cert, err) : rc;
	rc = rc == RC_OK ? read_key(AT_FDCWD, key_path, &own.key, err) : rc;
	if (rc != RC_OK)
		goto out;
	rc = pki_certificate_check(&ca, &own.cert, &own.key, err);
	if (rc == RC_OK && check_role(&own.cert, role, err) != RC_OK)
		rc = err_append(err, ", as %s.crt of `understudy pki` has it", role);
	rc = rc == RC_OK ? pki_certificate_check_time(&ca, &own.cert, now, err) : rc;
	if (rc != RC_OK) {
		(void)err_prefix(err, "%s: ", cert_path);
		goto out;
	}
	until = pki_certificate_until(&own.cert);
	ca_until = pki_certificate_until(&ca);
	*days_left = (int64_t)((until < ca_until ? until : ca_until) - now) / DAY;
out:
	mbedtls_x509_crt_free(&ca);
	pki_identity_free(&own);
	return rc;
}

/* ---- making ---- */

static int open_directory(struct making *making)
{
	const char *dir = making->request->dir;
	struct stat st;

	if (mkdir(dir, 0700) == 0)
		making->dir_made = true;
	else if (errno != EEXIST)
		return err_system(making->err, errno, "%s", dir);
	making->dir = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (making->dir < 0 || fstat(making->dir, &st) != 0)
		return err_system(making->err, errno, "%s", dir);
	if (flock(making->dir, LOCK_EX | LOCK_NB) != 0)
		return err_set(making->err, RC_STATE,
			       "%s: another process makes certificates there; wait for its end",
			       dir);
	return files_check_own_dir(dir, &st, making->err);
}

/* ---- what a process left that was killed ---- */

static const char *const suffixes[] = { "key", "crt" };

/* The one that is there and the one that waits under its temporary name are a pair. */
static bool fits(const struct making *making, const char *key, const char *cert)
{
	struct pki_identity pair;
	struct err ignored;
	bool fit;

	pki_identity_init(&pair);
	fit = read_cert(making->dir, cert, &pair.cert, &ignored) == RC_OK &&
	      read_key(making->dir, key, &pair.key, &ignored) == RC_OK &&
	      mbedtls_pk_check_pair(&pair.cert.pk, &pair.key, pki_random,
				    MBEDTLS_PSA_RANDOM_STATE) == 0;
	pki_identity_free(&pair);
	return fit;
}

static void take_up(const struct making *making, enum pki_member member)
{
	char file[2][FILE_NAME_MAX], temporary[2][FILE_NAME_MAX];
	bool there[2];

	for (int i = 0; i < 2; i++) {
		file_name(file[i], member, suffixes[i]);
		temporary_name(temporary[i], member, suffixes[i]);
		there[i] = exists(making, member, suffixes[i]);
	}
	if (there[0] && !there[1] && fits(making, file[0], temporary[1]))
		(void)renameat(making->dir, temporary[1], making->dir, file[1]);
	else if (there[1] && !there[0] && fits(making, temporary[0], file[1]))
		(void)renameat(making->dir, temporary[0], making->dir, file[0]);
	for (int i = 0; i < 2; i++)
		(void)unlinkat(making->dir, temporary[i], 0);
}

/* ---- what is there ---- */

/* Refuses what does not fit together. */
static int survey(const struct making *making)
{
	const char *dir = making->request->dir, *have, *lack;
	bool ca_cert, ca_key, complete = true;

	for (enum pki_member i = PKI_CA; i < PKI_MEMBERS; i++)
		take_up(making, i);
	ca_cert = exists(making, PKI_CA, "crt");
	ca_key = exists(making, PKI_CA, "key");
	for (enum pki_member i = PKI_PRIMARY; i < PKI_MEMBERS; i++) {
		have = exists(making, i, "crt") ? "crt" : "key";
		lack = *have == 'c' ? "key" : "crt";
		complete = complete && exists(making, i, have);
		if (!exists(making, i, have))
			continue;
		if (!exists(making, i, lack))
			return err_set(
				making->err, RC_STATE,
				"%s: %s.%s is there but %s.%s is not; put that back, or move the other away "
				"and a new pair is made",
				dir, names[i], have, names[i], lack);
		if (!ca_cert)
			return err_set(
				making->err, RC_STATE,
				"%s: %s.crt is there but the authority that signed it (ca.crt) is not; put that "
				"back, or take an empty directory",
				dir, names[i]);
	}
	if (ca_key && !ca_cert)
		return err_set(
			making->err, RC_STATE,
			"%s: ca.key is there but ca.crt is not; put that back, or move ca.key away for a new authority",
			dir);
	if (ca_cert && !ca_key && !complete)
		return err_set(
			making->err, RC_STATE,
			"%s: ca.key is needed to sign what is missing; put it back for as long as this takes",
			dir);
	return RC_OK;
}

static int write_file(struct making *making, const char *name, mode_t mode, const char *text)
{
	size_t len = strlen(text), done = 0;
	int fd = openat(making->dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
			mode),
	    rc = RC_OK;
	ssize_t r;

	if (fd < 0)
		return err_system(making->err, errno, "%s/%s", making->request->dir, name);
	while (rc == RC_OK && done < len) {
		r = fault_here(FAULT_WRITE) ? -1 : write(fd, text + done, len - done);
		if (r < 0)
			rc = err_system(making->err, errno, "%s/%s", making->request->dir, name);
		done += r > 0 ? (size_t)r : 0;
	}
	/* The umask may have taken from what a certificate is to be. */
	if (rc == RC_OK && (fchmod(fd, mode) != 0 || fault_here(FAULT_FSYNC) || fsync(fd) != 0))
		rc = err_system(making->err, errno, "%s/%s", making->request->dir, name);
	if (close(fd) != 0 && rc == RC_OK)
		rc = err_system(making->err, errno, "%s/%s", making->request->dir, name);
	if (rc != RC_OK)
		(void)unlinkat(making->dir, name, 0);
	return rc;
}

static int name_it(struct making *making, enum pki_member member, const char *suffix, bool *made)
{
	char temporary[FILE_NAME_MAX], name[FILE_NAME_MAX];

	temporary_name(temporary, member, suffix);
	file_name(name, member, suffix);
	errno = EIO;
	*made = !fault_here(FAULT_RENAME) &&
		renameat(making->dir, temporary, making->dir, name) == 0;
	return *made ? RC_OK : err_system(making->err, errno, "%s/%s", making->request->dir, name);
}

static int write_pair(struct making *making, enum pki_member member, const struct pki_pem *pem)
{
	char key[FILE_NAME_MAX], cert[FILE_NAME_MAX];
	int rc;

	temporary_name(key, member, "key");
	temporary_name(cert, member, "crt");
	rc = write_file(making, key, 0600, pem->key);
	rc = rc == RC_OK ? write_file(making, cert, 0644, pem->cert) : rc;
	rc = rc == RC_OK ? name_it(making, member, "key", &making->key_made[member]) : rc;
	rc = rc == RC_OK ? name_it(making, member, "crt", &making->cert_made[member]) : rc;
	making->made[member].made = rc == RC_OK;
	if (rc != RC_OK) {
		(void)unlinkat(making->dir, key, 0);
		(void)unlinkat(making->dir, cert, 0);
	}
	return rc;
}

/* The hour of the authority's end is the latest for what it signs. */
static time_t end_of(const struct making *making, enum pki_member member)
{
	const struct pki_request *request = making->request;
	uint32_t days = member == PKI_CA ? request->ca_days : request->site_days;
	time_t until = request->now + (time_t)days * DAY, ca_until;

	if (member == PKI_CA)
		return until;
	ca_until = pki_certificate_until(&making->ca.cert);
	return until < ca_until ? until : ca_until;
}

static int make_member(struct making *making, enum pki_member member)
{
	struct pki_made *made = &making->made[member];
	struct pki_template wanted = { .subject = made->subject,
				       .authority = member == PKI_CA,
				       .from = making->request->now - CLOCKS_APART,
				       .until = end_of(making, member) };
	unsigned char id[4];
	struct pki_pem pem;
	int rc;

	if (pki_random(NULL, id, sizeof(id)) != 0)
		return err_set(making->err, RC_UNSUPPORTED, "no random numbers");
	/* Two authorities with one name would be told apart only by their keys. */
	if (member == PKI_CA)
		(void)snprintf(made->subject, sizeof(made->subject),
			       "CN=understudy CA %02x%02x%02x%02x,O=understudy", id[0], id[1],
			       id[2], id[3]);
	else
		(void)snprintf(made->subject, sizeof(made->subject), "CN=%s,OU=%s,O=understudy",
			       making->request->names[member], names[member]);
	rc = pki_certificate_make(&pem, &wanted, member == PKI_CA ? NULL : &making->ca,
				  making->err);
	if (rc == RC_OK)
		rc = write_pair(making, member, &pem);
	pki_pem_wipe(&pem);
	return rc;
}

static int bring_the_right_one(struct err *err, enum pki_member member)
{
	return err_append(
		err, "; bring the right one, or move %s.crt and %s.key away and new ones are made",
		names[member], names[member]);
}

/* Reads a member back from its files: what we say about it is what is there. */
static int describe(struct making *making, enum pki_member member, struct pki_identity *identity,
		    bool with_key)
{
	struct pki_made *made = &making->made[member];
	char name[FILE_NAME_MAX];
	struct tm utc;
	time_t until;
	int rc;

	file_name(name, member, "crt");
	rc = read_cert(making->dir, name, &identity->cert, making->err);
	file_name(name, member, "key");
	if (rc == RC_OK && with_key)
		rc = read_key(making->dir, name, &identity->key, making->err);
	if (rc != RC_OK) {
		(void)err_prefix(making->err, "%s/", making->request->dir);
		return rc == RC_INVALID ? bring_the_right_one(making->err, member) : rc;
	}
	if (mbedtls_x509_dn_gets(made->subject, sizeof(made->subject), &identity->cert.subject) < 0)
		made->subject[0] = '\0';
	until = pki_certificate_until(&identity->cert);
	(void)gmtime_r(&until, &utc);
	(void)strftime(made->until, sizeof(made->until), "%Y-%m-%d", &utc);
	return RC_OK;
}

static int make_authority(struct making *making)
{
	bool there = exists(making, PKI_CA, "crt");
	int rc = RC_OK;

	if (!there)
		rc = make_member(making, PKI_CA);
	if (rc == RC_OK)
		rc = describe(making, PKI_CA, &making->ca, exists(making, PKI_CA, "key"));
	if (rc == RC_OK && exists(making, PKI_CA, "key") &&
	    mbedtls_pk_check_pair(&making->ca.cert.pk, &making->ca.key, pki_random,
				  MBEDTLS_PSA_RANDOM_STATE) != 0)
		rc = err_set(
			making->err, RC_INVALID,
			"%s: ca.key is not the key of ca.crt: bring the right one, or move both away for a new authority",
			making->request->dir);
	return rc;
}

static int make_site(struct making *making, enum pki_member member)
{
	struct pki_identity site;
	int rc = RC_OK;

	pki_identity_init(&site);
	if (!exists(making, member, "crt"))
		rc = make_member(making, member);
	if (rc == RC_OK)
		rc = describe(making, member, &site, true);
	if (rc == RC_OK) {
		rc = pki_certificate_check(&making->ca.cert, &site.cert, &site.key, making->err);
		if (rc == RC_OK)
			rc = pki_certificate_check_time(&making->ca.cert, &site.cert,
							making->request->now, making->err);
		if (rc == RC_OK && check_role(&site.cert, names[member], making->err) != RC_OK)
			rc = bring_the_right_one(making->err, member);
		if (rc != RC_OK)
			(void)err_prefix(making->err, "%s/%s.crt: ", making->request->dir,
					 names[member]);
	}
	pki_identity_free(&site);
	return rc;
}

static void undo(const struct making *making)
{
	char name[FILE_NAME_MAX];

	for (enum pki_member i = PKI_CA; i < PKI_MEMBERS && making->dir >= 0; i++) {
		file_name(name, i, "key");
		if (making->key_made[i])
			(void)unlinkat(making->dir, name, 0);
		file_name(name, i, "crt");
		if (making->cert_made[i])
			(void)unlinkat(making->dir, name, 0);
	}
	if (making->dir_made)
		(void)rmdir(making->request->dir);
}

int pki_make(const struct pki_request *request, struct pki_made made[PKI_MEMBERS], struct err *err)
{
	struct making making = { .request = request, .made = made, .dir = -1, .err = err };
	const char *why;
	int rc;

	memset(made, 0, PKI_MEMBERS * sizeof(*made));
	for (enum pki_member i = PKI_PRIMARY; i < PKI_MEMBERS; i++) {
		why = json_value_name_problem(request->names[i]);
		if (why != NULL)
			return err_set(err, RC_INVALID, "\"%.*s\" is no name for a site: %s",
				       JSON_NAME_MAX + 1, request->names[i], why);
	}
	pki_identity_init(&making.ca);
	rc = pki_random_start(err);
	rc = rc == RC_OK ? open_directory(&making) : rc;
	rc = rc == RC_OK ? survey(&making) : rc;
	rc = rc == RC_OK ? make_authority(&making) : rc;
	rc = rc == RC_OK ? make_site(&making, PKI_PRIMARY) : rc;
	rc = rc == RC_OK ? make_site(&making, PKI_STANDBY) : rc;
	if (rc == RC_OK && fsync(making.dir) != 0)
		rc = err_system(err, errno, "%s", request->dir);
	if (rc != RC_OK)
		undo(&making);
	if (making.dir >= 0)
		(void)close(making.dir);
	pki_identity_free(&making.ca);
	return rc;
}
