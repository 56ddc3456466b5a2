/*
 * Requests are printed member by member: their only foreign parts are base64 and numbers, so there
 * is nothing to escape. Answers go through json_text_parse(), which refuses what is not JSON, and
 * are then taken apart with an expectation for each member; unknown members are passed over, since
 * newer versions add some.
 */
#include "net/etcd_format.h"

#include "appliance/base/json_text.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <mbedtls/base64.h>
#include <stdlib.h>
#include <string.h>

#define NUMBER_DIGITS_MAX 20	     /* "-9223372036854775808" */
#define EXACT_MAX 9007199254740992.0 /* 2^53: what a JSON number without quotes holds exactly */
#define MESSAGE_MAX 200		     /* bytes of etcd's own words in one of our messages */

/* grpc/codes: what the gateway's errors carry as "code". */
enum { GRPC_DEADLINE = 4, GRPC_NOT_FOUND = 5, GRPC_UNAVAILABLE = 14 };

/* ---- requests ---- */

static void print_base64(struct buf *out, const char *text)
{
	size_t len = strlen(text), size = (len + 2) / 3 * 4 + 1, written = 0;
	uint8_t *to = buf_extend(out, size);

	if (to == NULL)
		return;
	if (mbedtls_base64_encode(to, size, &written, (const unsigned char *)text, len) != 0)
		out->failed = true;
	out->len -= size - written; /* the NUL */
}

static void print_key(struct buf *out, const char *key)
{
	assert(strlen(key) > 0 && strlen(key) <= ETCD_KEY_MAX);
	(void)buf_printf(out, "{\"key\":\"");
	print_base64(out, key);
	(void)buf_printf(out, "\"");
}

void etcd_format_range(struct buf *out, const char *key)
{
	print_key(out, key);
	(void)buf_printf(out, "}");
}

static const struct {
	const char *target, *member;
} fields[] = {
	[ETCD_MOD_REVISION] = { "MOD", "mod_revision" },
	[ETCD_CREATE_REVISION] = { "CREATE", "create_revision" },
	[ETCD_LEASE] = { "LEASE", "lease" },
};
static_assert(sizeof(fields) / sizeof(fields[0]) == ETCD_FIELDS, "one for each");

static void print_reads(struct buf *out, const char *name, const struct etcd_txn *txn)
{
	size_t i;

	(void)buf_printf(out, ",\"%s\":[", name);
	for (i = 0; i < txn->nreads; i++) {
		(void)buf_printf(out, "%s{\"request_range\":", i > 0 ? "," : "");
		etcd_format_range(out, txn->reads[i]);
		(void)buf_printf(out, "}");
	}
	(void)buf_printf(out, "]");
}

static void print_puts(struct buf *out, const struct etcd_txn *txn)
{
	size_t i;

	(void)buf_printf(out, ",\"success\":[");
	for (i = 0; i < txn->nputs; i++) {
		assert(strlen(txn->puts[i].value) <= ETCD_VALUE_MAX);
		(void)buf_printf(out, "%s{\"request_put\":", i > 0 ? "," : "");
		print_key(out, txn->puts[i].key);
		(void)buf_printf(out, ",\"value\":\"");
		print_base64(out, txn->puts[i].value);
		(void)buf_printf(out, "\",\"lease\":\"%" PRId64 "\"}}", txn->puts[i].lease);
	}
	(void)buf_printf(out, "]");
}

void etcd_format_txn(struct buf *out, const struct etcd_txn *txn)
{
	const struct etcd_compare *compare;
	size_t i;

	assert(txn->ncompares <= ETCD_PARTS_MAX && txn->nputs <= ETCD_PARTS_MAX &&
	       txn->nreads <= ETCD_PARTS_MAX);
	(void)buf_printf(out, "{\"compare\":[");
	for (i = 0; i < txn->ncompares; i++) {
		compare = &txn->compares[i];
		(void)buf_printf(out, "%s", i > 0 ? "," : "");
		print_key(out, compare->key);
		(void)buf_printf(out,
				 ",\"result\":\"EQUAL\",\"target\":\"%s\",\"%s\":\"%" PRId64 "\"}",
				 fields[compare->field].target, fields[compare->field].member,
				 compare->number);
	}
	(void)buf_printf(out, "]");
	if (txn->nputs > 0)
		print_puts(out, txn);
	else
		print_reads(out, "success", txn);
	print_reads(out, "failure", txn);
	(void)buf_printf(out, "}");
}

void etcd_format_grant(struct buf *out, uint32_t ttl_s)
{
	(void)buf_printf(out, "{\"TTL\":\"%" PRIu32 "\"}", ttl_s);
}

void etcd_format_lease(struct buf *out, int64_t lease)
{
	(void)buf_printf(out, "{\"ID\":\"%" PRId64 "\"}", lease);
}

/* ---- members of answers ---- */

static int wrong(struct err *err, const char *member, const char *expected)
{
	return err_set(err, RC_INVALID, "\"%s\" is not %s", member, expected);
}

/* A member of an object; NULL if it is missing or null. */
static const cJSON *find(const cJSON *object, const char *name)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);

	return item == NULL || cJSON_IsNull(item) ? NULL : item;
}

static int get_object(const cJSON **out, const cJSON *in, const char *name, struct err *err)
{
	*out = find(in, name);
	return cJSON_IsObject(*out) ? RC_OK : wrong(err, name, "an object");
}

/* The text of a number, as etcd prints one. */
static bool is_number(const char *text)
{
	size_t len = strlen(text);

	if (len == 0 || len > NUMBER_DIGITS_MAX)
		return false;
	text += text[0] == '-';
	return text[0] != '\0' && text[strspn(text, "0123456789")] == '\0';
}

/* From `least` on; 0 if it is missing. */
static int get_number(int64_t *out, const cJSON *in, const char *name, int64_t least,
		      struct err *err)
{
	const cJSON *item = find(in, name);
	double number;

	*out = 0;
	if (item == NULL)
		return RC_OK;
	if (cJSON_IsString(item) && is_number(item->valuestring)) {
		errno = 0;
		*out = strtoll(item->valuestring, NULL, 10);
		if (errno == 0 && *out >= least)
			return RC_OK;
	} else if (cJSON_IsNumber(item)) {
		number = item->valuedouble;
		if (number >= -EXACT_MAX && number <= EXACT_MAX && floor(number) == number) {
			*out = (int64_t)number;
			if (*out >= least)
				return RC_OK;
		}
	}
	return wrong(err, name, "a number as it can be");
}

/* A raft term is unsigned; etcd's count elections, so that what fits an int64_t is enough. */
static int get_header(struct etcd_header *out, const cJSON *in, struct err *err)
{
	const cJSON *header = NULL;
	int64_t term = 0;
	int rc;

	rc = get_object(&header, in, "header", err);
	if (rc == RC_OK)
		rc = get_number(&out->revision, header, "revision", 0, err);
	if (rc == RC_OK)
		rc = get_number(&term, header, "raft_term", 0, err);
	out->raft_term = (uint64_t)term;
	return rc;
}

static int get_value(struct etcd_entry *entry, const cJSON *in, struct err *err)
{
	const cJSON *item = find(in, "value");
	size_t len = 0;
	int r;

	entry->value[0] = '\0';
	if (item == NULL)
		return RC_OK;
	if (!cJSON_IsString(item))
		return wrong(err, "value", "a string");
	r = mbedtls_base64_decode((unsigned char *)entry->value, ETCD_VALUE_MAX, &len,
				  (const unsigned char *)item->valuestring,
				  strlen(item->valuestring));
	if (r == MBEDTLS_ERR_BASE64_BUFFER_TOO_SMALL)
		return err_set(err, RC_LIMIT, "a value of more than %d bytes", ETCD_VALUE_MAX);
	if (r != 0)
		return wrong(err, "value", "base64");
	entry->len = len;
	entry->value[len] = '\0';
	return RC_OK;
}

/* The result of reading one key: "kvs" has one item, or is missing. */
static int get_entry(struct etcd_entry *entry, const cJSON *range, struct err *err)
{
	const cJSON *list = find(range, "kvs"), *item;
	int rc;

	entry->present = false;
	entry->create_revision = entry->mod_revision = entry->lease = 0;
	entry->len = 0;
	entry->value[0] = '\0';
	if (list == NULL)
		return RC_OK;
	if (!cJSON_IsArray(list) || list->child == NULL || list->child->next != NULL ||
	    !cJSON_IsObject(list->child))
		return wrong(err, "kvs", "an array of one object");
	item = list->child;
	entry->present = true;
	rc = get_number(&entry->create_revision, item, "create_revision", 1, err);
	if (rc == RC_OK)
		rc = get_number(&entry->mod_revision, item, "mod_revision", 1, err);
	if (rc == RC_OK)
		rc = get_number(&entry->lease, item, "lease", INT64_MIN, err);
	if (rc == RC_OK)
		rc = get_value(entry, item, err);
	if (rc == RC_OK && (entry->create_revision == 0 || entry->mod_revision == 0))
		rc = err_set(err, RC_INVALID, "a key without revisions");
	return rc;
}

/* ---- answers ---- */

static int parse(cJSON **root, const char *text, size_t len, struct err *err)
{
	int rc = json_text_parse(root, text, len, err);

	if (rc == RC_OK && !cJSON_IsObject(*root)) {
		cJSON_Delete(*root);
		*root = NULL;
		rc = err_set(err, RC_INVALID, "not an object");
	}
	return rc;
}

/* Ends the reading of an answer. */
static int done(cJSON *root, int rc, struct err *err)
{
	cJSON_Delete(root);
	return rc == RC_OK || rc == RC_NOMEM ? rc : err_prefix(err, "answer: ");
}

int etcd_format_read_range(struct etcd_txn_reply *reply, const char *text, size_t len,
			   struct err *err)
{
	cJSON *root = NULL;
	int rc;

	rc = parse(&root, text, len, err);
	if (rc == RC_OK)
		rc = get_header(&reply->header, root, err);
	if (rc == RC_OK)
		rc = get_entry(&reply->entries[0], root, err);
	reply->succeeded = true;
	reply->put_revision = 0;
	reply->nentries = 1;
	return done(root, rc, err);
}

/* The results of the puts, or of the reads, in the order in which they were asked for. */
static int get_responses(struct etcd_txn_reply *reply, const struct etcd_txn *txn,
			 const cJSON *root, struct err *err)
{
	bool read = !reply->succeeded || txn->nputs == 0;
	size_t expected = read ? txn->nreads : txn->nputs, i;
	const cJSON *list = find(root, "responses"), *item, *inner = NULL;
	int rc;

	reply->nentries = 0;
	if (list == NULL && expected == 0)
		return RC_OK;
	if (!cJSON_IsArray(list))
		return wrong(err, "responses", "an array");
	item = list->child;
	for (i = 0; i < expected; i++, item = item->next) {
		if (item == NULL)
			break;
		rc = get_object(&inner, item, read ? "response_range" : "response_put", err);
		if (rc == RC_OK && read)
			rc = get_entry(&reply->entries[reply->nentries++], inner, err);
		if (rc != RC_OK)
			return rc;
	}
	return i == expected && item == NULL ? RC_OK :
					       wrong(err, "responses", "as long as what was asked");
}

/* Whether everything is there as it was to be put, at one revision. */
static bool was_done(const struct etcd_txn_reply *reply, const struct etcd_txn *txn)
{
	const struct etcd_entry *entry;
	const struct etcd_put *put;
	size_t i;

	if (txn->nputs == 0 || reply->nentries < txn->nputs)
		return false;
	for (i = 0; i < txn->nputs; i++) {
		entry = &reply->entries[i];
		put = &txn->puts[i];
		if (strcmp(put->key, txn->reads[i]) != 0 || !entry->present ||
		    entry->lease != put->lease || entry->len != strlen(put->value) ||
		    memcmp(entry->value, put->value, entry->len) != 0 ||
		    entry->mod_revision != reply->entries[0].mod_revision)
			return false;
	}
	return true;
}

int etcd_format_read_txn(struct etcd_txn_reply *reply, const struct etcd_txn *txn, const char *text,
			 size_t len, struct err *err)
{
	const cJSON *succeeded;
	cJSON *root = NULL;
	int rc;

	rc = parse(&root, text, len, err);
	if (rc == RC_OK)
		rc = get_header(&reply->header, root, err);
	if (rc == RC_OK) {
		succeeded = find(root, "succeeded");
		reply->succeeded = cJSON_IsTrue(succeeded);
		if (succeeded != NULL && !cJSON_IsBool(succeeded))
			rc = wrong(err, "succeeded", "true or false");
		else if (reply->succeeded && txn->nputs > 0 && reply->header.revision == 0)
			rc = wrong(err, "revision", "there, though something was written");
	}
	if (rc == RC_OK)
		rc = get_responses(reply, txn, root, err);
	if (rc == RC_OK) {
		reply->put_revision = 0;
		if (reply->succeeded && txn->nputs > 0) {
			reply->put_revision = reply->header.revision;
		} else if (was_done(reply, txn)) {
			reply->succeeded = true;
			reply->put_revision = reply->entries[0].mod_revision;
		}
	}
	return done(root, rc, err);
}

static int get_lease(struct etcd_lease_reply *reply, const cJSON *from, struct err *err)
{
	int64_t ttl_s;
	int rc;

	rc = get_header(&reply->header, from, err);
	if (rc == RC_OK)
		rc = get_number(&reply->id, from, "ID", 1, err);
	if (rc == RC_OK)
		rc = get_number(&ttl_s, from, "TTL", INT64_MIN, err);
	if (rc != RC_OK)
		return rc;
	if (reply->id == 0)
		return err_set(err, RC_INVALID, "a lease without an ID");
	if (ttl_s > ETCD_TTL_MAX_S)
		return err_set(err, RC_LIMIT, "a lease of more than %d s", ETCD_TTL_MAX_S);
	/* Of a lease that is gone it is 0 or -1, depending on the version. */
	reply->ttl_s = ttl_s > 0 ? (uint32_t)ttl_s : 0;
	return RC_OK;
}

int etcd_format_read_grant(struct etcd_lease_reply *reply, const char *text, size_t len,
			   struct err *err)
{
	const cJSON *error;
	cJSON *root = NULL;
	int rc;

	rc = parse(&root, text, len, err);
	if (rc == RC_OK) {
		error = find(root, "error");
		if (error != NULL && (!cJSON_IsString(error) || error->valuestring[0] != '\0'))
			rc = err_set(err, RC_REFUSED, "etcd granted no lease");
	}
	if (rc == RC_OK)
		rc = get_lease(reply, root, err);
	if (rc == RC_OK && reply->ttl_s == 0)
		rc = err_set(err, RC_INVALID, "a lease without a time to live");
	return done(root, rc, err);
}

/* etcd's words; "" if there are none. */
static const char *message_of(const cJSON *root)
{
	const cJSON *message = find(root, "message");

	if (!cJSON_IsString(message))
		message = find(root, "error");
	return cJSON_IsString(message) ? message->valuestring : "";
}

/* RC_STATE, RC_CLOSED or RC_REFUSED by the code of a failed call. */
static int judge(const cJSON *error, const char *code_name, int status, struct err *err)
{
	const char *message = message_of(error);
	enum rc code = RC_REFUSED;
	struct err ignored;
	int64_t grpc = 0;

	(void)get_number(&grpc, error, code_name, 0, &ignored);
	if (grpc == GRPC_NOT_FOUND)
		code = RC_STATE;
	else if (grpc == GRPC_UNAVAILABLE || grpc == GRPC_DEADLINE || status >= 500)
		code = RC_CLOSED;
	if (message[0] == '\0')
		return err_set(err, code, "HTTP status %d", status);
	return err_set(err, code, "%.*s", MESSAGE_MAX, message);
}

int etcd_format_read_keep_alive(struct etcd_lease_reply *reply, const char *text, size_t len,
				struct err *err)
{
	const char *end = memchr(text, '\n', len);
	const cJSON *result = NULL, *error;
	cJSON *root = NULL;
	int rc;

	rc = parse(&root, text, end != NULL ? (size_t)(end - text) : len, err);
	if (rc == RC_OK) {
		error = find(root, "error");
		rc = cJSON_IsObject(error) ? judge(error, "grpc_code", 200, err) :
					     get_object(&result, root, "result", err);
	}
	if (rc == RC_OK)
		rc = get_lease(reply, result, err);
	return done(root, rc, err);
}

int etcd_format_read_error(int status, const char *text, size_t len, struct err *err)
{
	cJSON *root = NULL;
	struct err ignored;
	int rc = RC_OK;

	if (parse(&root, text, len, &ignored) == RC_OK && cJSON_IsNumber(find(root, "code")))
		rc = judge(root, "code", status, err);
	cJSON_Delete(root);
	return rc != RC_OK ?
		       rc :
		       err_set(err, RC_CLOSED, "HTTP status %d, and no word of etcd's", status);
}
