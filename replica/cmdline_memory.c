/*
 * Machine type and memory.
 *
 * A RAM block's name, by which the migration stream and the image know it, is the id of its memory
 * backend, where the machine itself or a memory module (pc-dimm, nvdimm) uses it; "/objects/ID" when
 * the backend's x-use-canonical-path-for-ramblock-id is on, which machine types up to 3.1 default to
 * for files and memfds. The default memory's name is the machine's default_ram_id ("pc.ram") whatever
 * -mem-path said. So a backend of the same id, with that property written out, takes the block over
 * under any machine type. What a backend was made of (anonymous, memfd, huge pages, binding to the
 * primary's NUMA nodes) concerns the primary alone.
 *
 * A device on a bus gives its backend's block a name with its place there ("0000:00:03.0/ID":
 * virtio-mem, ivshmem), which only QEMU knows, or none at all (virtio-pmem: that memory does not
 * migrate). Such a backend is refused.
 */
#include "replica/cmdline_derive.h"

#include "appliance/base/mem.h"
#include "appliance/base/words.h"

#include <ctype.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CANONICAL_PREFIX "/objects/"
#define CANONICAL_BELOW 4 /* machine types before 4.0 */

/* Machine ------------------------------------------------------------------------------------ */

static int add_property(struct cmdline_derivation *d, const struct optstring_item *item,
			struct err *err)
{
	char *value = optstring_escape(item->value != NULL ? item->value : "on");
	bool done = value != NULL && buf_printf(&d->machine_properties, ",%s=%s", item->key, value);

	mem_free(value);
	return done ? RC_OK : err_nomem(err, "machine properties");
}

static int collect_property(struct cmdline_derivation *d, const struct cmdline_token *token,
			    const struct optstring_item *item, struct err *err)
{
	if (strcmp(item->key, "type") == 0)
		return RC_OK;
	if (strcmp(item->key, "accel") == 0) {
		if (d->literal)
			return cmdline_refuse(token, NULL, "accel= is the standby's own to set",
					      err);
		return RC_OK;
	}
	if (strcmp(item->key, "memory-backend") == 0 && item->value != NULL) {
		mem_free(d->memory_backend);
		d->memory_backend = mem_strdup(item->value);
		return d->memory_backend != NULL ? RC_OK : err_nomem(err, "a memory backend");
	}
	return add_property(d, item, err);
}

int cmdline_collect_machine(struct cmdline_derivation *d, const struct cmdline_token *token,
			    struct err *err)
{
	struct optstring options;
	int rc = cmdline_options(token, "type", &options, err);

	if (rc != RC_OK)
		return rc;
	for (size_t i = 0; i < options.count && rc == RC_OK; i++)
		rc = collect_property(d, token, &options.items[i], err);
	optstring_free(&options);
	return rc;
}

int cmdline_collect_numa(struct cmdline_derivation *d, const struct cmdline_token *token,
			 struct err *err)
{
	struct optstring options;

	if (cmdline_options(token, "type", &options, err) != RC_OK)
		return (int)err->code;
	if (optstring_get(&options, "memdev") != NULL)
		d->has_memdev = true;
	optstring_free(&options);
	return RC_OK;
}

/* Memory ------------------------------------------------------------------------------------- */

static const char *kind_of(const struct optstring *object)
{
	const char *kind = optstring_get(object, "qom-type");

	return kind != NULL ? kind : "";
}

bool cmdline_is_memory_kind(const char *kind)
{
	return strncmp(kind, "memory-backend-", strlen("memory-backend-")) == 0;
}

bool cmdline_is_memory(const struct optstring *object)
{
	return cmdline_is_memory_kind(kind_of(object));
}

/* "256M" in bytes: decimal or hexadecimal, one suffix letter of b, k, m, g, t. */
static bool parse_size(const char *text, uint64_t *bytes)
{
	static const char suffixes[] = "bkmgt";
	unsigned shift = 0;
	const char *found;
	char *end;

	if (text == NULL || *text < '0' || *text > '9')
		return false;
	*bytes = strtoull(text, &end, 0);
	if (*end != '\0') {
		found = strchr(suffixes, *end | 0x20);
		if (found == NULL || end[1] != '\0')
			return false;
		shift = (unsigned)(found - suffixes) * 10;
	}
	if (*bytes == 0 || *bytes > LAYOUT_BYTES_MAX >> shift)
		return false;
	*bytes <<= shift;
	return *bytes % LAYOUT_PAGE == 0;
}

/* The machine type's major version; 0 for one without ("microvm"). */
static unsigned major_version(const char *machine)
{
	const char *dash = strrchr(machine, '-');
	unsigned long major;
	char *end;

	if (dash == NULL || !isdigit((unsigned char)dash[1]))
		return 0;
	major = strtoul(dash + 1, &end, 10);
	return *end == '.' && major < UINT_MAX ? (unsigned)major : 0;
}

static bool is_canonical(const struct cmdline_derivation *d, const struct optstring *object)
{
	static const char key[] = "x-use-canonical-path-for-ramblock-id";
	const char *kind = kind_of(object);
	unsigned major = major_version(d->machine);

	if (optstring_get(object, key) != NULL)
		return optstring_is_on(object, key);
	return major > 0 && major < CANONICAL_BELOW &&
	       (strcmp(kind, "memory-backend-file") == 0 ||
		strcmp(kind, "memory-backend-memfd") == 0);
}

static const char *backend_id(const struct image_shared *backend)
{
	size_t prefix = strlen(CANONICAL_PREFIX);
	bool canonical = strncmp(backend->name, CANONICAL_PREFIX, prefix) == 0;

	return backend->name + (canonical ? prefix : 0);
}

bool cmdline_is_backend_name(const char *name)
{
	size_t prefix = strlen(CANONICAL_PREFIX);

	if (strncmp(name, CANONICAL_PREFIX, prefix) == 0)
		name += prefix;
	if (!isalpha((unsigned char)*name))
		return false;
	while (isalnum((unsigned char)*name) || (*name != '\0' && strchr("-._", *name) != NULL))
		name++;
	return *name == '\0';
}

static int add_backend(struct cmdline_derivation *d, const char *id, bool canonical, uint64_t bytes,
		       struct err *err)
{
	struct cmdline_spec *spec = d->spec;
	struct image_shared *backend = &spec->backends[spec->nbackends];
	int len;

	if (spec->nbackends == CMDLINE_BACKENDS_MAX)
		return err_set(err, RC_LIMIT, "more than %d memory backends", CMDLINE_BACKENDS_MAX);
	*backend = (struct image_shared){ .bytes = bytes };
	len = snprintf(backend->name, sizeof(backend->name), "%s%s",
		       canonical ? CANONICAL_PREFIX : "", id);
	if (len <= 0 || (size_t)len >= sizeof(backend->name))
		return err_set(err, RC_LIMIT, "a memory backend's id is longer than %d",
			       LAYOUT_NAME_MAX);
	if (!cmdline_is_backend_name(backend->name))
		return err_set(err, RC_INVALID, "\"%.64s\" is no id of a memory backend", id);
	spec->nbackends++;
	return RC_OK;
}

/* A backend that nothing uses is no part of the instance's memory (its block does not exist). */
static bool is_mapped(const struct cmdline_derivation *d, const struct cmdline_token *own,
		      const char *id)
{
	for (size_t i = 0; i < d->ntokens; i++) {
		if (&d->tokens[i] != own && d->tokens[i].value != NULL &&
		    cmdline_mentions(d->tokens[i].value, id))
			return true;
	}
	return false;
}

static int check_user(const struct cmdline_token *token, const struct optstring *device,
		      const char *id, struct err *err)
{
	static const char *const modules[] = { "pc-dimm", "nvdimm" };
	const char *driver = optstring_get(device, "driver");
	char why[256];

	for (size_t i = 0; i < device->count; i++) {
		const struct optstring_item *item = &device->items[i];

		if (driver == NULL || WORDS_ONE_OF(driver, modules) || item->value == NULL ||
		    strstr(item->key, "memdev") == NULL || strcmp(item->value, id) != 0)
			continue;
		(void)snprintf(
			why, sizeof(why),
			"the memory of %.64s (%.64s), a device on a bus, cannot be protected: "
			"give it to the machine itself (-m), or as a pc-dimm",
			driver, id);
		return cmdline_refuse(token, device, why, err);
	}
	return RC_OK;
}

static int check_users(const struct cmdline_derivation *d, const char *id, struct err *err)
{
	struct optstring device;
	int rc = RC_OK;

	for (size_t i = 0; i < d->ntokens && rc == RC_OK; i++) {
		if (strcmp(cmdline_token_name(&d->tokens[i]), "device") != 0)
			continue;
		rc = cmdline_options(&d->tokens[i], "driver", &device, err);
		if (rc != RC_OK)
			break;
		rc = check_user(&d->tokens[i], &device, id, err);
		optstring_free(&device);
	}
	return rc;
}

static int collect_memory(struct cmdline_derivation *d, const struct cmdline_token *token,
			  const struct optstring *object, struct err *err)
{
	const char *id = optstring_get(object, "id");
	uint64_t bytes;

	if (strcmp(kind_of(object), "memory-backend-epc") == 0)
		return cmdline_cannot_travel(token, object, "SGX memory", err);
	if (id == NULL)
		return cmdline_refuse(token, NULL, "has no id", err);
	if (!is_mapped(d, token, id))
		return RC_OK;
	if (!parse_size(optstring_get(object, "size"), &bytes))
		return cmdline_refuse(
			token, object,
			"its size is not a whole number of pages, or none we can read", err);
	if (check_users(d, id, err) != RC_OK)
		return (int)err->code;
	return add_backend(d, id, is_canonical(d, object), bytes, err);
}

int cmdline_collect_object(struct cmdline_derivation *d, const struct cmdline_token *token,
			   struct err *err)
{
	struct optstring object;
	int rc = RC_OK;

	if (cmdline_options(token, "qom-type", &object, err) != RC_OK)
		return (int)err->code;
	if (cmdline_is_memory(&object))
		rc = collect_memory(d, token, &object, err);
	optstring_free(&object);
	return rc;
}

/* The memory that -m alone makes. */
static int add_default_memory(struct cmdline_derivation *d, struct err *err)
{
	if (*d->default_ram_id == '\0')
		return err_set(err, RC_UNSUPPORTED,
			       "machine %.64s has no default memory, and no "
			       "memory backend is given",
			       d->machine);
	if (d->memory_bytes == 0 || d->memory_bytes % LAYOUT_PAGE != 0 ||
	    d->memory_bytes > LAYOUT_BYTES_MAX)
		return err_set(err, RC_INVALID, "memory of %" PRIu64 " bytes", d->memory_bytes);
	d->memory_backend = mem_strdup(d->default_ram_id);
	if (d->memory_backend == NULL)
		return err_nomem(err, "a memory backend");
	return add_backend(d, d->default_ram_id, false, d->memory_bytes, err);
}

static bool has_backend(const struct cmdline_spec *spec, const char *id)
{
	for (size_t i = 0; i < spec->nbackends; i++) {
		if (strcmp(backend_id(&spec->backends[i]), id) == 0)
			return true;
	}
	return false;
}

int cmdline_emit_machine(struct cmdline_derivation *d, struct err *err)
{
	struct optstring_item backend = { .value = NULL };
	char key[] = "memory-backend";
	struct buf text = { .limit = d->machine_properties.limit + LAYOUT_NAME_MAX };
	int rc = RC_OK;

	if (d->memory_backend == NULL && !d->has_memdev)
		rc = add_default_memory(d, err);
	else if (d->memory_backend != NULL && !has_backend(d->spec, d->memory_backend))
		rc = err_set(err, RC_UNSUPPORTED,
			     "-machine names memory-backend=%.64s, which no -object makes",
			     d->memory_backend);
	else if (d->spec->nbackends == 0)
		rc = err_set(err, RC_UNSUPPORTED, "-numa names memory that no -object makes");
	if (rc == RC_OK && d->memory_backend != NULL) {
		backend = (struct optstring_item){ key, d->memory_backend };
		rc = add_property(d, &backend, err);
	}
	if (rc == RC_OK &&
	    !buf_printf(&text, "%s%.*s", d->machine, (int)d->machine_properties.len,
			d->machine_properties.len > 0 ? (const char *)d->machine_properties.data :
							""))
		rc = err_nomem(err, "machine properties");
	if (rc == RC_OK)
		rc = cmdline_emit(d, "-machine", (const char *)text.data, err);
	buf_free(&text);
	return rc;
}

/* The standby's side ------------------------------------------------------------------------- */

static int add_backend_object(struct cmdline *out, const struct image_shared *backend,
			      struct err *err)
{
	const char *id = backend_id(backend);
	char *path = optstring_escape(backend->path);
	char text[LAYOUT_NAME_MAX + 2 * sizeof(backend->path) + 128];
	int len, rc;

	if (path == NULL)
		return err_nomem(err, "a command line");
	len = snprintf(text, sizeof(text),
		       "memory-backend-file,id=%s,size=%" PRIu64 ",mem-path=%s,share=on,"
		       "prealloc=off,x-use-canonical-path-for-ramblock-id=%s",
		       id, backend->bytes, path, id == backend->name ? "off" : "on");
	mem_free(path);
	if (len < 0 || (size_t)len >= sizeof(text))
		return err_set(err, RC_LIMIT, "memory backend %.64s: the path is too long", id);
	rc = cmdline_add(out, "-object", err);
	if (rc == RC_OK)
		rc = cmdline_add(out, text, err);
	return rc;
}

int cmdline_add_backends(struct cmdline *out, const struct cmdline_spec *spec, struct err *err)
{
	int rc = RC_OK;

	for (size_t i = 0; i < spec->nbackends && rc == RC_OK; i++)
		rc = add_backend_object(out, &spec->backends[i], err);
	return rc;
}

char *cmdline_backend_path(const struct image_shared *backend)
{
	const char *id = backend_id(backend);
	bool canonical = id != backend->name;
	size_t size = 2 * strlen(id) + sizeof(CANONICAL_PREFIX) + 64;
	char *path = mem_alloc(size);

	/* QOM writes a slash inside a name as \x2f. */
	if (path != NULL)
		(void)snprintf(path, size, CANONICAL_PREFIX "%s/%s%s[0]", id,
			       canonical ? "\\x2fobjects\\x2f" : "", id);
	return path;
}
