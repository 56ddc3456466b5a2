#include "replica/reservation.h"

#include "appliance/base/mem.h"
#include "appliance/base/utf8.h"
#include "replica/chunk.h"

#include <cjson/cJSON.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define IDENTITY_DIGITS 16

void reservation_free(struct reservation *reservation)
{
	cmdline_spec_free(&reservation->spec);
	*reservation = (struct reservation){ 0 };
}

static int put_base(char out[RESERVATION_NAME_MAX + 1], const char *path, struct err *err)
{
	const char *slash = strrchr(path, '/'), *base = slash != NULL ? slash + 1 : path;

	if (strlen(base) == 0 || strlen(base) > RESERVATION_NAME_MAX)
		return err_set(err, RC_INVALID, "%.100s: a file name of 1 to %d bytes", path,
			       RESERVATION_NAME_MAX);
	memcpy(out, base, strlen(base) + 1);
	return RC_OK;
}

/* All are in one directory there. */
static int check_sockets(const struct reservation *reservation, const struct reservation_nic *nic,
			 struct err *err)
{
	for (size_t i = 0; i < reservation->nnics; i++) {
		const struct reservation_nic *other = &reservation->nics[i];

		if (strcmp(nic->socket, other->socket) == 0 ||
		    strcmp(nic->qemu_socket, other->qemu_socket) == 0)
			return err_set(err, RC_INVALID,
				       "network cards %s and %s: sockets of one name (%s, %s); the "
				       "standby has them in one directory: name them differently",
				       other->name, nic->name, nic->socket, nic->qemu_socket);
	}
	return RC_OK;
}

int reservation_add_nic(struct reservation *reservation, const char *name, const char *socket,
			const char *qemu_socket, bool announce, struct err *err)
{
	struct reservation_nic *nic = &reservation->nics[reservation->nnics];
	int rc;

	if (reservation->nnics == RESERVATION_NICS_MAX)
		return err_set(err, RC_LIMIT, "more than %d network cards", RESERVATION_NICS_MAX);
	rc = put_base(nic->name, name, err);
	if (rc == RC_OK)
		rc = put_base(nic->socket, socket, err);
	if (rc == RC_OK)
		rc = put_base(nic->qemu_socket, qemu_socket, err);
	if (rc == RC_OK)
		rc = check_sockets(reservation, nic, err);
	nic->announce = announce;
	if (rc == RC_OK)
		reservation->nnics++;
	return rc;
}

int reservation_add_tap(struct reservation *reservation, const char *name, const char *netdev,
			bool announce, struct err *err)
{
	const struct cmdline_card *card;

	if (cmdline_add_card(&reservation->spec, netdev, name, err) != RC_OK)
		return (int)err->code;
	card = &reservation->spec.cards[reservation->spec.ncards - 1];
	return reservation_add_nic(reservation, name, card->socket, card->qemu_socket, announce,
				   err);
}

int reservation_add_disk(struct reservation *reservation, const char *name, const char *device,
			 uint64_t bytes, struct err *err)
{
	return cmdline_add_disk(&reservation->spec, name, device, bytes, err);
}

int reservation_derive(struct reservation *reservation, const struct cmdline *cmdline,
		       const struct precheck_facts *facts, char *const *arguments, struct err *err)
{
	struct reservation *r = reservation;

	r->cpus = facts->cpus;
	r->memory_bytes = facts->memory_bytes;
	(void)snprintf(r->version, sizeof(r->version), "%u.%u.%u", facts->major, facts->minor,
		       facts->micro);
	memcpy(r->package, facts->package, sizeof(r->package));
	memcpy(r->machine, facts->machine, sizeof(r->machine));
	(void)snprintf(r->spec.accel, sizeof(r->spec.accel), "%s", facts->kvm ? "kvm" : "tcg");
	if (cmdline_check_cards(&r->spec, cmdline, err) != RC_OK)
		return (int)err->code;
	if (arguments != NULL)
		return cmdline_override(&r->spec, arguments, facts->machine, facts->default_ram_id,
					facts->memory_bytes, err);
	return cmdline_derive(&r->spec, cmdline, facts->machine, facts->default_ram_id,
			      facts->memory_bytes, err);
}

bool reservation_is_gateway(const struct reservation *reservation)
{
	for (size_t i = 0; i < reservation->nnics; i++) {
		if (reservation->nics[i].announce)
			return false;
	}
	return reservation->nnics > 0;
}

/* Writing ------------------------------------------------------------------------------------ */

static bool add_spec(cJSON *root, const struct cmdline_spec *spec)
{
	cJSON *arguments = cJSON_AddArrayToObject(root, "arguments");
	cJSON *backends = cJSON_AddArrayToObject(root, "backends");
	bool done = arguments != NULL && backends != NULL;

	for (size_t i = 0; i < spec->args.count && done; i++)
		done = cJSON_AddItemToArray(arguments, cJSON_CreateString(spec->args.args[i]));
	for (size_t i = 0; i < spec->nbackends && done; i++) {
		cJSON *backend = cJSON_CreateObject();

		done = cJSON_AddItemToArray(backends, backend) &&
		       cJSON_AddStringToObject(backend, "name", spec->backends[i].name) != NULL &&
		       cJSON_AddNumberToObject(backend, "bytes", (double)spec->backends[i].bytes) !=
			       NULL;
	}
	return done && cJSON_AddStringToObject(root, "accel", spec->accel) != NULL;
}

static bool add_identity(cJSON *root, uint64_t identity)
{
	char text[IDENTITY_DIGITS + 1];

	(void)snprintf(text, sizeof(text), "%" PRIx64, identity);
	return identity == 0 || cJSON_AddStringToObject(root, "witness_identity", text) != NULL;
}

static bool add_nics(cJSON *root, const struct reservation *r)
{
	cJSON *nics = cJSON_AddArrayToObject(root, "nics");
	bool done = nics != NULL;

	for (size_t i = 0; i < r->nnics && done; i++) {
		const struct reservation_nic *nic = &r->nics[i];
		cJSON *item = cJSON_CreateObject();

		done = cJSON_AddItemToArray(nics, item) &&
		       cJSON_AddStringToObject(item, "name", nic->name) != NULL &&
		       cJSON_AddStringToObject(item, "socket", nic->socket) != NULL &&
		       cJSON_AddStringToObject(item, "qemu_socket", nic->qemu_socket) != NULL &&
		       cJSON_AddBoolToObject(item, "announce", nic->announce) != NULL &&
		       cJSON_AddBoolToObject(item, "output_commit", !nic->at_once) != NULL;
	}
	return done &&
	       cJSON_AddStringToObject(root, "without_standby", r->holds ? "hold" : "continue") !=
		       NULL &&
	       cJSON_AddStringToObject(root, "witness", r->witness) != NULL &&
	       add_identity(root, r->witness_identity) &&
	       cJSON_AddNumberToObject(root, "heartbeat_ms", r->heartbeat_ms) != NULL &&
	       cJSON_AddNumberToObject(root, "detect_ms", r->detect_ms) != NULL;
}

static bool add_disks(cJSON *root, const struct cmdline_spec *spec)
{
	cJSON *disks = cJSON_AddArrayToObject(root, "disks");
	bool done = disks != NULL;

	for (size_t i = 0; i < spec->ndisks && done; i++) {
		cJSON *item = cJSON_CreateObject();

		done = cJSON_AddItemToArray(disks, item) &&
		       cJSON_AddStringToObject(item, "name", spec->disks[i].name) != NULL &&
		       cJSON_AddNumberToObject(item, "bytes", (double)spec->disks[i].bytes) != NULL;
	}
	return done;
}

/* Takes `root` over. */
static int print(cJSON *root, bool complete, struct buf *json, struct err *err)
{
	char *text = complete ? cJSON_PrintUnformatted(root) : NULL;
	size_t len = text != NULL ? strlen(text) : 0;
	int rc = RC_OK;

	if (len >= RESERVATION_JSON_MAX)
		rc = err_set(err, RC_LIMIT, "a reservation of %zu bytes; the most is %zu", len,
			     RESERVATION_JSON_MAX - 1);
	else if (text == NULL || !buf_append(json, text, len))
		rc = err_nomem(err, "JSON");
	cJSON_free(text);
	cJSON_Delete(root);
	return rc;
}

int reservation_to_json(const struct reservation *reservation, struct buf *json, struct err *err)
{
	const struct reservation *r = reservation;
	cJSON *root = cJSON_CreateObject();
	cJSON *qemu = cJSON_AddObjectToObject(root, "qemu");
	bool done =
		qemu != NULL && cJSON_AddStringToObject(qemu, "version", r->version) != NULL &&
		cJSON_AddStringToObject(qemu, "package", r->package) != NULL &&
		cJSON_AddStringToObject(root, "machine", r->machine) != NULL &&
		cJSON_AddNumberToObject(root, "cpus", r->cpus) != NULL &&
		cJSON_AddNumberToObject(root, "memory_bytes", (double)r->memory_bytes) != NULL &&
		add_spec(root, &r->spec) && add_nics(root, r) && add_disks(root, &r->spec);

	return print(root, done, json, err);
}

int reservation_answer(struct buf *json, const char *error, const char *image, struct err *err)
{
	cJSON *root = cJSON_CreateObject();
	bool done = cJSON_AddBoolToObject(root, "ok", error == NULL) != NULL &&
		    cJSON_AddStringToObject(root, "image", image) != NULL;

	if (done && error != NULL)
		done = cJSON_AddStringToObject(root, "error", error) != NULL;
	return print(root, done, json, err);
}

int reservation_read_answer(struct reservation_answer *answer, const uint8_t *json, size_t len,
			    struct err *err)
{
	cJSON *root = cJSON_ParseWithLength((const char *)json, len);
	const cJSON *ok = cJSON_GetObjectItemCaseSensitive(root, "ok");
	const char *image = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(root, "image"));
	const char *error = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(root, "error"));
	int rc = RC_OK;

	if (!cJSON_IsBool(ok) || image == NULL) {
		rc = err_set(err, RC_INVALID, "an answer to a reservation that is none");
	} else {
		answer->ok = cJSON_IsTrue(ok);
		answer->committed = strcmp(image, "committed") == 0;
		answer->has_image = answer->committed || strcmp(image, "stale") == 0;
		(void)snprintf(answer->error, sizeof(answer->error), "%s",
			       error != NULL ? error : "no reason given");
	}
	cJSON_Delete(root);
	return rc;
}

/* Reading ------------------------------------------------------------------------------------ */

/* A whole number from `least` to `most` (below 2^53, where doubles are exact). */
static int get_number(const cJSON *object, const char *key, uint64_t least, uint64_t most,
		      uint64_t *number, struct err *err)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);

	if (!cJSON_IsNumber(item))
		return err_set(err, RC_INVALID, "%s: a number is missing", key);
	if (!(item->valuedouble >= (double)least && item->valuedouble <= (double)most) ||
	    item->valuedouble != floor(item->valuedouble))
		return err_set(err, RC_INVALID, "%s: not a whole number from %llu to %llu", key,
			       (unsigned long long)least, (unsigned long long)most);
	*number = (uint64_t)item->valuedouble;
	return RC_OK;
}

/* A string that fits and is fit for a log line. */
static int get_text(const cJSON *object, const char *key, char *text, size_t size, struct err *err)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
	size_t len;

	if (!cJSON_IsString(item))
		return err_set(err, RC_INVALID, "%s: a string is missing", key);
	len = strlen(item->valuestring);
	if (len >= size)
		return err_set(err, RC_LIMIT, "%s: longer than %zu", key, size - 1);
	if (!utf8_is_plain(item->valuestring))
		return err_set(err, RC_INVALID, "%s: a control character", key);
	memcpy(text, item->valuestring, len + 1);
	return RC_OK;
}

static int get_identity(const cJSON *root, uint64_t *identity, struct err *err)
{
	static const char key[] = "witness_identity";
	const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(root, key));
	const size_t len = text != NULL ? strlen(text) : 0;

	*identity = 0;
	if (text == NULL)
		return RC_OK;
	if (len == 0 || len > IDENTITY_DIGITS || text[strspn(text, "0123456789abcdef")] != '\0')
		return err_set(err, RC_INVALID, "%s: no number in hexadecimal digits", key);
	*identity = strtoull(text, NULL, 16);
	return RC_OK;
}

static int get_arguments(const cJSON *root, struct cmdline *args, struct err *err)
{
	const cJSON *list = cJSON_GetObjectItemCaseSensitive(root, "arguments"), *item;
	int rc = RC_OK;

	if (!cJSON_IsArray(list))
		return err_set(err, RC_INVALID, "arguments: a list is missing");
	cJSON_ArrayForEach(item, list) {
		if (!cJSON_IsString(item))
			return err_set(err, RC_INVALID, "arguments[%zu]: not a string",
				       args->count);
		rc = cmdline_add(args, item->valuestring, err);
		if (rc != RC_OK)
			return rc;
	}
	return rc;
}

static int get_backend(const cJSON *item, struct cmdline_spec *spec, uint64_t *total,
		       struct err *err)
{
	struct image_shared *backend = &spec->backends[spec->nbackends];
	int rc;

	if (spec->nbackends == CMDLINE_BACKENDS_MAX)
		return err_set(err, RC_LIMIT, "more than %d", CMDLINE_BACKENDS_MAX);
	*backend = (struct image_shared){ .bytes = 0 };
	rc = get_text(item, "name", backend->name, sizeof(backend->name), err);
	if (rc == RC_OK)
		rc = get_number(item, "bytes", LAYOUT_PAGE, LAYOUT_BYTES_MAX - *total,
				&backend->bytes, err);
	if (rc != RC_OK)
		return rc;
	if (backend->bytes % LAYOUT_PAGE != 0)
		return err_set(err, RC_INVALID, "bytes: not a whole number of pages");
	if (!cmdline_is_backend_name(backend->name))
		return err_set(err, RC_INVALID, "name: not a memory backend's");
	for (size_t i = 0; i < spec->nbackends; i++) {
		if (strcmp(spec->backends[i].name, backend->name) == 0)
			return err_set(err, RC_INVALID, "name: \"%.64s\" comes twice",
				       backend->name);
	}
	*total += backend->bytes;
	spec->nbackends++;
	return RC_OK;
}

static int get_backends(const cJSON *root, struct cmdline_spec *spec, struct err *err)
{
	const cJSON *list = cJSON_GetObjectItemCaseSensitive(root, "backends"), *item;
	uint64_t total = 0;

	if (!cJSON_IsArray(list) || list->child == NULL)
		return err_set(err, RC_INVALID, "backends: a list is missing, or empty");
	cJSON_ArrayForEach(item, list) {
		if (get_backend(item, spec, &total, err) != RC_OK)
			return err_prefix(err, "backends[%zu]: ", spec->nbackends);
	}
	return RC_OK;
}

static int get_spec(const cJSON *root, struct cmdline_spec *spec, struct err *err)
{
	int rc = get_arguments(root, &spec->args, err);

	if (rc == RC_OK)
		rc = get_backends(root, spec, err);
	if (rc == RC_OK)
		rc = get_text(root, "accel", spec->accel, sizeof(spec->accel), err);
	if (rc == RC_OK && strcmp(spec->accel, "kvm") != 0 && strcmp(spec->accel, "tcg") != 0)
		rc = err_set(err, RC_INVALID, "accel: neither kvm nor tcg");
	if (rc == RC_OK && cmdline_check(spec, err) != RC_OK)
		rc = err_prefix(err, "arguments: ");
	return rc;
}

/* A name that stays in the replica's directory. */
static int get_file_name(const cJSON *item, const char *key, char *text, struct err *err)
{
	int rc = get_text(item, key, text, RESERVATION_NAME_MAX + 1, err);

	if (rc == RC_OK && (*text == '\0' || *text == '.' || strchr(text, '/') != NULL ||
			    cmdline_is_own_file(text)))
		rc = err_set(err, RC_INVALID, "%s: not a file's name", key);
	return rc;
}

static int get_nics(const cJSON *root, struct reservation *r, struct err *err)
{
	const cJSON *list = cJSON_GetObjectItemCaseSensitive(root, "nics"), *item;
	int rc = RC_OK;

	cJSON_ArrayForEach(item, list) {
		struct reservation_nic *nic = &r->nics[r->nnics];

		if (r->nnics == RESERVATION_NICS_MAX)
			return err_set(err, RC_LIMIT, "nics: more than %d", RESERVATION_NICS_MAX);
		rc = get_file_name(item, "name", nic->name, err);
		if (rc == RC_OK)
			rc = get_file_name(item, "socket", nic->socket, err);
		if (rc == RC_OK)
			rc = get_file_name(item, "qemu_socket", nic->qemu_socket, err);
		if (rc != RC_OK)
			return err_prefix(err, "nics[%zu].", r->nnics);
		nic->announce = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(item, "announce"));
		nic->at_once =
			cJSON_IsFalse(cJSON_GetObjectItemCaseSensitive(item, "output_commit"));
		r->nnics++;
	}
	return rc;
}

static int get_disks(const cJSON *root, struct cmdline_spec *spec, struct err *err)
{
	const cJSON *list = cJSON_GetObjectItemCaseSensitive(root, "disks"), *item;
	char name[IMAGE_DISK_NAME_MAX + 1] = "";
	uint64_t bytes = 0;
	int rc = RC_OK;

	cJSON_ArrayForEach(item, list) {
		rc = get_file_name(item, "name", name, err);
		if (rc == RC_OK)
			rc = get_number(item, "bytes", CHUNK_SECTOR, LAYOUT_BYTES_MAX, &bytes, err);
		if (rc == RC_OK)
			rc = cmdline_add_disk(spec, name, NULL, bytes, err);
		if (rc != RC_OK)
			return err_prefix(err, "disks[%zu].", spec->ndisks);
	}
	return rc;
}

/* 0: not told. */
static uint32_t get_ms(const cJSON *root, const char *key)
{
	uint64_t ms = 0;
	struct err err;

	return get_number(root, key, 0, RESERVATION_MS_MAX, &ms, &err) == RC_OK ? (uint32_t)ms : 0;
}

static int get_all(const cJSON *root, struct reservation *r, struct err *err)
{
	const cJSON *qemu = cJSON_GetObjectItemCaseSensitive(root, "qemu");
	const char *alone;
	uint64_t cpus = 0;
	int rc;

	if (!cJSON_IsObject(root) || !cJSON_IsObject(qemu))
		return err_set(err, RC_INVALID, "qemu: an object is missing");
	rc = get_text(qemu, "version", r->version, sizeof(r->version), err);
	if (rc == RC_OK)
		rc = get_text(qemu, "package", r->package, sizeof(r->package), err);
	if (rc == RC_OK)
		rc = get_text(root, "machine", r->machine, sizeof(r->machine), err);
	if (rc == RC_OK)
		rc = get_number(root, "cpus", 1, RESERVATION_CPUS_MAX, &cpus, err);
	if (rc == RC_OK)
		rc = get_number(root, "memory_bytes", 0, LAYOUT_BYTES_MAX, &r->memory_bytes, err);
	if (rc == RC_OK)
		rc = get_spec(root, &r->spec, err);
	if (rc == RC_OK)
		rc = get_nics(root, r, err);
	if (rc == RC_OK)
		rc = get_disks(root, &r->spec, err);
	alone = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(root, "without_standby"));
	r->holds = alone != NULL && strcmp(alone, "hold") == 0;
	if (rc == RC_OK && cJSON_IsString(cJSON_GetObjectItemCaseSensitive(root, "witness")))
		rc = get_text(root, "witness", r->witness, sizeof(r->witness), err);
	if (rc == RC_OK)
		rc = get_identity(root, &r->witness_identity, err);
	r->heartbeat_ms = get_ms(root, "heartbeat_ms");
	r->detect_ms = get_ms(root, "detect_ms");
	r->cpus = (uint32_t)cpus;
	return rc;
}

/*
 * A NUL, escaped or not. cJSON takes it for the end of a string: what follows would silently be
 * lost.
 */
static bool has_nul(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (text[i] == '\0' || (len - i >= 6 && memcmp(text + i, "\\u0000", 6) == 0))
			return true;
		if (text[i] == '\\')
			i++; /* an escaped backslash does not begin an escape */
	}
	return false;
}

int reservation_from_json(struct reservation *reservation, const uint8_t *json, size_t len,
			  struct err *err)
{
	const char *text = (const char *)json, *end = NULL;
	cJSON *root;
	int rc;

	*reservation = (struct reservation){ 0 };
	if (len > RESERVATION_JSON_MAX)
		return err_set(err, RC_LIMIT, "a reservation of %zu bytes", len);
	if (has_nul(text, len))
		return err_set(err, RC_INVALID, "a NUL in a reservation");
	root = cJSON_ParseWithLengthOpts(text, len, &end, false);
	if (root == NULL || end != text + len) {
		cJSON_Delete(root);
		return err_set(err, RC_INVALID, "a reservation that is not JSON");
	}
	rc = get_all(root, reservation, err);
	cJSON_Delete(root);
	return rc;
}
