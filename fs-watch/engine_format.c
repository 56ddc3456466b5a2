#include "fs-watch/engine_format.h"

#include "appliance/base/clock.h"
#include "appliance/base/json_text.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static const char hex[] = "0123456789abcdef";
static const char name_bytes[] =
	"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";

static const cJSON *member(const cJSON *object, const char *key)
{
	return cJSON_GetObjectItemCaseSensitive(object, key);
}

/* "": there is none. */
static const char *text_of(const cJSON *object, const char *key)
{
	const cJSON *item = member(object, key);

	return cJSON_IsString(item) ? item->valuestring : "";
}

static int copy(char *out, size_t size, const char *text, const char *what, struct err *err)
{
	if (strlen(text) >= size)
		return err_set(err, RC_INVALID, "its %s has more than %zu bytes", what, size - 1);
	(void)snprintf(out, size, "%s", text);
	return RC_OK;
}

/* It becomes part of a path of the API. */
static int copy_id(char out[ENGINE_ID_MAX + 1], const char *text, struct err *err)
{
	if (*text == '\0' || strspn(text, hex) != strlen(text))
		return err_set(err, RC_INVALID, "a container's id is not hexadecimal digits");
	return copy(out, ENGINE_ID_MAX + 1, text, "id", err);
}

static int copy_name(char out[ENGINE_NAME_MAX + 1], const char *text, struct err *err)
{
	if (*text == '/') /* as Docker has it */
		text++;
	if (strspn(text, name_bytes) != strlen(text))
		return err_set(err, RC_INVALID, "a container's name has odd characters");
	return copy(out, ENGINE_NAME_MAX + 1, text, "name", err);
}

static int parse(cJSON **root, const char *json, size_t len, struct err *err)
{
	const int rc = json_text_parse(root, json, len, err);

	return rc == RC_OK ? RC_OK : err_prefix(err, "the engine's answer: ");
}

int engine_format_info(struct engine_info *info, const char *json, size_t len, struct err *err)
{
	cJSON *root;
	int rc = parse(&root, json, len, err);

	if (rc != RC_OK)
		return rc;
	rc = copy(info->driver, sizeof(info->driver), text_of(root, "Driver"), "driver", err);
	if (rc == RC_OK)
		rc = copy(info->root, sizeof(info->root), text_of(root, "DockerRootDir"),
			  "root directory", err);
	if (rc == RC_OK && (*info->driver == '\0' || *info->root != '/'))
		rc = err_set(err, RC_INVALID,
			     "the engine does not tell its storage driver and its directory");
	cJSON_Delete(root);
	return rc;
}

/* -1: no two digits of at most `most`. */
static int two_digits(const char *text, int most)
{
	int value;

	if (text[0] < '0' || text[0] > '9' || text[1] < '0' || text[1] > '9')
		return -1;
	value = (text[0] - '0') * 10 + (text[1] - '0');
	return value <= most ? value : -1;
}

/* "Z", "+01:00" */
static bool read_offset(long *seconds, const char *text)
{
	int hours, minutes;

	*seconds = 0;
	if (strcmp(text, "Z") == 0)
		return true;
	if (strlen(text) != strlen("+01:00") || (*text != '+' && *text != '-') || text[3] != ':')
		return false;
	hours = two_digits(text + 1, 24);
	minutes = two_digits(text + 4, 59);
	*seconds = (hours * 3600L + minutes * 60L) * (*text == '-' ? -1 : 1);
	return hours >= 0 && minutes >= 0;
}

bool engine_format_time(uint64_t *ns, const char *text)
{
	uint64_t fraction = 0, unit = CLOCK_NS_PER_S;
	long long seconds;
	struct tm tm = { 0 };
	const char *at = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
	long offset;

	if (at == NULL)
		return false;
	if (*at == '.') {
		for (at++; *at >= '0' && *at <= '9'; at++) {
			unit /= 10;
			fraction += unit * (uint64_t)(*at - '0');
		}
	}
	if (!read_offset(&offset, at))
		return false;
	seconds = (long long)timegm(&tm) - offset;
	*ns = seconds > 0 ? (uint64_t)seconds * CLOCK_NS_PER_S + fraction : 0;
	return true;
}

static int read_container(struct engine_container *container, const cJSON *root, struct err *err)
{
	const cJSON *state = member(root, "State"), *driver = member(root, "GraphDriver");
	int rc = copy_id(container->id, text_of(root, "Id"), err);

	if (rc == RC_OK)
		rc = copy_name(container->name, text_of(root, "Name"), err);
	if (rc == RC_OK)
		rc = copy(container->upper, sizeof(container->upper),
			  text_of(member(driver, "Data"), "UpperDir"), "upperdir", err);
	container->running = cJSON_IsTrue(member(state, "Running"));
	if (rc == RC_OK && !engine_format_time(&container->started_ns, text_of(state, "StartedAt")))
		rc = err_set(err, RC_INVALID, "the engine does not tell when it was started");
	return rc;
}

int engine_format_container(struct engine_container *container, const char *json, size_t len,
			    struct err *err)
{
	cJSON *root;
	int rc = parse(&root, json, len, err);

	if (rc != RC_OK)
		return rc;
	rc = read_container(container, root, err);
	cJSON_Delete(root);
	return rc;
}

/* podman's words are those in the second column, where they are others. */
static enum engine_event_kind kind_of(const char *type, const char *action)
{
	static const struct {
		const char *docker, *podman;
		enum engine_event_kind kind;
	} kinds[] = {
		{ "create", "create", ENGINE_CREATE }, { "start", "start", ENGINE_START },
		{ "die", "died", ENGINE_DIE },	       { "destroy", "remove", ENGINE_DESTROY },
		{ "rename", "rename", ENGINE_RENAME },
	};

	if (strcmp(type, "container") != 0)
		return ENGINE_OTHER;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (strcmp(action, kinds[i].docker) == 0 || strcmp(action, kinds[i].podman) == 0)
			return kinds[i].kind;
	}
	return ENGINE_OTHER;
}

int engine_format_event(struct engine_event *event, const char *json, size_t len, struct err *err)
{
	const cJSON *actor;
	cJSON *root;
	int rc = parse(&root, json, len, err);

	if (rc != RC_OK)
		return rc;
	memset(event, 0, sizeof(*event));
	actor = member(root, "Actor");
	event->kind = kind_of(text_of(root, "Type"), text_of(root, "Action"));
	if (event->kind != ENGINE_OTHER)
		rc = copy_id(event->id, text_of(actor, "ID"), err);
	if (event->kind != ENGINE_OTHER && rc == RC_OK)
		rc = copy_name(event->name, text_of(member(actor, "Attributes"), "name"), err);
	cJSON_Delete(root);
	return rc;
}

int engine_format_list(const char *json, size_t len, void (*each)(void *owner, const char *id),
		       void *owner, struct err *err)
{
	const cJSON *item;
	char id[ENGINE_ID_MAX + 1];
	cJSON *root;
	int rc = parse(&root, json, len, err);

	if (rc != RC_OK)
		return rc;
	if (!cJSON_IsArray(root))
		rc = err_set(err, RC_INVALID, "the engine's answer is no list of containers");
	cJSON_ArrayForEach(item, root) {
		if (rc != RC_OK)
			break;
		rc = copy_id(id, text_of(item, "Id"), err);
		if (rc == RC_OK)
			each(owner, id);
	}
	cJSON_Delete(root);
	return rc;
}
