/*
 * Theory of operation
 *
 * No command of QMP lists network cards, but every card is a device with the property "netdev": the
 * name of its back end. So the devices are listed (qom-list), each is asked for it (qom-get; one
 * that is no card refuses), and the name is what set_link takes: it pulls the cable at both ends,
 * the back end's and the card's (QEMU, net/net.c). Devices neither come nor go while a migration is
 * under way, and COLO is one.
 *
 * Some 50 questions, one after the other, of an instance that stands.
 */
#include "replica/nic_links.h"

#include "appliance/base/log.h"
#include "appliance/base/mem.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define NAME_MAX_BYTES 200 /* of a path in a question */

/* Where QEMU keeps devices: with an id, without one, and those of the machine itself. */
static const char *const containers[] = { "/machine/peripheral", "/machine/peripheral-anon",
					  "/machine/unattached" };
#define CONTAINERS (sizeof(containers) / sizeof(containers[0]))

struct nic_links {
	struct qmp *qmp;
	const char *part;
	void *owner;
	cJSON *devices; /* paths, to be asked; from the last to the first */
	cJSON *pulled;	/* names of back ends */
	size_t container;
	int place; /* in `pulled` */
	bool up;   /* which way set_link goes */
	bool open; /* a command without a reply */
	struct err err;
	void (*done)(void *owner, const struct err *err);
	bool closing;
	void (*on_closed)(void *owner);
};

static void look(struct nic_links *links);

int nic_links_create(struct nic_links **out, struct qmp *qmp, const char *part, void *owner,
		     struct err *err)
{
	struct nic_links *links = mem_zalloc(1, sizeof(*links));

	if (links == NULL)
		return err_nomem(err, "network cables");
	links->qmp = qmp;
	links->part = part;
	links->owner = owner;
	*out = links;
	return RC_OK;
}

static void finish(struct nic_links *links)
{
	void (*on_closed)(void *owner) = links->on_closed;
	void *owner = links->owner;

	cJSON_Delete(links->devices);
	cJSON_Delete(links->pulled);
	mem_free(links);
	if (on_closed != NULL)
		on_closed(owner);
}

/* Every reply comes through here first; false: nobody wants it any more. */
static bool reply_wanted(struct nic_links *links)
{
	links->open = false;
	if (!links->closing)
		return true;
	finish(links);
	return false;
}

/* `arguments` is used up; NULL: there was no memory for them. */
static int execute(struct nic_links *links, const char *command, cJSON *arguments, qmp_reply_cb cb)
{
	int rc = arguments == NULL ?
			 err_nomem(&links->err, command) :
			 qmp_execute(links->qmp, command, arguments, cb, links, &links->err);

	links->open = rc == RC_OK;
	return rc;
}

static void end(struct nic_links *links)
{
	links->done(links->owner, links->err.code != RC_OK ? &links->err : NULL);
}

/* ---- set_link ------------------------------------------------------------------------------ */

static void set_next(struct nic_links *links);

static const char *name_at(const struct nic_links *links)
{
	const char *name = cJSON_GetStringValue(cJSON_GetArrayItem(links->pulled, links->place));

	return name != NULL ? name : "";
}

/* The other cards come first. */
static void not_set(struct nic_links *links, const struct err *why)
{
	if (links->up)
		log_error(links->part,
			  "network card %s is still cut off (QMP set_link name=%s up=true): %s",
			  name_at(links), name_at(links), why->text);
	(void)err_set(&links->err, why->code, "network card %s: set_link: %.300s", name_at(links),
		      why->text);
}

static void on_set(void *owner, const cJSON *reply, const struct err *err)
{
	struct nic_links *links = owner;

	(void)reply;
	if (!reply_wanted(links))
		return;
	if (err != NULL)
		not_set(links, err);
	links->place++;
	set_next(links);
}

static cJSON *cable(const char *name, bool up)
{
	cJSON *arguments = cJSON_CreateObject();

	if (cJSON_AddStringToObject(arguments, "name", name) != NULL &&
	    cJSON_AddBoolToObject(arguments, "up", up) != NULL)
		return arguments;
	cJSON_Delete(arguments);
	return NULL;
}

static void set_next(struct nic_links *links)
{
	struct err why;

	for (; links->place < cJSON_GetArraySize(links->pulled); links->place++) {
		if (execute(links, "set_link", cable(name_at(links), links->up), on_set) == RC_OK)
			return;
		why = links->err;
		not_set(links, &why);
	}
	end(links);
}

static void set_all(struct nic_links *links, bool up)
{
	links->up = up;
	links->place = 0;
	set_next(links);
}

/* ---- finding them -------------------------------------------------------------------------- */

static bool add_text(cJSON *array, const char *text)
{
	cJSON *item = cJSON_CreateString(text);

	if (item != NULL && cJSON_AddItemToArray(array, item))
		return true;
	cJSON_Delete(item);
	return false;
}

static void on_netdev(void *owner, const cJSON *reply, const struct err *err)
{
	struct nic_links *links = owner;
	const char *name = cJSON_GetStringValue(reply);

	if (!reply_wanted(links))
		return;
	if (err != NULL && err->code != RC_REFUSED)
		links->err = *err;
	else if (name != NULL && *name != '\0' && !add_text(links->pulled, name))
		(void)err_nomem(&links->err, "network cards");
	look(links);
}

static void on_devices(void *owner, const cJSON *reply, const struct err *err)
{
	struct nic_links *links = owner;
	const char *container = containers[links->container++], *name, *type;
	char path[NAME_MAX_BYTES];
	const cJSON *item;

	if (!reply_wanted(links))
		return;
	if (err != NULL && err->code != RC_REFUSED)
		links->err = *err;
	cJSON_ArrayForEach(item, reply) {
		name = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(item, "name"));
		type = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(item, "type"));
		if (name == NULL || type == NULL || strncmp(type, "child<", 6) != 0)
			continue;
		if (snprintf(path, sizeof(path), "%s/%s", container, name) >= (int)sizeof(path))
			(void)err_set(&links->err, RC_LIMIT, "device %.64s...: too long a name",
				      name);
		else if (!add_text(links->devices, path))
			(void)err_nomem(&links->err, "devices");
	}
	look(links);
}

static cJSON *question(const char *path, const char *property)
{
	cJSON *arguments = cJSON_CreateObject();

	if (cJSON_AddStringToObject(arguments, "path", path) != NULL &&
	    (property == NULL || cJSON_AddStringToObject(arguments, "property", property) != NULL))
		return arguments;
	cJSON_Delete(arguments);
	return NULL;
}

/* The next question; when there is none left, or none can be put, to work with what was found. */
static void look(struct nic_links *links)
{
	const int left = cJSON_GetArraySize(links->devices);
	cJSON *device;
	int rc;

	if (links->container < CONTAINERS) {
		rc = execute(links, "qom-list", question(containers[links->container], NULL),
			     on_devices);
	} else if (left > 0) {
		device = cJSON_DetachItemFromArray(links->devices, left - 1);
		rc = execute(links, "qom-get", question(device->valuestring, "netdev"), on_netdev);
		cJSON_Delete(device);
	} else {
		rc = RC_STATE;
	}
	if (rc != RC_OK)
		set_all(links, false);
}

void nic_links_down(struct nic_links *links, void (*done)(void *owner, const struct err *err))
{
	links->done = done;
	links->err.code = RC_OK;
	links->devices = cJSON_CreateArray();
	links->pulled = cJSON_CreateArray();
	links->container = 0;
	look(links);
}

void nic_links_up(struct nic_links *links, void (*done)(void *owner, const struct err *err))
{
	links->done = done;
	links->err.code = RC_OK;
	set_all(links, true);
}

void nic_links_close(struct nic_links *links, void (*on_closed)(void *owner))
{
	links->closing = true;
	links->on_closed = on_closed;
	if (!links->open)
		finish(links);
}
